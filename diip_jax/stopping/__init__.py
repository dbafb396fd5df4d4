"""Stopping rules: which iterate of the optimisation to return, decided on the device without the clean image.

rule          what a rule is; the iteration budget, the guard against divergence, the first of several rules
peak          the peak of a score of the iterates, with patience
curves        the two rules of the DIIP note (Laplacian variance, slope of the loss), thresholds of the loss
sharpness     the first of them relative to the degraded image
variance      ES-WMV and ES-EMV: where the iterates rest
discrepancy   a fit as close as the noise that is seen in the degraded image
averaging     the mean of late iterates
"""

from diip_jax.stopping.averaging import averaged
from diip_jax.stopping.curves import explained_variance, laplacian_variance_peak, loss_slope, loss_threshold
from diip_jax.stopping.discrepancy import discrepancy, noise_level
from diip_jax.stopping.rule import Observation, StoppingRule, Verdict, budget, diverged, first_of, shown
from diip_jax.stopping.sharpness import Picture, laplacian_variance, picture_in, sharpness_peak
from diip_jax.stopping.variance import exponential_moving_variance, windowed_moving_variance

__all__ = [
    "Observation",
    "Picture",
    "StoppingRule",
    "Verdict",
    "averaged",
    "budget",
    "discrepancy",
    "diverged",
    "explained_variance",
    "exponential_moving_variance",
    "first_of",
    "laplacian_variance",
    "laplacian_variance_peak",
    "loss_slope",
    "loss_threshold",
    "noise_level",
    "picture_in",
    "sharpness_peak",
    "shown",
    "windowed_moving_variance",
]
