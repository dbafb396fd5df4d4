"""The loss of a training: which timesteps are drawn, and how much each counts."""

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from diip_jax.array_types import Array, Float, Images, Int, PRNGKey, Scalar
from diip_jax.prediction import denoised, target
from diip_jax.prior import Prior
from diip_jax.schedule import Schedule

Weighting = Literal["plain", "min_snr"]
TimestepDistribution = Literal["uniform", "logit_normal"]


@dataclass(frozen=True)
class Objective:
    """Attributes:
    weighting: "plain": the mean squared error of the network's output, whatever it predicts. "min_snr": of x0_hat,
        times min(SNR, gamma) with SNR = alpha_bar / (1 - alpha_bar) (Hang et al., 2023, eq. 8).
    min_snr_gamma: gamma.
    timesteps: "uniform" over 0 .. T-1; "logit_normal": t / T is sigmoid(normal) (Esser et al., 2024, eq. 19).
    logit_mean, logit_std: of that normal.
    """

    weighting: Weighting = "plain"
    min_snr_gamma: float = 5.0
    timesteps: TimestepDistribution = "uniform"
    logit_mean: float = 0.0
    logit_std: float = 1.0

    def __post_init__(self) -> None:
        for name, kind in (("weighting", Weighting), ("timesteps", TimestepDistribution)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(get_args(kind))}")
        for name in ("min_snr_gamma", "logit_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected a number above 0")


def draw_timesteps(objective: Objective, schedule: Schedule, count: int, key: PRNGKey) -> Int[Array, " B"]:
    """Timesteps of a batch, stratified: the n-th is from the n-th of `count` equally likely parts of the distribution.

    So each batch has low and high ones, and its loss varies less than that of independent ones.
    """
    place = (jnp.arange(count) + jax.random.uniform(key, (count,))) / count
    if objective.timesteps == "logit_normal":
        place = jax.nn.sigmoid(objective.logit_mean + objective.logit_std * ndtri(place))
    return jnp.minimum((place * schedule.num_timesteps).astype(jnp.int32), schedule.num_timesteps - 1)


def weights(objective: Objective, prior: Prior, alpha_bar: Float[Array, " B"]) -> Float[Array, " B"]:
    """What the squared error of the network's output is multiplied by.

    An error of the output is one of x0_hat times d x0_hat / d output, of which x0_hat is a linear function.
    """
    if objective.weighting == "plain":
        return jnp.ones_like(alpha_bar)
    one = jnp.ones((len(alpha_bar), 1, 1, 1))
    per_output = denoised(prior.prediction, one, jnp.zeros_like(one), alpha_bar).x0_hat[:, 0, 0, 0]
    return jnp.minimum(alpha_bar / (1 - alpha_bar), objective.min_snr_gamma) * per_output**2


def loss(
    objective: Objective, prior: Prior, x_0: Images, noise: Images, t: Int[Array, " B"], *, remat_blocks: bool = False
) -> Scalar:
    """The weighted mean squared error of the network's output at timesteps t.

    It is shown x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise.

    Args:
        x_0: in [-1, 1].
        remat_blocks: as in `Prior.output`.
    """
    alpha_bar = jnp.asarray(prior.schedule.alpha_bar.astype(np.float32))[t]
    signal, spread = (jnp.sqrt(part)[:, None, None, None] for part in (alpha_bar, 1 - alpha_bar))
    output = prior.output(signal * x_0 + spread * noise, t, remat_blocks=remat_blocks)
    error = jnp.mean((output - target(prior.prediction, x_0, noise, alpha_bar)) ** 2, axis=(1, 2, 3))
    return jnp.mean(weights(objective, prior, alpha_bar) * error)


def check_prediction_is_trained(prior: Prior) -> None:
    """Raises ValueError where the network's output has no target, or a timestep at which it has no meaning."""
    lowest = prior.schedule.alpha_bar.min()
    if lowest <= 0 and prior.prediction not in ("v_prediction", "sample"):
        raise ValueError(
            f"prediction={prior.prediction!r}: the schedule ends in pure noise (alpha_bar = 0), where the output would "
            "say nothing of the image; choose v_prediction or sample"
        )
    if prior.prediction == "consistency":
        one = jnp.zeros((1, 1, 1, 1))
        target(prior.prediction, one, one, jnp.full(1, 0.5))
