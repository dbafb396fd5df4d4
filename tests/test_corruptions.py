import io

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from diip_jax.evaluate.corruptions import CORRUPTIONS, blur, corrupt, x4


@pytest.fixture
def clean():
    ramp = np.linspace(0, 255, 64)
    image = np.stack([np.add.outer(ramp, ramp) / 2, np.add.outer(ramp, -ramp) / 2 + 127, np.tile(ramp, (64, 1))], -1)
    image[20:40, 20:40] = 30
    return image.astype(np.uint8)


def test_noise_has_its_size_and_is_white(clean):
    grey = np.full_like(clean, 128)
    noise = (corrupt("noise", grey) / 127.5 - 1) - (128 / 127.5 - 1)
    assert noise.std() == pytest.approx(0.2, rel=0.03)
    assert abs(np.mean(noise[1:] * noise[:-1])) < 0.002


def test_blur_equals_scipy():
    x = np.random.default_rng(0).uniform(-1, 1, (24, 20, 3))
    expected = scipy.ndimage.gaussian_filter(x, (1.5, 1.5, 0), mode="mirror", radius=(6, 6, 0))
    noise = 0.02 * np.random.default_rng(7).standard_normal(x.shape)
    np.testing.assert_allclose(blur(x, np.random.default_rng(7)), expected + noise, atol=1e-12)


def test_jpeg_is_a_jpeg_of_quality_10(clean):
    buffer = io.BytesIO()
    Image.fromarray(clean).save(buffer, "JPEG", quality=10)
    np.testing.assert_array_equal(corrupt("jpeg", clean), np.asarray(Image.open(buffer)))


def test_x4_keeps_block_means_of_a_flat_picture_and_loses_detail():
    flat = np.full((16, 16, 3), 0.25)
    np.testing.assert_allclose(x4(flat, np.random.default_rng(0)), flat, atol=1e-6)
    checkers = np.indices((16, 16)).sum(0)[..., None].repeat(3, -1) % 2 * 2.0 - 1
    np.testing.assert_allclose(x4(checkers, np.random.default_rng(0)), 0, atol=1e-6)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_randomness_depends_on_image_seed_and_name_alone(name, clean):
    first = corrupt(name, clean, seed=1)
    corrupt(name, clean[::-1].copy(), seed=1)
    np.testing.assert_array_equal(corrupt(name, clean, seed=1), first)
    assert first.dtype == np.uint8 and first.shape == clean.shape and not np.array_equal(first, clean)
    if name in ("noise", "blur"):
        assert not np.array_equal(corrupt(name, clean, seed=2), first)
        other = np.where(clean > 128, clean - 1, clean).astype(np.uint8)
        noise = first.astype(int) - clean, corrupt(name, other, seed=1).astype(int) - other
        assert not np.array_equal(*noise)


def test_an_unknown_name_is_refused(clean):
    with pytest.raises(ValueError, match="corruption 'rain': expected one of noise, blur, jpeg, x4"):
        corrupt("rain", clean)
