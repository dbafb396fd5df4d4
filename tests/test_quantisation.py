"""The steps of a JPEG's quantisation from its picture alone, against libjpeg's own."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from PIL import Image
from test_spectrum import natural

from diip_jax.plugs.operators.quantisation import (
    near_quantised,
    quality_of,
    quantisation_scale,
    scale_of,
    steps_of,
)

PICTURES = np.stack([np.clip(90 * natural(seed) + 127.5, 0, 255).astype(np.uint8) for seed in range(6)])


def scales(pictures: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(quantisation_scale))(jnp.asarray(pictures / 127.5 - 1, jnp.float32)))


def jpeg(picture: np.ndarray, quality: int) -> Image.Image:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return Image.open(stream)


@pytest.mark.parametrize("quality", [5, 10, 20, 33, 50])
def test_the_quality_is_found(quality):
    found = scales(np.stack([np.asarray(jpeg(picture, quality)) for picture in PICTURES]))
    seen = found[found > 0]
    assert len(seen) >= 4  # of some pictures too little is left to tell
    np.testing.assert_allclose(seen, scale_of(np.array(quality)), rtol=0.06)


@pytest.mark.parametrize("quality", [5, 10, 35, 50, 75, 90])
def test_the_steps_are_those_that_libjpeg_writes(quality):
    table = np.array(jpeg(PICTURES[0], quality).quantization[0]).reshape(8, 8)
    np.testing.assert_array_equal(table, steps_of(scale_of(np.array(quality))))


def test_a_quality_is_read_off_its_steps():
    qualities = np.arange(4, 91)
    np.testing.assert_array_equal(jax.vmap(quality_of)(jnp.asarray(scale_of(qualities))), qualities)
    assert quality_of(jnp.zeros(())) == 0


def test_blocks_that_reach_black_or_white_are_not_asked():
    bright = np.stack([np.clip(p.astype(int) * 1.4 + 40, 0, 255).astype(np.uint8) for p in PICTURES])
    y = np.stack([np.asarray(jpeg(picture, 10)) for picture in bright])
    assert (y == 255).any(axis=-1).mean() > 0.2
    found = scales(y)
    assert (found > 0).sum() >= 4
    np.testing.assert_allclose(found[found > 0], 5, rtol=0.12)
    assert not scales(np.full((1, 64, 64, 3), 255, np.uint8)).any()


def coefficients(picture):
    """Of the blocks' luminance, in levels."""
    height, width = (side // 8 * 8 for side in picture.shape[:2])
    luma = 127.5 * (picture[:height, :width] @ np.array([0.299, 0.587, 0.114]))
    return scipy.fft.dctn(luma.reshape(height // 8, 8, width // 8, 8), axes=(1, 3), norm="ortho")


@pytest.mark.parametrize("quality", [10, 50])
def test_a_picture_is_brought_to_what_was_quantised_and_no_further(quality):
    share, scale = 0.3, float(scale_of(np.array(quality)))
    y = np.asarray(jpeg(PICTURES[0], quality))[:61] / 127.5 - 1
    x = y + np.random.default_rng(0).normal(0, 0.5, y.shape)
    near = np.asarray(near_quantised(jnp.asarray(x), jnp.asarray(y), jnp.float32(scale), share), np.float64)
    off, most = coefficients(x) - coefficients(y), share * np.asarray(steps_of(scale), np.float64)[:, None]
    # Scipy's transform in float64; what was near enough has not moved, and what was not, to the limit.
    np.testing.assert_allclose(coefficients(near) - coefficients(y), np.clip(off, -most, most), atol=2e-3)
    assert (abs(off) > most).mean() > 0.2
    # Colours, and blocks that are not whole, are as they were.
    np.testing.assert_allclose(np.diff(near, axis=-1), np.diff(x, axis=-1), atol=1e-6)
    np.testing.assert_allclose(near[56:], x[56:], atol=1e-6)
    small = jnp.ones((7, 30, 3))
    assert near_quantised(small, small, jnp.float32(scale), share) is small


def test_what_was_no_jpeg_shows_no_steps():
    rng = np.random.default_rng(0)
    noisy = np.clip(PICTURES + rng.normal(0, 25, PICTURES.shape), 0, 255).astype(np.uint8)
    small = np.asarray(Image.fromarray(PICTURES[0]).resize((16, 16)).resize((64, 64), Image.Resampling.BICUBIC))
    assert not scales(PICTURES).any() and not scales(noisy).any() and not scales(small[None]).any()
    assert not scales(np.zeros((1, 64, 64, 3), np.uint8)).any()


def test_blocks_that_were_moved_show_none():
    moved = np.stack([np.roll(np.asarray(jpeg(picture, 10)), 3, axis=(0, 1)) for picture in PICTURES])
    assert not scales(moved).any()


def test_grey_and_small_pictures_are_taken():
    grey = np.stack([np.asarray(jpeg(picture[..., 0], 10))[..., None] for picture in PICTURES])
    np.testing.assert_allclose(np.median(scales(grey)), 5)
    assert quantisation_scale(jnp.zeros((7, 30, 3))) == 0
