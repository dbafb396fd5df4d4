"""How well a prior predicts noise on images that it should know: the loss of its training, timestep by timestep."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Array, Float, Image, Int
from diip_jax.pixels import from_uint8
from diip_jax.prior import Prior
from diip_jax.schedule import Schedule


def timesteps(schedule: Schedule) -> np.ndarray:
    """The timesteps of the table, whole numbers: 50, 100, 200, 400, 600 and 800 thousandths of T."""
    return np.array([50, 100, 200, 400, 600, 800]) * schedule.num_timesteps // 1000


def noise_of(image: np.ndarray, seed: int = 0) -> np.ndarray:
    """Standard normal noise of an image's shape, float32; depends on the seed and the image, and on nothing else."""
    digest = zlib.crc32(np.ascontiguousarray(image).tobytes())
    return np.random.default_rng([seed, digest]).standard_normal(image.shape, np.float32)


def noise_prediction_errors(prior: Prior, images: np.ndarray, t: np.ndarray, seed: int = 0) -> np.ndarray:
    """Mean squared error of the predicted noise: per image, mean over pixels and channels of

        (eps_theta(x_t, t) - eps)^2,   x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps

    which is L_simple of DDPM (Ho et al., 2020, eq. 14) at fixed t, with the same eps at every t.

    Args:
        images: x_0 `[N, H, W, C]`, uint8, of the prior's channels and of a size that it takes.
        t: timesteps, 0 .. T-1.
        seed: of the noise, see `noise_of`.

    Returns:
        `[N, len(t)]` float64; 0 is perfect, 1 is what predicting no noise at all has.

    Raises:
        ValueError: images of another shape.
    """
    alpha_bar = jnp.asarray(prior.schedule.alpha_bar[t], jnp.float32)
    # Image by image, all timesteps at once: a program of one shape, and no figure depends on its company.
    errors = [
        _errors(prior, jnp.asarray(from_uint8(image)), noise_of(image, seed), jnp.asarray(t), alpha_bar)
        for image in images
    ]
    return np.asarray(errors, np.float64)


@jax.jit
def _errors(
    prior: Prior, x_0: Image, eps: Image, t: Int[Array, " T"], alpha_bar: Float[Array, " T"]
) -> Float[Array, " T"]:
    scale = alpha_bar[:, None, None, None]
    x_t = jnp.sqrt(scale) * x_0 + jnp.sqrt(1 - scale) * eps
    return jnp.mean((prior.eps(x_t, t) - eps) ** 2, axis=(1, 2, 3))
