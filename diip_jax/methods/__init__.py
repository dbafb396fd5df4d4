"""Restoration methods: each a frozen dataclass of a paper's numbers that names the plugs of the loop."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from diip_jax.loop import Problem
from diip_jax.methods.bird import BIRD
from diip_jax.methods.diip import DIIP
from diip_jax.methods.dip import DIP
from diip_jax.methods.inversion import Inversion
from diip_jax.prior import Prior

__all__ = ["BIRD", "DIIP", "DIP", "METHODS", "Method", "method_named"]


@runtime_checkable
class Method(Protocol):
    """What a restoration method is: hashable settings (a frozen dataclass) that can state their problem."""

    def problem(self, prior: Prior, image_shape: tuple[int, int, int]) -> Problem:
        """The plugs for restored images of shape (H, W, C); the operator's geometry does not depend on the shape.

        Called inside `jax.jit`: the prior's parameters are tracers.
        """
        ...


METHODS: dict[str, type[Inversion]] = {"diip": DIIP, "bird": BIRD, "dip": DIP}


def method_named(name: str, settings: Mapping[str, Any], preset: str | None = None) -> Method:
    """The method of `METHODS` with these settings; what they leave out is the preset's, or else the method's default.

    Raises:
        ValueError: there is no such preset (for these settings), or a setting is refused.
    """
    kind = METHODS[name]
    if preset is None:
        return kind(**settings)
    presets = kind.presets(settings)
    if preset not in presets:
        raise ValueError(f"preset={preset!r}: expected one of {', '.join(presets)}")
    return kind(**{**presets[preset], **settings})
