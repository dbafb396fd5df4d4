"""Generators: the plug that turns the optimised variable u into an image g(u), and keeps u in its set."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Image, PRNGKey
from diip_jax.ddim import Gradient, Remat, check_settings, reverse
from diip_jax.prior import Prior
from diip_jax.schedule import Variant


class Generator(NamedTuple):
    """A differentiable image generator as three pure functions on one image.

    Attributes:
        init: key -> the first u (a pytree).
        apply: u -> image `[H, W, C]`, float32 in [-1, 1] or near.
        project: u -> the nearest u of its set; applied after every optimiser step.
        image_shape: (H, W, C), told rather than traced: tracing a large network takes a second.
    """

    init: Callable[[PRNGKey], Any]
    apply: Callable[[Any], Image]
    project: Callable[[Any], Any]
    image_shape: tuple[int, int, int]


def ddim(
    prior: Prior,
    image_shape: tuple[int, int, int],
    *,
    stride: int = 100,
    variant: Variant = "code",
    gradient: Gradient = "detached",
    remat: Remat = "step",
    project: bool = True,
) -> Generator:
    """The frozen prior's deterministic DDIM map: u is the input noise z `[H, W, C]`, drawn from N(0, I).

    Args:
        image_shape: (H, W, C) of the image.
        stride, variant, gradient, remat: see `diip_jax.ddim.reverse`.
        project: put z back on the sphere of radius sqrt(H W C) after every step (BIRD, Algorithm 1 line 5; its code
            counts the channels into the radius, its paper does not). False leaves z free.

    Raises:
        ValueError: as `diip_jax.ddim.reverse`.
    """
    check_settings(prior.schedule, stride, variant, gradient, remat)
    return Generator(
        init=lambda key: jax.random.normal(key, image_shape),
        apply=lambda z: reverse(prior, z[None], stride, variant=variant, gradient=gradient, remat=remat)[0],
        project=to_sphere if project else lambda z: z,
        image_shape=image_shape,
    )


def to_sphere(z: Image) -> Image:
    """z scaled to the norm that a standard normal vector of its size has, sqrt(z.size)."""
    return z * jnp.sqrt(z.size / (jnp.sum(z * z) + 1e-9))
