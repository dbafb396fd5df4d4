"""Degradation operators H_eta: the plug that says how a clean image x becomes the observed y = H_eta(x).

known          what is known of each image: mask, kernel
operator       what an operator is; identity, mask
kernels        where a blur kernel comes from: a network, logits, or what is known
blurs          blur by one kernel, or by one that changes over the image
compositions   what may follow: down-sampling, gain and offset
"""

from diip_jax.operators.blurs import Boundary, blur, convolve, varying_blur
from diip_jax.operators.compositions import downsample, gain_offset
from diip_jax.operators.kernels import KernelModel, centred, kernel_logits, kernel_network, known_kernel
from diip_jax.operators.known import Known, check_known
from diip_jax.operators.operator import Geometry, Operator, identity, mask

__all__ = [
    "Boundary",
    "Geometry",
    "KernelModel",
    "Known",
    "Operator",
    "blur",
    "centred",
    "check_known",
    "convolve",
    "downsample",
    "gain_offset",
    "identity",
    "kernel_logits",
    "kernel_network",
    "known_kernel",
    "mask",
    "varying_blur",
]
