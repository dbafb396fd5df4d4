"""Degradations with known formulas, deterministic per image and seed.

    degraded                              the observation, with the kernel, scale and mask that made it; steps
    noise, blur, sampling, jpeg, holes    one step each: a frozen dataclass of its parameters, with its formula
    catalogue                             corruptions: named sequences of steps, in severities

x is the clean image, float64 in [-1, 1].
"""

from diip_jax.evaluate.corruptions.catalogue import CORRUPTIONS, corrupt, degrade
from diip_jax.evaluate.corruptions.degraded import Degraded

__all__ = ["CORRUPTIONS", "Degraded", "corrupt", "degrade"]
