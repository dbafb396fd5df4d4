"""JPEG compression."""

import dataclasses
import io

import numpy as np
from PIL import Image

from diip_jax.degradations.degraded import Degraded, Picture
from diip_jax.pixels import from_uint8, to_uint8


@dataclasses.dataclass(frozen=True)
class Jpeg:
    """y = x written as JPEG (Pillow's defaults; colours at half the resolution, 4:2:0) and decoded again.

    Attributes:
        quality: 1 (worst) to 95, the libjpeg scale.
    """

    quality: int

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        pixels = to_uint8(x)
        buffer = io.BytesIO()
        # Pillow knows a grey picture by its missing channel axis.
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "JPEG", quality=self.quality)
        return Degraded(from_uint8(np.asarray(Image.open(buffer)).reshape(x.shape), np.float64))
