"""Morozov's discrepancy principle, with the noise level estimated from the degraded image itself."""

import jax.numpy as jnp
from jax.scipy.stats import norm

from diip_jax.array_types import Any, Array, Flag, Image, Observed, Scalar
from diip_jax.plug import check_above, plug
from diip_jax.plugs.rules.rule import Observation, Rule

# Their median is not trusted below: an image of 64x64 pixels that was down-sampled eightfold has 36.
_LEAST_WINDOWS = 16


def noise_level(y: Observed) -> Scalar:
    """Estimated standard deviation of white noise, root mean square over channels, in units of the image's own range.

    The robust median estimator, median |d| / 0.6745 (Donoho and Johnstone, "Ideal spatial adaptation by wavelet
    shrinkage", Biometrika 1994), on the difference of two Laplacians instead of the finest wavelet band: it does not
    see slopes and upright edges (Immerkaer, "Fast noise variance estimation", CVIU 1996, whose mean the median
    replaces). d is taken of the differences of channels: they share most of what is in a picture, which in a small one
    would pass for noise, and not the noise.

    What is not white is not seen: JPEG of a low quality, noise that was up-sampled, and in colour images noise that is
    the same in all channels count as none. Pixels that are NaN do not count; NaN where fewer than 16 windows of 3x3
    pixels are without them.
    """
    if y.shape[-1] > 1:
        y = (y - jnp.roll(y, 1, axis=-1)) / 2**0.5
    height, width, _ = y.shape
    if max(height - 2, 0) * max(width - 2, 0) < _LEAST_WINDOWS:
        return jnp.full_like(y, jnp.nan, shape=())
    d = y[:-2] - 2 * y[1:-1] + y[2:]
    d = (d[:, :-2] - 2 * d[:, 1:-1] + d[:, 2:]) / 6  # the mask's weights have the norm 6
    levels = jnp.nanmedian(jnp.abs(d), axis=(0, 1)) / norm.ppf(0.75)
    enough = jnp.isfinite(d[..., 0]).sum() >= _LEAST_WINDOWS
    return jnp.where(enough, jnp.sqrt(jnp.mean(levels**2)), jnp.nan)


@plug(data=("tau",))
class Discrepancy(Rule):
    """Stops once the loss is at most tau^2 sigma^2, sigma the noise level of y.

    A fit that is closer to y than the clean image, whose mean squared distance is sigma^2, has begun to fit the noise
    (Morozov's discrepancy principle). Where there is next to no noise, or too little of y to tell, it never fires.

    Attributes:
        tau: safety factor, above 0; 1 trusts the estimate.

    Raises:
        ValueError: a tau that is not above 0.
    """

    tau: Any = 1.0

    def __post_init__(self) -> None:
        check_above("tau", self.tau, 0)

    def init(self, image: Image, y: Array) -> Scalar:
        return (self.tau * noise_level(y)) ** 2

    def __call__(self, threshold: Scalar, seen: Observation) -> tuple[Scalar, Flag]:
        return threshold, seen.loss <= threshold
