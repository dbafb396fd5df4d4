"""Degradation operators H_eta: the plug that says how a clean image x becomes the observed y = H_eta(x).

operator       what an operator is; identity, mask
kernels        where a blur kernel comes from: a network, logits, or what is known
blurs          blur by one kernel, or by one that changes over the image
spectral_blur  a Gaussian that the spectrum of y shows
found_damage   blur and noise that y shows
compositions   what may follow: down-sampling, gain and offset; or come first: larger pixels
"""

from diip_jax.plugs.operators.blurs import Blur, Boundary, VaryingBlur, convolve
from diip_jax.plugs.operators.compositions import Downsample, GainOffset, Reduced
from diip_jax.plugs.operators.damage import Damage, find_damage
from diip_jax.plugs.operators.enlargement import Enlargement, find_enlargement
from diip_jax.plugs.operators.found_damage import FoundDamage
from diip_jax.plugs.operators.kernels import (
    Centred,
    KernelLogits,
    KernelModel,
    KernelNetwork,
    KnownKernel,
    to_centre,
)
from diip_jax.plugs.operators.operator import Guess, Identity, Mask, Operator, PictureOperator, given
from diip_jax.plugs.operators.spectral_blur import SpectralBlur
from diip_jax.plugs.operators.spectrum import SpectralFit, fit_spectrum

__all__ = [
    "Blur",
    "Boundary",
    "Centred",
    "Damage",
    "Downsample",
    "Enlargement",
    "FoundDamage",
    "GainOffset",
    "Guess",
    "Identity",
    "KernelLogits",
    "KernelModel",
    "KernelNetwork",
    "KnownKernel",
    "Mask",
    "Operator",
    "PictureOperator",
    "Reduced",
    "SpectralBlur",
    "SpectralFit",
    "VaryingBlur",
    "convolve",
    "find_damage",
    "find_enlargement",
    "fit_spectrum",
    "given",
    "to_centre",
]
