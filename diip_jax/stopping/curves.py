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

from diip_jax.array_types import Count, Image, Observed, Scalar
from diip_jax.stopping.peak import Score, peak
from diip_jax.stopping.rule import Observation, StoppingRule, Verdict, check_patience, check_smoothing


def laplacian_variance_peak(k_min: int = 100, *, patience: int = 1, smoothing: float = 0.0) -> StoppingRule:
    """Stops once the Laplacian variance has passed its peak, and returns the image at that peak.

    The defaults are the rule of the DIIP note (stopping criterion for low-frequency degradations): the first decrease
    after k_min. The robust variant follows an exponential moving average and waits. On a curve that only falls both
    return iterate k_min + 1.

    Args:
        k_min: iterates up to k_min do not count.
        patience: fires after this many iterates in a row without a new maximum.
        smoothing: weight of the past in the moving average of the Laplacian variance, 0 <= smoothing < 1.
    """
    check_smoothing(smoothing)

    def init(image: Image, y: Observed) -> Scalar:
        return jnp.zeros_like(image, shape=())

    def update(smoothed: Scalar, seen: Observation) -> tuple[Scalar, Scalar]:
        smoothed = _moving_average(smoothed, seen.laplacian_variance, seen.k, smoothing)
        return smoothed, smoothed

    return peak(Score(init, update), "laplacian_variance", k_min=k_min, patience=patience)


class _SlopeState(NamedTuple):
    loss: Scalar
    run: Count


def loss_slope(eps: float = 1e-3, *, k_min: int = 0, patience: int = 1, smoothing: float = 0.0) -> StoppingRule:
    """Stops once the relative change of the loss per iteration, |E_k - E_{k-1}| / E_{k-1}, is below eps.

    The defaults are the rule of the DIIP note (stopping criterion for high-frequency degradations). It returns the
    iterate at which it fires.

    Args:
        eps: the threshold.
        k_min: never fires at or before iterate k_min.
        patience: fires after this many iterates in a row below the threshold.
        smoothing: weight of the past in the moving average of the loss, 0 <= smoothing < 1.
    """
    check_patience(k_min, patience)
    check_smoothing(smoothing)

    def init(image: Image, y: Observed) -> _SlopeState:
        zero = jnp.zeros_like(image, shape=())
        return _SlopeState(zero, zero.astype(jnp.int32))

    def update(state: _SlopeState, seen: Observation) -> tuple[_SlopeState, Verdict]:
        loss = _moving_average(state.loss, seen.loss, seen.k, smoothing)
        flat = (seen.k > 0) & (jnp.abs(loss - state.loss) < eps * state.loss)
        run = jnp.where(flat, state.run + 1, 0)
        stop = (run >= patience) & (seen.k > k_min)
        return _SlopeState(loss, run), Verdict(stop, jnp.zeros_like(seen.k), seen.k, seen.image)

    return StoppingRule(init, update, ("loss_slope",))


def loss_threshold(threshold: float) -> StoppingRule:
    """Stops once the loss is at most a threshold, and returns that iterate: BIRD, Algorithm 1 line 2 (epsilon).

    The loss is the loop's mean over pixels and channels, where the paper writes the sum. With noise of standard
    deviation sigma (of the [-1, 1] range) in y, sigma^2 is where a fit of the noise begins.
    """
    if threshold < 0:
        raise ValueError(f"loss_threshold={threshold}: expected at least 0")

    def update(state: tuple[()], seen: Observation) -> tuple[tuple[()], Verdict]:
        return state, Verdict(seen.loss <= threshold, jnp.zeros_like(seen.k), seen.k, seen.image)

    return StoppingRule(lambda image, y: (), update, ("loss_threshold",))


def explained_variance(fully_explained: float = 0.992) -> StoppingRule:
    """Stops once the loss is at most (1 - fully_explained) times the variance of y, and returns that iterate.

    What is left of a y with next to no noise are its defects by then, such as the edges of JPEG's blocks. Where noise
    has more than the rest of the variance the rule hardly ever fires. The default was chosen on validation faces, see
    docs/stopping.md.

    Args:
        fully_explained: share of the variance of y, above 0 and below 1.
    """
    if not 0 < fully_explained < 1:
        raise ValueError(f"fully_explained={fully_explained}: expected 0 < fully_explained < 1")

    def init(image: Image, y: Observed) -> Scalar:
        return (1 - fully_explained) * jnp.nanvar(y)

    def update(threshold: Scalar, seen: Observation) -> tuple[Scalar, Verdict]:
        return threshold, Verdict(seen.loss <= threshold, jnp.zeros_like(seen.k), seen.k, seen.image)

    return StoppingRule(init, update, ("explained_variance",))


def _moving_average(previous: Scalar, value: Scalar, k: Count, smoothing: float) -> Scalar:
    return jnp.where(k == 0, value, smoothing * previous + (1 - smoothing) * value)
