"""The blind default: noise, blur, JPEG, low resolution, dead pixels and mixtures of them, and nobody says which.

DIIP's inversion of a frozen diffusion model with three things that neither paper has: the damage is read off the
picture beforehand (`FoundDamage`), pixels that fit nothing lose their say (`Cauchy`), and the network is evaluated at
one timestep an iteration (`refresh`). With a rate that falls the run ends where it should, and needs no stopping rule.
"""

from typing import Any, Literal

import optax

from diip_jax.ddim import Gradient, Remat
from diip_jax.methods.diip import noise_of
from diip_jax.plug import check_above, plug
from diip_jax.plugs.generators import Begin
from diip_jax.plugs.losses import Cauchy
from diip_jax.plugs.operators.found_damage import FoundDamage
from diip_jax.plugs.optimizers import decay, opt
from diip_jax.plugs.rules import Never
from diip_jax.schedule import Stride, Variant
from diip_jax.solve.problem import Problem

RATE = 0.015
# Share of the rate that is left at the end. Each refreshed eps draws the image towards the prior, each step towards y:
# what the rate ends at is how far the image may stay from smooth.
FINAL_RATE = 0.15
# DDIM's timesteps. A prior that knows what pictures show begins at nothing but noise. One that knows details alone has
# no use for noise that hides them all, and needs steps as fine as what it is to draw: noise of 2 to 0.03 of the signal.
_STRIDE = 200
_LOCAL_TIMESTEPS = (350, 160, 75, 30, 10)


@plug(data=("prior", "rule", "learning_rate", "ridge", "outliers"))
class Blind:
    """min over z of E(k * g(z) + n, y): k and n from y itself, E robust, eps refreshed by turns.

    Attributes:
        prior: a `Prior`, or anything that `ddim` takes.
        rule: when to stop; the budget alone needs no more, see docs/blind.md.
        learning_rate: of Adam on z, as `diip_jax.opt` takes it; None: 0.015, falling along a cosine over the budget.
        ridge: see `SpectralBlur`.
        outliers: see `Cauchy`.
        max_iterations: the budget.
        stride: of DDIM, or its timesteps; None: 200, and for a local prior (`Prior.local`) few small ones.
        begin: see `DDIM`; None: "noise", and for a local prior "guess".
        variant, gradient, remat, project, refresh: of DDIM, see `DIIP`. An iteration evaluates the network `refresh`
            times. A run that begins at a guess is not projected.

    Raises:
        ValueError: a rate that is not above 0, a budget below 1.
    """

    prior: Any
    rule: Any = Never()
    learning_rate: Any = None
    ridge: Any = 0.3
    outliers: Any = 0.5
    max_iterations: int = 120
    stride: Stride | None = None
    begin: Begin | None = None
    variant: Variant = "code"
    gradient: Gradient = "detached"
    remat: Literal["auto"] | Remat = "auto"
    project: bool = True
    refresh: int | Literal["all"] = 1

    def __post_init__(self) -> None:
        check_above("learning_rate", self.learning_rate, 0)
        check_above("max_iterations", self.max_iterations, 1, inclusive=True)

    def problem(self) -> Problem:
        """The plugs."""
        local = getattr(self.prior, "local", False)
        stride = self.stride or (_LOCAL_TIMESTEPS if local else _STRIDE)
        begin: Begin = self.begin or ("guess" if local else "noise")
        falling = decay(optax.cosine_decay_schedule, RATE, self.max_iterations, alpha=FINAL_RATE)
        return Problem(
            generator=noise_of(self, stride=stride, begin=begin, project=self.project and begin == "noise"),
            operator=FoundDamage(self.prior, self.ridge),
            loss=Cauchy(self.outliers),
            rule=self.rule,
            optimizer=opt(optax.adam, falling if self.learning_rate is None else self.learning_rate),
            # Nothing of the operator is learned, and this keeps no moments of the images in it.
            operator_optimizer=opt(optax.sgd, 1.0),
            max_iterations=self.max_iterations,
        )
