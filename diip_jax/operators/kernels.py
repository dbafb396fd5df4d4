"""Where a blur kernel comes from: a network, logits, or what is known. The plug of the operators that blur."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Float, PRNGKey
from diip_jax.models.kernel_network import INPUTS, KernelNetwork
from diip_jax.operators.known import Known


class KernelModel(NamedTuple):
    """A parametrised blur kernel `[K, K]`, non-negative and of sum 1, as pure functions.

    Attributes:
        init: key -> eta, a pytree; an empty one when the kernel is known.
        apply: (eta, known) -> the kernel.
        size: K, odd.
        needs: names of the fields of `Known` that `apply` reads.
    """

    init: Callable[[PRNGKey], Any]
    apply: Callable[[Any, Known], Float[Array, "K K"]]
    size: int
    needs: tuple[str, ...] = ()


def kernel_network(size: int) -> KernelModel:
    """SelfDeblur's network on a fixed noise vector, 0.1 U(0, 1) each; BIRD's choice. eta: vector and weights.

    Raises:
        ValueError: an even size.
    """
    network = KernelNetwork(_odd(size))

    def init(key: PRNGKey) -> Any:
        noise_key, weight_key = jax.random.split(key)
        noise = 0.1 * jax.random.uniform(noise_key, (INPUTS,))
        return {"noise": noise, "weights": network.init(weight_key, noise)["params"]}

    def apply(eta: Any, known: Known) -> Float[Array, "K K"]:
        # No gradient reaches the vector, and what has none stays as it is.
        return jnp.asarray(network.apply({"params": eta["weights"]}, jax.lax.stop_gradient(eta["noise"])))

    return KernelModel(init, apply, size)


# Adam's rate for the network, 0.003, becomes 0.1 for a logit: without a network between, values are found one by one.
_LOGIT = 32.0


def kernel_logits(size: int) -> KernelModel:
    """k = softmax(32 S eta S^T), eta `[K, K]`, from a Gaussian of standard deviation K / 6 px on.

    S smooths by a Gaussian of 1 px: what the noise of y does to single values cancels out, and real kernels have no
    lone pixels. Values far apart stay independent.

    Raises:
        ValueError: an even size.
    """
    radius, sigma = _odd(size) // 2, size / 6

    def init(key: PRNGKey) -> Float[Array, "K K"]:
        squares = jnp.arange(-radius, radius + 1.0) ** 2
        return -(squares[:, None] + squares) / (2 * sigma**2) / _LOGIT

    def apply(eta: Any, known: Known) -> Float[Array, "K K"]:
        pixels = jnp.arange(size)
        smoothing = jax.nn.softmax(-((pixels[:, None] - pixels) ** 2) / 2, axis=1)
        logits = jnp.einsum("ir,rc,jc->ij", smoothing, _LOGIT * eta, smoothing, precision=jax.lax.Precision.HIGHEST)
        return jax.nn.softmax(logits, axis=(0, 1))

    return KernelModel(init, apply, size)


def known_kernel(size: int) -> KernelModel:
    """The kernel that was given with the image.

    Raises:
        ValueError: an even size; from `apply`: a kernel of another size.
    """

    def apply(eta: Any, known: Known) -> Float[Array, "K K"]:
        if known.kernel.shape != (size, size):
            raise ValueError(f"kernel_size={size}: the kernel that was given is {known.kernel.shape}")
        return known.kernel

    return KernelModel(lambda key: (), apply, _odd(size), needs=("kernel",))


_FAINT = 0.1


def centred(kernel: KernelModel) -> KernelModel:
    """The same kernel moved so that its centre of mass is the centre, see `to_centre`.

    A picture that is shifted one way and a kernel that is shifted the other way blur to the same image: nothing else
    says where the picture belongs.
    """
    return kernel._replace(apply=lambda eta, known: to_centre(kernel.apply(eta, known)[None])[0])


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


def _odd(size: int) -> int:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"kernel_size={size}: expected an odd number, 1 or more")
    return size
