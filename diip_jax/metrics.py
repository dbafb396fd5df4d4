"""Image quality against a reference: PSNR and SSIM, in float64 NumPy.

Images are `[H, W, C]` float in [-1, 1] (values outside are clipped first).
"""

import numpy as np

_DATA_RANGE = 2.0


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels; infinite for equal images.

    Raises:
        ValueError: the shapes differ.
    """
    a, b = _pair(image, reference)
    error = np.mean((a - b) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(_DATA_RANGE**2 / error))


def ssim(image: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity as Wang et al. (2004) define it: 11x11 Gaussian window of sigma 1.5, mean over channels.

    Equals scikit-image's `structural_similarity(..., gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`.

    Raises:
        ValueError: the shapes differ, or the images are smaller than the window.
    """
    a, b = _pair(image, reference)
    if min(a.shape[:2]) < 11:
        raise ValueError(f"images are {a.shape[0]}x{a.shape[1]}: SSIM needs at least 11x11")
    c1, c2 = (0.01 * _DATA_RANGE) ** 2, (0.03 * _DATA_RANGE) ** 2
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    var_a, var_b = _window_mean(a * a) - mean_a**2, _window_mean(b * b) - mean_b**2
    covariance = _window_mean(a * b) - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float(similarity.mean())


def _pair(image: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if image.shape != reference.shape:
        raise ValueError(f"image is {image.shape}, reference {reference.shape}: expected equal shapes")
    return np.clip(image.astype(np.float64), -1, 1), np.clip(reference.astype(np.float64), -1, 1)


def _window_mean(x: np.ndarray) -> np.ndarray:
    """Gaussian-weighted mean over every full 11x11 window."""
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        x = np.lib.stride_tricks.sliding_window_view(x, 11, axis=axis) @ weights
    return x
