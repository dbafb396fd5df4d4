"""Rules that watch a curve: the Laplacian variance of the iterates, or the loss.

What the DIIP note leaves open, and how it is settled here:

- The printed slope Delta_k = (E_k - E_{k-1}) / E_{k-1} is negative while the loss falls, so "Delta_k < eps" would hold
  at the first iteration. It is read as |Delta_k| < eps: the relative change of the loss has become small.
- k_min is printed for the Laplacian-variance rule only; the slope rule has its own (0 as printed).
- "k > k_min and sigma^2[k+1] < sigma^2[k]": the rule fires at the observation of iterate k+1 and returns iterate k,
  which is the argmax of the Laplacian variance over the iterates after k_min.
- Iterates count from 0, the image of the first noise.
"""

from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Count, Flag, Image, Scalar
from diip_jax.plug import check_above, plug
from diip_jax.plugs.rules.checks import check_patience, check_share, check_smoothing
from diip_jax.plugs.rules.peak import Peak, Score
from diip_jax.plugs.rules.rule import FirstOf, Observation, Rule, first_of


@plug(data=("smoothing",))
class SmoothedSharpness(Score):
    """The moving average of the Laplacian variance; smoothing is the weight of the past, 0 the curve itself."""

    smoothing: Any = 0.0

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)

    def init(self, image: Image, y: Array) -> Scalar:
        return jnp.zeros_like(image, shape=())

    def __call__(self, smoothed: Scalar, seen: Observation) -> tuple[Scalar, Scalar]:
        smoothed = _moving_average(smoothed, seen.laplacian_variance, seen.k, self.smoothing)
        return smoothed, smoothed


def laplacian_variance_peak(k_min: int = 100, *, patience: int = 1, smoothing: float = 0.0) -> Peak:
    """Stops once the Laplacian variance has passed its peak, and returns the image at that peak.

    The defaults are the rule of the DIIP note (stopping criterion for low-frequency degradations): the first decrease
    after k_min. The robust variant follows an exponential moving average and waits. On a curve that only falls both
    return iterate k_min + 1.

    Args:
        k_min: iterates up to k_min do not count.
        patience: fires after this many iterates in a row without a new maximum.
        smoothing: weight of the past in the moving average of the Laplacian variance, 0 <= smoothing < 1.

    Raises:
        ValueError: a k_min below 0, a patience below 1, a smoothing outside 0 <= smoothing < 1.
    """
    check_patience(k_min, patience)
    return Peak(SmoothedSharpness(smoothing), k_min, patience, "laplacian_variance")


class _SlopeState(NamedTuple):
    loss: Scalar
    run: Count


@plug(data=("eps", "k_min", "patience", "smoothing"))
class LossSlope(Rule):
    """Stops once the relative change of the loss per iteration, |E_k - E_{k-1}| / E_{k-1}, is below eps.

    The defaults are the rule of the DIIP note (stopping criterion for high-frequency degradations).

    Attributes:
        eps: the threshold.
        k_min: never fires at or before iterate k_min.
        patience: fires after this many iterates in a row below the threshold.
        smoothing: weight of the past in the moving average of the loss, 0 <= smoothing < 1.

    Raises:
        ValueError: a k_min below 0, a patience below 1, a smoothing outside 0 <= smoothing < 1.
    """

    eps: Any = 1e-3
    k_min: Any = 0
    patience: Any = 1
    smoothing: Any = 0.0

    def __post_init__(self) -> None:
        check_patience(self.k_min, self.patience)
        check_smoothing(self.smoothing)

    def init(self, image: Image, y: Array) -> _SlopeState:
        zero = jnp.zeros_like(image, shape=())
        return _SlopeState(zero, zero.astype(jnp.int32))

    def __call__(self, state: _SlopeState, seen: Observation) -> tuple[_SlopeState, Flag]:
        loss = _moving_average(state.loss, seen.loss, seen.k, self.smoothing)
        flat = (seen.k > 0) & (jnp.abs(loss - state.loss) < self.eps * state.loss)
        run = jnp.where(flat, state.run + 1, 0)
        return _SlopeState(loss, run), (run >= self.patience) & (seen.k > self.k_min)


@plug(data=("threshold",))
class LossThreshold(Rule):
    """Stops once the loss is at most a threshold: BIRD, Algorithm 1 line 2 (epsilon).

    The loss is the loop's mean over pixels and channels, where the paper writes the sum. With noise of standard
    deviation sigma (of the [-1, 1] range) in y, sigma^2 is where a fit of the noise begins.

    Raises:
        ValueError: a threshold below 0.
    """

    threshold: Any

    def __post_init__(self) -> None:
        check_above("loss_threshold", self.threshold, 0, inclusive=True)

    def __call__(self, state: Any, seen: Observation) -> tuple[Any, Flag]:
        return state, seen.loss <= self.threshold


@plug(data=("fully_explained",))
class ExplainedVariance(Rule):
    """Stops once the loss is at most (1 - fully_explained) times the variance of y.

    What is left of a y with next to no noise are its defects by then, such as the edges of JPEG's blocks. Where noise
    has more than the rest of the variance the rule hardly ever fires. The default was chosen on validation faces, see
    docs/stopping.md.

    Attributes:
        fully_explained: share of the variance of y, above 0 and below 1.

    Raises:
        ValueError: a share that is not between 0 and 1.
    """

    fully_explained: Any = 0.992

    def __post_init__(self) -> None:
        check_share("fully_explained", self.fully_explained)

    def init(self, image: Image, y: Array) -> Scalar:
        return (1 - self.fully_explained) * jnp.nanvar(y)

    def __call__(self, threshold: Scalar, seen: Observation) -> tuple[Scalar, Flag]:
        return threshold, seen.loss <= threshold


def printed(k_min: int = 100, eps: float = 1e-3) -> FirstOf:
    """The first of DIIP's two printed rules to fire: the Laplacian variance falls, or the loss hardly changes."""
    return first_of(laplacian_variance_peak(k_min), LossSlope(eps))


def robust(k_min: int = 100, eps: float = 3e-4, smoothing: float = 0.9, patience: int = 10) -> FirstOf:
    """The first of the smoothed, patient variants of DIIP's two rules to fire, both after k_min.

    An eps of 0.001 as printed ends noise before the picture is finished (docs/stopping.md).
    """
    return first_of(
        laplacian_variance_peak(k_min, patience=patience, smoothing=smoothing),
        LossSlope(eps, k_min=k_min, patience=patience, smoothing=smoothing),
    )


def _moving_average(previous: Scalar, value: Scalar, k: Count, smoothing: Any) -> Scalar:
    return jnp.where(k == 0, value, smoothing * previous + (1 - smoothing) * value)
