"""Tiny priors and noise predictors that the tests share."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.models import DDPMUNetConfig
from diip_jax.prediction import denoised
from diip_jax.prior import Prior, random_prior
from diip_jax.schedule import Sampler, Schedule

# Tracing and compiling a network is most of what a test of the loop takes: a level without attention has half of it.
TINY = DDPMUNetConfig(16, (8,), (False,), blocks_per_level=1, norm_groups=4, middle_attention=False)
# All that a UNet has, for what may depend on it.
UNET = DDPMUNetConfig(16, (8, 16), (False, True), blocks_per_level=1, norm_groups=4)


@functools.cache
def tiny_prior(seed: int = 0, model: DDPMUNetConfig = TINY) -> Prior:
    """A 16x16 network of random weights, output of about unit size. Nothing may change it."""
    return random_prior(model, seed)


class PredictsNoise:
    """A prior by its eps(x_t, t) and its schedule alone."""

    prediction = "epsilon"
    sampler = Sampler()

    def denoise(self, x_t, t, *, hold_eps=False, remat_blocks=False):
        alpha_bar = jnp.asarray(self.schedule.alpha_bar, jnp.float32)[t.astype(jnp.int32)]
        return denoised("epsilon", self.eps(x_t, t), x_t, alpha_bar, hold_eps=hold_eps)


@dataclass(frozen=True)
class ConstantNoise(PredictsNoise):
    """eps_theta(x, t) = c: DDIM is then affine, and everything about it is known in closed form."""

    value: float
    schedule: Schedule = Schedule()

    def eps(self, x_t, t):
        return jnp.full_like(x_t, self.value)


@dataclass(frozen=True)
class LinearNoise(PredictsNoise):
    """eps_theta(x, t) = gain * x: a contracting map whose inversion converges."""

    gain: float
    schedule: Schedule = Schedule()

    def eps(self, x_t, t):
        return self.gain * x_t


def with_impulses(n: int, seed: int = 5) -> np.ndarray:
    """Smooth pictures with impulses, `[n, 16, 16, 3]` float32: in each there is something to invert."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(-0.5, 0.5, 16)
    smooth = ramp[:, None, None] * rng.uniform(-1, 1, (n, 1, 1, 3)) + ramp[:, None] * rng.uniform(-1, 1, (n, 1, 1, 3))
    hit = rng.random((n, 16, 16, 1))
    return np.where(hit < 0.025, -1, np.where(hit > 0.975, 1, smooth)).astype(np.float32)


def unchecked(cls, **values):
    """An instance of a settings dataclass made without the tests' type checker, to see the error that users see."""
    self = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(self, name, value)
    self.__post_init__()
    return self


@functools.cache
def images(n: int, side: int = 16, seed: int = 1) -> jax.Array:
    """Smooth-ish images in [-1, 1], `[n, side, side, 3]` float32."""
    return jnp.tanh(jax.random.normal(jax.random.key(seed), (n, side, side, 3)))


def uint8_images(n: int, side: int = 16, seed: int = 1) -> np.ndarray:
    """`images` as files have them, `[n, side, side, 3]` uint8."""
    return np.rint((np.asarray(images(n, side, seed)) + 1) * 127.5).astype(np.uint8)
