"""Restoration methods: short recipes that name the plugs of the loop, with their papers' numbers."""

from diip_jax.methods.bird import BIRD
from diip_jax.methods.blind import Blind
from diip_jax.methods.diip import DIIP
from diip_jax.methods.dip import DIP
from diip_jax.methods.dreamclean import DreamClean
from diip_jax.methods.method import Method, Sampler

__all__ = ["BIRD", "DIIP", "DIP", "Blind", "DreamClean", "Method", "Sampler"]
