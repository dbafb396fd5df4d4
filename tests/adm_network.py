"""A torch network with the names of guided-diffusion's files, and random state dicts for it.

Written from the paper and the module names, with torch.nn only; tests/golden/adm.npz holds what an independent
implementation makes of the same weights (see tests/golden/make_adm.py).
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from diip_jax.convert.families import Preset
from diip_jax.models.adm_unet import ADMUNetConfig


def random_state(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Values that matter for every weight: kernels of gain 1, norms around 1, everything else small but not 0."""
    rng = np.random.default_rng(seed)
    state = {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        noise = rng.standard_normal(shape, np.float32)
        if len(shape) > 1:
            state[name] = noise / np.float32(math.sqrt(math.prod(shape[1:])))
        else:
            is_norm = name.endswith("weight")  # all other vectors are biases
            state[name] = np.float32(0.3) * noise + np.float32(is_norm)
    return state


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, config: ADMUNetConfig, resample: str | None = None):
        super().__init__()
        self.scale_shift, self.resample = config.scale_shift, resample

        def norm(width: int) -> nn.GroupNorm:
            return nn.GroupNorm(config.norm_groups, width, eps=config.norm_eps)

        self.in_layers = nn.Sequential(norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        told = 2 * outputs if config.scale_shift else outputs
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * config.model_channels, told))
        convolution = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.out_layers = nn.Sequential(norm(outputs), nn.SiLU(), nn.Dropout(0.0), convolution)
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def _resampled(self, x):
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        return x if self.resample is None else F.interpolate(x, scale_factor=2.0, mode="nearest")

    def forward(self, x, embedding):
        norm1, swish, conv1 = self.in_layers
        h = conv1(self._resampled(swish(norm1(x))))
        told = self.emb_layers(embedding)[:, :, None, None]
        norm2, *rest = self.out_layers
        if self.scale_shift:
            scale, shift = told.chunk(2, dim=1)
            h = norm2(h) * (1 + scale) + shift
        else:
            h = norm2(h + told)
        return self.skip_connection(self._resampled(x)) + nn.Sequential(*rest)(h)


class _Attention(nn.Module):
    def __init__(self, width: int, config: ADMUNetConfig, new_order: bool, image_convolutions: bool):
        super().__init__()
        self.heads, self.new_order = config.num_heads(width), new_order
        convolution = nn.Conv2d if image_convolutions else nn.Conv1d
        self.norm = nn.GroupNorm(config.norm_groups, width, eps=config.norm_eps)
        self.qkv, self.proj_out = convolution(width, 3 * width, 1), convolution(width, width, 1)

    def forward(self, x, embedding):
        b, c, *_ = x.shape
        flat = (b, -1, *x.shape[2:]) if isinstance(self.qkv, nn.Conv2d) else (b, -1, x[0, 0].numel())
        layout = (b, 3, self.heads, c // self.heads, -1) if self.new_order else (b, self.heads, 3, c // self.heads, -1)
        qkv = self.qkv(self.norm(x).reshape(flat)).reshape(layout)
        q, k, v = qkv.unbind(1 if self.new_order else 2)  # [B, heads, C / heads, H W]
        weights = torch.softmax(torch.einsum("bhci,bhcj->bhij", q, k) / math.sqrt(c // self.heads), dim=-1)
        mixed = torch.einsum("bhij,bhcj->bhci", weights, v)
        return x + self.proj_out(mixed.reshape(flat)).reshape(x.shape)


class _Strided(nn.Module):
    """A resampling with a convolution: `op` on the way down, `conv` on the way up."""

    def __init__(self, width: int, direction: str):
        super().__init__()
        if direction == "down":
            self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)
        else:
            self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x, embedding):
        return self.op(x) if hasattr(self, "op") else self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class _First(nn.Conv2d):
    def forward(self, x, embedding):
        return super().forward(x)


class ADMNetwork(nn.Module):
    """The ADM UNet; `forward(x, t, label)` with label None for an unconditional network, or for no class."""

    def __init__(self, preset: Preset, image_convolutions: bool = False):
        super().__init__()
        config = preset.model
        self.config = config
        widths, blocks, levels = config.block_channels, config.blocks_per_level, len(config.block_channels)
        told = 4 * config.model_channels
        self.time_embed = nn.Sequential(nn.Linear(config.model_channels, told), nn.SiLU(), nn.Linear(told, told))
        if config.num_classes is not None:
            self.label_emb = nn.Embedding(config.num_classes, told)

        def attention(width: int) -> nn.Module:
            return _Attention(width, config, preset.new_attention_order, image_convolutions)

        def resampling(width: int, direction: str) -> nn.Module:
            updown = config.resblock_updown
            return _Block(width, width, config, direction) if updown else _Strided(width, direction)

        width = widths[0]
        self.input_blocks = nn.ModuleList([nn.ModuleList([_First(config.in_channels, width, 3, padding=1)])])
        skips = [width]
        for level in range(levels):
            for _ in range(blocks):
                block = [_Block(width, widths[level], config)]
                width = widths[level]
                self.input_blocks.append(nn.ModuleList(block + [attention(width)] * config.attention_levels[level]))
                skips.append(width)
            if level < levels - 1:
                self.input_blocks.append(nn.ModuleList([resampling(width, "down")]))
                skips.append(width)
        middle = [_Block(width, width, config), attention(width), _Block(width, width, config)]
        self.middle_block = nn.ModuleList(middle)
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(levels)):
            for j in range(blocks + 1):
                block = [_Block(width + skips.pop(), widths[level], config)]
                width = widths[level]
                block += [attention(width)] * config.attention_levels[level]
                block += [resampling(width, "up")] * (level > 0 and j == blocks)
                self.output_blocks.append(nn.ModuleList(block))
        self.out = nn.Sequential(
            nn.GroupNorm(config.norm_groups, width, eps=config.norm_eps),
            nn.SiLU(),
            nn.Conv2d(width, config.out_channels, 3, padding=1),
        )

    def forward(self, x, t, label=None):
        half = self.config.model_channels // 2
        frequency = torch.exp(-math.log(10000) / half * torch.arange(half, dtype=torch.float32))
        angle = self.config.timestep_scale * t[:, None] * frequency
        embedding = self.time_embed(torch.cat([angle.cos(), angle.sin()], dim=1))
        if label is not None:
            embedding = embedding + self.label_emb(torch.full((len(x),), label))
        h, skips = x, []
        for block in self.input_blocks:
            for module in block:
                h = module(h, embedding)
            skips.append(h)
        for module in self.middle_block:
            h = module(h, embedding)
        for block in self.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            for module in block:
                h = module(h, embedding)
        return self.out(h)


def adm_shapes(preset: Preset, image_convolutions: bool = False) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file's state dict; takes no memory."""
    with torch.device("meta"):
        network = ADMNetwork(preset, image_convolutions)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def adm_network(preset: Preset, seed: int = 0, image_convolutions: bool = False) -> ADMNetwork:
    """The network with the weights of `random_state`."""
    with torch.device("meta"):
        network = ADMNetwork(preset, image_convolutions)
    state = random_state({name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, seed)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()}, assign=True)
    return network.eval().requires_grad_(False)
