"""The best iterate by a score: returned once its peak is over (`Peak`), or where another rule stops."""

from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Image, Scalar
from diip_jax.plug import as_plug, check_above, plug
from diip_jax.plugs.rules.rule import Candidate, Observation, Rule, Verdict, current, either


class Score:
    """A score of the iterates of one image, the higher the better: the base of plugs, like a rule.

    One that remembers nothing may be a plain function of an observation, where a score is asked for.
    """

    def init(self, image: Image, y: Array) -> Any:
        """The state before the first iterate, for the observation y, mostly `[h, w, C]`; see `Rule.init`."""
        return ()

    def __call__(self, state: Any, seen: Observation) -> tuple[Any, Scalar]:
        """(the next state, the score); called once per iterate. -inf does not count."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__(state, seen)")


@plug(data=("function",))
class _OfObservation(Score):
    function: Any

    def __call__(self, state: Any, seen: Observation) -> tuple[Any, Scalar]:
        return state, self.function(seen)


def as_score(score: Any) -> Any:
    """A score as it is; a plain function of an observation as one."""
    return score if isinstance(score, Score) else _OfObservation(as_plug(score))


class _PeakState(NamedTuple):
    score: Any
    best: Scalar
    candidate: Candidate


class _Best(Rule):
    """What holds the best iterate so far."""

    score: Any
    k_min: Any

    def _start(self, first: Candidate, y: Array) -> _PeakState:
        lowest = jnp.full_like(first.image, -jnp.inf, shape=())
        return _PeakState(self.score.init(first.image, y), lowest, first)

    def _seen(self, state: _PeakState, seen: Observation) -> _PeakState:
        score_state, value = self.score(state.score, seen)
        counts = seen.k > self.k_min
        # While no iterate has counted the current one is what would be returned.
        new_best = ~counts | (value >= state.best)
        return _PeakState(
            score_state,
            jnp.where(counts, jnp.maximum(value, state.best), state.best),
            either(new_best, current(seen), state.candidate),
        )


@plug(data=("score", "k_min", "patience"))
class Peak(_Best):
    """Stops once a score has passed its peak, and returns the iterate at that peak.

    Where the score only falls that is iterate k_min + 1. An iterate of score -inf does not count, either. Where the
    budget ends the run first, the last iterate is returned: a peak that is not over is none yet.

    Attributes:
        score: a `Score`, or a function of an observation.
        k_min: iterates up to k_min do not count.
        patience: fires after this many iterates in a row without a new maximum.
        name: of the rule.

    Raises:
        ValueError: a patience below 1.
    """

    score: Any
    k_min: Any = -1
    patience: Any = 10
    name: str = "peak"

    def __post_init__(self) -> None:
        object.__setattr__(self, "score", as_score(self.score))
        check_above("patience", self.patience, 1, inclusive=True)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def start(self, first: Candidate, y: Array) -> _PeakState:
        return self._start(first, y)

    def judge(self, state: _PeakState, seen: Observation) -> tuple[_PeakState, Verdict]:
        state = self._seen(state, seen)
        stop = (seen.k > self.k_min) & (seen.k - state.candidate.k >= self.patience)
        chosen = either(stop, state.candidate, current(seen))
        return state, Verdict(stop, jnp.zeros_like(seen.k), chosen)


@plug(data=("rule", "score", "k_min"))
class ReturningBest(_Best):
    """The stop of a rule, or of the budget, but what is returned is the best iterate so far.

    Attributes:
        rule: when to stop.
        score: a `Score`, or a function of an observation; the higher the better.
        k_min: iterates up to k_min do not count.
    """

    rule: Any
    score: Any
    k_min: Any = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "score", as_score(self.score))

    @property
    def names(self) -> tuple[str, ...]:
        return self.rule.names

    def start(self, first: Candidate, y: Array) -> tuple[Any, _PeakState]:
        return self.rule.start(first, y), self._start(first, y)

    def judge(self, state: tuple[Any, _PeakState], seen: Observation) -> tuple[Any, Verdict]:
        rule, verdict = self.rule.judge(state[0], seen)
        best = self._seen(state[1], seen)
        return (rule, best), verdict._replace(chosen=best.candidate)
