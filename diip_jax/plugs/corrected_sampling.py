"""Sampling from a diffusion prior in which the observation corrects every image that the prior predicts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diip_jax.array_types import Count, Image, PRNGKey
from diip_jax.plug import check_above, plug
from diip_jax.plugs.generators import Generator
from diip_jax.plugs.noise_levels import expected_image, nearest_level
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
    steps: int = 18
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
        # From the last one up: a single step is the last one.
        asked = np.geomspace(self.last_level, self.first_level, self.steps)[::-1]
        t, sigma = nearest_level(self.prior, jnp.asarray(asked, jnp.float32)[jnp.minimum(k, self.steps - 1)])
        noisy = jax.lax.stop_gradient(cache + u) + sigma * jax.random.normal(key, u.shape, u.dtype)
        predicted = jax.lax.stop_gradient(expected_image(self.prior, noisy, t, sigma))
        return predicted + (u - jax.lax.stop_gradient(u)), predicted


def replacement(rate: Any) -> optax.GradientTransformation:
    """The next u is not a step from this one, but the step that the gradient of a mean over elements asks for.

    u <- -rate * n / 2 * gradient, n the number of u's elements: of a mean of squares that is rate times the error.
    """

    def update(gradient: Any, u: Any) -> Any:
        return jax.tree.map(lambda g, u: -rate * (g.size / 2) * g - u, gradient, u)

    return optax.stateless(update)
