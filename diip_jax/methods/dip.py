"""DIP, Deep Image Prior (CVPR 2018): blind restoration without a diffusion model.

An untrained network with fixed noise as its input is fitted to the degraded image, and stopped before it fits the
degradation: its structure resists noise for longer than it does pictures.
"""

from typing import Any, get_args

import optax

from diip_jax.models.skip_network import Upsampling
from diip_jax.plug import check_above, plug
from diip_jax.plugs.generators import UntrainedNetwork
from diip_jax.plugs.optimizers import opt
from diip_jax.plugs.rules import Never, windowed_moving_variance
from diip_jax.solve.problem import Problem


@plug(data=("rule", "learning_rate", "max_iterations", "input_noise"))
class DIP:
    """DIP: min over the network's weights of the mean of (g(u) - y)^2; no prior takes part.

    The defaults are those of the released code's denoising example, and ES-WMV with its printed window and patience as
    the stopping rule. Where DIP is used blindly on other degradations, as DIIP's authors do for comparison, nobody
    prints others. `DIP.code` is the example itself, which runs to the end of its budget; left out of it are the mean of
    its outputs (`Averaged` has one), and the return to earlier weights when the fit gets worse by 5 dB within an
    iteration.

    Attributes:
        rule: when to stop, see `diip_jax.plugs.rules`.
        learning_rate: of Adam on the weights: a number, or a schedule as `diip_jax.opt` takes it.
        max_iterations: the budget.
        levels, channels, skip_channels, upsampling: of the network, see `diip_jax.models.skip_network`. Height and
            width of the images are multiples of 2^levels, and at least twice that.
        input_channels: of the noise that the network is shown.
        input_noise: sigma_p, standard deviation of what is added to it anew in every iteration.

    Raises:
        ValueError: a rate, budget or width that is not above 0, another upsampling.
    """

    rule: Any = windowed_moving_variance(100, patience=1000)
    learning_rate: Any = 0.01
    max_iterations: Any = 3000
    levels: int = 5
    channels: int = 128
    skip_channels: int = 4
    upsampling: Upsampling = "bilinear"
    input_channels: int = 32
    input_noise: Any = 1 / 30

    def __post_init__(self) -> None:
        check_above("learning_rate", self.learning_rate, 0)
        check_above("max_iterations", self.max_iterations, 1, inclusive=True)
        check_above("input_noise", self.input_noise, 0, inclusive=True)
        for name in ("levels", "channels", "skip_channels", "input_channels"):
            check_above(name, getattr(self, name), 1, inclusive=True)
        if self.upsampling not in get_args(Upsampling):
            raise ValueError(f"upsampling={self.upsampling!r}: expected one of {', '.join(get_args(Upsampling))}")

    @classmethod
    def code(cls, **settings: Any) -> "DIP":
        """The released notebook "denoising", its example F16, for what is not given."""
        return cls(**({"rule": Never()} | settings))

    def problem(self) -> Problem:
        """The plugs."""
        return Problem(
            generator=UntrainedNetwork(
                self.levels,
                self.channels,
                self.skip_channels,
                self.upsampling,
                self.input_channels,
                self.input_noise,
            ),
            rule=self.rule,
            optimizer=opt(optax.adam, self.learning_rate),
            max_iterations=self.max_iterations,
        )
