"""What methods share: Adam on the variable of a generator until a rule stops it; here, too, the noise of a prior."""

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax

from diip_jax import generators
from diip_jax.array_types import Images, Params
from diip_jax.ddim import Gradient, Remat
from diip_jax.loop import Problem
from diip_jax.operators import Operator, identity
from diip_jax.prior import Prior
from diip_jax.schedule import Variant
from diip_jax.stopping import (
    StoppingRule,
    averaged,
    budget,
    discrepancy,
    explained_variance,
    exponential_moving_variance,
    first_of,
    laplacian_variance_peak,
    loss_slope,
    sharpness_peak,
    windowed_moving_variance,
)

Stopping = Literal[
    "paper", "robust", "laplacian_variance", "loss_slope", "wmv", "emv", "discrepancy", "averaged", "combined", "budget"
]


@dataclass(frozen=True)
class Inversion(abc.ABC):
    """Settings of the optimisation, whatever its generator.

    Attributes:
        learning_rate: of Adam on u, the generator's variable.
        max_iterations: the iteration budget.
        stopping: "paper" is the first of DIIP's two printed rules to fire; "robust" the first of their smoothed,
            patient variants, both with k_min; "laplacian_variance" and "loss_slope" one printed rule alone; "wmv" and
            "emv" where the iterates vary least; "discrepancy" where the loss is that of the noise seen in y; "averaged"
            stops as "robust" does and returns the mean of the last iterates; "combined" is the first of a
            Laplacian-variance rule relative to y (`diip_jax.stopping.sharpness_peak`), one of a y that is all explained
            (`diip_jax.stopping.explained_variance`) and "emv"; "budget" none. Where
            the budget ends the run, the last iterate is returned ("averaged": the mean).
        k_min, eps: of the printed rules (DIIP: 100 and 0.001).
        robust_eps, smoothing, patience: of the robust rules, the first in the place of eps: 0.001 ends noise before the
            picture is finished (docs/stopping.md); "emv" and "combined" have both and k_min, "wmv" the patience,
            "averaged" all of "robust" and the smoothing for its mean, too.
        window: of "wmv", in iterates.
        explained, sharpness_ratio, fully_explained: of "combined", see `diip_jax.stopping.sharpness_peak` and, for the
            last one, `diip_jax.stopping.explained_variance`.
        tau: of "discrepancy", see `diip_jax.stopping.discrepancy`.
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
        # Of all rules, so that a bad number is refused whichever rule is chosen.
        self._rules()

    @abc.abstractmethod
    def problem(self, prior: Prior, image_shape: tuple[int, int, int]) -> Problem:
        """The plugs for restored images of shape (H, W, C), see `diip_jax.methods.Method`."""

    @classmethod
    def presets(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        """Published settings by name; for some methods they depend on others of the settings, which are given."""
        return {}

    def optimizers(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """For u, and for eta."""
        return optax.adam(self.learning_rate), optax.identity()

    def rule(self) -> StoppingRule:
        """The stopping rule that the settings name."""
        return self._rules()[self.stopping]

    def _rules(self) -> dict[str, StoppingRule]:
        peak, slope = laplacian_variance_peak(self.k_min), loss_slope(self.eps)
        robust_peak = laplacian_variance_peak(self.k_min, patience=self.patience, smoothing=self.smoothing)
        robust_slope = loss_slope(self.robust_eps, k_min=self.k_min, patience=self.patience, smoothing=self.smoothing)
        robust, end = first_of(robust_peak, robust_slope), budget(self.max_iterations)
        sharpness = sharpness_peak(self.explained, self.sharpness_ratio, patience=self.patience)
        emv = exponential_moving_variance(self.smoothing, k_min=self.k_min, patience=self.patience)
        return {
            "paper": first_of(peak, slope),
            "robust": robust,
            "laplacian_variance": peak,
            "loss_slope": slope,
            "wmv": windowed_moving_variance(self.window, patience=self.patience),
            "emv": emv,
            "discrepancy": discrepancy(self.tau),
            "averaged": averaged(first_of(robust, end), self.smoothing),
            "combined": first_of(sharpness, explained_variance(self.fully_explained), emv),
            "budget": end,
        }


@dataclass(frozen=True)
class NoiseInversion(Inversion):
    """Settings of the inversion of a frozen prior, u its noise z: those of `Inversion`, and of DDIM.

    Adam moves every element of z by at most about its rate in an iteration, so that rate times iterations is how far z
    can go.

    Attributes:
        stride: delta_t of DDIM (BIRD: 100; 200 halves the time).
        variant: "code" (as the checkpoint is sampled) or "paper", see `diip_jax.ddim.reverse`.
        gradient: "detached" or "full", see `diip_jax.ddim.reverse`.
        remat: what the full gradient computes again to save memory, see `diip_jax.ddim.reverse`. "auto" is the first of
            "none", "step" and "block" that fits (`fitted`); where nobody has asked, "step".
        project: keep z on its sphere (BIRD, Algorithm 1 line 5; DIIP's paper does not say).
    """

    stride: int = 100
    variant: Variant = "code"
    gradient: Gradient = "detached"
    remat: Literal["auto", Remat] = "auto"
    project: bool = True

    def operator(self, channels: int) -> Operator:
        """H_eta for images of so many channels."""
        return identity()

    def problem(self, prior: Prior, image_shape: tuple[int, int, int]) -> Problem:
        """min over z on its sphere, and eta, of the mean of (H_eta(g(z)) - y)^2; the first iterate a rule accepts."""
        optimizer, operator_optimizer = self.optimizers()
        return Problem(
            generator=generators.ddim(
                prior,
                image_shape,
                stride=self.stride,
                variant=self.variant,
                gradient=self.gradient,
                remat="step" if self.remat == "auto" else self.remat,
                project=self.project,
            ),
            operator=self.operator(image_shape[-1]),
            optimizer=optimizer,
            operator_optimizer=operator_optimizer,
            stopping=self.rule(),
            max_iterations=self.max_iterations,
        )

    def fitted(
        self, prior: Prior, image_shape: tuple[int, int, int], images: int, memory: int | None
    ) -> "NoiseInversion":
        """The settings with `remat` "auto" settled: the activations that are kept fit into a quarter of the memory.

        Args:
            images: how many of shape (H, W, C) a device has at once.
            memory: of a device, in bytes; None where it is not known.
        """
        if self.remat != "auto" or self.gradient == "detached" or memory is None:
            return self
        steps = prior.schedule.num_timesteps // self.stride
        kept = images * activation_bytes(prior, image_shape)
        remat: Remat = "none" if 4 * steps * kept <= memory else "step" if 4 * kept <= memory else "block"
        return dataclasses.replace(self, remat=remat)


def activation_bytes(prior: Prior, image_shape: tuple[int, int, int]) -> int:
    """What one evaluation of the prior keeps of one image for its gradient, in bytes; traced, not computed."""
    x = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)

    def residuals(params: Params, x: Images) -> Any:
        frozen = dataclasses.replace(prior, params=params)
        return jax.vjp(lambda x: frozen.eps(x, jnp.zeros(1)), x)[1]

    kept = jax.tree.leaves(jax.eval_shape(residuals, prior.params, x))
    # The parameters are among them, and are there anyway.
    return max(0, _bytes(kept) - _bytes(prior.params))


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
