"""The mean of late iterates in place of the one at which a rule stops."""

from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Image
from diip_jax.plug import plug
from diip_jax.plugs.rules.checks import check_smoothing
from diip_jax.plugs.rules.rule import Candidate, Observation, Rule, Verdict


class _AveragedState(NamedTuple):
    mean: Image
    rule: Any


@plug(data=("rule", "smoothing"))
class Averaged(Rule):
    """The stop of a rule, but what is returned is the exponential mean of the iterates up to the one it selects.

    Ulyanov et al., "Deep Image Prior" (CVPR 2018), return such a mean of the outputs. The rule is shown the mean in
    place of each iterate, and with it the loss and the Laplacian variance of the iterate. Where the budget ends the run
    the mean is returned, too.

    Attributes:
        rule: any.
        smoothing: weight of the past in the mean, 0 <= smoothing < 1.

    Raises:
        ValueError: a smoothing outside 0 <= smoothing < 1.
    """

    rule: Any
    smoothing: Any = 0.9

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)

    @property
    def names(self) -> tuple[str, ...]:
        return self.rule.names

    def start(self, first: Candidate, y: Array) -> _AveragedState:
        return _AveragedState(first.image, self.rule.start(first, y))

    def judge(self, state: _AveragedState, seen: Observation) -> tuple[_AveragedState, Verdict]:
        mean = jnp.where(seen.k == 0, seen.image, self.smoothing * state.mean + (1 - self.smoothing) * seen.image)
        rule, verdict = self.rule.judge(state.rule, seen._replace(image=mean))
        return _AveragedState(mean, rule), verdict
