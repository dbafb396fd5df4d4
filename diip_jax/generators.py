"""Generators: the plug that turns the optimised variable u into an image g(u), and keeps u in its set."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Image, PRNGKey
from diip_jax.ddim import Gradient, Remat, check_settings, reverse
from diip_jax.models.skip_network import SkipNetwork, Upsampling
from diip_jax.prior import Prior
from diip_jax.schedule import Variant


class Generator(NamedTuple):
    """A differentiable image generator as three pure functions on one image.

    Attributes:
        init: key -> the first u (a pytree).
        apply: (u, key) -> image `[H, W, C]`, float32 in [-1, 1] or near. The key is another one at every iterate, for
            generators that are random beyond u.
        project: u -> the nearest u of its set; applied after every optimiser step.
        image_shape: (H, W, C), told rather than traced: tracing a large network takes a second.
    """

    init: Callable[[PRNGKey], Any]
    apply: Callable[[Any, PRNGKey], Image]
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
    check_settings(prior, stride, variant, gradient, remat)
    return Generator(
        init=lambda key: jax.random.normal(key, image_shape),
        apply=lambda z, key: reverse(prior, z[None], stride, variant=variant, gradient=gradient, remat=remat)[0],
        project=to_sphere if project else lambda z: z,
        image_shape=image_shape,
    )


def skip_network(
    image_shape: tuple[int, int, int],
    *,
    levels: int = 5,
    channels: int = 128,
    skip_channels: int = 4,
    upsampling: Upsampling = "bilinear",
    input_channels: int = 32,
    input_noise: float = 1 / 30,
) -> Generator:
    """Deep Image Prior's untrained network (Ulyanov et al., 2018): u is its weights, and the noise that it is shown.

    The noise `[H, W, input_channels]`, drawn from U(0, 0.1), is part of u only because every image has its own: it has
    no gradient, so that optimisers leave it as it is.

    Args:
        image_shape: (H, W, C) of the image.
        levels, channels, skip_channels, upsampling: see `diip_jax.models.skip_network`.
        input_noise: sigma_p, standard deviation of the normal noise that is added to the input, drawn anew for every
            iterate: the paper's noise-based regularisation.

    Raises:
        ValueError: H or W is no multiple of 2^levels, or less than twice that. (The released code crops its pictures to
            multiples.)
    """
    height, width, image_channels = image_shape
    network = SkipNetwork(image_channels, levels, channels, skip_channels, upsampling)
    multiple = network.size_multiple
    if height % multiple or width % multiple or min(height, width) < 2 * multiple:
        raise ValueError(
            f"levels={levels}: images are {height}x{width}, but the sides that so many levels take are multiples of "
            f"{multiple} from {2 * multiple} on; use fewer levels or another size"
        )

    def init(key: PRNGKey) -> dict[str, Any]:
        noise_key, weights_key = jax.random.split(key)
        noise = 0.1 * jax.random.uniform(noise_key, (height, width, input_channels))
        return {"noise": noise, "weights": network.init(weights_key, noise[None])["params"]}

    def apply(u: dict[str, Any], key: PRNGKey) -> Image:
        noise = jax.lax.stop_gradient(u["noise"])
        noise = noise + input_noise * jax.random.normal(key, noise.shape)
        return 2 * jnp.asarray(network.apply({"params": u["weights"]}, noise[None]))[0] - 1

    return Generator(init, apply, lambda u: u, image_shape)


def to_sphere(z: Image) -> Image:
    """z scaled to the norm that a standard normal vector of its size has, sqrt(z.size)."""
    return z * jnp.sqrt(z.size / (jnp.sum(z * z) + 1e-9))
