"""Restoration methods: each a frozen dataclass of a paper's numbers that names the plugs of the loop."""

from typing import Protocol, runtime_checkable

from diip_jax.loop import Problem
from diip_jax.methods.diip import DIIP
from diip_jax.prior import Prior

__all__ = ["DIIP", "METHODS", "Method"]


@runtime_checkable
class Method(Protocol):
    """What a restoration method is: hashable settings (a frozen dataclass) that can state their problem."""

    def problem(self, prior: Prior, image_shape: tuple[int, int, int]) -> Problem:
        """The plugs for images of shape (H, W, C). Called inside `jax.jit`: the prior's parameters are tracers."""
        ...


METHODS = {"diip": DIIP}
