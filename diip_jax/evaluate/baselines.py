"""Classical restoration with scikit-image, which the extra `evaluate` installs: what methods are compared with.

Images are uint8 `[n, H, W, C]`, and restored one by one; each function says what it is told of the degradation. Where
scikit-image is missing all raise ImportError, with a line that says what to install.
"""

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from diip_jax.pixels import to_uint8

_SEED = 0  # of the Gibbs sampler in `unsupervised_wiener`
_ROUNDING = 12**-0.5 / 255  # standard deviation of what rounding to 8 bits does to an image of [0, 1]


def non_local_means(y: UInt8[np.ndarray, "n H W C"]) -> UInt8[np.ndarray, "n H W C"]:
    """Non-local means (Buades, Coll and Morel, 2005): means over pixels whose surroundings look alike.

    Told nothing: the noise level sigma is estimated from y; where it is below that of the rounding to 8 bits y is
    returned. Patches of 5x5 among those at most 6 pixels away, and h = 0.6 sigma, as scikit-image's gallery ("Non-local
    means denoising for preserving textures") sets its fast mode.
    """
    fast = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": -1}
    return _each_noisy(
        lambda image, sigma: _restoration().denoise_nl_means(image, h=0.6 * sigma, sigma=sigma, **fast), y
    )


def total_variation(y: UInt8[np.ndarray, "n H W C"]) -> UInt8[np.ndarray, "n H W C"]:
    """Total variation: the u of the smallest ||u - y||^2 / (2 w) + TV(u), every channel by itself (Chambolle, 2004).

    Told nothing: the noise level sigma is estimated from y; where it is below that of the rounding to 8 bits y is
    returned. The weight w is the one for which u - y is as large as the noise, found by Chambolle's iteration
    w <- w sigma / rms(u - y) (section 4), 10 steps from w = sigma.
    """

    def denoised(image: np.ndarray, sigma: float) -> np.ndarray:
        weight = sigma
        for _ in range(10):
            u = _restoration().denoise_tv_chambolle(image, weight=weight, channel_axis=-1)
            weight *= sigma / np.sqrt(np.mean((u - image) ** 2))
        return u

    return _each_noisy(denoised, y)


def unsupervised_wiener(y: UInt8[np.ndarray, "n H W C"], psf_sigma: float = 1.0) -> UInt8[np.ndarray, "n H W C"]:
    """Wiener-Hunt deconvolution, every channel by itself; noise and smoothness are sampled (Orieux et al., 2010).

    Told that y was blurred by a Gaussian, and its standard deviation `psf_sigma` in pixels; the guess is wrong for all
    other degradations. The picture is continued by its mirror image, because the method takes pictures as periodic.

    Raises:
        ValueError: psf_sigma is not above 0.
    """
    if not psf_sigma > 0:
        raise ValueError(f"psf_sigma={psf_sigma}: expected above 0")
    radius = int(np.ceil(4 * psf_sigma))
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * psf_sigma**2))
    psf = np.outer(taps, taps) / taps.sum() ** 2

    def restored(channel: Float64[np.ndarray, "H W"]) -> np.ndarray:
        margin = min(2 * radius, *channel.shape)
        padded = np.pad(channel, margin, mode="symmetric")
        return _restoration().unsupervised_wiener(padded, psf, rng=_SEED)[0][margin:-margin, margin:-margin]

    return _each(lambda image: np.stack([*map(restored, np.moveaxis(image, -1, 0))], axis=-1), y)


def noise_level(image: Float64[np.ndarray, "H W C"]) -> float:
    """Standard deviation of the noise in units of the image, the mean over the channels (Donoho and Johnstone, 1994).

    Of a channel it is the median of the finest diagonal wavelet coefficients over 0.6745; 0 where there are none.
    """
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # the median of no coefficient at all
        estimate = _restoration().estimate_sigma(image, average_sigmas=True, channel_axis=-1)
    return float(np.nan_to_num(estimate))


def _each_noisy(denoised: Callable[[np.ndarray, float], np.ndarray], y: np.ndarray) -> np.ndarray:
    """`_each` through a function of an image and its noise level, where that shows."""
    return _each(lambda image: image if (sigma := noise_level(image)) < _ROUNDING else denoised(image, sigma), y)


def _each(restored: Callable[[np.ndarray], np.ndarray], y: np.ndarray) -> np.ndarray:
    """Images of 0..255 through a function of an image of [0, 1]."""
    return to_uint8(np.stack([2 * restored(image / 255) - 1 for image in y]))


def _restoration() -> Any:
    try:
        importlib.import_module("pywt")  # which scikit-image needs for the noise level and does not install
        return importlib.import_module("skimage.restoration")
    except ImportError as error:
        missing = {"pywt": "PyWavelets", "skimage": "scikit-image"}[str(error.name).partition(".")[0]]
        raise ImportError(f'classical baselines need {missing}; run: pip install "diip_jax[evaluate]"') from error
