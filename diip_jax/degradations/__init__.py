"""Degradations with known formulas, deterministic per image and seed.

    degraded     the observation, with the kernel, scale and mask that made it; steps and how they follow one another
    catalogue    corruptions: named sequences of steps, in severities

and the steps, each a frozen dataclass of its parameters, with its formula: noise, blur, sampling, jpeg, holes,
deformation, raindrops. x is the image before a step and y after it, float64 in [-1, 1].
"""

from diip_jax.degradations.catalogue import CORRUPTIONS, corrupt, degrade
from diip_jax.degradations.degraded import Degraded

__all__ = ["CORRUPTIONS", "Degraded", "corrupt", "degrade"]
