"""Stopping rules: which iterate of the optimisation to return, decided on the device from the iterates alone.

A rule is a pure pair `(init, update)` over a state of device scalars, and of the image where it returns an earlier one.

What the DIIP note leaves open, and how it is settled here:

- The printed slope Delta_k = (E_k - E_{k-1}) / E_{k-1} is negative while the loss falls, so "Delta_k < eps" would hold
  at the first iteration. It is read as |Delta_k| < eps: the relative change of the loss has become small.
- k_min is printed for the Laplacian-variance rule only; the slope rule has its own (0 as printed).
- "k > k_min and sigma^2[k+1] < sigma^2[k]": the rule fires at the observation of iterate k+1 and returns iterate k,
  which is the argmax of the Laplacian variance over the iterates after k_min.
- Iterates count from 0, the image of the first noise.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Any, Count, Flag, Image, Scalar


class Observation(NamedTuple):
    """What a rule sees of iterate k: its index, the loss E, the Laplacian variance and the image `[H, W, C]`."""

    k: Count
    loss: Scalar
    laplacian_variance: Scalar
    image: Image


class Verdict(NamedTuple):
    """What a rule says after an observation.

    Attributes:
        stop: whether the optimisation ends here.
        reason: index into the rule's `names`.
        selected: index k of the iterate that is returned if this is the end.
        image: that image.
    """

    stop: Flag
    reason: Count
    selected: Count
    image: Image


class StoppingRule(NamedTuple):
    """A stopping rule for one image.

    Attributes:
        init: image -> state (the image only gives shape and dtype).
        update: (state, observation) -> (state, verdict); called once per iterate, k = 0, 1, 2, ...
        names: what `Verdict.reason` stands for.
    """

    init: Callable[[Image], Any]
    update: Callable[[Any, Observation], tuple[Any, Verdict]]
    names: tuple[str, ...]


def laplacian_variance(image: Image) -> Scalar:
    """Variance of the Laplacian of the grey image: how sharp it is.

    Equals OpenCV's `Laplacian(grey).var()` (4-neighbour stencil, mirrored border, Rec. 601 grey) in units of the
    image's own range squared; images of one channel are taken as they are.
    """
    grey = image @ jnp.array([0.299, 0.587, 0.114], image.dtype) if image.shape[-1] == 3 else image.mean(axis=-1)
    p = jnp.pad(grey, 1, mode="reflect")
    laplacian = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * grey
    return laplacian.var()


class _PeakState(NamedTuple):
    smoothed: Scalar
    best: Scalar
    best_k: Count
    best_image: Image


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
    _check(k_min, patience, smoothing)

    def init(image: Image) -> _PeakState:
        zero = jnp.zeros_like(image, shape=())
        return _PeakState(zero, zero - jnp.inf, zero.astype(jnp.int32), image)

    def update(state: _PeakState, seen: Observation) -> tuple[_PeakState, Verdict]:
        smoothed = _moving_average(state.smoothed, seen.laplacian_variance, seen.k, smoothing)
        counts = seen.k > k_min
        # Until k_min is passed the current iterate is what would be returned.
        new_peak = ~counts | (smoothed >= state.best)
        state = _PeakState(
            smoothed,
            jnp.where(counts, jnp.maximum(smoothed, state.best), state.best),
            jnp.where(new_peak, seen.k, state.best_k),
            jnp.where(new_peak, seen.image, state.best_image),
        )
        stop = counts & (seen.k - state.best_k >= patience)
        return state, Verdict(stop, jnp.zeros_like(seen.k), state.best_k, state.best_image)

    return StoppingRule(init, update, ("laplacian_variance",))


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
    _check(k_min, patience, smoothing)

    def init(image: Image) -> _SlopeState:
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

    return StoppingRule(lambda image: (), update, ("loss_threshold",))


def budget(iterations: int) -> StoppingRule:
    """Stops after a number of iterates and returns the last one."""
    if iterations < 1:
        raise ValueError(f"max_iterations={iterations}: expected at least 1")

    def update(state: tuple[()], seen: Observation) -> tuple[tuple[()], Verdict]:
        return state, Verdict(seen.k + 1 >= iterations, jnp.zeros_like(seen.k), seen.k, seen.image)

    return StoppingRule(lambda image: (), update, ("budget",))


class _FiniteState(NamedTuple):
    k: Count
    image: Image


def diverged() -> StoppingRule:
    """Stops when the loss is no longer finite, and returns the last iterate for which it was (-1: there was none)."""

    def init(image: Image) -> _FiniteState:
        return _FiniteState(jnp.full_like(image, -1, shape=(), dtype=jnp.int32), image)

    def update(state: _FiniteState, seen: Observation) -> tuple[_FiniteState, Verdict]:
        finite = jnp.isfinite(seen.loss)
        state = _FiniteState(jnp.where(finite, seen.k, state.k), jnp.where(finite, seen.image, state.image))
        return state, Verdict(~finite, jnp.zeros_like(seen.k), state.k, state.image)

    return StoppingRule(init, update, ("diverged",))


def first_of(*rules: StoppingRule) -> StoppingRule:
    """Stops as soon as one of the rules does, and returns what that rule returns; the earlier rule wins a tie.

    While none has fired its verdict holds the current iterate.
    """
    if not rules:
        raise ValueError("first_of() needs at least one rule")

    def update(states: tuple[Any, ...], seen: Observation) -> tuple[tuple[Any, ...], Verdict]:
        stepped = [rule.update(state, seen) for rule, state in zip(rules, states, strict=True)]
        chosen = Verdict(jnp.zeros_like(seen.k, bool), jnp.zeros_like(seen.k), seen.k, seen.image)
        offset = sum(len(rule.names) for rule in rules)
        for rule, (_, verdict) in zip(reversed(rules), reversed(stepped), strict=True):
            offset -= len(rule.names)
            verdict = verdict._replace(reason=verdict.reason + offset)
            chosen = Verdict(*(jnp.where(verdict.stop, a, b) for a, b in zip(verdict, chosen, strict=True)))
        return tuple(state for state, _ in stepped), chosen

    return StoppingRule(
        init=lambda image: tuple(rule.init(image) for rule in rules),
        update=update,
        names=tuple(name for rule in rules for name in rule.names),
    )


def _moving_average(previous: Scalar, value: Scalar, k: Count, smoothing: float) -> Scalar:
    return jnp.where(k == 0, value, smoothing * previous + (1 - smoothing) * value)


def _check(k_min: int, patience: int, smoothing: float) -> None:
    if k_min < 0:
        raise ValueError(f"k_min={k_min}: expected at least 0")
    if patience < 1:
        raise ValueError(f"patience={patience}: expected at least 1")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing={smoothing}: expected 0 <= smoothing < 1")
