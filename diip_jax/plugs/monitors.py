"""What `save` can trace of every iterate beside the names that the loop has: functions (seen, args) -> array.

They change nothing. One of one's own is a plain function; its name is the trace's.
"""

import jax.numpy as jnp

from diip_jax.array_types import Any, Scalar
from diip_jax.pixels import decibels
from diip_jax.plugs.operators.operator import given
from diip_jax.plugs.rules.rule import Observation


def psnr(seen: Observation, args: Any) -> Scalar:
    """PSNR in dB of the iterate, clipped to [-1, 1], to the clean image `args["clean"]`, `[H, W, C]`."""
    return decibels(jnp.mean((jnp.clip(seen.image, -1, 1) - given(args, "clean")) ** 2))
