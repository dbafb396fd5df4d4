"""Blind image restoration with pretrained diffusion priors in JAX: DIIP (ICCV 2025) and BIRD.

import diip_jax
prior = diip_jax.load_prior()                      # the bundled 64x64 face prior
restored = diip_jax.restore(prior, images).images  # [N, H, W, C], uint8 or float in [-1, 1]
"""

from diip_jax.api import Progress, Restored, restore
from diip_jax.ddim import invert, reverse
from diip_jax.loop import Problem
from diip_jax.methods import BIRD, DIIP, DIP, METHODS, Method
from diip_jax.prior import CheckpointError, Prior, load_prior, save_prior
from diip_jax.schedule import Schedule

__version__ = "0.1.0"

__all__ = [
    "BIRD",
    "DIIP",
    "DIP",
    "METHODS",
    "CheckpointError",
    "Method",
    "Prior",
    "Problem",
    "Progress",
    "Restored",
    "Schedule",
    "invert",
    "load_prior",
    "restore",
    "reverse",
    "save_prior",
]
