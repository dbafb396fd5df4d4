"""Blur: one kernel for the whole image, or one that changes over it."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Float, Image, Observed, PRNGKey
from diip_jax.operators.kernels import KernelModel, to_centre
from diip_jax.operators.known import Known
from diip_jax.operators.operator import Geometry, Operator

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


def blur(kernel: KernelModel, boundary: Boundary = "reflect") -> Operator:
    """H(x) = k * x: deblurring (section 3.1). See `convolve` for the boundary."""
    return Operator(
        init=kernel.init,
        apply=lambda eta, x, known: convolve(x, kernel.apply(eta, known), boundary),
        estimates=lambda eta: {} if kernel.needs else {"kernel": kernel.apply(eta, Known())},
        geometry=_geometry(kernel, boundary),
        needs=kernel.needs,
    )


def varying_blur(
    kernel: KernelModel, nodes: int = 3, boundary: Boundary = "reflect", *, centre: bool = False
) -> Operator:
    """H(x)[i] = sum_n w_n(i) (k_n * x)[i]: a blur that changes over the image.

    The kernels k_n sit at the centres of nodes x nodes equal cells, and w_n interpolates between them bilinearly
    (beyond the outermost ones the nearest counts): pixel i is blurred by the kernel sum_n w_n(i) k_n. Neither paper
    has it; the model is the interpolated one of Nagy and O'Leary, "Restoring Images Degraded by Spatially Variant
    Blur" (SIAM J. Sci. Comput. 19(4), 1998).

    The estimate "kernel" is `[nodes, nodes, K, K]`, from top to bottom and left to right.

    Args:
        centre: the kernels are moved together so that the centre of mass of their mean is the centre, see `to_centre`.
    """

    def init(key: PRNGKey) -> Any:
        return jax.vmap(kernel.init)(jax.random.split(key, nodes * nodes))

    def kernels(eta: Any) -> Float[Array, "n K K"]:
        each = jax.vmap(lambda one: kernel.apply(one, Known()))(eta)
        return to_centre(each) if centre else each

    def apply(eta: Any, x: Image, known: Known) -> Observed:
        blurred = jax.vmap(lambda k: convolve(x, k, boundary))(kernels(eta))
        corners = jnp.eye(nodes * nodes).reshape(nodes, nodes, nodes * nodes)
        weights = jax.image.resize(corners, (*blurred.shape[1:3], nodes * nodes), "linear")
        return jnp.einsum("hwn,nhwc->hwc", weights, blurred, precision=jax.lax.Precision.HIGHEST)

    def estimates(eta: Any) -> dict[str, Array]:
        return {"kernel": kernels(eta).reshape(nodes, nodes, kernel.size, kernel.size)}

    return Operator(init, apply, estimates, _geometry(kernel, boundary))


def _geometry(kernel: KernelModel, boundary: Boundary) -> Geometry:
    return Geometry(margin=kernel.size // 2 if boundary == "valid" else 0)
