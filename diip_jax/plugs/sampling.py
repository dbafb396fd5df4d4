"""Sampling from a diffusion prior in which the observation corrects every image that the prior predicts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diip_jax.array_types import Count, Image, PRNGKey
from diip_jax.plug import check_above, plug
from diip_jax.plugs.generators import Generator
from diip_jax.prior import check_image_shape


@plug(data=("prior",))
class CorrectedSampling(Generator):
    """x_k = E[x_0 | x_(k-1) + u + sigma_k n], n ~ N(0, I): u is the correction of the image that was predicted last.

    From one level of noise to the next lower one, as in sampling, but what the noise is put on is the predicted image
    as the observation corrects it (DDNM, Wang et al., ICLR 2023; DiffPIR, Zhu et al., CVPR Workshops 2023, with its
    zeta of 1: all noise is new, and the samples are less spread than the posterior). An iterate is one evaluation. No
    gradient goes through the network: that of an iterate is that of u, and with `replacement` for the optimiser the
    next u is the step from the iterate to where it fits y.

    Attributes:
        prior: a `Prior`, or another `diip_jax.ddim.Denoiser`.
        steps: how many levels there are; later iterates stay at the last one.
        first_level, last_level: sigma of the first and of the last, noise over the image's range [-1, 1]; those between
            are in geometric progression, and a single step is at the last one. Each is the nearest that the prior has a
            timestep for.

    Raises:
        ValueError: no steps, or a level that is not above 0.
    """

    prior: Any
    steps: int = 12
    first_level: float = 2.4
    last_level: float = 0.03

    def __post_init__(self) -> None:
        check_above("steps", self.steps, 1, inclusive=True)
        check_above("first_level", self.first_level, 0)
        check_above("last_level", self.last_level, 0)

    @property
    def evaluations(self) -> int:
        return 1

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Image:
        check_image_shape(self.prior, image_shape)
        return jnp.zeros(image_shape)

    def start(self, key: PRNGKey, image_shape: tuple[int, int, int], guess: Image | None) -> Image:
        nothing = self.init(key, image_shape)
        return nothing if guess is None else guess

    def init_cache(self, u: Image) -> Image:
        """The image that u corrects: none has been predicted, and the first u is an image itself."""
        return jnp.zeros_like(u)

    def apply(self, u: Image, cache: Image, key: PRNGKey, k: Count) -> tuple[Image, Image]:
        t, sigma = self._levels(jnp.minimum(k, self.steps - 1))
        noisy = jax.lax.stop_gradient(cache + u) + sigma * jax.random.normal(key, u.shape, u.dtype)
        x_t = noisy / jnp.sqrt(1 + sigma**2)
        predicted = self.prior.denoise(x_t[None], t[None], hold_eps=True).x0_hat[0]
        predicted = jax.lax.stop_gradient(predicted)
        return predicted + (u - jax.lax.stop_gradient(u)), predicted

    def _levels(self, k: Count) -> tuple[Any, Any]:
        """(timestep, sigma) of an iterate."""
        # From the last one up: a single step is the last one.
        t = timesteps_of(self.prior, np.geomspace(self.last_level, self.first_level, self.steps)[::-1])
        alpha_bar = np.asarray(self.prior.schedule.alpha_bar, np.float64)[t]
        sigma = np.sqrt((1 - alpha_bar) / alpha_bar)
        return jnp.asarray(t, jnp.int32)[k], jnp.asarray(sigma, jnp.float32)[k]


def timesteps_of(prior: Any, sigma: Any) -> np.ndarray:
    """The timesteps whose noise is nearest to sigma times their signal, by its logarithm."""
    alpha_bar = np.asarray(prior.schedule.alpha_bar, np.float64)
    kept = alpha_bar[alpha_bar > 1e-4]  # the last one of some schedules is 0
    levels = np.log((1 - kept) / kept) / 2
    return np.abs(levels - np.log(np.asarray(sigma, np.float64))[..., None]).argmin(axis=-1)


def replacement(rate: Any) -> optax.GradientTransformation:
    """The next u is not a step from this one, but the step that the gradient of a mean over elements asks for.

    u <- -rate * n / 2 * gradient, n the number of u's elements: of a mean of squares that is rate times the error.
    """

    def update(gradient: Any, u: Any) -> Any:
        return jax.tree.map(lambda g, u: -rate * (g.size / 2) * g - u, gradient, u)

    return optax.stateless(update)
