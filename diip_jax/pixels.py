"""Pixel values: 8 bits to [-1, 1] and back, and the PSNR of a squared error. The one place for each."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def from_uint8(pixels: Any, dtype: DTypeLike = np.float32) -> Any:
    """0..255 to [-1, 1], v / 127.5 - 1: an array of NumPy or JAX, of any shape, in the arithmetic of `dtype`."""
    return pixels.astype(dtype) / 127.5 - 1


def to_uint8(image: ArrayLike) -> NDArray[np.uint8]:
    """Float in [-1, 1] (clipped), any shape, to 0..255: rounded to the nearest (half to even), not truncated.

    uint8 passes through; float64 is not rounded to float32 first. Raises ValueError for other integers (their range is
    not known) and for NaN or infinity.
    """
    values = np.asarray(image)
    return values if values.dtype == np.uint8 else np.rint((_in_range(values) + 1) * 127.5).astype(np.uint8)


def to_uint16(image: ArrayLike) -> NDArray[np.uint16]:
    """Likewise to 0..65535, float alone."""
    return np.rint((_in_range(np.asarray(image)).astype(np.float64) + 1) * 32767.5).astype(np.uint16)


def _in_range(values: NDArray[Any]) -> NDArray[Any]:
    """Float of at least 32 bits, clipped to [-1, 1]."""
    if values.dtype.kind in "biuc":
        raise ValueError(f"image has dtype {values.dtype}, expected uint8 or float in [-1, 1]; convert it first")
    values = values.astype(np.promote_types(values.dtype, np.float32))
    if not np.isfinite(values).all():
        raise ValueError(
            "image holds NaN or infinity, expected float in [-1, 1]; if a restoration diverged, lower its learning rate"
        )
    return values.clip(-1, 1)


def decibels(squared_error: Any) -> Any:
    """PSNR in dB of a mean squared error of images in [-1, 1]: 10 log10(2^2 / error), infinite where that is 0."""
    if isinstance(squared_error, jax.Array):
        return 10 * jnp.log10(4 / squared_error)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(4 / np.asarray(squared_error, np.float64))
