import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diip_jax.metrics import psnr, ssim


@pytest.mark.parametrize("shape", [(64, 64, 3), (33, 12, 1)])
def test_psnr_and_ssim_equal_scikit_image(shape):
    rng = np.random.default_rng(0)
    a = np.clip(rng.normal(0, 0.5, shape), -1, 1)
    b = np.clip(a + rng.normal(0, 0.2, shape), -1, 1)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=2), rel=1e-9)
    expected = structural_similarity(
        a, b, data_range=2, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(a, b) == pytest.approx(expected, abs=1e-9)


def test_equal_images():
    a = np.linspace(-1, 1, 16 * 16 * 3).reshape(16, 16, 3)
    assert psnr(a, a) == float("inf")
    assert ssim(a, a) == pytest.approx(1)


def test_values_outside_the_range_are_clipped_first():
    a = np.full((16, 16, 3), 1.5)
    assert psnr(a, np.ones((16, 16, 3))) == float("inf")


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected equal shapes"):
        psnr(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match="SSIM needs at least 11x11"):
        ssim(np.zeros((4, 4, 3)), np.zeros((4, 4, 3)))
