"""Losses E(prediction, y, args) of one image: pure functions, or plugs that have arrays of their own."""

import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Scalar
from diip_jax.plug import check_above, plug
from diip_jax.plugs.operators.operator import given


def mse(prediction: Array, y: Array, args: Any) -> Scalar:
    """Mean over all elements of |prediction - y|^2, both `[...]`, in units of y's range squared; y may be complex."""
    error = prediction - y
    return jnp.mean(jnp.real(error * jnp.conj(error)) if jnp.iscomplexobj(error) else error**2)


def masked_mse(prediction: Array, y: Array, args: Any) -> Scalar:
    """`mse` of the elements that `args["mask"]` shows, whatever y holds at the others.

    The mask has y's leading axes, such as `[h, w]` for y `[h, w, C]`, and true where y is known.
    """
    error = prediction - y
    squares = jnp.real(error * jnp.conj(error)) if jnp.iscomplexobj(error) else error**2
    mask = given(args, "mask")
    return jnp.mean(squares, where=mask.reshape(*mask.shape, *[1] * (y.ndim - mask.ndim)))


# The median of the mean square of three normal errors of variance 1, the usual number of channels.
_MEDIAN = 0.79
# In [-1, 1] squared, 7 of 255 grey levels: what a picture without noise has that the prior cannot draw is no outlier.
_LEAST = 3e-3


@plug(data=("outliers",))
class Cauchy:
    """E = mean of s^2 / c log(1 + c q / s^2) over the pixels, q the mean square of a pixel's errors over its channels.

    A pixel that is far off (an impulse, dead pixels, dust) counts less the farther it is: its weight in the gradient is
    1 / (1 + c q / s^2). Prediction and y are `[h, w, C]`. The scale s^2 is the median of q over the image, so that
    nothing has to be said of the noise, but at least that of 7 grey levels.

    Attributes:
        outliers: c, from 0 on: how soon a pixel counts as one; 0 is `mse`.

    Raises:
        ValueError: outliers below 0.
    """

    outliers: Any = 0.5

    def __post_init__(self) -> None:
        check_above("outliers", self.outliers, 0, inclusive=True)

    def __call__(self, prediction: Array, y: Array, args: Any) -> Scalar:
        squares = jnp.mean((prediction - y) ** 2, axis=-1)
        scale = jax.lax.stop_gradient(jnp.maximum(jnp.median(squares) / _MEDIAN, _LEAST))
        c = jnp.maximum(self.outliers, 1e-6)
        return jnp.mean(scale / c * jnp.log1p(c * squares / scale))
