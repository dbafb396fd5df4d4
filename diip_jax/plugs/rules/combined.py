"""The rule that decides by itself what kind of degradation it has before it."""

from diip_jax.plugs.rules.curves import ExplainedVariance
from diip_jax.plugs.rules.rule import FirstOf, first_of
from diip_jax.plugs.rules.sharpness import sharpness_peak
from diip_jax.plugs.rules.variance import exponential_moving_variance


def combined(
    explained: float = 0.86,
    sharpness_ratio: float = 1.6,
    fully_explained: float = 0.992,
    *,
    smoothing: float = 0.9,
    k_min: int = 100,
    patience: int = 10,
) -> FirstOf:
    """The first of `sharpness_peak`, relative to y, of `ExplainedVariance` and of `exponential_moving_variance`."""
    return first_of(
        sharpness_peak(explained, sharpness_ratio, patience=patience),
        ExplainedVariance(fully_explained),
        exponential_moving_variance(smoothing, k_min=k_min, patience=patience),
    )
