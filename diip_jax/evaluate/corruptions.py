"""Degradations with known formulas, deterministic per image and seed.

A corruption maps a clean image x `[H, W, C]`, float64 in [-1, 1], and a random generator to the degraded y of the same
shape, not clipped. n is standard normal noise.
"""

import io
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

Corruption = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """y = x + 0.2 n."""
    return x + 0.2 * rng.standard_normal(x.shape)


def blur(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """y = k * x + 0.02 n, k a Gaussian of sigma 1.5 px cut at 4 sigma, borders mirrored."""
    t = np.arange(-6, 7)
    kernel = np.exp(-(t**2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        pad = [(6, 6) if a == axis else (0, 0) for a in range(3)]
        x = np.lib.stride_tricks.sliding_window_view(np.pad(x, pad, mode="reflect"), 13, axis=axis) @ kernel
    return x + 0.02 * rng.standard_normal(x.shape)


def jpeg(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JPEG at quality 10 (Pillow's defaults, chroma 4:2:0), decoded again."""
    buffer = io.BytesIO()
    Image.fromarray(_to_uint8(x)).save(buffer, "JPEG", quality=10)
    return np.asarray(Image.open(buffer), np.float64) / 127.5 - 1


def x4(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean of each 4x4 block, brought back to size by bicubic interpolation; sides are multiples of 4."""
    height, width, channels = x.shape
    small = x.reshape(height // 4, 4, width // 4, 4, channels).mean((1, 3)).astype(np.float32)
    planes = [Image.fromarray(small[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)]
    return np.stack([np.asarray(plane, np.float64) for plane in planes], axis=-1)


CORRUPTIONS: dict[str, Corruption] = {"noise": noise, "blur": blur, "jpeg": jpeg, "x4": x4}


def corrupt(name: str, clean: np.ndarray, seed: int = 0) -> np.ndarray:
    """The degraded version of a clean image, as a file would hold it.

    Args:
        name: a key of `CORRUPTIONS`.
        clean: `[H, W, 3]` uint8.
        seed: the randomness depends on it, on the name and on the image, and on nothing else.

    Returns:
        `[H, W, 3]` uint8: clipped to the range and rounded.

    Raises:
        ValueError: an unknown name.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"corruption {name!r}: expected one of {', '.join(CORRUPTIONS)}")
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(np.ascontiguousarray(clean).tobytes())])
    return _to_uint8(CORRUPTIONS[name](clean / 127.5 - 1, rng))


def _to_uint8(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint((x + 1) * 127.5), 0, 255).astype(np.uint8)
