"""DIIP, Diffusion Image Prior (ICCV 2025): fully blind restoration.

A frozen diffusion model is inverted by optimising its input noise, and stopped before it fits the degradation.
"""

from collections.abc import Mapping
from typing import Any, Literal

import optax

from diip_jax.ddim_sampling import Gradient, Remat
from diip_jax.plug import check_above, plug
from diip_jax.plugs.generators import DDIM
from diip_jax.plugs.optimizers import opt
from diip_jax.plugs.rules import printed, robust
from diip_jax.schedule import Stride, Variant
from diip_jax.solve.problem import Problem


@plug(data=("prior", "rule", "learning_rate", "max_iterations"))
class DIIP:
    """DIIP: min over z on its sphere of the mean of (g(z) - y)^2, whatever happened to the image.

    The defaults are chosen for the bundled prior (docs/ablations.md), `DIIP.paper` has the printed ones. 200 iterations
    at 0.01 go as far as the paper's 1500 (the length of its study) at 0.0015, because Adam moves every element of z by
    at most about its rate in an iteration; and the printed k_min = 100 falls where the picture is formed rather than
    long before.

    Attributes:
        prior: a `Prior`, or anything that `ddim` takes.
        rule: when to stop, see `diip_jax.plugs.rules`.
        learning_rate: of Adam on z: a number, or a schedule as `diip_jax.opt` takes it.
        max_iterations: the budget.
        stride, variant, gradient, remat, refresh: of DDIM, see `diip_jax.plugs.generators.DDIM`. (BIRD's stride is
            100; 200 halves the time.)
        project: keep z on its sphere (BIRD, Algorithm 1 line 5; DIIP's paper does not say).

    Raises:
        ValueError: a rate that is not above 0, a budget below 1.
    """

    prior: Any
    rule: Any = robust()
    learning_rate: Any = 0.01
    max_iterations: Any = 200
    stride: Stride = 100
    variant: Variant = "code"
    gradient: Gradient = "detached"
    remat: Literal["auto", Remat] = "auto"
    project: bool = True
    refresh: int | Literal["all"] = "all"

    def __post_init__(self) -> None:
        check_above("learning_rate", self.learning_rate, 0)
        check_above("max_iterations", self.max_iterations, 1, inclusive=True)

    @classmethod
    def paper(cls, prior: Any, **settings: Any) -> "DIIP":
        """With the printed numbers for what is not given."""
        return cls(prior, **({**PAPER, "rule": printed()} | settings))

    def problem(self) -> Problem:
        """The plugs."""
        return Problem(
            generator=noise_of(self),
            rule=self.rule,
            optimizer=opt(optax.adam, self.learning_rate),
            max_iterations=self.max_iterations,
        )


PAPER: Mapping[str, Any] = {"learning_rate": 0.0015, "max_iterations": 1500}


def noise_of(method: Any) -> DDIM:
    """The generator that a method with DDIM's settings has: u is the prior's noise z."""
    return DDIM(
        method.prior,
        method.stride,
        method.variant,
        method.gradient,
        method.remat,
        method.project,
        method.refresh,
    )
