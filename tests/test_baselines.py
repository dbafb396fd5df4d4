import sys

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
from skimage.metrics import peak_signal_noise_ratio as psnr

from diip_jax.evaluate import baselines


@pytest.fixture(scope="module")
def clean():
    return skimage.data.astronaut()[40:104, 190:254]


def _noisy(clean, sigma, seed=0):
    noise = np.random.default_rng(seed).standard_normal(clean.shape)
    return np.clip(np.rint(clean + sigma * noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("method", [baselines.non_local_means, baselines.total_variation])
def test_removes_noise_whose_level_it_is_not_told(method, clean):
    noisy = np.stack([_noisy(clean, sigma) for sigma in (15, 25)])
    restored = method(noisy)
    assert restored.dtype == np.uint8 and restored.shape == noisy.shape
    for image, y in zip(restored, noisy, strict=True):
        assert psnr(clean, image) > psnr(clean, y) + 2


def test_total_variation_takes_away_as_much_as_there_is_noise(clean):
    noisy = _noisy(clean, 20)
    taken = baselines.total_variation(noisy[None])[0].astype(float) - noisy
    assert taken.std() == pytest.approx(255 * baselines.noise_level(noisy / 255), rel=0.02)


@pytest.mark.parametrize("method", [baselines.non_local_means, baselines.total_variation])
def test_a_picture_without_noise_stays(method):
    flat = np.full((1, 32, 32, 3), 100, np.uint8)
    np.testing.assert_array_equal(method(flat), flat)


def test_noise_level(clean):
    for grey in (0.0, 0.4, 0.5):
        assert baselines.noise_level(np.full((32, 32, 3), grey)) < 1e-9
    ramp = np.broadcast_to(np.linspace(0.3, 0.7, 64)[:, None, None], (64, 64, 3))
    noisy = ramp + 0.05 * np.random.default_rng(0).standard_normal(ramp.shape)
    assert baselines.noise_level(noisy) == pytest.approx(0.05, rel=0.1)


def test_wiener_undoes_a_blur_that_it_is_told(clean):
    blurred = np.stack([scipy.ndimage.gaussian_filter(channel, 1.5) for channel in np.moveaxis(clean / 255, -1, 0)], -1)
    y = _noisy(255 * blurred, 1)
    restored = baselines.unsupervised_wiener(y[None], psf_sigma=1.5)
    assert restored.dtype == np.uint8
    assert psnr(clean, restored[0]) > psnr(clean, y) + 1
    np.testing.assert_array_equal(restored, baselines.unsupervised_wiener(y[None], psf_sigma=1.5))


def test_wiener_refuses_no_blur():
    with pytest.raises(ValueError, match=r"psf_sigma=0\.0: expected above 0"):
        baselines.unsupervised_wiener(np.zeros((1, 8, 8, 3), np.uint8), psf_sigma=0.0)


@pytest.mark.parametrize("module, package", [("pywt", "PyWavelets"), ("skimage.restoration", "scikit-image")])
def test_a_missing_package_is_one_line_that_says_what_to_install(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'need {package}; run: pip install "diip_jax\[evaluate\]"'):
        baselines.total_variation(np.zeros((1, 8, 8, 3), np.uint8))
