"""The settings that methods have in common: of the optimisation and its stopping, and of a frozen prior's inversion."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import optax

from diip_jax.ddim_sampling import Gradient, Remat
from diip_jax.methods import Method
from diip_jax.plugs.operators import Identity, PictureOperator
from diip_jax.plugs.optimizers import decay
from diip_jax.plugs.rules import (
    Averaged,
    Discrepancy,
    LossSlope,
    Never,
    combined,
    exponential_moving_variance,
    laplacian_variance_peak,
    printed,
    robust,
    windowed_moving_variance,
)
from diip_jax.schedule import Variant

Stopping = Literal[
    "paper", "robust", "laplacian_variance", "loss_slope", "wmv", "emv", "discrepancy", "averaged", "combined", "budget"
]


@dataclass(frozen=True)
class Settings(abc.ABC):
    """Settings of the optimisation, whatever is optimised.

    Attributes:
        learning_rate: of Adam on u, the generator's variable.
        max_iterations: the iteration budget.
        stopping: "paper" is the first of DIIP's two printed rules to fire; "robust" the first of their smoothed,
            patient variants, both with k_min; "laplacian_variance" and "loss_slope" one printed rule alone; "wmv" and
            "emv" where the iterates vary least; "discrepancy" where the loss is that of the noise seen in y; "averaged"
            stops as "robust" does and returns the mean of the last iterates; "combined" is the first of a
            Laplacian-variance rule relative to y (`diip_jax.sharpness_peak`), one of a y that is all explained
            (`diip_jax.ExplainedVariance`) and "emv"; "budget" none. Where
            the budget ends the run, the last iterate is returned ("averaged": the mean).
        k_min, eps: of the printed rules (DIIP: 100 and 0.001).
        robust_eps, smoothing, patience: of the robust rules, the first in the place of eps: 0.001 ends noise before the
            picture is finished (docs/stopping.md); "emv" and "combined" have both and k_min, "wmv" the patience,
            "averaged" all of "robust" and the smoothing for its mean, too.
        window: of "wmv", in iterates.
        explained, sharpness_ratio, fully_explained: of "combined", see `diip_jax.sharpness_peak` and, for the
            last one, `diip_jax.ExplainedVariance`.
        tau: of "discrepancy", see `diip_jax.Discrepancy`.
    """

    learning_rate: float = 0.01
    max_iterations: int = 200
    stopping: Stopping = "robust"
    k_min: int = 100
    eps: float = 1e-3
    robust_eps: float = 3e-4
    smoothing: float = 0.9
    patience: int = 10
    window: int = 10
    explained: float = 0.86
    sharpness_ratio: float = 1.6
    fully_explained: float = 0.992
    tau: float = 1.0

    def __post_init__(self) -> None:
        if self.stopping not in get_args(Stopping):
            raise ValueError(f"stopping={self.stopping!r}: expected one of {', '.join(get_args(Stopping))}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate}: expected above 0")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations={self.max_iterations}: expected at least 1")
        # Of all rules, so that a bad number is refused whichever rule is chosen.
        self._rules()

    @abc.abstractmethod
    def method(self, prior: Any) -> Method:
        """The method with these settings; where no prior takes part it is not looked at."""

    def operator(self) -> PictureOperator:
        """What the method takes for what happened to the image."""
        return Identity()

    @property
    def needs(self) -> tuple[str, ...]:
        """Entries of `args` that have to be given: "mask", "kernel"."""
        return ()

    @classmethod
    def presets(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        """Published settings by name; for some methods they depend on others of the settings, which are given."""
        return {}

    def rule(self) -> Any:
        """The stopping rule that the settings name."""
        return self._rules()[self.stopping]

    def _rules(self) -> dict[str, Any]:
        watched: dict[str, Any] = {"k_min": self.k_min, "smoothing": self.smoothing, "patience": self.patience}
        smoothed = robust(eps=self.robust_eps, **watched)
        return {
            "paper": printed(self.k_min, self.eps),
            "robust": smoothed,
            "laplacian_variance": laplacian_variance_peak(self.k_min),
            "loss_slope": LossSlope(self.eps),
            "wmv": windowed_moving_variance(self.window, patience=self.patience),
            "emv": exponential_moving_variance(**watched),
            "discrepancy": Discrepancy(self.tau),
            "averaged": Averaged(smoothed, self.smoothing),
            "combined": combined(self.explained, self.sharpness_ratio, self.fully_explained, **watched),
            "budget": Never(),
        }


@dataclass(frozen=True)
class NoiseSettings(Settings):
    """Settings of the inversion of a frozen prior, u its noise z: those of `Settings`, and of DDIM.

    Adam moves every element of z by at most about its rate in an iteration, so that rate times iterations is how far z
    can go.

    Attributes:
        stride: delta_t of DDIM (BIRD: 100; 200 halves the time).
        variant: "code" or "paper", see `diip_jax.reverse`.
        gradient: "detached" or "full", see `diip_jax.reverse`.
        remat: what the full gradient computes again to save memory, see `diip_jax.reverse`. "auto" is the first of
            "none", "step" and "block" that fits.
        project: keep z on its sphere (BIRD, Algorithm 1 line 5; DIIP's paper does not say).
        refresh: at how many of the visited timesteps an iteration evaluates the network, by turns, see
            `diip_jax.DDIM`; 0: at all.
        final_rate: share of the learning rates that is left at the end of the budget, along a cosine; 1: they stay.
    """

    stride: int = 100
    variant: Variant = "code"
    gradient: Gradient = "detached"
    remat: Literal["auto", Remat] = "auto"
    project: bool = True
    refresh: int = 0
    final_rate: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refresh < 0:
            raise ValueError(f"refresh={self.refresh}: expected 0 for all timesteps, or how many an iteration")
        if self.refresh and self.gradient != "detached":
            raise ValueError(
                f"refresh={self.refresh}: a kept eps has no gradient; use gradient='detached' or refresh=0"
            )
        if not 0 < self.final_rate <= 1:
            raise ValueError(f"final_rate={self.final_rate}: expected above 0, at most 1")

    def _of_ddim(self) -> dict[str, Any]:
        names = ("max_iterations", "stride", "variant", "gradient", "remat", "project")
        own = {"learning_rate": self._rate(self.learning_rate), "refresh": self.refresh or "all"}
        return {name: getattr(self, name) for name in names} | own

    def _rate(self, first: float) -> Any:
        """A rate of Adam as the methods take it."""
        if self.final_rate == 1:
            return first
        return decay(optax.cosine_decay_schedule, first, self.max_iterations, alpha=self.final_rate)
