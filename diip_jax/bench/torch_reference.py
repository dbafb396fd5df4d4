"""The same in torch: diffusers' UNet2DModel, channels_last, all cores. Needs torch and diffusers.

The weights are random: they do not change the time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from diip_jax import distribute
from diip_jax.convert.torch_configs import to_diffusers
from diip_jax.methods import DIIP
from diip_jax.models import DDPMUNetConfig
from diip_jax.prior import Prior
from diip_jax.schedule import steps
from diip_jax.train.step import Optimisation


def torch_iteration(prior: Prior, method: DIIP, batch_size: int) -> Callable[[], None]:
    """A function that does one more iteration of DIIP on a batch of random images in torch.

    DDIM in the variant "code", mean squared error, Adam, the sphere. Detached: the network under `inference_mode`.
    Full: through the network, `torch.utils.checkpoint` on every step.

    Raises:
        ValueError: torch or diffusers is missing, or settings that this reference does not have.
    """
    torch, network = _torch_network(prior)
    from torch.utils.checkpoint import checkpoint

    if method.variant != "code" or method.remat not in ("auto", "step"):
        raise ValueError("--torch runs the variant code and remat step only; leave the other flags out")
    network.requires_grad_(False)
    images = _noise(torch, prior, batch_size)
    y, z = images().clamp(-1, 1), images().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=method.learning_rate)
    visited = [np.asarray(values, float).tolist() for values in steps(prior.schedule, method.stride)]

    def step(x_t: Any, t: float, alpha_bar: float, alpha_bar_next: float) -> Any:
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


def torch_training_step(prior: Prior, settings: Optimisation) -> Callable[[], None]:
    """A function that does one more step of a training on random images in torch, as `diip_jax.train` does it.

    v of fresh noise at uniform timesteps, mean squared error, the gradients' norm clipped, AdamW and averaged weights
    in torch's own fused or multi-tensor form.

    Raises:
        ValueError: torch or diffusers is missing, or a prior that this reference does not have.
    """
    torch, network = _torch_network(prior)
    if prior.prediction != "v_prediction":
        raise ValueError("--torch trains a prior of v only")
    weights = list(network.parameters())
    averaged = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(
        weights,
        settings.learning_rate,
        (settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    x_0 = _noise(torch, prior, settings.batch_size)().clamp(-1, 1)
    alpha_bars = torch.tensor(prior.schedule.alpha_bar, dtype=torch.float32)

    def step() -> None:
        optimizer.zero_grad()
        t = torch.randint(prior.schedule.num_timesteps, (settings.batch_size,))
        alpha_bar = alpha_bars[t][:, None, None, None]
        signal, spread = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        noise = torch.randn_like(x_0)
        output = network(signal * x_0 + spread * noise, t).sample
        ((output - (signal * noise - spread * x_0)) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.clip_norm)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, weights, 1 - settings.ema_decay)

    return step


def _torch_network(prior: Prior) -> tuple[Any, Any]:
    """torch itself, and the prior's network in it with random weights."""
    try:
        import torch
        from diffusers import UNet2DModel
    except ImportError as error:
        raise ValueError('--torch needs torch and diffusers; run: pip install "diip_jax[convert]"') from error
    if not isinstance(prior.model, DDPMUNetConfig):
        raise ValueError("--torch runs DDPM's network only; leave it out")
    if prior.dtype != "float32":
        raise ValueError("--torch runs float32 only; leave --dtype out")
    torch.set_num_threads(distribute.usable_cores())
    network: Any = UNet2DModel(**to_diffusers(prior.model))
    return torch, network.to(memory_format=torch.channels_last).eval()


def _noise(torch: Any, prior: Prior, batch_size: int) -> Callable[[], Any]:
    height, width, channels = prior.image_shape
    generator = torch.Generator().manual_seed(0)

    def images() -> Any:
        shape = (batch_size, channels, height, width)
        return torch.randn(shape, generator=generator).to(memory_format=torch.channels_last)

    return images
