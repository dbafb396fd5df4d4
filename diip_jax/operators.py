"""Degradation operators H_eta: the plug that says how a clean image x becomes the observed y = H_eta(x)."""

from collections.abc import Callable
from typing import NamedTuple

from diip_jax.array_types import Any, Image, PRNGKey


class Operator(NamedTuple):
    """A degradation operator as a pair of pure functions on one image.

    Attributes:
        init: key -> eta, the operator's unknown parameters (a pytree; an empty one when nothing is unknown).
        apply: (eta, x `[H, W, C]` in [-1, 1]) -> the predicted observation, of y's shape and range.
    """

    init: Callable[[PRNGKey], Any]
    apply: Callable[[Any, Image], Image]


def identity() -> Operator:
    """H(x) = x: DIIP for every degradation, BIRD for JPEG (section 3.1)."""
    return Operator(init=lambda key: (), apply=lambda eta, x: x)
