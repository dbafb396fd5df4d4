"""Stopping rules: which iterate of the optimisation to return, decided on the device without the clean image.

rule          what a rule is; the first of several rules; the first iterate at which a condition held
peak          the best iterate by a score: at its peak, with patience, or when another rule stops
averaging     the mean of late iterates
curves        the two rules of the DIIP note (Laplacian variance, slope of the loss), thresholds of the loss
sharpness     the first of them relative to the degraded image
variance      ES-WMV and ES-EMV: where the iterates rest
discrepancy   a fit as close as the noise that is seen in the degraded image
combined      the last three and a threshold together
"""

from diip_jax.plugs.rules.averaging import Averaged
from diip_jax.plugs.rules.combined import combined
from diip_jax.plugs.rules.curves import (
    ExplainedVariance,
    LossSlope,
    LossThreshold,
    SmoothedSharpness,
    laplacian_variance_peak,
    printed,
    robust,
)
from diip_jax.plugs.rules.discrepancy import Discrepancy, noise_level
from diip_jax.plugs.rules.peak import Peak, ReturningBest, Score
from diip_jax.plugs.rules.rule import (
    Candidate,
    FirstOf,
    Never,
    Observation,
    ReturningFirst,
    Rule,
    Verdict,
    first_of,
)
from diip_jax.plugs.rules.sharpness import Picture, laplacian_variance, picture_in, sharpness_peak
from diip_jax.plugs.rules.variance import exponential_moving_variance, windowed_moving_variance

__all__ = [
    "Averaged",
    "Candidate",
    "Discrepancy",
    "ExplainedVariance",
    "FirstOf",
    "LossSlope",
    "LossThreshold",
    "Never",
    "Observation",
    "Peak",
    "Picture",
    "ReturningBest",
    "ReturningFirst",
    "Rule",
    "Score",
    "SmoothedSharpness",
    "Verdict",
    "combined",
    "exponential_moving_variance",
    "first_of",
    "laplacian_variance",
    "laplacian_variance_peak",
    "noise_level",
    "picture_in",
    "printed",
    "robust",
    "sharpness_peak",
    "windowed_moving_variance",
]
