"""The settings of the methods as the command line has them: flat, by name, each with its default.

In Python a method is put together from objects (`diip_jax.BIRD(prior, Blur(15), robust(k_min=50))`), which have no
setting that is not theirs. Flags, records and tables have one flat list of names and values for a method; here it is
checked, and made into the objects.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from diip_jax.commands.common_settings import NoiseSettings, Settings, Stopping
from diip_jax.methods import BIRD, DIIP, DIP, Blind, bird, diip
from diip_jax.models.skip_network import Upsampling
from diip_jax.plug import check_above
from diip_jax.plugs.operators import (
    Blur,
    Boundary,
    Centred,
    Downsample,
    GainOffset,
    Identity,
    KernelLogits,
    KernelNetwork,
    KnownKernel,
    Mask,
    PictureOperator,
    VaryingBlur,
)
from diip_jax.plugs.rules import LossThreshold, first_of

__all__ = [
    "METHODS",
    "BIRDSettings",
    "BlindSettings",
    "DIIPSettings",
    "DIPSettings",
    "NoiseSettings",
    "Settings",
    "Stopping",
    "settings_named",
]


@dataclass(frozen=True)
class BlindSettings(Settings):
    """Settings of `diip_jax.Blind`.

    Attributes:
        learning_rate: share of every correction that is made.
        max_iterations: the budget, and how many levels of noise there are.
        ridge: noise to signal of the inverse of the blur, see `diip_jax.SpectralBlur`.
        first_level, last_level: of noise, see `diip_jax.CorrectedSampling`; a first one of 0: as the prior has it best,
            see `diip_jax.Blind`.
        scale: sides of the restored image over those of the input.
        blur: of the input in pixels, where it is known; None: as it is found.
        noise: of the input in grey levels of 255, likewise.
    """

    learning_rate: float = Blind.learning_rate
    max_iterations: int = Blind.max_iterations
    stopping: Stopping = "budget"
    ridge: float = Blind.ridge
    first_level: float = 0.0
    last_level: float = Blind.last_level
    scale: int = Blind.scale
    blur: float | None = None
    noise: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first_level < 0:
            raise ValueError(f"first_level={self.first_level}: expected above 0, or 0 for the prior's best")
        if self.noise is not None:
            check_above("noise", self.noise, 0, inclusive=True)
        self.method(None)
        self.operator()

    def operator(self) -> PictureOperator:
        return self.method(None).problem().operator

    def method(self, prior: Any) -> Blind:
        first = self.first_level or None
        levels = self.max_iterations, first, self.last_level
        known = self.blur, None if self.noise is None else self.noise / 127.5
        return Blind(prior, self.rule(), self.learning_rate, self.ridge, *levels, self.scale, *known)


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
