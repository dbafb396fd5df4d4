"""DIP, Deep Image Prior (CVPR 2018): blind restoration without a diffusion model.

An untrained network with fixed noise as its input is fitted to the degraded image, and stopped before it fits the
degradation: its structure resists noise for longer than it does pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from diip_jax import generators
from diip_jax.loop import Problem
from diip_jax.methods.inversion import Inversion, Stopping
from diip_jax.models.skip_network import Upsampling
from diip_jax.operators import identity
from diip_jax.prior import Prior


@dataclass(frozen=True)
class DIP(Inversion):
    """Settings of DIP: those of `Inversion`, u the network's weights, and of the network. H is the identity.

    The defaults are those of the released code's denoising example, and ES-WMV with its printed window and patience as
    the stopping rule. Where DIP is used blindly on other degradations, as DIIP's authors do for comparison, nobody
    prints others. The preset "code" is the example itself, which runs to the end of its budget; left out of it are the
    mean of its outputs (stopping "averaged" has one), and the return to earlier weights when the fit gets worse by 5 dB
    within an iteration.

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
        if self.upsampling not in get_args(Upsampling):
            raise ValueError(f"upsampling={self.upsampling!r}: expected one of {', '.join(get_args(Upsampling))}")
        for name in ("levels", "channels", "skip_channels", "input_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        if self.input_noise < 0:
            raise ValueError(f"input_noise={self.input_noise}: expected at least 0")
        super().__post_init__()

    @classmethod
    def presets(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        return {"code": CODE}

    def problem(self, prior: Prior, image_shape: tuple[int, int, int]) -> Problem:
        """min over the network's weights of the mean of (g(u) - y)^2; the prior takes no part."""
        optimizer, operator_optimizer = self.optimizers()
        return Problem(
            generator=generators.skip_network(
                image_shape,
                levels=self.levels,
                channels=self.channels,
                skip_channels=self.skip_channels,
                upsampling=self.upsampling,
                input_channels=self.input_channels,
                input_noise=self.input_noise,
            ),
            operator=identity(),
            optimizer=optimizer,
            operator_optimizer=operator_optimizer,
            stopping=self.rule(),
            max_iterations=self.max_iterations,
        )


# The released notebook "denoising", its example F16.
CODE: Mapping[str, Any] = {
    "learning_rate": 0.01,
    "max_iterations": 3000,
    "stopping": "budget",
    "levels": 5,
    "channels": 128,
    "skip_channels": 4,
    "upsampling": "bilinear",
    "input_channels": 32,
    "input_noise": 1 / 30,
}
