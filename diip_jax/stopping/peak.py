"""Rules that wait for the peak of a score of the iterates, and return the iterate at the peak."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Any, Count, Image, Observed, Scalar
from diip_jax.stopping.rule import Observation, StoppingRule, Verdict, check_patience


class Score(NamedTuple):
    """A score of the iterates of one image, by a pure pair like that of a rule.

    Attributes:
        init: (image, y) -> state.
        update: (state, observation) -> (state, score); called once per iterate.
    """

    init: Callable[[Image, Observed], Any]
    update: Callable[[Any, Observation], tuple[Any, Scalar]]


class _PeakState(NamedTuple):
    score: Any
    best: Scalar
    best_k: Count
    best_image: Image


def peak(score: Score, name: str, *, k_min: int, patience: int) -> StoppingRule:
    """Stops once a score has passed its peak, and returns the iterate at that peak.

    Where the score only falls that is iterate k_min + 1. An iterate of score -inf does not count, either.

    Args:
        name: of the rule.
        k_min: iterates up to k_min do not count.
        patience: fires after this many iterates in a row without a new maximum.
    """
    check_patience(k_min, patience)

    def init(image: Image, y: Observed) -> _PeakState:
        zero = jnp.zeros_like(image, shape=())
        return _PeakState(score.init(image, y), zero - jnp.inf, zero.astype(jnp.int32), image)

    def update(state: _PeakState, seen: Observation) -> tuple[_PeakState, Verdict]:
        score_state, value = score.update(state.score, seen)
        counts = seen.k > k_min
        # While no iterate has counted the current one is what would be returned.
        new_peak = ~counts | (value >= state.best)
        state = _PeakState(
            score_state,
            jnp.where(counts, jnp.maximum(value, state.best), state.best),
            jnp.where(new_peak, seen.k, state.best_k),
            jnp.where(new_peak, seen.image, state.best_image),
        )
        stop = counts & (seen.k - state.best_k >= patience)
        return state, Verdict(stop, jnp.zeros_like(seen.k), state.best_k, state.best_image)

    return StoppingRule(init, update, (name,))
