"""The same iteration in torch: diffusers' UNet2DModel, channels_last, all cores. Needs torch and diffusers.

The weights are random: they do not change the time.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from diip_jax.convert.torch_configs import to_diffusers
from diip_jax.methods import DIIP
from diip_jax.models import DDPMUNetConfig
from diip_jax.prior import Prior
from diip_jax.schedule import steps


def torch_iteration(prior: Prior, method: DIIP, batch_size: int) -> Callable[[], None]:
    """A function that does one more iteration of DIIP on a batch of random images in torch.

    DDIM in the variant "code", mean squared error, Adam, the sphere. Detached: the network under `inference_mode`.
    Full: through the network, `torch.utils.checkpoint` on every step.

    Raises:
        ValueError: torch or diffusers is missing, or settings that this reference does not have.
    """
    try:
        import torch
        from diffusers import UNet2DModel
        from torch.utils.checkpoint import checkpoint
    except ImportError as error:
        raise ValueError('--torch needs torch and diffusers; run: pip install "diip_jax[convert]"') from error
    if not isinstance(prior.model, DDPMUNetConfig):
        raise ValueError("--torch runs DDPM's network only; leave it out")
    if prior.dtype != "float32" or method.variant != "code" or method.remat not in ("auto", "step"):
        raise ValueError("--torch runs float32, the variant code and remat step only; leave the other flags out")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    generator = torch.Generator().manual_seed(0)
    network: Any = UNet2DModel(**to_diffusers(prior.model))
    network = network.to(memory_format=torch.channels_last).eval()
    network.requires_grad_(False)
    height, width, channels = prior.image_shape
    shape = (batch_size, channels, height, width)

    def images() -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(memory_format=torch.channels_last)

    y, z = images().clamp(-1, 1), images().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=method.learning_rate)
    visited = [np.asarray(values, float).tolist() for values in steps(prior.schedule, method.stride)]

    def step(x_t: torch.Tensor, t: float, alpha_bar: float, alpha_bar_next: float) -> torch.Tensor:
        if method.gradient == "detached":
            with torch.inference_mode():
                eps = network(x_t.detach(), t).sample
            eps = eps.clone()  # a tensor made in inference mode cannot take part in a gradient
        else:
            eps = network(x_t, t).sample
        x0_hat = ((x_t - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5).clamp(-1, 1)
        eps = (x_t - alpha_bar**0.5 * x0_hat) / (1 - alpha_bar) ** 0.5
        return alpha_bar_next**0.5 * x0_hat + (1 - alpha_bar_next) ** 0.5 * eps

    def iterate() -> None:
        optimizer.zero_grad()
        x = z
        for at in zip(*visited, strict=True):
            x = checkpoint(step, x, *at, use_reentrant=False) if method.gradient == "full" else step(x, *at)
        ((x - y) ** 2).mean().backward()
        optimizer.step()
        with torch.no_grad():
            norms = z.flatten(1).norm(dim=1)[:, None, None, None]
            z.mul_(z[0].numel() ** 0.5 / norms)

    return iterate
