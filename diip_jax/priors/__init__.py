"""Priors of one's own, and priors over pictures larger than their own."""

from diip_jax.priors.function_prior import FunctionPrior
from diip_jax.priors.windowed import Windowed

__all__ = ["FunctionPrior", "Windowed"]
