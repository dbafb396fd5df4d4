import zlib

import numpy as np
import pytest
from skimage.data import astronaut

from diip_jax.degradations import CORRUPTIONS, corrupt, degrade
from diip_jax.metrics import psnr

FACE = astronaut()[:128, 160:288]


def signed(pixels):
    return pixels / 127.5 - 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_randomness_depends_on_image_seed_and_name_alone(name):
    first = corrupt(name, FACE, seed=1)
    corrupt(name, FACE[::-1].copy(), seed=1)
    np.testing.assert_array_equal(corrupt(name, FACE, seed=1), first)
    assert first.dtype == np.uint8 and first.shape == FACE.shape and not np.array_equal(first, FACE)


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"jpeg", "x4", "x8"}))
def test_another_seed_or_image_draws_other_random_numbers(name):
    first = corrupt(name, FACE, seed=1).astype(int)
    assert not np.array_equal(corrupt(name, FACE, seed=2), first)
    other = FACE.copy()
    other[0, 0] ^= 1
    assert np.abs(corrupt(name, other, seed=1) - first)[32:].max() > 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_is_farther_from_the_clean_image(name):
    levels = range(1, len(CORRUPTIONS[name].severities) + 1)
    quality = [psnr(signed(corrupt(name, FACE, severity=level)), signed(FACE)) for level in levels]
    assert len(quality) == 5 and (np.diff(quality) < 0).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(64, 40, 3), (40, 64, 1)])
def test_any_aspect_ratio_and_grey(name, shape):
    clean = FACE[: shape[0], : shape[1], : shape[2]]
    degraded = degrade(name, clean)
    assert degraded.picture().shape == shape
    assert degraded.y.shape == (shape[0] // degraded.scale, shape[1] // degraded.scale, shape[2])


@pytest.mark.parametrize(
    "name, kernel, scale, masked",
    [
        ("motion_blur", 15, 1, False),
        ("anisotropic_blur", 17, 1, False),
        ("x4_blur", 17, 4, False),
        ("x8_blur", 17, 8, False),
        ("jpeg_noise", None, 1, False),
        ("hole", None, 1, True),
    ],
)
def test_what_made_the_observation_is_known(name, kernel, scale, masked):
    degraded = degrade(name, FACE)
    assert (degraded.kernel is None) == (kernel is None) and (degraded.mask is not None) == masked
    assert kernel is None or degraded.kernel.shape == (kernel, kernel)
    assert degraded.scale == scale and degraded.observation().shape == (128 // scale, 128 // scale, 3)


# CRC-32 of the pixels. The published tables and examples/ hold for these.
@pytest.mark.parametrize("name, digest", [("noise", 3142990760), ("blur", 2654604300)])
def test_the_corruptions_of_published_tables_stay_as_they_are(name, digest):
    ramp = np.add.outer(3 * np.arange(32), 2 * np.arange(48))[..., None] + np.array([0, 20, 40])
    assert zlib.crc32(corrupt(name, ramp.astype(np.uint8), seed=5).tobytes()) == digest


def test_unknown_names_and_severities_are_refused():
    with pytest.raises(ValueError, match="corruption 'rain': expected one of noise, blur, jpeg, x4"):
        corrupt("rain", FACE)
    with pytest.raises(ValueError, match=r"severity 6 of noise: expected 1 \.\. 5"):
        corrupt("noise", FACE, severity=6)
