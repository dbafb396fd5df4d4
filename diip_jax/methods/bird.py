"""BIRD, Blind Image Restoration via Fast Diffusion Inversion: the kind of degradation is known, its parameters are not.

Algorithm 1: the noise z of a frozen diffusion model and the parameters eta of the degradation operator are optimised
together until H_eta(g(z)) is the degraded image.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import optax

from diip_jax.ddim_sampling import Gradient, Remat
from diip_jax.methods.diip import noise_of
from diip_jax.plug import check_above, plug
from diip_jax.plugs.losses import masked_mse, mse
from diip_jax.plugs.operators import Blur, Downsample, Identity, KernelNetwork, Mask
from diip_jax.plugs.optimizers import Turn, opt
from diip_jax.plugs.rules import Discrepancy, Never
from diip_jax.schedule import Stride, Variant
from diip_jax.solve.problem import Problem

Updates = Literal["joint", "alternating"]


@plug(data=("prior", "operator", "rule", "learning_rate", "operator_learning_rate", "max_iterations"))
class BIRD:
    """BIRD: min over z on its sphere, and eta, of the mean of (H_eta(g(z)) - y)^2.

    The defaults are for the bundled prior. With the right operator what remains of y is its noise: `Discrepancy` stops
    there. An image of few pixels is fitted beyond it soon, a larger one hardly ever.

    `BIRD.paper` has what section 4 prints for all tasks, `BIRD.code` what the released scripts set for each operator;
    they differ, see `PAPER` and `CODE`.

    Attributes:
        prior: a `Prior`, or anything that `ddim` takes.
        operator: what happened to the image, see `diip_jax.plugs.operators`: `Identity()` for nothing but noise, or
            JPEG (the paper's choice); `Blur(15)` for an unknown kernel of 15x15; `VaryingBlur(15)` where it changes
            over the image; `Downsample(Blur(15), 4)`; `Mask()`, with args={"mask": ...}; `GainOffset(Blur(15))`; or an
            `Operator` of one's own.
        rule: when to stop, see `diip_jax.plugs.rules`. epsilon of Algorithm 1 is `LossThreshold`.
        learning_rate, operator_learning_rate: of Adam on z and on eta; numbers, or schedules as `diip_jax.opt` takes
            them. For groups of eta with rates of their own state the `Problem`, with `Groups`.
        updates: "joint": z and eta step together, both gradients taken at iterate k, as Algorithm 1 and the code have
            it. "alternating": z in even iterations, eta in odd ones, as section 3.1 says in words.
        max_iterations, stride, variant, gradient, remat, project, refresh: as in `DIIP`.

    Raises:
        ValueError: a rate that is not above 0, a budget below 1, other updates.
    """

    prior: Any
    operator: Any = Blur(15)
    rule: Any = Discrepancy()
    learning_rate: Any = 0.01
    operator_learning_rate: Any = 3e-3
    updates: Updates = "joint"
    max_iterations: Any = 200
    stride: Stride = 100
    variant: Variant = "code"
    gradient: Gradient = "detached"
    remat: Literal["auto", Remat] = "auto"
    project: bool = True
    refresh: int | Literal["all"] = "all"

    def __post_init__(self) -> None:
        check_above("learning_rate", self.learning_rate, 0)
        check_above("operator_learning_rate", self.operator_learning_rate, 0)
        check_above("max_iterations", self.max_iterations, 1, inclusive=True)
        if self.updates not in get_args(Updates):
            raise ValueError(f"updates={self.updates!r}: expected one of {', '.join(get_args(Updates))}")

    @classmethod
    def paper(cls, prior: Any, operator: Any = None, **settings: Any) -> "BIRD":
        """With the numbers of section 4 for what is not given; the operator is a blur by the paper's kernel network."""
        operator = Blur(KernelNetwork(15)) if operator is None else operator
        return cls(prior, operator, **({**PAPER, "rule": Never()} | settings))

    @classmethod
    def code(cls, prior: Any, operator: Any = None, **settings: Any) -> "BIRD":
        """With the numbers of the released script for this operator; without one that of blind_deblurring.

        Raises:
            ValueError: an operator that there is no script for.
        """
        operator = Blur(KernelNetwork(41), "zero") if operator is None else operator
        task = next((name for kind, name in _SCRIPTS.items() if isinstance(operator, kind)), None)
        if task is None:
            scripts = ", ".join(kind.__name__ for kind in _SCRIPTS)
            raise ValueError(f"operator={type(operator).__name__}: there are released scripts for {scripts} only")
        return cls(prior, operator, **({**CODE[task], "rule": Never()} | settings))

    def problem(self) -> Problem:
        """The plugs."""
        both: tuple[Any, Any] = opt(optax.adam, self.learning_rate), opt(optax.adam, self.operator_learning_rate)
        if self.updates == "alternating":
            both = Turn(both[0], 0), Turn(both[1], 1)
        return Problem(
            generator=noise_of(self),
            operator=self.operator,
            loss=masked_mse if isinstance(self.operator, Mask) else mse,
            rule=self.rule,
            optimizer=both[0],
            operator_optimizer=both[1],
            max_iterations=self.max_iterations,
        )


# Section 4, "for all our experiments", and Algorithms 1 and 2: t = 1000, 900, ..., no clipping, the gradient through
# the network. One rate for z and eta (eq. 21). Kernel size and boundary are not printed. The sphere's radius counts the
# channels, which the paper's notation leaves out: sqrt(H W) would be a third of a standard normal vector's energy.
PAPER: Mapping[str, Any] = {
    "learning_rate": 0.003,
    "operator_learning_rate": 0.003,
    "max_iterations": 200,
    "stride": 100,
    "variant": "paper",
    "gradient": "full",
    "project": True,
    "updates": "joint",
}

# The released scripts: denoising, inpainting, super_resolution (by a known mean of blocks), blind_deblurring. There is
# none for the others: the one called blind_non_uniform_deblurring takes the identity.
_RELEASED: Mapping[str, Any] = {
    "stride": 100,
    "variant": "code",
    "gradient": "detached",
    "project": True,
    "updates": "joint",
}
CODE: Mapping[str, Mapping[str, Any]] = {
    "identity": {**_RELEASED, "learning_rate": 0.01, "max_iterations": 200},
    "mask": {**_RELEASED, "learning_rate": 0.01, "max_iterations": 200},
    "downsample": {**_RELEASED, "learning_rate": 0.001, "max_iterations": 100},
    "blur": {**_RELEASED, "learning_rate": 0.003, "operator_learning_rate": 2e-4, "max_iterations": 100},
}
_SCRIPTS = {Identity: "identity", Mask: "mask", Downsample: "downsample", Blur: "blur"}
