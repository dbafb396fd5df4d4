"""Losses E(prediction, y, args) of one image: pure functions, or plugs that have arrays of their own."""

import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Scalar
from diip_jax.plugs.operators.operator import given


def mse(prediction: Array, y: Array, args: Any) -> Scalar:
    """Mean over all elements of |prediction - y|^2, in units of y's range squared; y may be complex."""
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
