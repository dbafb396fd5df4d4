"""DreamClean: restoration by sampling, blind and without training.

J. Xiao et al., "DreamClean: Restoring Clean Image Using Deep Diffusion Prior" (ICLR 2024). The degraded image is
inverted by DDIM to the latent y_tau, and sampled down to an image again. At every timestep t variance preservation
sampling (VPS, eq. 9) first draws the latent towards where clean images are,

    y_t <- y_t + eta_l s(y_t, t) + eta_g n,    n ~ N(0, I),    s(y, t) = -eps_theta(y, t) / sqrt(1 - alpha_bar_t),
    eta_l = gamma (1 - alpha_bar_t),    eta_g = sqrt(gamma (2 - gamma)) sqrt(1 - alpha_bar_t),

M times (the paper: once), and then a DDIM step goes on to the next timestep. On a latent
sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) n of a clean x_0 the two terms keep the noise's variance, because
(1 - gamma)^2 + gamma (2 - gamma) = 1.

No code was released, and what could be read of the paper prints neither gamma nor tau. The defaults have the best mean
PSNR of `python -m diip_jax.evaluate --protocol=dreamclean` on eight validation faces. The paper's 90 evaluations for an
image are what three in each of 30 steps make (inversion, VPS, DDIM), such as tau = 300 with stride 10. Whether it clips
the predicted image is not said either: here only the result is.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8

from diip_jax import distribute
from diip_jax.api import image_keys
from diip_jax.array_types import Array, Images, Key, Scalar
from diip_jax.compiled_loop import planned_bytes
from diip_jax.ddim import Denoiser, check_unbounded, invert, on_device, visited_steps
from diip_jax.prior import Prior, check_image_shape


@dataclass(frozen=True)
class DreamClean:
    """Settings of DreamClean.

    Attributes:
        gamma: strength of VPS, 0 (none: inversion and back) to 1 (fresh noise around the predicted image).
        tau: the timestep that the image is inverted to, 1 .. T: how far a result may be from y.
        corrections: M, VPS steps at a timestep.
        stride: timesteps of a DDIM step, a divisor of T.
    """

    gamma: float = 0.8
    tau: int = 50
    corrections: int = 1
    stride: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma}: expected 0 to 1")
        if self.corrections < 0:
            raise ValueError(f"corrections={self.corrections}: expected at least 0")
        if self.tau < self.stride:
            raise ValueError(f"tau={self.tau}: expected at least the stride, {self.stride}")


def restore(
    prior: Prior, y: UInt8[np.ndarray, "n H W C"], settings: DreamClean = DreamClean(), *, seed: int = 0
) -> UInt8[np.ndarray, "n H W C"]:
    """Restores images, all at once and split over the devices.

    An image's result depends on the image, the seed and the settings, not on the other images; as in
    `diip_jax.restore`, on an accelerator only up to rounding.

    Raises:
        ValueError: a size that the prior does not take, tau above T, or a stride that does not divide T.
    """
    mesh, inputs = _inputs(prior, y, seed)
    restored = _program(mesh, settings, *inputs)
    return np.rint((np.asarray(restored)[: len(y)] + 1) * 127.5).astype(np.uint8)


def memory_bytes(prior: Prior, y: UInt8[np.ndarray, "n H W C"], settings: DreamClean = DreamClean()) -> int:
    """Arguments, results and temporaries of the program that restores so many images, on all devices; XLA's plan.

    Raises:
        ValueError: as `restore`.
    """
    mesh, inputs = _inputs(prior, y, seed=0)
    return mesh.size * planned_bytes(_program.lower(mesh, settings, *inputs).compile().memory_analysis())


def evaluations(prior: Prior, settings: DreamClean) -> int:
    """Network evaluations for an image: at every timestep inversion, the corrections, and DDIM."""
    visited = visited_steps(prior, settings.stride, "paper", t_max=settings.tau - 1)
    return len(visited.t) * (2 + settings.corrections)


def _inputs(prior: Prior, y: np.ndarray, seed: int) -> tuple[Mesh, tuple[Prior, tuple[Array, Array]]]:
    check_image_shape(prior, y.shape[1:])
    mesh = distribute.device_mesh(len(y))
    slots = distribute.padded_size(len(y), mesh)
    images = y.astype(np.float32) / np.float32(127.5) - 1
    who = np.minimum(np.arange(slots), len(y) - 1)
    part = distribute.split((images[who], image_keys(images, seed)[who]), mesh)
    return mesh, (distribute.replicate(prior, mesh), part)


@partial(jax.jit, static_argnames=("mesh", "settings"))
def _program(mesh: Mesh, settings: DreamClean, prior: Prior, part: tuple[Array, Array]) -> Array:
    def on_device(prior: Prior, part: tuple[Array, Array]) -> Array:
        if not distribute.on_cpu(mesh):
            return resample(prior, *part, settings)
        # One by one, as in the loop: to the last bit independent of the batch.
        return jax.lax.map(lambda each: resample(prior, each[0][None], each[1][None], settings)[0], part)

    return distribute.on_each_device(on_device, mesh)(prior, part)


def resample(prior: Denoiser, y: Images, keys: Key[Array, " B"], settings: DreamClean) -> Images:
    """DreamClean of images `[B, H, W, C]`, float32 in [-1, 1], with one random key for each.

    Raises:
        ValueError: tau above T, a stride that does not divide T, or as `diip_jax.ddim.check_unbounded`.
    """
    total = prior.schedule.num_timesteps
    if settings.tau > total:
        raise ValueError(f"tau={settings.tau}: expected at most the prior's {total} timesteps")
    # "paper" counts timesteps from 1: its t is index t - 1.
    visited = visited_steps(prior, settings.stride, "paper", t_max=settings.tau - 1)
    check_unbounded(prior, visited)
    y_tau = invert(prior, y, settings.stride, variant="paper", t_max=settings.tau - 1)

    def step(y_t: Images, at: Any) -> tuple[Images, None]:
        t, alpha_bar, alpha_bar_next = at

        def correct(m: Array, y_t: Images) -> Images:
            at_step = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, t), m))(keys)
            noise = jax.vmap(lambda key: jax.random.normal(key, y.shape[1:], y.dtype))(at_step)
            return vps(y_t, prior.denoise(y_t, jnp.full(len(y), t)).eps, noise, alpha_bar, settings.gamma)

        y_t = jax.lax.fori_loop(0, settings.corrections, correct, y_t)
        eps, x0_hat = prior.denoise(y_t, jnp.full(len(y), t))
        return jnp.sqrt(alpha_bar_next) * x0_hat + jnp.sqrt(1 - alpha_bar_next) * eps, None

    return jnp.clip(jax.lax.scan(step, y_tau, on_device(visited, y.dtype))[0], -1, 1)


def vps(y_t: Images, eps: Images, noise: Images, alpha_bar: Scalar | float, gamma: float) -> Images:
    """One step of variance preservation sampling (eq. 9) with eps = eps_theta(y_t, t) and standard normal noise."""
    sigma = jnp.sqrt(1 - alpha_bar)
    return y_t - gamma * sigma * eps + (gamma * (2 - gamma)) ** 0.5 * sigma * noise
