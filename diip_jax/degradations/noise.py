"""Noise."""

import dataclasses

import numpy as np

from diip_jax.degradations.degraded import Degraded, Picture


@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """y = x + sigma n.

    n is standard normal, independent for every pixel and channel.

    Attributes:
        sigma: on the scale of x, [-1, 1].
    """

    sigma: float

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        return Degraded(x + self.sigma * rng.standard_normal(x.shape))


@dataclasses.dataclass(frozen=True)
class MixedNoise:
    """v = 0.8 (u + l n1 u) + 0.2 (u + s n2), with u and v the images x and y on the scale [0, 1].

    Signal-dependent (speckle) and signal-independent noise; n1 and n2 are standard normal, independent for every pixel
    and channel. It is the noise of BIRD's released code, which takes l = 0.12, s = 0.05 for deblurring,
    super-resolution and inpainting, and l = 0.4, s = 0.15 for denoising.

    Attributes:
        speckle: l, relative to the signal.
        sigma: s, on the scale [0, 1].
    """

    speckle: float
    sigma: float

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        u = (x + 1) / 2
        n1, n2 = rng.standard_normal((2, *x.shape))
        v = 0.8 * (u + self.speckle * n1 * u) + 0.2 * (u + self.sigma * n2)
        return Degraded(2 * v - 1)


@dataclasses.dataclass(frozen=True)
class SaltAndPepper:
    """y = x, but for a share of the pixels that are -1 or 1, all channels alike and both equally probable.

    Attributes:
        share: probability of a pixel to be replaced.
    """

    share: float

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        replaced, salt = rng.random((2, *x.shape[:2], 1))
        return Degraded(np.where(replaced < self.share, np.where(salt < 0.5, 1.0, -1.0), x))
