"""How coarsely a JPEG was quantised, as the picture itself shows it when the file is long gone.

The coefficients of the cosine transform of its 8x8 blocks lie near multiples of the steps that it was quantised with
(Fan and de Queiroz, 2003). The steps tried are those of the standard's tables (ITU T.81, annex K) as libjpeg scales
them with its quality from 1 to 100.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diip_jax.array_types import Array, Float, Image, Scalar

# The standard's steps for luminance, and the coefficients (row, column) of a block that are looked at.
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_AT = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1))
_QUALITIES = np.arange(4, 91)
# How well values fit a step is the mean cosine of their phase; that from which on they do, and how many it takes.
# Smaller values than the least say little of any step: rounding to 8 bits moves them by about 0.3.
_FIT, _ENOUGH, _LEAST = 0.75, 12, 3.0


def scale_of(quality: np.ndarray) -> np.ndarray:
    """libjpeg's factor of the standard's steps, in whole hundredths: 1 at quality 50, 5 at 10, 0.2 at 90."""
    return np.asarray(np.where(quality < 50, 5000 // quality, 200 - 2 * quality) / 100)


def quality_of(scale: Scalar) -> Scalar:
    """libjpeg's quality of such a factor, the inverse of `scale_of`; 0 of 0."""
    quality = jnp.where(scale > 1, 50 / jnp.maximum(scale, 1), 100 - 50 * scale)
    return jnp.where(scale > 0, jnp.round(quality), 0)


def quantisation_scale(y: Image) -> Scalar:
    """The factor of the standard's steps by which a picture `[H, W, C]` in [-1, 1] was quantised; 0: none is seen.

    The coarsest that the coefficients fit: they fit its fractions, too. Blocks begin at the first pixel.
    """
    blocks = _blocks(y)
    if not blocks.size:
        return jnp.zeros(())
    basis = _cosines()
    values = jnp.stack([jnp.einsum("aibj,i,j->ab", blocks, basis[row], basis[column]) for row, column in _AT])
    # What was cut off at black or white no longer is what was quantised.
    height, width = 8 * blocks.shape[0], 8 * blocks.shape[2]
    inside = (jnp.abs(y[:height, :width]) < 1 - 0.5 / 127.5).all(axis=-1).reshape(blocks.shape).all(axis=(1, 3))
    values = jnp.where(inside, values, 0)
    scales = scale_of(_QUALITIES)
    rows, columns = zip(*_AT, strict=True)
    # One after the other, in a program of one of them.
    found = jax.lax.map(lambda step: _fit(values, step), steps_of(scales)[:, rows, columns]) > _FIT
    return jnp.where(found.any(), jnp.asarray(scales, jnp.float32)[jnp.argmax(found)], 0)


def steps_of(scale: ArrayLike) -> Float[Array, "*n 8 8"]:
    """The standard's steps for luminance by factors `[*n]`, which libjpeg has, and rounds, in whole hundredths."""
    hundredths = jnp.round(100 * jnp.asarray(scale, jnp.float32))[..., None, None]
    return jnp.floor((_LUMINANCE * hundredths + 50) / 100).clip(1, 255)


def near_quantised(x: Image, y: Image, scale: Scalar, share: float) -> Image:
    """x, moved as little as brings every coefficient of its luminance within a share of a step of y's.

    What a JPEG has come from lies within half a step of it, most of it nearer. Blocks that are not whole stay as they
    are, and so do colours.

    Args:
        x, y: `[H, W, C]` in [-1, 1].
        scale: of y's steps, see `quantisation_scale`.
    """
    off = _blocks(x) - _blocks(y)
    if not off.size:
        return x
    basis = _cosines()
    coefficients = jnp.einsum("aibj,ui,vj->aubv", off, basis, basis)
    most = share * steps_of(scale)[:, None, :]
    surplus = coefficients - coefficients.clip(-most, most)
    moved = jnp.einsum("aubv,ui,vj->aibj", surplus, basis, basis) / 127.5
    height, width = 8 * moved.shape[0], 8 * moved.shape[2]
    return x.at[:height, :width].add(-moved.reshape(height, width, 1).astype(x.dtype))


def _blocks(y: Image) -> Float[Array, "h 8 w 8"]:
    """The luminance in levels of 0 to 255, in whole blocks of 8x8 pixels."""
    height, width = (side // 8 * 8 for side in y.shape[:2])
    weights = np.array([0.299, 0.587, 0.114], np.float32) if y.shape[-1] == 3 else np.ones(y.shape[-1]) / y.shape[-1]
    luma = 127.5 * (y[:height, :width] @ jnp.asarray(weights, y.dtype))
    return luma.reshape(height // 8, 8, width // 8, 8)


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
