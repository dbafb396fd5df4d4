"""What a stopping rule is, and how rules are put together."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Bool, Count, Flag, Image, Observed, Scalar


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
        init: (image, y) -> state; the image only gives the shape and dtype of the iterates, y is the degraded image
            that they are fitted to, `[h, w, C]`, NaN where nothing is known of it, see `shown`.
        update: (state, observation) -> (state, verdict); called once per iterate, k = 0, 1, 2, ...
        names: what `Verdict.reason` stands for.
    """

    init: Callable[[Image, Observed], Any]
    update: Callable[[Any, Observation], tuple[Any, Verdict]]
    names: tuple[str, ...]


def shown(y: Observed, mask: Bool[Array, "h w"] | None) -> Observed:
    """y with NaN where a mask hides it: `StoppingRule.init` is not to take for a picture, or noise, what is none."""
    return y if mask is None else jnp.where(mask[..., None], y, jnp.nan)


def budget(iterations: int) -> StoppingRule:
    """Stops after a number of iterates and returns the last one."""
    if iterations < 1:
        raise ValueError(f"max_iterations={iterations}: expected at least 1")

    def update(state: tuple[()], seen: Observation) -> tuple[tuple[()], Verdict]:
        return state, Verdict(seen.k + 1 >= iterations, jnp.zeros_like(seen.k), seen.k, seen.image)

    return StoppingRule(lambda image, y: (), update, ("budget",))


class _FiniteState(NamedTuple):
    k: Count
    image: Image


def diverged() -> StoppingRule:
    """Stops when the loss is no longer finite, and returns the last iterate for which it was (-1: there was none)."""

    def init(image: Image, y: Observed) -> _FiniteState:
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
        init=lambda image, y: tuple(rule.init(image, y) for rule in rules),
        update=update,
        names=tuple(name for rule in rules for name in rule.names),
    )


def check_patience(k_min: int, patience: int) -> None:
    """Refuses a k_min below 0 and a patience below 1."""
    if k_min < 0:
        raise ValueError(f"k_min={k_min}: expected at least 0")
    if patience < 1:
        raise ValueError(f"patience={patience}: expected at least 1")


def check_smoothing(smoothing: float) -> None:
    """Refuses a weight of the past outside 0 <= smoothing < 1."""
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing={smoothing}: expected 0 <= smoothing < 1")
