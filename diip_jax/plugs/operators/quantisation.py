"""How coarsely a JPEG was quantised, as the picture itself shows it when the file is long gone.

The coefficients of the cosine transform of its 8x8 blocks lie near multiples of the steps that it was quantised with
(Fan and de Queiroz, 2003). The steps tried are those of the standard's tables (ITU T.81, annex K) as libjpeg scales
them with its quality from 1 to 100.
"""

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Array, Float, Image, Scalar

# Coefficients (row, column) of a block that are looked at, and their steps in the standard's table of luminance.
_AT = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1))
_STEPS = (11, 12, 12, 10, 14, 14, 13)
_QUALITIES = np.arange(4, 91)
# How well values fit a step is the mean cosine of their phase; that from which on they do, and how many it takes.
# Smaller values than the least say little of any step: rounding to 8 bits moves them by about 0.3.
_FIT, _ENOUGH, _LEAST = 0.75, 12, 3.0


def scale_of(quality: np.ndarray) -> np.ndarray:
    """libjpeg's factor of the standard's steps, in whole hundredths: 1 at quality 50, 5 at 10, 0.2 at 90."""
    return np.asarray(np.where(quality < 50, 5000 // quality, 200 - 2 * quality) / 100)


def quantisation_scale(y: Image) -> Scalar:
    """The factor of the standard's steps by which a picture `[H, W, C]` in [-1, 1] was quantised; 0: none is seen.

    The coarsest that the coefficients fit: they fit its fractions, too. Blocks begin at the first pixel.
    """
    height, width = (side // 8 * 8 for side in y.shape[:2])
    if not height or not width:
        return jnp.zeros(())
    weights = np.array([0.299, 0.587, 0.114], np.float32) if y.shape[-1] == 3 else np.ones(y.shape[-1]) / y.shape[-1]
    luma = 127.5 * (y[:height, :width] @ jnp.asarray(weights, y.dtype))
    blocks = luma.reshape(height // 8, 8, width // 8, 8)
    basis = _cosines()
    values = jnp.stack([jnp.einsum("aibj,i,j->ab", blocks, basis[row], basis[column]) for row, column in _AT])
    scales = scale_of(_QUALITIES)
    steps = np.maximum(np.floor(np.array(_STEPS) * scales[:, None] + 0.5), 1)
    # One after the other, in a program of one of them.
    found = jax.lax.map(lambda step: _fit(values, step), jnp.asarray(steps, jnp.float32)) > _FIT
    return jnp.where(found.any(), jnp.asarray(scales, jnp.float32)[jnp.argmax(found)], 0)


def _fit(values: Array, steps: Float[Array, " n"]) -> Scalar:
    """Mean cosine of the values' phases; 0 where too few are large enough to tell."""
    told = jnp.abs(values) > jnp.maximum(_LEAST, 0.3 * steps)[:, None, None]
    cosines = jnp.cos(2 * np.pi * values / steps[:, None, None])
    count = told.sum()
    return jnp.where(count >= _ENOUGH, jnp.sum(jnp.where(told, cosines, 0)) / jnp.maximum(count, 1), 0)


def _cosines() -> np.ndarray:
    """The orthonormal cosine transform of 8 values, a row per frequency."""
    k, n = np.arange(8)[:, None], np.arange(8)
    return (np.cos(np.pi * (2 * n + 1) * k / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5)).astype(np.float32)
