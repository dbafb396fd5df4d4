"""Torch weights to priors: `python -m diip_jax.convert`, or `diip_jax.convert.convert(source, output)`."""

from diip_jax.convert.conversion import convert, read_torch_prior
from diip_jax.convert.families import PRESETS, Preset

__all__ = ["PRESETS", "Preset", "convert", "read_torch_prior"]
