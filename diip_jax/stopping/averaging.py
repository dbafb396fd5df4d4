"""The mean of late iterates in place of the one at which a rule stops."""

from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Any, Image, Observed
from diip_jax.stopping.rule import Observation, StoppingRule, Verdict, check_smoothing


class _AveragedState(NamedTuple):
    mean: Image
    rule: Any


def averaged(rule: StoppingRule, smoothing: float = 0.9) -> StoppingRule:
    """The stop of a rule, but what is returned is the exponential mean of the iterates up to the one it selects.

    Ulyanov et al., "Deep Image Prior" (CVPR 2018), return such a mean of the outputs. The rule is shown the mean in
    place of each iterate, and with it the loss and the Laplacian variance of the iterate.

    Args:
        rule: any; with the iteration budget among its rules the mean is returned at the budget's end, too.
        smoothing: weight of the past in the mean, 0 <= smoothing < 1.
    """
    check_smoothing(smoothing)

    def init(image: Image, y: Observed) -> _AveragedState:
        return _AveragedState(image, rule.init(image, y))

    def update(state: _AveragedState, seen: Observation) -> tuple[_AveragedState, Verdict]:
        mean = jnp.where(seen.k == 0, seen.image, smoothing * state.mean + (1 - smoothing) * seen.image)
        rule_state, verdict = rule.update(state.rule, seen._replace(image=mean))
        return _AveragedState(mean, rule_state), verdict

    return StoppingRule(init, update, rule.names)
