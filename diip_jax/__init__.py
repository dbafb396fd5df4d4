"""Blind image restoration with pretrained diffusion priors in JAX: DIIP (ICCV 2025), BIRD, and methods of one's own.

import diip_jax as dj
prior = dj.load_prior()                                # the bundled 64x64 face prior
restored = dj.restore(dj.Blind(prior), photos).images   # [N, H, W, C], uint8 or float in [-1, 1]
"""

from diip_jax import startup as startup  # before what takes time to import

# isort: split
from diip_jax.ddim_sampling import invert, reverse
from diip_jax.degradations import corrupt, degrade
from diip_jax.faces import Face, find_faces, restore_faces
from diip_jax.methods import BIRD, DIIP, DIP, Blind, DreamClean
from diip_jax.plug import plug
from diip_jax.plugs.corrected_sampling import CorrectedSampling, replacement
from diip_jax.plugs.generators import DDIM, Generator, UntrainedNetwork, ddim
from diip_jax.plugs.losses import Cauchy, masked_mse, mse
from diip_jax.plugs.monitors import psnr
from diip_jax.plugs.operators import (
    Blur,
    Centred,
    Damage,
    Downsample,
    Enlargement,
    FoundDamage,
    GainOffset,
    Identity,
    KernelLogits,
    KernelNetwork,
    KnownKernel,
    Mask,
    Operator,
    PictureOperator,
    Reduced,
    SpectralBlur,
    SpectralFit,
    VaryingBlur,
    find_damage,
    find_enlargement,
    fit_spectrum,
)
from diip_jax.plugs.optimizers import Groups, Turn, decay, opt
from diip_jax.plugs.rules import (
    Averaged,
    Discrepancy,
    ExplainedVariance,
    LossSlope,
    LossThreshold,
    Never,
    Observation,
    Peak,
    ReturningBest,
    ReturningFirst,
    Rule,
    Score,
    combined,
    exponential_moving_variance,
    first_of,
    laplacian_variance_peak,
    printed,
    robust,
    sharpness_peak,
    windowed_moving_variance,
)
from diip_jax.prior import CheckpointError, Prior, load_prior, save_prior
from diip_jax.priors import Windowed
from diip_jax.restore import View, every, restore
from diip_jax.schedule import Schedule
from diip_jax.solution import Solution
from diip_jax.solve.problem import Problem, Result

__version__ = "0.2.0"

__all__ = [
    "BIRD",
    "DDIM",
    "DIIP",
    "DIP",
    "Averaged",
    "Blind",
    "Blur",
    "Cauchy",
    "Centred",
    "CheckpointError",
    "CorrectedSampling",
    "Damage",
    "Discrepancy",
    "Downsample",
    "DreamClean",
    "Enlargement",
    "ExplainedVariance",
    "Face",
    "FoundDamage",
    "GainOffset",
    "Generator",
    "Groups",
    "Identity",
    "KernelLogits",
    "KernelNetwork",
    "KnownKernel",
    "LossSlope",
    "LossThreshold",
    "Mask",
    "Never",
    "Observation",
    "Operator",
    "Peak",
    "PictureOperator",
    "Prior",
    "Problem",
    "Reduced",
    "Result",
    "ReturningBest",
    "ReturningFirst",
    "Rule",
    "Schedule",
    "Score",
    "Solution",
    "SpectralBlur",
    "SpectralFit",
    "Turn",
    "UntrainedNetwork",
    "VaryingBlur",
    "View",
    "Windowed",
    "combined",
    "corrupt",
    "ddim",
    "decay",
    "degrade",
    "every",
    "exponential_moving_variance",
    "find_damage",
    "find_enlargement",
    "find_faces",
    "first_of",
    "fit_spectrum",
    "invert",
    "laplacian_variance_peak",
    "load_prior",
    "masked_mse",
    "mse",
    "opt",
    "plug",
    "printed",
    "psnr",
    "replacement",
    "restore",
    "restore_faces",
    "reverse",
    "robust",
    "save_prior",
    "sharpness_peak",
    "windowed_moving_variance",
]
