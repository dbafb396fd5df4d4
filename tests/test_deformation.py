import numpy as np
import pytest
import scipy.ndimage

from diip_jax.degradations.deformation import Deformation, displaced, smooth_field


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(-1, 1, (96, 64, 3))


def test_without_shift_and_blur_nothing_happens(x):
    np.testing.assert_allclose(Deformation(0.0, 0.0)(x, np.random.default_rng(0)).y, x, atol=1e-9)


def test_the_displacement_has_its_size():
    ramp = np.indices((128, 160)).transpose(1, 2, 0) / 160
    moved = (Deformation(2 / 128, 0.0)(ramp, np.random.default_rng(0)).y - ramp) * 160
    # Beyond the border the ramp is mirrored.
    inner = moved[8:-8, 8:-8]
    np.testing.assert_allclose(np.sqrt((inner**2).mean((0, 1))), 2, rtol=0.1)
    assert abs((inner[..., 0] * inner[..., 1]).mean()) < 1


def test_the_blur_lies_between_none_and_the_strongest_and_varies(x):
    y = Deformation(0.0, 2 / 64)(x, np.random.default_rng(0)).y
    strongest = scipy.ndimage.gaussian_filter(x, (2, 2, 0), mode="mirror")
    sharpness = [np.abs(np.diff(image, axis=0)) for image in (strongest, y, x)]
    assert sharpness[0].mean() < sharpness[1].mean() < sharpness[2].mean()
    local = scipy.ndimage.uniform_filter(sharpness[1].mean(-1), 9)
    assert local.max() > 4 * local.min()


def test_a_smooth_field_has_unit_size_and_the_correlation_of_its_length():
    field = smooth_field(400, 300, 5.0, np.random.default_rng(0))
    assert np.mean(field**2) == pytest.approx(1)
    # White noise under a Gaussian of standard deviation l is correlated as exp(-lag^2 / (4 l^2)).
    for lag in (3, 5, 8):
        assert np.mean(field[lag:] * field[:-lag]) == pytest.approx(np.exp(-(lag**2) / 100), abs=0.05)


def test_displaced_reads_where_the_displacement_points(x):
    shift = np.stack([np.full((96, 64), 3.0), np.full((96, 64), -2.0)])
    np.testing.assert_allclose(displaced(x, shift)[:-3, 2:], x[3:, :-2], atol=1e-9)
