"""DIIP, Diffusion Image Prior (ICCV 2025): fully blind restoration.

A frozen diffusion model is inverted by optimising its input noise, and stopped before it fits the degradation.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import optax

from diip_jax import generators, operators
from diip_jax.ddim import Gradient, Remat
from diip_jax.loop import Problem
from diip_jax.prior import Prior
from diip_jax.schedule import Variant
from diip_jax.stopping import StoppingRule, budget, first_of, laplacian_variance_peak, loss_slope

Stopping = Literal["paper", "robust", "laplacian_variance", "loss_slope", "budget"]


@dataclass(frozen=True)
class DIIP:
    """Settings of DIIP. `PAPER` holds the printed ones; the defaults are chosen for the bundled prior, see the README.

    Adam moves every element of z by at most about its rate in an iteration. So 200 iterations at 0.01 go as far as the
    paper's 1500 at 0.0015, and the printed k_min = 100 falls where the picture is formed rather than long before.

    Attributes:
        learning_rate: of Adam on the noise z (paper: 0.0015).
        max_iterations: the iteration budget (the paper's study runs to 1500).
        stopping: "paper" is the first of the two printed rules to fire; "robust" the first of their smoothed, patient
            variants, both with k_min; "laplacian_variance" and "loss_slope" one printed rule alone; "budget" none.
            Where the budget ends the run, the last iterate is returned.
        k_min, eps: of the printed rules (paper: 100 and 0.001).
        smoothing, patience: of the robust rules.
        stride: delta_t of DDIM (BIRD: 100; 200 halves the time).
        variant: "code" or "paper", see `diip_jax.ddim.reverse`.
        gradient: "detached" or "full", see `diip_jax.ddim.reverse`.
        remat: what the full gradient computes again to save memory, see `diip_jax.ddim.reverse`.
        project: keep z on its sphere (BIRD); the note on DIIP does not say.
    """

    learning_rate: float = 0.01
    max_iterations: int = 200
    stopping: Stopping = "robust"
    k_min: int = 100
    eps: float = 1e-3
    smoothing: float = 0.9
    patience: int = 10
    stride: int = 100
    variant: Variant = "code"
    gradient: Gradient = "detached"
    remat: Remat = "step"
    project: bool = True

    def __post_init__(self) -> None:
        if self.stopping not in get_args(Stopping):
            raise ValueError(f"stopping={self.stopping!r}: expected one of {', '.join(get_args(Stopping))}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate}: expected above 0")
        # Of all rules, so that a bad number is refused whichever rule is chosen.
        self._rules()

    def rule(self) -> StoppingRule:
        """The stopping rule that the settings name."""
        return self._rules()[self.stopping]

    def _rules(self) -> dict[str, StoppingRule]:
        peak, slope = laplacian_variance_peak(self.k_min), loss_slope(self.eps)
        robust_peak = laplacian_variance_peak(self.k_min, patience=self.patience, smoothing=self.smoothing)
        robust_slope = loss_slope(self.eps, k_min=self.k_min, patience=self.patience, smoothing=self.smoothing)
        return {
            "paper": first_of(peak, slope),
            "robust": first_of(robust_peak, robust_slope),
            "laplacian_variance": peak,
            "loss_slope": slope,
            "budget": budget(self.max_iterations),
        }

    def problem(self, prior: Prior, image_shape: tuple[int, int, int]) -> Problem:
        """min over z on its sphere of mean (g(z) - y)^2, Adam, first iterate that a rule accepts."""
        return Problem(
            generator=generators.ddim(
                prior,
                image_shape,
                stride=self.stride,
                variant=self.variant,
                gradient=self.gradient,
                remat=self.remat,
                project=self.project,
            ),
            operator=operators.identity(),
            optimizer=optax.adam(self.learning_rate),
            operator_optimizer=optax.identity(),
            stopping=self.rule(),
            max_iterations=self.max_iterations,
        )


PAPER = DIIP(learning_rate=0.0015, max_iterations=1500, stopping="paper")
