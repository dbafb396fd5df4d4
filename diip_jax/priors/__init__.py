"""Priors of one's own."""

from diip_jax.priors.function_prior import FunctionPrior

__all__ = ["FunctionPrior"]
