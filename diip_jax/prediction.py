"""What a network predicts, and the noise and the image that its output stands for.

Of x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) n a network's output is one of

    epsilon        n, the noise (Ho et al., 2020)
    v_prediction   v = sqrt(alpha_bar_t) n - sqrt(1 - alpha_bar_t) x_0 (Salimans and Ho, 2022, appendix D)
    sample         x_0, the image
    edm            F_theta, the inner part of a denoiser of x = x_0 + sigma n (Karras et al., 2022, eq. 7),
                   D(x; sigma) = c_skip(sigma) x + c_out(sigma) F_theta(c_in(sigma) x; c_noise(sigma))
    consistency    F_theta of a consistency function, which gives the end of the ODE's path instead of the mean over all
                   images (Song et al., 2023)

The first three are diffusers' `prediction_type`. The last two are asked on the scale of x_t = x / sqrt(1 + sigma^2),
where sigma^2 = (1 - alpha_bar_t) / alpha_bar_t. Only this module knows one from the other.
"""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from diip_jax.array_types import Array, Float, Images, Timesteps

Prediction = Literal["epsilon", "v_prediction", "sample", "edm", "consistency"]
AlphaBar = Float[Array, " B"]

# Standard deviation of images in [-1, 1], and the noise at which a consistency function is the identity: Karras et al.,
# 2022, table 1; Song et al., 2023, appendix C.
SIGMA_DATA = 0.5
SIGMA_MIN = 0.002

# Defined where alpha_bar = 0.
_WITHOUT_SIGNAL = ("v_prediction", "sample")


class Denoised(NamedTuple):
    """What is in x_t according to a network: x_t = sqrt(alpha_bar_t) x0_hat + sqrt(1 - alpha_bar_t) eps."""

    eps: Images
    x0_hat: Images


def check_prediction(
    prediction: str, *, zero_terminal_snr: bool = False, known: tuple[str, ...] = get_args(Prediction)
) -> None:
    """Raises ValueError unless it is a known one, and one that is defined where alpha_bar is 0 if there it is."""
    if prediction not in known:
        raise ValueError(f"prediction={prediction!r}: expected one of {', '.join(known)}")
    if zero_terminal_snr and prediction not in _WITHOUT_SIGNAL:
        raise ValueError(
            f"prediction={prediction!r}: alpha_bar is 0 at the last timestep of this schedule, where only "
            f"{' and '.join(_WITHOUT_SIGNAL)} say anything of the image"
        )


def least_alpha_bar(prediction: Prediction) -> float:
    """The least alpha_bar at which x0_hat needs no bounds: where float32 errors of the noise are 1e-3 of the image."""
    return 1e-6 if prediction == "epsilon" else 0.0


def network_input(
    prediction: Prediction, x_t: Images, t: Timesteps, alpha_bar: AlphaBar
) -> tuple[Images, Float[Array, " B"] | Timesteps]:
    """What the network is shown and told: x_t and t, or of the Karras kinds c_in x and 250 ln(sigma).

    The latter is c_noise of Karras et al., table 1, in thousandths, as the published networks have it.
    """
    if prediction not in ("edm", "consistency"):
        return x_t, t
    sigma = _sigma(alpha_bar)
    return x_t * _per_image(jnp.sqrt((1 + sigma**2) / (sigma**2 + SIGMA_DATA**2))), 250 * jnp.log(sigma)


