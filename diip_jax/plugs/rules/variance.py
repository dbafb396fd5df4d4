"""Early stopping by the variance of the iterates: ES-WMV and ES-EMV.

Wang et al., "Early Stopping for Deep Image Prior" (TMLR 2023): while the picture forms the iterates move, near the best
one they rest, and they move again when the degradation is fitted. The best iterate is where their variance is smallest.
The printed numbers (a window of 100 and a patience of 1000 for 5000 iterations of DIP) are many times the budget here.
"""

from typing import NamedTuple

import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Float, Image, Scalar
from diip_jax.plug import plug
from diip_jax.plugs.rules.checks import check_patience, check_smoothing
from diip_jax.plugs.rules.peak import Peak, Score
from diip_jax.plugs.rules.rule import Observation


@plug()
class WindowRest(Score):
    """Minus the variance of the last `window` iterates; the state holds them."""

    window: int = 10

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"window={self.window}: expected at least 2")

    def init(self, image: Image, y: Array) -> Float[Array, "window H W C"]:
        return jnp.zeros_like(image, shape=(self.window, *image.shape))

    def __call__(
        self, images: Float[Array, "window H W C"], seen: Observation
    ) -> tuple[Float[Array, "window H W C"], Scalar]:
        # A ring: the oldest image gives way.
        images = images.at[seen.k % self.window].set(seen.image)
        return images, -images.var(axis=0).mean()


def windowed_moving_variance(window: int = 10, *, patience: int = 10) -> Peak:
    """ES-WMV (Algorithm 1): returns the iterate at which the last `window` iterates vary least.

    The variance is mean over window, pixels and channels of (x_i - mean of the window)^2; it counts once the window is
    full. The state holds `window` images.

    Args:
        window: W, at least 2.
        patience: P, fires after this many iterates in a row without a new minimum.

    Raises:
        ValueError: a window below 2, a patience below 1.
    """
    check_patience(0, patience)
    return Peak(WindowRest(window), window - 2, patience, "wmv")


class _ExponentialState(NamedTuple):
    mean: Image
    variance: Scalar


@plug(data=("smoothing",))
class ExponentialRest(Score):
    """Minus the exponential moving variance of the iterates, see `exponential_moving_variance`."""

    smoothing: Any = 0.9

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)

    def init(self, image: Image, y: Array) -> _ExponentialState:
        return _ExponentialState(image, jnp.zeros_like(image, shape=()))

    def __call__(self, state: _ExponentialState, seen: Observation) -> tuple[_ExponentialState, Scalar]:
        smoothing = self.smoothing
        d = jnp.where(seen.k == 0, 0, seen.image - state.mean)
        mean = jnp.where(seen.k == 0, seen.image, state.mean + (1 - smoothing) * d)
        variance = smoothing * (state.variance + (1 - smoothing) * jnp.mean(d**2))
        return _ExponentialState(mean, variance), -variance


def exponential_moving_variance(smoothing: float = 0.9, *, k_min: int = 100, patience: int = 10) -> Peak:
    """ES-EMV (Algorithm 2): as ES-WMV, with an exponential moving variance and the memory of one image.

    With alpha = 1 - smoothing and d = x_k - mean: mean <- mean + alpha d, and
    variance <- (1 - alpha) (variance + alpha d^2), where d^2 is the mean over pixels and channels.

    Args:
        smoothing: weight of the past, 0 <= smoothing < 1.
        k_min: iterates up to k_min do not count.
        patience: fires after this many iterates in a row without a new minimum.

    Raises:
        ValueError: a k_min below 0, a patience below 1, a smoothing outside 0 <= smoothing < 1.
    """
    check_patience(k_min, patience)
    return Peak(ExponentialRest(smoothing), k_min, patience, "emv")
