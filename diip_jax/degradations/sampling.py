"""Down-sampling."""

import dataclasses

import numpy as np

from diip_jax.degradations.degraded import Degraded, Picture


@dataclasses.dataclass(frozen=True)
class BlockMean:
    """y = D_s(x), the mean of each block of s x s pixels.

    Attributes:
        s: the factor; both sides of x are multiples of it.
    """

    s: int

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        height, width, channels = x.shape
        s = self.s
        if height % s or width % s:
            raise ValueError(f"image is {height}x{width}: down-sampling by {s} needs sides that are multiples of {s}")
        return Degraded(x.reshape(height // s, s, width // s, s, channels).mean((1, 3)), scale=s)
