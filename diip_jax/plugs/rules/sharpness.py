"""How sharp an image is, how sharp y is behind its noise, and the rule that compares the two."""

from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Flag, Float, Image, Observed, Scalar
from diip_jax.plug import check_above, plug
from diip_jax.plugs.rules.checks import check_patience, check_share
from diip_jax.plugs.rules.peak import Peak, Score
from diip_jax.plugs.rules.rule import Observation


def laplacian_variance(image: Image) -> Scalar:
    """Variance of the Laplacian of the grey image: how sharp it is.

    Equals OpenCV's `Laplacian(grey).var()` (4-neighbour stencil, mirrored border, Rec. 601 grey) in units of the
    image's own range squared; images of one channel are taken as they are. Pixels that are NaN, and their neighbours,
    do not count.
    """
    grey = image @ jnp.array([0.299, 0.587, 0.114], image.dtype) if image.shape[-1] == 3 else image.mean(axis=-1)
    return jnp.nanvar(_laplacian(grey[..., None]))


def _laplacian(image: Float[Array, "H W C"]) -> Float[Array, "H W C"]:
    p = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    return p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * image


class Picture(NamedTuple):
    """What is in a degraded image besides white noise.

    Attributes:
        laplacian_variance: of the picture.
        variance: of the picture, over pixels and channels.
        noise: variance of the noise, mean over channels.
    """

    laplacian_variance: Scalar
    variance: Scalar
    noise: Scalar


# Of the Laplacian of white noise: its variance in units of the noise's (the sum of its squared weights), and the sum of
# its squared autocorrelation, by which fewer pixels count as independent.
_GAIN, _CORRELATION = 20, 1.69
_MARGIN = 0.4  # standard errors


def picture_in(y: Observed) -> Picture:
    """The sharpness of what is in y, as if it had no noise.

    Channels show the same picture in noise of their own. The mean covariance of two channels' Laplacians is the
    picture's, whatever the noise, and what the variances have beyond it is the noise's. To the covariance 0.4 of the
    standard error are added that noise gives it: very strong noise is not to pass for a smooth picture by chance. One
    channel cannot tell the two apart, and counts as a picture without noise. Channels that show different things pass
    for noise.

    Args:
        y: NaN where nothing is known of it.
    """
    variance, channels = jnp.nanvar(y), y.shape[-1]
    if channels == 1:
        return Picture(laplacian_variance(y), variance, jnp.zeros_like(variance))
    laplacians = _laplacian(y)
    centred = laplacians - jnp.nanmean(laplacians, axis=(0, 1))
    squares = (centred**2).sum(axis=-1)
    products = centred.sum(axis=-1) ** 2 - squares
    shared = jnp.nanmean(products) / (channels * (channels - 1))
    own = jnp.maximum(jnp.nanmean(squares) / channels - shared, 0)
    pairs = channels * (channels - 1) / 2
    standard_error = own * jnp.sqrt(_CORRELATION / (pairs * jnp.isfinite(products).sum()))
    noise, picture = own / _GAIN, jnp.maximum(shared + _MARGIN * standard_error, 0)
    return Picture(picture, jnp.maximum(variance - noise, 0), noise)


class _SharpnessState(NamedTuple):
    least_sharpness: Scalar
    formed_loss: Scalar
    formed: Flag


@plug(data=("explained", "sharpness_ratio"))
class RelativeSharpness(Score):
    """The Laplacian variance of iterates that show a formed picture and are sharper than y, see `sharpness_peak`."""

    explained: Any = 0.86
    sharpness_ratio: Any = 1.6

    def __post_init__(self) -> None:
        check_share("explained", self.explained)
        check_above("sharpness_ratio", self.sharpness_ratio, 0)

    def init(self, image: Image, y: Array) -> _SharpnessState:
        picture = picture_in(y)
        formed = picture.noise + (1 - self.explained) * picture.variance
        return _SharpnessState(
            self.sharpness_ratio * picture.laplacian_variance, formed, jnp.zeros_like(y, bool, shape=())
        )

    def __call__(self, state: _SharpnessState, seen: Observation) -> tuple[_SharpnessState, Scalar]:
        state = state._replace(formed=state.formed | (seen.loss <= state.formed_loss))
        counts = state.formed & (seen.laplacian_variance > state.least_sharpness)
        return state, jnp.where(counts, seen.laplacian_variance, -jnp.inf)


def sharpness_peak(explained: float = 0.86, sharpness_ratio: float = 1.6, *, patience: int = 10) -> Peak:
    """DIIP's rule for low-frequency degradations, which finds out by itself where it applies and when it may begin.

    Returns the iterate of the highest Laplacian variance among those that

    - show a formed picture: from the first iterate on that has explained this share of the picture in y (`picture_in`),
      the loss being at most its noise and (1 - explained) times its variance; in place of k_min, whose meaning depends
      on the learning rate, the stride and the prior;
    - have a Laplacian variance well above that of the picture in y. A blurred picture is less sharp than what the prior
      makes of it, and the fit only loses from there on. One with noise, blocks or impulses is as sharp as the iterates,
      or sharper: there the rule is silent.

    The defaults were chosen on validation faces, see docs/stopping.md.

    Args:
        explained: share of the picture's variance, 0 < explained < 1.
        sharpness_ratio: of the Laplacian variances of an iterate and of the picture in y, above which the iterate
            counts; above 0.
        patience: fires after this many iterates in a row without a new maximum.

    Raises:
        ValueError: a patience below 1.
    """
    check_patience(0, patience)
    return Peak(RelativeSharpness(explained, sharpness_ratio), 0, patience, "sharpness")
