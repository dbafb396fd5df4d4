"""Noise in the picture's own units: which timestep of a prior a level is, and what the prior expects behind it."""

import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Any, Count, Image, Scalar


def nearest_level(prior: Any, sigma: Scalar) -> tuple[Count, Scalar]:
    """(t, its level) of the timestep whose level, sqrt((1 - alpha_bar_t) / alpha_bar_t), is nearest to sigma.

    Nearest by the logarithm; sigma is noise over the range [-1, 1] of the signal.
    """
    alpha_bar = np.asarray(prior.schedule.alpha_bar, np.float64)
    with np.errstate(divide="ignore"):  # without any signal at the end: infinite, and never the nearest
        levels = jnp.asarray(np.sqrt((1 - alpha_bar) / alpha_bar), jnp.float32)
    t = jnp.argmin(jnp.abs(jnp.log(levels) - jnp.log(jnp.maximum(sigma, 1e-6)))).astype(jnp.int32)
    return t, levels[t]


def expected_image(prior: Any, x: Image, t: Count, sigma: Scalar) -> Image:
    """E[x_0 | x_0 + sigma n = x], n ~ N(0, I), as the prior has it: one evaluation, at a level of `nearest_level`.

    x / sqrt(1 + sigma^2) is an x_t of that timestep. No gradient goes through the network.
    """
    x_t = x / jnp.sqrt(1 + sigma**2).astype(x.dtype)
    return prior.denoise(x_t[None], t[None], hold_eps=True).x0_hat[0]


def at_noise_level(prior: Any, x: Image, sigma: Scalar) -> Image:
    """`expected_image` at the level nearest to sigma."""
    return expected_image(prior, x, *nearest_level(prior, sigma))
