"""Early stopping by the variance of the iterates: ES-WMV and ES-EMV.

Wang et al., "Early Stopping for Deep Image Prior" (TMLR 2023): while the picture forms the iterates move, near the best
one they rest, and they move again when the degradation is fitted. The best iterate is where their variance is smallest.
The printed numbers (a window of 100 and a patience of 1000 for 5000 iterations of DIP) are many times the budget here.
"""

from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Array, Float, Image, Observed, Scalar
from diip_jax.stopping.peak import Score, peak
from diip_jax.stopping.rule import Observation, StoppingRule, check_smoothing


def windowed_moving_variance(window: int = 10, *, patience: int = 10) -> StoppingRule:
    """ES-WMV (Algorithm 1): returns the iterate at which the last `window` iterates vary least.

    The variance is mean over window, pixels and channels of (x_i - mean of the window)^2; it counts once the window is
    full. The state holds `window` images.

    Args:
        window: W, at least 2.
        patience: P, fires after this many iterates in a row without a new minimum.
    """
    if window < 2:
        raise ValueError(f"window={window}: expected at least 2")

    def init(image: Image, y: Observed) -> Float[Array, "window H W C"]:
        return jnp.zeros_like(image, shape=(window, *image.shape))

    def update(images: Float[Array, "window H W C"], seen: Observation) -> tuple[Float[Array, "window H W C"], Scalar]:
        # A ring: the oldest image gives way.
        images = images.at[seen.k % window].set(seen.image)
        return images, -images.var(axis=0).mean()

    return peak(Score(init, update), "wmv", k_min=window - 2, patience=patience)


class _ExponentialState(NamedTuple):
    mean: Image
    variance: Scalar


def exponential_moving_variance(smoothing: float = 0.9, *, k_min: int = 100, patience: int = 10) -> StoppingRule:
    """ES-EMV (Algorithm 2): as ES-WMV, with an exponential moving variance and the memory of one image.

    With alpha = 1 - smoothing and d = x_k - mean: mean <- mean + alpha d, and
    variance <- (1 - alpha) (variance + alpha d^2), where d^2 is the mean over pixels and channels.

    Args:
        smoothing: weight of the past, 0 <= smoothing < 1.
        k_min: iterates up to k_min do not count.
        patience: fires after this many iterates in a row without a new minimum.
    """
    check_smoothing(smoothing)

    def init(image: Image, y: Observed) -> _ExponentialState:
        return _ExponentialState(image, jnp.zeros_like(image, shape=()))

    def update(state: _ExponentialState, seen: Observation) -> tuple[_ExponentialState, Scalar]:
        d = jnp.where(seen.k == 0, 0, seen.image - state.mean)
        mean = jnp.where(seen.k == 0, seen.image, state.mean + (1 - smoothing) * d)
        variance = smoothing * (state.variance + (1 - smoothing) * jnp.mean(d**2))
        return _ExponentialState(mean, variance), -variance

    return peak(Score(init, update), "emv", k_min=k_min, patience=patience)
