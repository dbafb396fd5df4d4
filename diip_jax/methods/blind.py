"""The blind default: noise, blur, JPEG, low resolution, dead pixels and mixtures of them, and nobody says which.

DIIP's inversion of a frozen diffusion model with three things that neither paper has: the blur is read off the
picture's own spectrum beforehand (`SpectralBlur`), pixels that fit nothing lose their say (`Cauchy`), and the network
is evaluated at one timestep an iteration (`refresh`). With a rate that falls the run ends where it should, and needs no
stopping rule.
"""

from typing import Any, Literal

import optax

from diip_jax.ddim import Gradient, Remat
from diip_jax.methods.diip import noise_of
from diip_jax.plug import check_above, plug
from diip_jax.plugs.losses import Cauchy
from diip_jax.plugs.operators.spectral_blur import SpectralBlur
from diip_jax.plugs.optimizers import decay, opt
from diip_jax.plugs.rules import Never
from diip_jax.schedule import Variant
from diip_jax.solve.problem import Problem

# Share of the rate that is left at the end. Each refreshed eps draws the image towards the prior, each step towards y:
# what the rate ends at is how far the image may stay from smooth.
FINAL_RATE = 0.15


@plug(data=("prior", "rule", "learning_rate", "ridge", "outliers"))
class Blind:
    """min over z on its sphere of E(k * g(z), y): k from the spectrum of y, E robust, eps refreshed by turns.

    Attributes:
        prior: a `Prior`, or anything that `ddim` takes.
        rule: when to stop; the budget alone needs no more, see docs/blind.md.
        learning_rate: of Adam on z, as `diip_jax.opt` takes it; None: 0.01, which falls along a cosine over the budget.
        ridge: see `SpectralBlur`.
        outliers: see `Cauchy`.
        max_iterations: the budget.
        stride, variant, gradient, remat, project, refresh: of DDIM, see `DIIP`. An iteration evaluates the network
            `refresh` times.
    """

    prior: Any
    rule: Any = Never()
    learning_rate: Any = None
    ridge: Any = 0.3
    outliers: Any = 0.5
    max_iterations: int = 200
    stride: int = 200
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
        falling = decay(optax.cosine_decay_schedule, 0.01, self.max_iterations, alpha=FINAL_RATE)
        return Problem(
            generator=noise_of(self),
            operator=SpectralBlur(self.ridge),
            loss=Cauchy(self.outliers),
            rule=self.rule,
            optimizer=opt(optax.adam, falling if self.learning_rate is None else self.learning_rate),
            max_iterations=self.max_iterations,
        )
