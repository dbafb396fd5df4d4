"""The noise that a network of the EDM kind predicts: eps_theta(x_t, t) out of F_theta.

Such a network was trained as the inner part of a denoiser of x = x_0 + sigma n (Karras et al., 2022, eq. 7),

    D(x; sigma) = c_skip(sigma) x + c_out(sigma) F_theta(c_in(sigma) x; c_noise(sigma)).

DDIM walks the variance-preserving x_t = x / sqrt(1 + sigma^2) with sigma^2 = 1 / alpha_bar_t - 1, and asks for the
noise, eps = (x - D(x; sigma)) / sigma.
"""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp

from diip_jax.array_types import Array, Float, Images

# What a network's output is: the noise itself; F_theta of a denoiser (EDM); F_theta of a consistency function, which
# gives the end of the ODE's path instead of the mean over all images (Song et al., 2023).
Prediction = Literal["eps", "edm", "consistency"]

# Standard deviation of images in [-1, 1], and the noise at which a consistency function is the identity: Karras et al.,
# 2022, table 1; Song et al., 2023, appendix C.
SIGMA_DATA = 0.5
SIGMA_MIN = 0.002


def karras_eps(
    network: Callable[[Images, Float[Array, "B"]], Images],
    x_t: Images,
    sigma: Float[Array, "B"],
    prediction: Literal["edm", "consistency"],
) -> Images:
    """The noise in x_t according to F_theta.

    Args:
        network: F_theta, of scaled noisy images and of what the published networks are told, 250 ln(sigma) (c_noise
            of Karras et al., table 1, in thousandths).
        x_t: variance-preserving noisy images.
        sigma: ratio of noise to signal of each, above 0; the networks were trained up to 80.
        prediction: "edm", or "consistency" with c_skip and c_out of Song et al., 2023, appendix C: sigma counts from
            SIGMA_MIN in them, so that there D is the identity.
    """
    shift = SIGMA_MIN if prediction == "consistency" else 0.0
    inputs = x_t * _per_image(jnp.sqrt((1 + sigma**2) / (sigma**2 + SIGMA_DATA**2)))
    output = network(inputs, 250 * jnp.log(sigma))
    # (x - c_skip x) / sigma and -c_out F / sigma, without the difference that cancels where sigma is small.
    above = sigma - shift
    of_x = above**2 / (sigma * (above**2 + SIGMA_DATA**2)) * jnp.sqrt(1 + sigma**2)
    of_output = above / sigma * SIGMA_DATA / jnp.sqrt(sigma**2 + SIGMA_DATA**2)
    return _per_image(of_x) * x_t - _per_image(of_output) * output


def _per_image(factor: Float[Array, "B"]) -> Float[Array, "B 1 1 1"]:
    return factor[:, None, None, None]
