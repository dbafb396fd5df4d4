"""Torch networks with random weights for the parity tests: diffusers' own, and one with the names of DDPM files."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from diip_jax.convert import diffusers_network as reference
from diip_jax.convert.weight_mapping import map_weights
from diip_jax.models import ModelConfig
from diip_jax.models.ddpm_unet import DDPMUNetConfig
from diip_jax.prior import Prior


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Gives every parameter values that matter: torch initialises norms to 1 and 0, which hides a wrong mapping."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            value = noise / math.sqrt(parameter[0].numel())
        else:
            value = 0.3 * noise + ("norm" in name and name.endswith("weight"))
        parameter.data.copy_(value)
    return network.eval().requires_grad_(False)


def diffusers_network(config: ModelConfig, seed: int = 0) -> nn.Module:
    with torch.device("meta"):  # torch's own initialisation would be thrown away
        network = reference.diffusers_network(config)
    return randomise(network.to_empty(device="cpu"), seed)


def prior_of(network: torch.nn.Module, config: DDPMUNetConfig) -> Prior:
    """The same network in JAX."""
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return Prior(jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), map_weights(weights, config)), config)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, time: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-6)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.temb_proj = nn.Linear(time, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-6)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, time):
        h = self.conv1(F.silu(self.norm1(x))) + self.temb_proj(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class _Attention(nn.Module):
    def __init__(self, width: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x):
        normed = self.norm(x)
        q, k, v = (conv(normed).flatten(2) for conv in (self.q, self.k, self.v))  # [B, C, H * W]
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) / math.sqrt(q.shape[1]), dim=-1)
        return x + self.proj_out(torch.einsum("bij,bcj->bci", weights, v).reshape(x.shape))


class _Level(nn.Module):
    """One entry of `down` or `up`: lists `block` and `attn`, and the resampling convolution."""

    def __init__(self, widths: list[tuple[int, int]], attention: bool, time: int, groups: int, resample: str | None):
        super().__init__()
        self.block = nn.ModuleList(_Block(inputs, outputs, time, groups) for inputs, outputs in widths)
        self.attn = nn.ModuleList(_Attention(outputs, groups) for _, outputs in widths if attention)
        if resample is not None:
            width = widths[-1][1]
            resampler = nn.Module()
            padding, stride = (0, 2) if resample == "downsample" else (1, 1)
            resampler.conv = nn.Conv2d(width, width, 3, stride=stride, padding=padding)
            setattr(self, resample, resampler)

    def run(self, j, x, time):
        h = self.block[j](x, time)
        return self.attn[j](h) if len(self.attn) else h


class DDPMNetwork(nn.Module):
    """DDPM's UNet with the parameter names of pesser/pytorch_diffusion, ermongroup/ddim and SDEdit."""

    def __init__(self, config: DDPMUNetConfig):
        super().__init__()
        self.config = config
        widths, blocks, groups = config.block_channels, config.blocks_per_level, config.norm_groups
        first, time, last = widths[0], 4 * widths[0], len(widths) - 1
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList([nn.Linear(first, time), nn.Linear(time, time)])
        self.conv_in = nn.Conv2d(config.in_channels, first, 3, padding=1)
        skips, width = [first], first
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (outputs, attention) in enumerate(zip(widths, config.attention_levels, strict=True)):
            pairs = [(width, outputs)] + [(outputs, outputs)] * (blocks - 1)
            self.down.append(_Level(pairs, attention, time, groups, "downsample" if level < last else None))
            skips += [outputs] * (blocks + (level < last))
            width = outputs
        self.mid = nn.Module()
        self.mid.block_1, self.mid.block_2 = _Block(width, width, time, groups), _Block(width, width, time, groups)
        self.mid.attn_1 = _Attention(width, groups)
        for level in range(last, -1, -1):
            pairs = []
            for _ in range(blocks + 1):
                pairs.append((width + skips.pop(), widths[level]))
                width = widths[level]
            attention = config.attention_levels[level]
            self.up.insert(0, _Level(pairs, attention, time, groups, "upsample" if level else None))
        self.norm_out = nn.GroupNorm(groups, first, eps=1e-6)
        self.conv_out = nn.Conv2d(first, config.out_channels, 3, padding=1)

    def forward(self, x, t):
        half = self.config.block_channels[0] // 2
        angle = t[:, None] * torch.exp(-math.log(10000) / (half - 1) * torch.arange(half))
        dense = self.temb.dense
        time = dense[1](F.silu(dense[0](torch.cat([angle.sin(), angle.cos()], dim=1))))
        h = self.conv_in(x)
        skips = [h]
        for level in self.down:
            for j in range(len(level.block)):
                h = level.run(j, h, time)
                skips.append(h)
            if hasattr(level, "downsample"):
                h = level.downsample.conv(F.pad(h, (0, 1, 0, 1)))
                skips.append(h)
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(h, time)), time)
        for level in reversed(self.up):
            for j in range(len(level.block)):
                h = level.run(j, torch.cat([h, skips.pop()], dim=1), time)
            if hasattr(level, "upsample"):
                h = level.upsample.conv(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(h)))
