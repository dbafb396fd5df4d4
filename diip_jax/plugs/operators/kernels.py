"""Where a blur kernel comes from: a network, logits, or what is known. The plug of the operators that blur."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Any, Array, Float, PRNGKey
from diip_jax.models import kernel_network
from diip_jax.plug import plug
from diip_jax.plugs.operators.operator import given


class KernelModel:
    """A parametrised blur kernel `[K, K]`, non-negative and of sum 1: the base of plugs.

    Attributes:
        size: K, odd.
        unknown: whether it is estimated; it needs no `args` then.
    """

    size: int
    unknown: ClassVar[bool] = True

    def init(self, key: PRNGKey) -> Any:
        """The first eta, a pytree; an empty one when the kernel is known."""
        return ()

    def __call__(self, eta: Any, args: Any) -> Float[Array, "K K"]:
        """The kernel."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__(eta, args)")

    def check(self, images: int, args: Any) -> None:
        """Raises ValueError where the args of so many images are not what the kernel takes."""


@plug()
class KernelNetwork(KernelModel):
    """SelfDeblur's network on a fixed noise vector, 0.1 U(0, 1) each; BIRD's choice. eta: vector and weights.

    Raises:
        ValueError: an even size.
    """

    size: int

    def __post_init__(self) -> None:
        check_odd(self.size)

    def init(self, key: PRNGKey) -> Any:
        noise_key, weight_key = jax.random.split(key)
        noise = 0.1 * jax.random.uniform(noise_key, (kernel_network.INPUTS,))
        return {"noise": noise, "weights": self._network.init(weight_key, noise)["params"]}

    def __call__(self, eta: Any, args: Any) -> Float[Array, "K K"]:
        # No gradient reaches the vector, and what has none stays as it is.
        noise = jax.lax.stop_gradient(eta["noise"])
        return jnp.asarray(self._network.apply({"params": eta["weights"]}, noise))

    @property
    def _network(self) -> kernel_network.KernelNetwork:
        return kernel_network.KernelNetwork(self.size)


# Adam's rate for the network, 0.003, becomes 0.1 for a logit: without a network between, values are found one by one.
_LOGIT = 32.0


@plug()
class KernelLogits(KernelModel):
    """k = softmax(32 S eta S^T), eta `[K, K]`, from a Gaussian of standard deviation K / 6 px on.

    S smooths by a Gaussian of 1 px: what the noise of y does to single values cancels out, and real kernels have no
    lone pixels. Values far apart stay independent.

    Raises:
        ValueError: an even size.
    """

    size: int

    def __post_init__(self) -> None:
        check_odd(self.size)

    def init(self, key: PRNGKey) -> Float[Array, "K K"]:
        radius, sigma = self.size // 2, self.size / 6
        squares = jnp.arange(-radius, radius + 1.0) ** 2
        return -(squares[:, None] + squares) / (2 * sigma**2) / _LOGIT

    def __call__(self, eta: Any, args: Any) -> Float[Array, "K K"]:
        pixels = jnp.arange(self.size)
        smoothing = jax.nn.softmax(-((pixels[:, None] - pixels) ** 2) / 2, axis=1)
        logits = jnp.einsum("ir,rc,jc->ij", smoothing, _LOGIT * eta, smoothing, precision=jax.lax.Precision.HIGHEST)
        return jax.nn.softmax(logits, axis=(0, 1))


@plug()
class KnownKernel(KernelModel):
    """The kernel that was given with the image, `args["kernel"]` `[K, K]` of sum 1.

    Raises:
        ValueError: an even size; from `check`: kernels of another shape or sum.
    """

    size: int
    unknown = False

    def __post_init__(self) -> None:
        check_odd(self.size)

    def __call__(self, eta: Any, args: Any) -> Float[Array, "K K"]:
        kernel = given(args, "kernel")
        if kernel.shape != (self.size, self.size):
            raise ValueError(f"kernel_size={self.size}: the kernel that was given is {kernel.shape}")
        return kernel.astype(jnp.float32)

    def check(self, images: int, args: Any) -> None:
        kernel = np.asarray(given(args, "kernel"))
        if kernel.shape != (images, self.size, self.size):
            expected = (images, self.size, self.size)
            raise ValueError(f"kernel: shape {kernel.shape}, expected {expected}, one for each image")
        if not np.allclose(kernel.sum((1, 2)), 1, atol=1e-3):
            sums = kernel.sum((1, 2)).max()
            raise ValueError(f"kernel: sums up to {sums:g}, expected 1; divide each by its sum")


_FAINT = 0.1


@plug(data=("kernel",))
class Centred(KernelModel):
    """The same kernel moved so that its centre of mass is the centre, see `to_centre`.

    A picture that is shifted one way and a kernel that is shifted the other way blur to the same image: nothing else
    says where the picture belongs.
    """

    kernel: Any

    @property
    def size(self) -> int:  # type: ignore[override]  # of the other kernel
        return self.kernel.size

    @property
    def unknown(self) -> bool:  # type: ignore[override]
        return self.kernel.unknown

    def init(self, key: PRNGKey) -> Any:
        return self.kernel.init(key)

    def __call__(self, eta: Any, args: Any) -> Float[Array, "K K"]:
        return to_centre(self.kernel(eta, args)[None])[0]

    def check(self, images: int, args: Any) -> None:
        self.kernel.check(images, args)


def to_centre(kernels: Float[Array, "n K K"]) -> Float[Array, "n K K"]:
    """Moves kernels together, so that the centre of mass of their mean is the centre, and each has sum 1 again.

    What is below a tenth of the highest value has no mass: faint values at the rim, which an estimate has and a real
    kernel has not, would pull the centre. Values are shared linearly between neighbours; what leaves the frame is lost.
    """
    offsets = jnp.arange(kernels.shape[-1]) - kernels.shape[-1] // 2.0
    mean = kernels.mean(axis=0)
    mean = jnp.maximum(mean - _FAINT * mean.max(), 0)
    mean = mean / mean.sum()

    def shares(masses: Float[Array, " K"]) -> Float[Array, "K K"]:
        """What of the value at j comes to lie on i."""
        return jnp.maximum(1 - jnp.abs(offsets[:, None] - offsets + masses @ offsets), 0)

    rows, columns = shares(mean.sum(axis=1)), shares(mean.sum(axis=0))
    moved = jnp.einsum("ir,nrc,jc->nij", rows, kernels, columns, precision=jax.lax.Precision.HIGHEST)
    return moved / moved.sum(axis=(1, 2), keepdims=True)


def check_odd(size: int) -> None:
    """Raises ValueError for a kernel of even size."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"kernel_size={size}: expected an odd number, 1 or more")


def as_kernel(kernel: Any, *, centre: bool = True) -> Any:
    """A kernel model as it is; a size as one by logits, centred where that is asked for."""
    if not isinstance(kernel, int):
        return kernel
    logits = KernelLogits(kernel)
    return Centred(logits) if centre else logits
