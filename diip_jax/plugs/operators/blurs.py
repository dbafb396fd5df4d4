"""Blur: one kernel for the whole image, or one that changes over it."""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Any, Array, Float, Image, Observed, PRNGKey
from diip_jax.plug import plug
from diip_jax.plugs.operators.kernels import as_kernel, to_centre
from diip_jax.plugs.operators.operator import PictureOperator

Boundary = Literal["zero", "reflect", "valid"]

_PADDING = {"zero": "constant", "reflect": "reflect"}


def convolve(x: Image, kernel: Float[Array, "K K"], boundary: Boundary) -> Observed:
    """k * x, every channel by the same kernel of odd side K: (k * x)[i] = sum_j k[j] x[i - j], j from the centre.

    BIRD's released code does not turn the kernel (it correlates): its kernels are these, turned by half a turn.

    Args:
        boundary: what lies beyond the image. "zero": nothing, as in BIRD's code (`scipy.ndimage.convolve` with
            mode="constant"); "reflect": the image, mirrored about its outermost pixels (mode="mirror"); "valid": it is
            not asked for, y has (K - 1) / 2 pixels less on each side (`scipy.signal.convolve2d` with mode="valid").

    Raises:
        ValueError: a kernel larger than the image.
    """
    size = kernel.shape[0]
    if size > min(x.shape[:2]):
        raise ValueError(f"kernel_size={size}: larger than the image, which is {x.shape[0]}x{x.shape[1]}")
    if boundary != "valid":
        x = jnp.pad(x, ((size // 2, size // 2), (size // 2, size // 2), (0, 0)), _PADDING[boundary])
    # Without the precision "float32" is bfloat16 passes on a TPU and TF32 on a GPU.
    one_channel = partial(jax.scipy.signal.convolve2d, mode="valid", precision=jax.lax.Precision.HIGHEST)
    return jax.vmap(one_channel, in_axes=(2, None), out_axes=2)(x, kernel)


class _KernelOperator(PictureOperator):
    """What blurs by a kernel model share."""

    kernel: Any
    boundary: Boundary

    @property
    def margin(self) -> int:
        return self.kernel.size // 2 if self.boundary == "valid" else 0

    def check(self, y: np.ndarray, args: Any) -> None:
        super().check(y, args)
        self.kernel.check(len(y), args)

    def _check_settings(self) -> None:
        if self.boundary not in get_args(Boundary):
            raise ValueError(f"boundary={self.boundary!r}: expected one of {', '.join(get_args(Boundary))}")


@plug(data=("kernel",))
class Blur(_KernelOperator):
    """H(x) = k * x: deblurring (section 3.1).

    Attributes:
        kernel: a kernel model, or the size of an unknown kernel: `Blur(15)` has one by logits that stays centred.
        boundary: see `convolve`.
    """

    kernel: Any
    boundary: Boundary = "reflect"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_kernel(self.kernel))
        self._check_settings()

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Any:
        return self.kernel.init(key)

    def __call__(self, eta: Any, x: Image, args: Any) -> Observed:
        return convolve(x, self.kernel(eta, args), self.boundary)

    def estimates(self, eta: Any) -> dict[str, Array]:
        return {"kernel": self.kernel(eta, None)} if self.kernel.unknown else {}


@plug(data=("kernel",))
class VaryingBlur(_KernelOperator):
    """H(x)[i] = sum_n w_n(i) (k_n * x)[i]: a blur that changes over the image.

    The kernels k_n sit at the centres of nodes x nodes equal cells, and w_n interpolates between them bilinearly
    (beyond the outermost ones the nearest counts): pixel i is blurred by the kernel sum_n w_n(i) k_n. Neither paper
    has it; the model is the interpolated one of Nagy and O'Leary, "Restoring Images Degraded by Spatially Variant
    Blur" (SIAM J. Sci. Comput. 19(4), 1998).

    The estimate "kernel" is `[nodes, nodes, K, K]`, from top to bottom and left to right.

    Attributes:
        kernel: a kernel model that is not centred by itself, or the size of the unknown kernels.
        centre: the kernels are moved together so that the centre of mass of their mean is the centre, see `to_centre`.
    """

    kernel: Any
    nodes: int = 3
    boundary: Boundary = "reflect"
    centre: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", as_kernel(self.kernel, centre=False))
        self._check_settings()
        if not self.kernel.unknown:
            raise ValueError("kernel: VaryingBlur has several unknown ones; give a size, KernelNetwork or KernelLogits")

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Any:
        return jax.vmap(self.kernel.init)(jax.random.split(key, self.nodes * self.nodes))

    def _kernels(self, eta: Any) -> Float[Array, "n K K"]:
        each = jax.vmap(lambda one: self.kernel(one, None))(eta)
        return to_centre(each) if self.centre else each

    def __call__(self, eta: Any, x: Image, args: Any) -> Observed:
        nodes = self.nodes
        blurred = jax.vmap(lambda k: convolve(x, k, self.boundary))(self._kernels(eta))
        corners = jnp.eye(nodes * nodes).reshape(nodes, nodes, nodes * nodes)
        weights = jax.image.resize(corners, (*blurred.shape[1:3], nodes * nodes), "linear")
        return jnp.einsum("hwn,nhwc->hwc", weights, blurred, precision=jax.lax.Precision.HIGHEST)

    def estimates(self, eta: Any) -> dict[str, Array]:
        return {"kernel": self._kernels(eta).reshape(self.nodes, self.nodes, self.kernel.size, self.kernel.size)}
