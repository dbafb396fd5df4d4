"""BIRD, Blind Image Restoration via Fast Diffusion Inversion: the kind of degradation is known, its parameters are not.

Algorithm 1: the noise z of a frozen diffusion model and the parameters eta of the degradation operator are optimised
together until H_eta(g(z)) is the degraded image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import optax

from diip_jax import operators
from diip_jax.methods.inversion import NoiseInversion, Stopping
from diip_jax.operators import Boundary, KernelModel, Operator
from diip_jax.stopping import StoppingRule, first_of, loss_threshold

Degradation = Literal["identity", "blur", "varying_blur", "downsample", "mask", "gain_offset"]
Kernel = Literal["network", "logits", "known"]
Updates = Literal["joint", "alternating"]

_KERNELS = {"network": operators.kernel_network, "logits": operators.kernel_logits, "known": operators.known_kernel}


@dataclass(frozen=True)
class BIRD(NoiseInversion):
    """Settings of BIRD: those of `NoiseInversion`, and of the operator. The defaults are for the bundled prior.

    With the right operator what remains of y is its noise: "discrepancy" stops there. An image of few pixels is fitted
    beyond it soon, a larger one hardly ever.

    The preset "paper" has what section 4 prints for all tasks, "code" what the released scripts set for each; they
    differ, see `PAPER` and `CODE`.

    Attributes:
        degradation: what happened to the image x; k * x is a blur by an unknown kernel.
            "identity": nothing but noise, or JPEG (the paper's choice); "blur": k * x; "varying_blur": a kernel that
            changes over the image; "downsample": means of blocks of k * x; "mask": a part is hidden, and known which;
            "gain_offset": g (k * x) + M, M a slowly varying map.
        kernel_size: K, odd: side of the kernels, in pixels of x. 1 for no blur.
        kernel_model: how k is parametrised: by SelfDeblur's "network" (BIRD) or by "logits", which with this prior find
            it sooner; or it is "known".
        centre_kernel: keep the centre of mass of an unknown kernel at its centre, see `diip_jax.operators.centred`;
            neither the paper nor the code does.
        scale: of "downsample": side of a block.
        boundary: of the blur: "zero" (BIRD's code), "reflect" or "valid", see `diip_jax.operators.convolve`.
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
    updates: Updates = "joint"
    loss_threshold: float = 0.0

    def __post_init__(self) -> None:
        choices = {"degradation": Degradation, "kernel_model": Kernel, "boundary": Boundary, "updates": Updates}
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
        loss_threshold(self.loss_threshold)
        super().__post_init__()

    @classmethod
    def presets(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        degradation = settings.get("degradation", cls.degradation)
        return {"paper": PAPER} | ({"code": CODE[degradation]} if degradation in CODE else {})

    def rule(self) -> StoppingRule:
        """The loss threshold, and the stopping rule that the settings name."""
        return first_of(loss_threshold(self.loss_threshold), super().rule())

    def operator(self, channels: int) -> Operator:
        """The operator of the degradation."""
        makers = {
            "identity": operators.identity,
            "blur": self._blur,
            "varying_blur": self._varying_blur,
            "downsample": lambda: operators.downsample(self._blur(), self.scale),
            "mask": operators.mask,
            "gain_offset": lambda: operators.gain_offset(self._blur(), channels),
        }
        return makers[self.degradation]()

    def _blur(self) -> Operator:
        kernel = self._kernel()
        if self.centre_kernel and self.kernel_model != "known":
            kernel = operators.centred(kernel)
        return operators.blur(kernel, self.boundary)

    def _varying_blur(self) -> Operator:
        return operators.varying_blur(self._kernel(), boundary=self.boundary, centre=self.centre_kernel)

    def _kernel(self) -> KernelModel:
        return _KERNELS[self.kernel_model](self.kernel_size)

    def optimizers(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """Adam for both, each with its rate; in alternation where that is asked for."""
        both = optax.adam(self.learning_rate), optax.adam(self.operator_learning_rate)
        if self.updates == "joint":
            return both
        turns = [lambda step, turn=turn: step % 2 == turn for turn in (0, 1)]
        return optax.conditionally_mask(both[0], turns[0]), optax.conditionally_mask(both[1], turns[1])


# Section 4, "for all our experiments", and Algorithms 1 and 2: t = 1000, 900, ..., no clipping, the gradient through
# the network. One rate for z and eta (eq. 21). Kernel size and boundary are not printed. The sphere's radius counts the
# channels, which the paper's notation leaves out: sqrt(H W) would be a third of a standard normal vector's energy.
PAPER: Mapping[str, Any] = {
    "learning_rate": 0.003,
    "operator_learning_rate": 0.003,
    "max_iterations": 200,
    "stopping": "budget",
    "stride": 100,
    "variant": "paper",
    "gradient": "full",
    "project": True,
    "updates": "joint",
    "kernel_model": "network",
    "centre_kernel": False,
}

# The released scripts: denoising, inpainting, super_resolution (by a known mean of blocks), blind_deblurring. There is
# none for the others: the one called blind_non_uniform_deblurring takes the identity.
_RELEASED: Mapping[str, Any] = {
    "stopping": "budget",
    "stride": 100,
    "variant": "code",
    "gradient": "detached",
    "project": True,
    "updates": "joint",
    "centre_kernel": False,
}
CODE: Mapping[str, Mapping[str, Any]] = {
    "identity": {**_RELEASED, "learning_rate": 0.01, "max_iterations": 200},
    "mask": {**_RELEASED, "learning_rate": 0.01, "max_iterations": 200},
    "downsample": {**_RELEASED, "learning_rate": 0.001, "max_iterations": 100, "kernel_size": 1},
    "blur": {
        **_RELEASED,
        "learning_rate": 0.003,
        "operator_learning_rate": 2e-4,
        "max_iterations": 100,
        "kernel_size": 41,
        "kernel_model": "network",
        "boundary": "zero",
    },
}
