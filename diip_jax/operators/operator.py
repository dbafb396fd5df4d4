"""What a degradation operator is, and the two that have nothing to learn."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Image, Observed, PRNGKey
from diip_jax.operators.known import Known


class Geometry(NamedTuple):
    """Where y lies on the image x: pixel i of y covers the pixels margin + scale * i .. margin + scale * (i + 1) - 1.

    Attributes:
        scale: side of the block of x that a pixel of y covers.
        margin: pixels of x beyond each side of y.
    """

    scale: int = 1
    margin: int = 0

    def image_shape(self, y_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(H, W, C) of the image whose observation has shape (h, w, C)."""
        height, width, channels = y_shape
        return (self.scale * height + 2 * self.margin, self.scale * width + 2 * self.margin, channels)

    def y_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(h, w, C) of the observation of an image of shape (H, W, C).

        Raises:
            ValueError: there is no such observation.
        """
        height, width, channels = image_shape
        inner = (height - 2 * self.margin, width - 2 * self.margin)
        if min(inner) < self.scale:
            taken = f"boundary='valid' takes {self.margin} px off all sides of {height}x{width}"
            raise ValueError(f"{taken}, which leaves no block of {self.scale}x{self.scale}: use a smaller kernel_size")
        if any(side % self.scale for side in inner):
            raise ValueError(f"scale={self.scale}: expected a divisor of {inner[0]} and {inner[1]}, the image's sides")
        return (inner[0] // self.scale, inner[1] // self.scale, channels)


class Operator(NamedTuple):
    """A degradation operator as pure functions on one image.

    Attributes:
        init: key -> eta, the operator's unknown parameters (a pytree; an empty one when nothing is unknown).
        apply: (eta, x `[H, W, C]` in [-1, 1], known) -> the predicted observation, of y's shape and range.
        estimates: eta -> what it stands for, by name, such as "kernel"; nothing where nothing is unknown.
        geometry: where y lies on x.
        needs: names of the fields of `Known` that `apply` reads.
    """

    init: Callable[[PRNGKey], Any]
    apply: Callable[[Any, Image, Known], Observed]
    estimates: Callable[[Any], dict[str, Array]] = lambda eta: {}
    geometry: Geometry = Geometry()
    needs: tuple[str, ...] = ()


def identity() -> Operator:
    """H(x) = x: DIIP for every degradation, BIRD for JPEG (section 3.1)."""
    return Operator(init=lambda key: (), apply=lambda eta, x, known: x)


def mask() -> Operator:
    """H(x) = m ⊙ x with a known mask m: inpainting. A hidden pixel is 0, the middle of the range."""
    return Operator(
        init=lambda key: (),
        apply=lambda eta, x, known: jnp.where(known.mask[..., None], x, 0),
        needs=("mask",),
    )
