"""The settings of the methods as the command line has them: flat, by name, each with its default.

In Python a method is put together from objects (`diip_jax.BIRD(prior, Blur(15), robust(k_min=50))`), which have no
setting that is not theirs. Flags, records and tables have one flat list of names and values for a method; here it is
checked, and made into the objects.
"""

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import optax

from diip_jax.ddim import Gradient, Remat
from diip_jax.methods import BIRD, DIIP, DIP, Blind, Method, bird, diip
from diip_jax.models.skip_network import Upsampling
from diip_jax.plugs.operators import (
    Blur,
    Boundary,
    Centred,
    Downsample,
    FoundDamage,
    GainOffset,
    Identity,
    KernelLogits,
    KernelNetwork,
    KnownKernel,
    Mask,
    PictureOperator,
    VaryingBlur,
)
from diip_jax.plugs.optimizers import decay
from diip_jax.plugs.rules import (
    Averaged,
    Discrepancy,
    LossSlope,
    LossThreshold,
    Never,
    combined,
    exponential_moving_variance,
    first_of,
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
        variant: "code" or "paper", see `diip_jax.ddim.reverse`.
        gradient: "detached" or "full", see `diip_jax.ddim.reverse`.
        remat: what the full gradient computes again to save memory, see `diip_jax.ddim.reverse`. "auto" is the first of
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


@dataclass(frozen=True)
class BlindSettings(Settings):
    """Settings of `diip_jax.Blind`.

    Attributes:
        learning_rate: share of every correction that is made.
        max_iterations: the budget, and how many levels of noise there are.
        ridge: noise to signal of the inverse of the blur, see `diip_jax.SpectralBlur`.
        first_level, last_level: of noise, see `diip_jax.CorrectedSampling`; a first one of 0: as the prior has it best,
            see `diip_jax.Blind`.
    """

    learning_rate: float = Blind.learning_rate
    max_iterations: int = Blind.max_iterations
    stopping: Stopping = "budget"
    ridge: float = Blind.ridge
    first_level: float = 0.0
    last_level: float = Blind.last_level

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first_level < 0:
            raise ValueError(f"first_level={self.first_level}: expected above 0, or 0 for the prior's best")
        self.method(None)
        self.operator()

    def operator(self) -> PictureOperator:
        return FoundDamage(None, self.ridge)

    def method(self, prior: Any) -> Blind:
        levels = {"first_level": self.first_level or None, "last_level": self.last_level}
        return Blind(prior, self.rule(), self.learning_rate, self.ridge, self.max_iterations, **levels)


@dataclass(frozen=True)
class DIIPSettings(NoiseSettings):
    """Settings of `diip_jax.DIIP`: those of `NoiseSettings`. The preset "paper" has the printed ones."""

    @classmethod
    def presets(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        return {"paper": {**diip.PAPER, "stopping": "paper"}}

    def method(self, prior: Any) -> DIIP:
        return DIIP(prior, self.rule(), **self._of_ddim())


Degradation = Literal["identity", "blur", "varying_blur", "downsample", "mask", "gain_offset"]
Kernel = Literal["network", "logits", "known"]

_KERNELS = {"network": KernelNetwork, "logits": KernelLogits, "known": KnownKernel}


@dataclass(frozen=True)
class BIRDSettings(NoiseSettings):
    """Settings of `diip_jax.BIRD`: those of `NoiseSettings`, and of the operator.

    The preset "paper" has what section 4 prints for all tasks, "code" what the released scripts set for each.

    Attributes:
        degradation: what happened to the image x; k * x is a blur by an unknown kernel.
            "identity": nothing but noise, or JPEG (the paper's choice); "blur": k * x; "varying_blur": a kernel that
            changes over the image; "downsample": means of blocks of k * x; "mask": a part is hidden, and known which;
            "gain_offset": g (k * x) + M, M a slowly varying map.
        kernel_size: K, odd: side of the kernels, in pixels of x. 1 for no blur.
        kernel_model: how k is parametrised: by SelfDeblur's "network" (BIRD) or by "logits", which with this prior find
            it sooner; or it is "known".
        centre_kernel: keep the centre of mass of an unknown kernel at its centre, see `diip_jax.Centred`; neither
            the paper nor the code does.
        scale: of "downsample": side of a block.
        boundary: of the blur: "zero" (BIRD's code), "reflect" or "valid", see `diip_jax.plugs.operators.convolve`.
        operator_learning_rate: of Adam on eta.
        updates: "joint": z and eta step together, both gradients taken at iterate k, as Algorithm 1 and the code have
            it. "alternating": z in even iterations, eta in odd ones, as section 3.1 says in words.
        loss_threshold: epsilon of Algorithm 1; the iteration also ends at an iterate whose loss is not above it.
    """

    max_iterations: int = 200
    stopping: Stopping = "discrepancy"
    degradation: Degradation = "blur"
    kernel_size: int = 15
    kernel_model: Kernel = "logits"
    centre_kernel: bool = True
    scale: int = 4
    boundary: Boundary = "reflect"
    operator_learning_rate: float = 3e-3
    updates: bird.Updates = "joint"
    loss_threshold: float = 0.0

    def __post_init__(self) -> None:
        choices = {"degradation": Degradation, "kernel_model": Kernel, "boundary": Boundary, "updates": bird.Updates}
        for name, allowed in choices.items():
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(get_args(allowed))}")
        if self.kernel_model == "known" and self.degradation == "varying_blur":
            raise ValueError("kernel_model='known': varying_blur has several; use 'network' or 'logits'")
        if self.scale < 2:
            raise ValueError(f"scale={self.scale}: expected at least 2")
        if not self.operator_learning_rate > 0:
            raise ValueError(f"operator_learning_rate={self.operator_learning_rate}: expected above 0")
        self._kernel()
        LossThreshold(self.loss_threshold)
        super().__post_init__()

    @classmethod
    def presets(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        degradation = settings.get("degradation", cls.degradation)
        published = {"stopping": "budget", "centre_kernel": False}
        presets = {"paper": {**bird.PAPER, **published, "kernel_model": "network"}}
        if degradation in bird.CODE:
            presets["code"] = {**bird.CODE[degradation], **published, **_CODE_OPERATORS.get(degradation, {})}
        return presets

    @property
    def blurs(self) -> bool:
        """Whether there is a kernel in the operator."""
        return self.degradation not in ("identity", "mask")

    @property
    def needs(self) -> tuple[str, ...]:
        if self.degradation == "mask":
            return ("mask",)
        return ("kernel",) if self.blurs and self.kernel_model == "known" else ()

    def rule(self) -> Any:
        """The loss threshold, and the stopping rule that the settings name."""
        return first_of(LossThreshold(self.loss_threshold), super().rule())

    def operator(self) -> PictureOperator:
        makers = {
            "identity": Identity,
            "blur": self._blur,
            "varying_blur": self._varying_blur,
            "downsample": lambda: Downsample(self._blur(), self.scale),
            "mask": Mask,
            "gain_offset": lambda: GainOffset(self._blur()),
        }
        return makers[self.degradation]()

    def _blur(self) -> Blur:
        kernel = self._kernel()
        return Blur(Centred(kernel) if self.centre_kernel and kernel.unknown else kernel, self.boundary)

    def _varying_blur(self) -> VaryingBlur:
        return VaryingBlur(self._kernel(), boundary=self.boundary, centre=self.centre_kernel)

    def _kernel(self) -> Any:
        return _KERNELS[self.kernel_model](self.kernel_size)

    def method(self, prior: Any) -> BIRD:
        of_eta: dict[str, Any] = {
            "operator_learning_rate": self._rate(self.operator_learning_rate),
            "updates": self.updates,
        }
        return BIRD(prior, self.operator(), self.rule(), **of_eta, **self._of_ddim())


# What the released scripts have for an operator: super_resolution a known mean of blocks.
_CODE_OPERATORS: Mapping[str, Mapping[str, Any]] = {
    "downsample": {"kernel_size": 1},
    "blur": {"kernel_size": 41, "kernel_model": "network", "boundary": "zero"},
}


@dataclass(frozen=True)
class DIPSettings(Settings):
    """Settings of `diip_jax.DIP`: those of `Settings`, and of the network.

    The preset "code" is the released code's denoising example, which runs to the end of its budget.

    Attributes:
        levels, channels, skip_channels, upsampling: of the network, see `diip_jax.models.skip_network`. Height and
            width of the images are multiples of 2^levels, and at least twice that.
        input_channels: of the noise that the network is shown.
        input_noise: sigma_p, standard deviation of what is added to it anew in every iteration.
    """

    max_iterations: int = 3000
    stopping: Stopping = "wmv"
    patience: int = 1000
    window: int = 100
    levels: int = 5
    channels: int = 128
    skip_channels: int = 4
    upsampling: Upsampling = "bilinear"
    input_channels: int = 32
    input_noise: float = 1 / 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.upsampling not in get_args(Upsampling):
            raise ValueError(f"upsampling={self.upsampling!r}: expected one of {', '.join(get_args(Upsampling))}")
        self.method(None)

    @classmethod
    def presets(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        own = {field.name: field.default for field in dataclasses.fields(cls) if field.name in _OF_NETWORK}
        return {"code": {"learning_rate": 0.01, "max_iterations": 3000, "stopping": "budget", **own}}

    def method(self, prior: Any) -> DIP:
        of_network = {name: getattr(self, name) for name in _OF_NETWORK}
        return DIP(self.rule(), self.learning_rate, self.max_iterations, **of_network)


_OF_NETWORK = ("levels", "channels", "skip_channels", "upsampling", "input_channels", "input_noise")

METHODS: dict[str, type[Settings]] = {
    "blind": BlindSettings,
    "diip": DIIPSettings,
    "bird": BIRDSettings,
    "dip": DIPSettings,
}


def settings_named(name: str, given: Mapping[str, Any], preset: str | None = None) -> Settings:
    """The settings of a method of `METHODS`; what is not given is the preset's, or else the method's default.

    Raises:
        ValueError: there is no such preset (for these settings), or a setting is refused.
    """
    kind = METHODS[name]
    if preset is None:
        return kind(**given)
    presets = kind.presets(given)
    if preset not in presets:
        expected = f"expected one of {', '.join(presets)}" if presets else "the method has no presets"
        raise ValueError(f"preset={preset!r}: {expected}")
    return kind(**{**presets[preset], **given})
