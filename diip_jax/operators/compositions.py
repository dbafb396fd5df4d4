"""Operators made of another one: what happens to an image after it was, say, blurred."""

import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Image, Observed, PRNGKey
from diip_jax.operators.known import Known
from diip_jax.operators.operator import Operator


def downsample(operator: Operator, scale: int) -> Operator:
    """H(x) = D_s(H'(x)), D_s the mean of each block of s x s pixels: super-resolution after a blur H' (section 4)."""
    geometry = operator.geometry._replace(scale=scale * operator.geometry.scale)

    def apply(eta: Any, x: Image, known: Known) -> Observed:
        fine = operator.apply(eta, x, known)
        height, width, channels = fine.shape
        return fine.reshape(height // scale, scale, width // scale, scale, channels).mean((1, 3))

    return operator._replace(apply=apply, geometry=geometry)


def gain_offset(operator: Operator, channels: int, nodes: int = 4) -> Operator:
    """H(x) = g H'(x) + M: a gain, and an offset that changes slowly over the image (a veil, a light, a colour cast).

    y = K(x) + M is the model of BIR-D (arXiv 2408.11287), whose M has a value for every pixel and needs regularisation
    lest it explains the whole image. Here M is a map of nodes x nodes values for every channel, interpolated
    bilinearly: too coarse to draw anything. g = exp(log g) > 0 is one number. Both start at what changes nothing.

    The estimates are those of H', "gain" `[]` and "offset" `[nodes, nodes, C]` in units of the [-1, 1] range.
    """

    def init(key: PRNGKey) -> Any:
        return {
            "operator": operator.init(key),
            "log_gain": jnp.zeros(()),
            "offset": jnp.zeros((nodes, nodes, channels)),
        }

    def apply(eta: Any, x: Image, known: Known) -> Observed:
        y = operator.apply(eta["operator"], x, known)
        return jnp.exp(eta["log_gain"]) * y + jax.image.resize(eta["offset"], y.shape, "linear")

    def estimates(eta: Any) -> dict[str, Array]:
        own = {"gain": jnp.exp(eta["log_gain"]), "offset": eta["offset"]}
        return operator.estimates(eta["operator"]) | own

    return operator._replace(init=init, apply=apply, estimates=estimates)
