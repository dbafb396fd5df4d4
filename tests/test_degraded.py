from dataclasses import dataclass

import numpy as np
import pytest
import scipy.ndimage

from diip_jax.degradations.blur import GaussianBlur, MotionBlur
from diip_jax.degradations.degraded import Degraded, apply_steps
from diip_jax.degradations.holes import CentreHole, RandomHoles
from diip_jax.degradations.noise import GaussianNoise
from diip_jax.degradations.sampling import BlockMean


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x(rng):
    return rng.uniform(-1, 1, (48, 32, 3))


def test_the_reported_kernel_scale_and_mask_reproduce_the_observation(x, rng):
    steps = (GaussianBlur(0.7), MotionBlur(7), BlockMean(2), BlockMean(2), RandomHoles(2, 0.3), CentreHole(0.3))
    degraded = apply_steps(steps, x, rng)
    assert degraded.kernel.shape == (13, 13) and degraded.scale == 4 and degraded.y.shape == (12, 8, 3)
    blurred = scipy.ndimage.convolve(x, degraded.kernel[..., None], mode="mirror")
    small = blurred.reshape(12, 4, 8, 4, 3).mean((1, 3))
    # Two blurs in a row mirror the border twice: only there does one blur by both kernels differ.
    np.testing.assert_allclose(degraded.y[2:-2, 2:-2], np.where(degraded.mask[..., None], small, 0)[2:-2, 2:-2])


def test_noise_leaves_no_kernel_scale_or_mask(x, rng):
    degraded = apply_steps((GaussianNoise(0.1),), x, rng)
    assert degraded.kernel is None and degraded.scale == 1 and degraded.mask is None


@pytest.mark.parametrize(
    "steps",
    [(BlockMean(2), MotionBlur(3)), (CentreHole(0.2), MotionBlur(3)), (CentreHole(0.2), BlockMean(2))],
)
def test_an_order_that_the_model_cannot_describe_is_refused(steps, x, rng):
    with pytest.raises(ValueError, match="the order of the steps is blur, down-sampling, mask"):
        apply_steps(steps, x, rng)


def test_observation_is_rounded_and_clipped_and_the_picture_has_the_clean_size():
    y = np.full((4, 6, 1), -1.2)
    y[:, 3:] = 0.1
    degraded = Degraded(y, scale=2)
    assert degraded.observation()[0, :, 0].tolist() == [0, 0, 0, 140, 140, 140]
    assert degraded.picture().shape == (8, 12, 1)
    # The picture is enlarged before anything is rounded or clipped.
    np.testing.assert_array_equal(degraded.picture()[:, [0, -1], 0], [[0, 140]] * 8)


def test_steps_are_values(x):
    @dataclass(frozen=True)
    class Negative:
        def __call__(self, x, rng):
            return Degraded(-x)

    assert GaussianNoise(0.1) == GaussianNoise(0.1) and repr(GaussianNoise(0.1)) == "GaussianNoise(sigma=0.1)"
    np.testing.assert_array_equal(apply_steps((Negative(),), x, np.random.default_rng(0)).y, -x)