def denoised(
    prediction: Prediction, output: Images, x_t: Images, alpha_bar: AlphaBar, *, hold_eps: bool = False
) -> Denoised:
    """The noise and the image that a network's output stands for.

    Only "epsilon" divides by sqrt(alpha_bar), so that its x0_hat has the error of the output 1 / sqrt(alpha_bar) times;
    "v_prediction" and "sample" are defined at alpha_bar = 0 as well.

    Args:
        output: of the network on `network_input`.
        x_t: variance-preserving noisy images.
        alpha_bar: of each, below 1. Of the Karras kinds above 0; they were trained up to sigma = 80.
        hold_eps: derivatives with respect to x_t are those at constant eps, d x0_hat / d x_t = 1 / sqrt(alpha_bar),
            whatever the output is. It is eps that is constant, not the output: of v at constant output it would be
            sqrt(alpha_bar). Values are the same.
    """
    signal, noise = _per_image(jnp.sqrt(alpha_bar)), _per_image(jnp.sqrt(1 - alpha_bar))
    if prediction == "epsilon":
        eps = jax.lax.stop_gradient(output) if hold_eps else output
        return Denoised(eps, x0_hat=(x_t - noise * eps) / signal)
    if prediction == "v_prediction":
        eps, x0_hat = noise * x_t + signal * output, signal * x_t - noise * output
    elif prediction == "sample":
        eps, x0_hat = (x_t - signal * output) / noise, output
    else:
        eps, x0_hat = _karras(prediction, output, x_t, alpha_bar)
    if hold_eps:
        eps, x0_hat = jax.lax.stop_gradient(eps), _at_constant_eps(x_t, x0_hat, signal)
    return Denoised(eps, x0_hat)


def target(prediction: Prediction, x_0: Images, noise: Images, alpha_bar: AlphaBar) -> Images:
    """The output that is right for x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) noise: what training aims at.

    Raises:
        ValueError: prediction "consistency", which has no such target (Song et al., 2023, section 4).
    """
    if prediction == "consistency":
        raise ValueError("prediction='consistency': trained along the ODE's path, not towards a target; choose another")
    if prediction == "epsilon":
        return noise
    if prediction == "sample":
        return x_0
    signal, spread = _per_image(jnp.sqrt(alpha_bar)), _per_image(jnp.sqrt(1 - alpha_bar))
    if prediction == "v_prediction":
        return signal * noise - spread * x_0
    # (D - c_skip x) / c_out at D = x_0, without the difference that cancels where sigma is small.
    sigma = _per_image(_sigma(alpha_bar))
    return (sigma * x_0 - SIGMA_DATA**2 * noise) / (SIGMA_DATA * jnp.sqrt(sigma**2 + SIGMA_DATA**2))


def _karras(prediction: Prediction, output: Images, x_t: Images, alpha_bar: AlphaBar) -> tuple[Images, Images]:
    sigma = _per_image(_sigma(alpha_bar))
    # A consistency function counts sigma from SIGMA_MIN, so that there it is the identity (appendix C).
    above = sigma - SIGMA_MIN if prediction == "consistency" else sigma
    x = x_t * jnp.sqrt(1 + sigma**2)
    root = jnp.sqrt(sigma**2 + SIGMA_DATA**2)
    # (x - c_skip x) / sigma and -c_out F / sigma, without the difference that cancels where sigma is small.
    eps = above**2 / (sigma * (above**2 + SIGMA_DATA**2)) * x - above / sigma * SIGMA_DATA / root * output
    x0_hat = SIGMA_DATA**2 / (above**2 + SIGMA_DATA**2) * x + above * SIGMA_DATA / root * output
    return eps, x0_hat


@jax.custom_jvp
def _at_constant_eps(x_t: Images, x0_hat: Images, signal: Float[Array, "B 1 1 1"]) -> Images:
    """x0_hat as it is, with the derivative of (x_t - sqrt(1 - alpha_bar) eps) / signal at constant eps."""
    return x0_hat


@_at_constant_eps.defjvp
def _at_constant_eps_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    _, x0_hat, signal = primals
    return x0_hat, tangents[0] / signal


def _sigma(alpha_bar: AlphaBar) -> Float[Array, " B"]:
    # 1 - alpha_bar is exact near 1, where 1 / alpha_bar - 1 would lose what matters.
    return jnp.sqrt((1 - alpha_bar) / alpha_bar)


def _per_image(factor: Float[Array, "B"]) -> Float[Array, "B 1 1 1"]:
    return factor[:, None, None, None]
