"""Priors: a frozen network, any function, and priors over pictures larger than their own."""

from diip_jax.priors.function_prior import FunctionPrior
from diip_jax.priors.network_prior import Prior
from diip_jax.priors.windowed import Windowed

__all__ = ["FunctionPrior", "Prior", "Windowed"]
