"""What a stopping rule is, what it sees and says, and how rules are put together.

*When* to stop and *which* iterate to return are apart. A rule of one's own says when: a bool per iterate, and the
iterate at which it is true is returned. `Returning`, `Peak` and `Averaged` return another one.
"""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Count, Flag, Image, Scalar
from diip_jax.plug import plug


class Observation(NamedTuple):
    """What a rule sees of iterate k.

    Attributes:
        k: its index, from 0.
        loss: E.
        laplacian_variance: of the image.
        image: `[H, W, C]`.
        eta: the operator's parameters that go with it.
    """

    k: Count
    loss: Scalar
    laplacian_variance: Scalar
    image: Image
    eta: Any = ()


class Candidate(NamedTuple):
    """An iterate that may be returned: its index, its image and the operator's parameters that go with it."""

    k: Count
    image: Image
    eta: Any = ()


class Verdict(NamedTuple):
    """What a rule says after an observation.

    Attributes:
        stop: whether the optimisation ends here.
        reason: index into the rule's `names`.
        chosen: what is returned if this is the end, be it by this rule or because the budget is used up.
    """

    stop: Flag
    reason: Count
    chosen: Candidate


class Rule:
    """A stopping rule for one image: the base of plugs, see `diip_jax.plug`.

    One of one's own defines `__call__`, and `init` where it remembers something:

        @plug(data=("eps",))
        class Plateau(Rule):
            eps: float = 1e-3

            def init(self, image, y):
                return jnp.inf

            def __call__(self, previous, seen):
                return seen.loss, jnp.abs(seen.loss - previous) < self.eps * previous
    """

    def init(self, image: Image, y: Array) -> Any:
        """The state before the first iterate.

        Args:
            image: only gives the shape and dtype of the iterates.
            y: the observation that they are fitted to, mostly `[h, w, C]`, NaN where nothing is known of it.
        """
        return ()

    def __call__(self, state: Any, seen: Observation) -> tuple[Any, Flag | bool]:
        """(the next state, whether to stop here); called once per iterate, k = 0, 1, 2, ..."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__(state, seen)")

    @property
    def names(self) -> tuple[str, ...]:
        """What `Verdict.reason` stands for; here the class's name in small letters."""
        return (re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower(),)

    def start(self, first: Candidate, y: Array) -> Any:
        """The state before the first iterate, of a rule that also holds candidates; here `init`."""
        return self.init(first.image, y)

    def judge(self, state: Any, seen: Observation) -> tuple[Any, Verdict]:
        """(the next state, the verdict); here the current iterate is what is returned."""
        state, stop = self(state, seen)
        return state, Verdict(jnp.asarray(stop), jnp.zeros_like(seen.k), current(seen))


def current(seen: Observation) -> Candidate:
    """The iterate that is seen."""
    return Candidate(seen.k, seen.image, seen.eta)


def either(condition: Flag, this: Candidate, that: Candidate) -> Candidate:
    """One of two candidates."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), this, that)


@plug()
class Never(Rule):
    """No rule: the budget ends the run, and the last iterate is returned."""

    def __call__(self, state: Any, seen: Observation) -> tuple[Any, Flag]:
        return state, jnp.zeros_like(seen.k, bool)

    @property
    def names(self) -> tuple[str, ...]:
        return ("never",)


@plug(data=("rules",))
class FirstOf(Rule):
    """Stops as soon as one of the rules does, and returns what that one returns; the earlier rule wins a tie.

    While none has fired its candidate is that of the first rule. See `first_of`.
    """

    rules: tuple[Any, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for rule in self.rules for name in rule.names)

    def start(self, first: Candidate, y: Array) -> Any:
        return tuple(rule.start(first, y) for rule in self.rules)

    def judge(self, state: Any, seen: Observation) -> tuple[Any, Verdict]:
        stepped = [rule.judge(one, seen) for rule, one in zip(self.rules, state, strict=True)]
        verdict = stepped[0][1]._replace(stop=jnp.zeros_like(seen.k, bool))
        offset = len(self.names)
        for rule, (_, one) in zip(reversed(self.rules), reversed(stepped), strict=True):
            offset -= len(rule.names)
            one = one._replace(reason=one.reason + offset)
            verdict = jax.tree.map(lambda a, b, stop=one.stop: jnp.where(stop, a, b), one, verdict)
        return tuple(state for state, _ in stepped), verdict


def first_of(*rules: Any) -> FirstOf:
    """Stops as soon as one of the rules does, and returns what that one returns; the earlier rule wins a tie.

    Raises:
        ValueError: no rule.
    """
    if not rules:
        raise ValueError("first_of() needs at least one rule")
    return FirstOf(rules)


class _FirstState(NamedTuple):
    rule: Any
    found: Flag
    candidate: Candidate


@plug(data=("rule", "condition"))
class ReturningFirst(Rule):
    """The stop of one rule, but what is returned is the first iterate at which another one's condition held.

    While it has not held, that is the current one.
    """

    rule: Any
    condition: Any

    @property
    def names(self) -> tuple[str, ...]:
        return self.rule.names

    def start(self, first: Candidate, y: Array) -> Any:
        both = self.rule.start(first, y), self.condition.start(first, y)
        return _FirstState(both, jnp.zeros_like(first.k, bool), first)

    def judge(self, state: Any, seen: Observation) -> tuple[Any, Verdict]:
        rule, verdict = self.rule.judge(state.rule[0], seen)
        condition, held = self.condition.judge(state.rule[1], seen)
        candidate = either(state.found, state.candidate, current(seen))
        return _FirstState((rule, condition), state.found | held.stop, candidate), verdict._replace(chosen=candidate)
