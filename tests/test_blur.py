import numpy as np
import pytest
import scipy.ndimage
from skimage.measure import label

from diip_jax.degradations.blur import (
    AnisotropicBlur,
    GaussianBlur,
    MotionBlur,
    camera_trajectory,
    gaussian_kernel,
    trajectory_kernel,
)


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(-1, 1, (24, 20, 3))


def test_gaussian_blur_equals_scipy(x):
    expected = scipy.ndimage.gaussian_filter(x, (1.5, 1.5, 0), mode="mirror", radius=(6, 6, 0))
    np.testing.assert_allclose(GaussianBlur(1.5)(x, np.random.default_rng(0)).y, expected, atol=1e-12)


@pytest.mark.parametrize("step", [GaussianBlur(1.2), AnisotropicBlur(2.0, 0.8), MotionBlur(9)])
def test_the_reported_kernel_is_the_response_to_a_point(step):
    point = np.zeros((41, 51, 1))
    point[20, 25] = 1
    degraded = step(point, np.random.default_rng(3))
    radius = degraded.kernel.shape[0] // 2
    response = degraded.y[20 - radius : 21 + radius, 25 - radius : 26 + radius, 0]
    np.testing.assert_allclose(response, degraded.kernel, atol=1e-15)
    assert degraded.kernel.sum() == pytest.approx(1) and degraded.kernel.min() >= 0


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_anisotropic_kernel_has_its_axes(angle):
    kernel = gaussian_kernel(3.0, 1.2, angle)
    row, column = np.mgrid[-12:13, -12:13]
    along = column * np.cos(angle) + row * np.sin(angle)
    across = row * np.cos(angle) - column * np.sin(angle)
    assert np.sqrt((kernel * along**2).sum()) == pytest.approx(3.0, rel=0.01)
    assert np.sqrt((kernel * across**2).sum()) == pytest.approx(1.2, rel=0.01)
    assert (kernel * along * across).sum() == pytest.approx(0, abs=0.02)


def test_anisotropic_blur_draws_its_angle():
    point = np.zeros((25, 25, 1))
    point[12, 12] = 1
    first, second = (AnisotropicBlur(3.0, 1.0)(point, np.random.default_rng(seed)).kernel for seed in (0, 1))
    assert np.abs(first - second).max() > 0.01


def test_a_camera_without_shake_draws_a_straight_line():
    positions = camera_trajectory(0.0, np.random.default_rng(0))
    direction = (positions[-1] - positions[0]) / abs(positions[-1] - positions[0])
    np.testing.assert_allclose((positions / direction).imag, 0, atol=1e-9)


def test_a_camera_moves_with_constant_speed_over_the_same_length():
    positions = camera_trajectory(0.01, np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(np.diff(positions)), 60 / 1999)


@pytest.mark.parametrize("size", [3, 15, 31])
@pytest.mark.parametrize("seed", range(4))
def test_motion_kernel_is_connected_centred_and_as_large_as_asked(size, seed):
    kernel = trajectory_kernel(camera_trajectory(0.003, np.random.default_rng(seed)), size)
    assert kernel.shape == (size, size) and kernel.sum() == pytest.approx(1)
    index = np.arange(size) - size // 2
    np.testing.assert_allclose([kernel.sum(1) @ index, kernel.sum(0) @ index], 0, atol=1e-9)
    assert label(kernel > 0, connectivity=2).max() == 1
    assert max(kernel[0].max(), kernel[-1].max(), kernel[:, 0].max(), kernel[:, -1].max()) > 0


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="motion blur of 14 px: a kernel has an odd number of pixels"):
        MotionBlur(14)
