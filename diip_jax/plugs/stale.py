"""DDIM with kept noise: eps of every visited timestep is stored, and only some of them are predicted anew at a time.

With the network's output held constant, an iterate of the noise z is x_0 = chain(z, eps_1 .. eps_T), arithmetic alone.
From one iterate to the next eps changes little, so that it need not be predicted at all T timesteps every time. Where
it is, x_t is that of the chain with what is stored, and the prediction is stored in its place.
"""

import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Float, Image, Int
from diip_jax.ddim_sampling import bounded, on_device, visited_steps
from diip_jax.schedule import Stride, Variant, of_variant


def chain(
    prior: Any, z: Image, eps: Float[Array, "T H W C"], stride: Stride, variant: Variant
) -> tuple[Image, Float[Array, "T H W C"]]:
    """(x_0, x_t of every visited timestep) of DDIM from z with this noise, see `diip_jax.reverse`."""

    sampler = of_variant(prior.sampler, variant)
    _, alpha_bar, alpha_bar_next = on_device(visited_steps(prior, stride, variant), z.dtype)

    def step(x_t: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        eps, alpha_bar, alpha_bar_next = at
        x0_hat = (x_t - jnp.sqrt(1 - alpha_bar) * eps) / jnp.sqrt(alpha_bar)
        if sampler.bounds:
            x0_hat = bounded(x0_hat, sampler, hold_threshold=True)
            eps = (x_t - jnp.sqrt(alpha_bar) * x0_hat) / jnp.sqrt(1 - alpha_bar)
        return jnp.sqrt(alpha_bar_next) * x0_hat + jnp.sqrt(1 - alpha_bar_next) * eps, x_t

    return jax.lax.scan(step, z, (eps, alpha_bar, alpha_bar_next))


def refreshed(
    prior: Any, z: Image, eps: Float[Array, "T H W C"], at: Int[Array, " n"], stride: Stride, variant: Variant
) -> Float[Array, "T H W C"]:
    """The noise with that of some of the visited timesteps predicted anew, one after the other: n evaluations.

    Args:
        at: their places, 0 the largest t.
    """
    t = jnp.asarray(visited_steps(prior, stride, variant).t)

    def one(eps: Array, i: Array) -> tuple[Array, None]:
        x_t = chain(prior, z, eps, stride, variant)[1][i]
        return eps.at[i].set(prior.denoise(x_t[None], t[i][None]).eps[0]), None

    return jax.lax.scan(one, eps, at)[0]


def first_noise(prior: Any, z: Image, stride: Stride, variant: Variant) -> Float[Array, "T H W C"]:
    """The noise of all visited timesteps, each predicted at the x_t that those before it lead to: T evaluations."""
    visited = len(visited_steps(prior, stride, variant).t)
    nothing = jnp.zeros((visited, *z.shape), z.dtype)
    return refreshed(prior, z, nothing, jnp.arange(visited), stride, variant)
