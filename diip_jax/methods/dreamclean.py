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

from typing import Any

import jax
import jax.numpy as jnp

from diip_jax.array_types import Array, Images, Key, Scalar
from diip_jax.ddim_sampling import check_unbounded, invert, on_device, visited_steps
from diip_jax.plug import plug
from diip_jax.prior import check_image_shape


@plug(data=("prior", "gamma"))
class DreamClean:
    """DreamClean: `restore(DreamClean(prior), images)`.

    Attributes:
        prior: a `Prior`, or another `diip_jax.ddim_sampling.Denoiser`.
        gamma: strength of VPS, 0 (none: inversion and back) to 1 (fresh noise around the predicted image).
        tau: the timestep that the image is inverted to, 1 .. T: how far a result may be from y.
        corrections: M, VPS steps at a timestep.
        stride: timesteps of a DDIM step, a divisor of T.

    Raises:
        ValueError: tau above T or below the stride, a stride that does not divide T, or as
            `diip_jax.ddim_sampling.check_unbounded`.
    """

    prior: Any
    gamma: Any = 0.8
    tau: int = 50
    corrections: int = 1
    stride: int = 10

    def __post_init__(self) -> None:
        if isinstance(self.gamma, int | float) and not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma}: expected 0 to 1")
        if self.corrections < 0:
            raise ValueError(f"corrections={self.corrections}: expected at least 0")
        if self.tau < self.stride:
            raise ValueError(f"tau={self.tau}: expected at least the stride, {self.stride}")
        total = self.prior.schedule.num_timesteps
        if self.tau > total:
            raise ValueError(f"tau={self.tau}: expected at most the prior's {total} timesteps")
        check_unbounded(self.prior, self._visited())

    def _visited(self) -> Any:
        # "paper" counts timesteps from 1: its t is index t - 1.
        return visited_steps(self.prior, self.stride, "paper", t_max=self.tau - 1)

    @property
    def evaluations(self) -> int:
        """Network evaluations for an image: at every timestep inversion, the corrections, and DDIM."""
        return len(self._visited().t) * (2 + self.corrections)

    def sample(self, y: Images, keys: Key[Array, " B"]) -> Images:
        """DreamClean of images `[B, H, W, C]`, float32 in [-1, 1], with one random key for each.

        Raises:
            ValueError: a size that the prior does not take.
        """
        check_image_shape(self.prior, y.shape[1:])
        y_tau = invert(self.prior, y, self.stride, variant="paper", t_max=self.tau - 1)

        def step(y_t: Images, at: Any) -> tuple[Images, None]:
            t, alpha_bar, alpha_bar_next = at

            def correct(m: Array, y_t: Images) -> Images:
                at_step = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, t), m))(keys)
                noise = jax.vmap(lambda key: jax.random.normal(key, y.shape[1:], y.dtype))(at_step)
                return vps(y_t, self.prior.denoise(y_t, jnp.full(len(y), t)).eps, noise, alpha_bar, self.gamma)

            y_t = jax.lax.fori_loop(0, self.corrections, correct, y_t)
            eps, x0_hat = self.prior.denoise(y_t, jnp.full(len(y), t))
            return jnp.sqrt(alpha_bar_next) * x0_hat + jnp.sqrt(1 - alpha_bar_next) * eps, None

        return jnp.clip(jax.lax.scan(step, y_tau, on_device(self._visited(), y.dtype))[0], -1, 1)


def vps(y_t: Images, eps: Images, noise: Images, alpha_bar: Scalar | float, gamma: Any) -> Images:
    """One step of variance preservation sampling (eq. 9) with eps = eps_theta(y_t, t) and standard normal noise."""
    sigma = jnp.sqrt(1 - alpha_bar)
    return y_t - gamma * sigma * eps + (gamma * (2 - gamma)) ** 0.5 * sigma * noise
