"""A diip_jax method as a deepinv `Reconstructor`: in `deepinv.test`, beside deepinv's own (pip install deepinv)."""

from collections.abc import Callable
from typing import Any

import torch
from deepinv.models.base import Reconstructor as Base

from diip_jax.methods.method import Method, Sampler
from diip_jax.restore import restore
from diip_jax.solve.problem import Problem


class Reconstructor(Base):
    """`model(y, physics)`: pictures `[B, C, H, W]` in [0, 1], as deepinv has them.

    The physics is not looked at: a blind method is told nothing, and torch's operators cannot be differentiated in JAX.
    What a method is to know it holds itself, such as `BIRD(prior, Blur(15))`.

    Args:
        method: such as `diip_jax.Blind(prior)`.
        to_picture: (y, physics) -> a picture of the prior's size, where y is none: for down-sampling
            `lambda y, physics: physics.A_adjoint(y)`; None: y is one.
        seed: of the random numbers.
        settings: others of `diip_jax.restore`, such as batch_size.

    Raises:
        ValueError: in a call, as `diip_jax.restore`.
    """

    def __init__(
        self,
        method: Method | Sampler | Problem,
        to_picture: Callable[[torch.Tensor, Any], torch.Tensor] | None = None,
        *,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.method, self.to_picture, self.seed, self.settings = method, to_picture, seed, settings

    @torch.no_grad()
    def forward(self, y: torch.Tensor, physics: Any = None, **_: Any) -> torch.Tensor:
        """The restored pictures, on y's device."""
        picture = y if self.to_picture is None else self.to_picture(y, physics)
        restored = restore(self.method, 2 * picture - 1, seed=self.seed, **self.settings).images
        return (restored + 1) / 2
