"""The whole problem as one pytree, min over (u, eta) of E(H_eta(g(u), args), y), and the codes of how a run ends."""

import enum
from typing import Any

import optax

from diip_jax.plug import as_plug, check_above, plug
from diip_jax.plugs.losses import mse
from diip_jax.plugs.operators import Identity
from diip_jax.plugs.optimizers import opt
from diip_jax.plugs.rules import Never


@plug(data=("generator", "operator", "loss", "rule", "optimizer", "operator_optimizer", "max_iterations"))
class Problem:
    """The plugs of a restoration. Other arrays in them, rates, thresholds and budgets run in the same program.

    Attributes:
        generator: g, and the set that its variable u lives in: `ddim(prior)`, or a `Generator` of one's own.
        operator: H_eta, an `Operator`.
        loss: E(prediction, y, args), a scalar; a function, or a plug.
        rule: when to stop and which iterate to return, a `Rule`; the loop adds the budget and a guard against
            divergence.
        optimizer: of u, see `opt`.
        operator_optimizer: of eta.
        max_iterations: the budget.

    Raises:
        ValueError: a budget that is no whole number from 1 on.
    """

    generator: Any
    operator: Any = Identity()
    loss: Any = mse
    rule: Any = Never()
    optimizer: Any = opt(optax.adam, 0.01)
    operator_optimizer: Any = opt(optax.adam, 3e-3)
    max_iterations: Any = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", as_plug(self.loss))
        check_above("max_iterations", self.max_iterations, 1, inclusive=True)
        if isinstance(self.max_iterations, float):
            raise ValueError(f"max_iterations={self.max_iterations}: expected a whole number")


class Result(enum.IntEnum):
    """How the optimisation of an image ended; on the device an int32."""

    RUNNING = 0
    RULE = 1
    BUDGET = 2
    DIVERGED = 3
    STOPPED = 4
    SETTLED = 5

    @property
    def advice(self) -> str:
        """What it means and what to do about it, in words."""
        return _ADVICE[self]


_ADVICE = {
    Result.RUNNING: "the run was cut off before its end; go on with u0=solution.state",
    Result.RULE: "the stopping rule ended the run; `reasons` has its name",
    Result.BUDGET: "no rule fired within max_iterations; where the loss still falls, go on with u0=solution.state "
    "and a larger max_iterations, or use another rule",
    Result.DIVERGED: "the loss was no longer finite, and the last finite iterate is returned (`selected` -1: there "
    "was none); lower the learning rate",
    Result.SETTLED: "there was nothing to invert: what the operator made of the observation is the restored image",
    Result.STOPPED: "the callback ended the run; u0=solution.state goes on",
}
