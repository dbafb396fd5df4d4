"""The corruptions by name and severity."""

import zlib
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from diip_jax.degradations.blur import AnisotropicBlur, GaussianBlur, MotionBlur
from diip_jax.degradations.deformation import Deformation
from diip_jax.degradations.degraded import Degraded, Step, apply_steps
from diip_jax.degradations.holes import CentreHole, RandomHoles
from diip_jax.degradations.jpeg import Jpeg
from diip_jax.degradations.noise import GaussianNoise, MixedNoise, SaltAndPepper
from diip_jax.degradations.raindrops import Raindrops
from diip_jax.degradations.sampling import BlockMean
from diip_jax.pixels import from_uint8


class Corruption(NamedTuple):
    """A named corruption.

    Attributes:
        severities: the steps of severity 1, 2, ..., from mild to strong; the last step is the last to happen.
        standard: the severity that a protocol means when it says none.
    """

    severities: tuple[tuple[Step, ...], ...]
    standard: int = 3


# What BIRD's released code adds to every observation but that of denoising (its paper: "sigma of about 0.05").
_BIRD = MixedNoise(0.12, 0.05)

# Ratio of the axes 5 to 2.
_ANISOTROPIC = tuple(AnisotropicBlur(sigma, 0.4 * sigma) for sigma in (1.0, 1.5, 2.0, 3.0, 4.0))

_QUALITIES = (30, 20, 10, 7, 5)

CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption(tuple((GaussianNoise(sigma),) for sigma in (0.05, 0.1, 0.2, 0.3, 0.4))),
    "blur": Corruption(tuple((GaussianBlur(sigma), GaussianNoise(0.02)) for sigma in (0.75, 1.0, 1.5, 2.0, 3.0))),
    "jpeg": Corruption(tuple((Jpeg(quality),) for quality in _QUALITIES)),
    "x4": Corruption(((BlockMean(4),), *((GaussianBlur(s), BlockMean(4)) for s in (1.0, 2.0, 3.0, 4.0))), standard=1),
    "x8": Corruption(((BlockMean(8),), *((GaussianBlur(s), BlockMean(8)) for s in (2.0, 3.0, 4.0, 6.0))), standard=1),
    "mixed_noise": Corruption(
        (
            (MixedNoise(0.06, 0.025),),
            (MixedNoise(0.12, 0.05),),
            (MixedNoise(0.24, 0.1),),
            (MixedNoise(0.4, 0.15),),
            (MixedNoise(0.6, 0.225),),
        ),
        standard=4,
    ),
    "motion_blur": Corruption(tuple((MotionBlur(size), _BIRD) for size in (7, 11, 15, 21, 31))),
    "anisotropic_blur": Corruption(tuple((blur, _BIRD) for blur in _ANISOTROPIC)),
    "x4_blur": Corruption(tuple((blur, BlockMean(4), _BIRD) for blur in _ANISOTROPIC)),
    "x8_blur": Corruption(tuple((blur, BlockMean(8), _BIRD) for blur in _ANISOTROPIC)),
    "jpeg_noise": Corruption(tuple((Jpeg(quality), _BIRD) for quality in _QUALITIES)),
    "hole": Corruption(tuple((_BIRD, CentreHole(pixels / 256)) for pixels in (40, 60, 80, 100, 120))),
    "holes": Corruption(tuple((RandomHoles(count, 1 / 8),) for count in (4, 8, 12, 18, 24))),
    "salt_and_pepper": Corruption(tuple((SaltAndPepper(share),) for share in (0.01, 0.02, 0.05, 0.1, 0.2))),
    "raindrops": Corruption(tuple((Raindrops(count),) for count in (6, 10, 16, 24, 36))),
    "deformation": Corruption(
        (
            (Deformation(0.005, 0.01),),
            (Deformation(0.01, 0.014),),
            (Deformation(0.015, 0.02),),
            (Deformation(0.02, 0.028),),
            (Deformation(0.03, 0.04),),
        )
    ),
    # In the order in which a camera, or who shares the picture, does it.
    "blur_noise_jpeg": Corruption(
        (
            (GaussianBlur(0.5), GaussianNoise(0.03), Jpeg(40)),
            (GaussianBlur(0.75), GaussianNoise(0.05), Jpeg(30)),
            (GaussianBlur(1.0), GaussianNoise(0.1), Jpeg(20)),
            (GaussianBlur(1.5), GaussianNoise(0.15), Jpeg(15)),
            (GaussianBlur(2.0), GaussianNoise(0.2), Jpeg(10)),
        )
    ),
    "x4_noise_jpeg": Corruption(
        (
            (BlockMean(4), GaussianNoise(0.02), Jpeg(90)),
            (BlockMean(4), GaussianNoise(0.04), Jpeg(80)),
            (BlockMean(4), GaussianNoise(0.06), Jpeg(70)),
            (BlockMean(4), GaussianNoise(0.1), Jpeg(50)),
            (BlockMean(4), GaussianNoise(0.15), Jpeg(30)),
        )
    ),
    "deformation_noise": Corruption(
        (
            (Deformation(0.005, 0.01), GaussianNoise(0.05)),
            (Deformation(0.01, 0.014), GaussianNoise(0.075)),
            (Deformation(0.015, 0.02), GaussianNoise(0.1)),
            (Deformation(0.02, 0.028), GaussianNoise(0.15)),
            (Deformation(0.03, 0.04), GaussianNoise(0.2)),
        )
    ),
}


def degrade(name: str, clean: UInt8[np.ndarray, "H W C"], seed: int = 0, severity: int | None = None) -> Degraded:
    """The degraded version of a clean image, with the kernel, scale and mask that made it.

    Args:
        name: a key of `CORRUPTIONS`.
        clean: `[H, W, C]` uint8, C 1 or 3.
        seed: the randomness depends on it, on the name and on the image, and on nothing else: the severities of one
            image share their random numbers.
        severity: from 1, mild, to 5, strong; None: the corruption's standard one.

    Raises:
        ValueError: an unknown name or severity, or a side that is no multiple of the scale.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"corruption {name!r}: expected one of {', '.join(CORRUPTIONS)}")
    severities, standard = CORRUPTIONS[name]
    severity = standard if severity is None else severity
    if not 1 <= severity <= len(severities):
        raise ValueError(f"severity {severity} of {name}: expected 1 .. {len(severities)}")
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(np.ascontiguousarray(clean).tobytes())])
    return apply_steps(severities[severity - 1], from_uint8(clean, np.float64), rng)


def corrupt(
    name: str, clean: UInt8[np.ndarray, "H W C"], seed: int = 0, severity: int | None = None
) -> UInt8[np.ndarray, "H W C"]:
    """What a blind method is given: `degrade(...).picture()`, of the clean image's size."""
    return degrade(name, clean, seed, severity).picture()
