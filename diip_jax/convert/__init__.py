"""Torch weights to priors: `python -m diip_jax.convert`, or `diip_jax.convert.convert(source, output)`."""

from diip_jax.convert.main import convert, read_torch_prior

__all__ = ["convert", "read_torch_prior"]
