"""The UNet of DDPM (Ho et al., 2020, appendix B), as pesser, SDEdit and diffusers' UNet2DModel have it.

One network, two torch name tables (see `diip_jax.convert`). Levels count from full resolution: `down_0_*` and `up_0_*`
work at the image's own size.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import flax.linen as nn
import jax.numpy as jnp

from diip_jax.array_types import Array, Float, Num
from diip_jax.models.layers import (
    FLOAT32,
    Attention,
    Conv,
    Dense,
    GroupNorm,
    PixelNorm,
    UpsampleConv,
    timestep_embedding,
)

Norm = Literal["group", "pixel"]


@dataclass(frozen=True)
class DDPMUNetConfig:
    """Everything that fixes the network. Defaults are those of the published DDPM checkpoints.

    Attributes:
        image_size: side in pixels of the images it was trained on; the network itself takes any height and width that
            are multiples of `2 ** (levels - 1)`.
        block_channels: width of each level, full resolution first.
        attention_levels: for each level, whether its blocks are followed by self-attention.
        middle_attention: whether the middle has self-attention (diffusers: `add_attention`).
        norm: "group", or "pixel": each pixel over its channels, so that a network without attention is local and does
            the same in a picture of any size; `norm_groups` is then unused.
        blocks_per_level: residual blocks a level on the way down; one more on the way up.
        head_channels: width of an attention head; None is a single head (all published DDPM files).
        cos_first, freq_shift: layout of the timestep embedding (diffusers: `flip_sin_to_cos`, `freq_shift`).
        symmetric_downsample: pad 1 on every side before a stride-2 convolution instead of right and bottom only
            (diffusers: `downsample_padding` 1 instead of 0).
    """

    image_size: int
    block_channels: tuple[int, ...]
    attention_levels: tuple[bool, ...]
    blocks_per_level: int = 2
    in_channels: int = 3
    out_channels: int = 3
    norm_groups: int = 32
    norm_eps: float = 1e-6
    head_channels: int | None = None
    cos_first: bool = False
    freq_shift: float = 1.0
    symmetric_downsample: bool = False
    middle_attention: bool = True
    norm: Norm = "group"

    def __post_init__(self) -> None:
        if len(self.attention_levels) != len(self.block_channels):
            raise ValueError(
                f"attention_levels has {len(self.attention_levels)} entries, block_channels "
                f"{len(self.block_channels)}: give one of each per level"
            )
        if self.norm not in get_args(Norm):
            raise ValueError(f"norm={self.norm!r}: expected one of {', '.join(get_args(Norm))}")
        last = self.attention_levels[-1] or self.middle_attention  # the middle has the last level's width
        for width, attention in zip(self.block_channels, (*self.attention_levels[:-1], last), strict=True):
            if (self.norm == "group" or attention) and width % self.norm_groups:
                raise ValueError(f"a level of {width} channels does not split into norm_groups={self.norm_groups}")
            if attention and self.head_channels is not None and width % self.head_channels:
                raise ValueError(f"a level of {width} channels does not split into heads of {self.head_channels}")

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** (len(self.block_channels) - 1)

    @property
    def local(self) -> bool:
        """Whether an output pixel depends on what is near alone, whatever the size of the picture."""
        return self.norm == "pixel" and not self.middle_attention and not any(self.attention_levels)

    def normalisation(self, dtype: jnp.dtype, name: str) -> nn.Module:
        """A layer of the network's kind of normalisation."""
        if self.norm == "pixel":
            return PixelNorm(self.norm_eps, dtype, name=name)
        return GroupNorm(self.norm_groups, self.norm_eps, dtype, name=name)


class ResBlock(nn.Module):
    """Norm, swish, convolution, plus time; norm, swish, convolution; plus the input (1x1 where widths differ)."""

    features: int
    config: DDPMUNetConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"], time: Float[Array, "B d"]) -> Float[Array, "B H W f"]:
        h = nn.silu(self.config.normalisation(self.dtype, "norm1")(x))
        h = Conv(self.features, dtype=self.dtype, name="conv1")(h)
        h = h + Dense(self.features, self.dtype, name="time_projection")(time)[:, None, None, :]
        h = nn.silu(self.config.normalisation(self.dtype, "norm2")(h))
        h = Conv(self.features, dtype=self.dtype, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = Dense(self.features, self.dtype, name="shortcut")(x)
        return x + h


class DDPMUNet(nn.Module):
    """Predicts the noise of `x_t`: `[B, H, W, in_channels]` and t `[B]` to `[B, H, W, out_channels]` of x_t's dtype.

    With `remat_blocks` the backward pass computes the inside of every residual block again.
    """

    config: DDPMUNetConfig
    dtype: jnp.dtype = FLOAT32
    remat_blocks: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"], t: Num[Array, " B"]) -> Float[Array, "B H W o"]:
        c = self.config
        width = c.block_channels[0]
        time = timestep_embedding(t, width, cos_first=c.cos_first, freq_shift=c.freq_shift)
        time = nn.silu(Dense(4 * width, self.dtype, name="time_embed_0")(time))
        time = nn.silu(Dense(4 * width, self.dtype, name="time_embed_1")(time))

        h = Conv(width, dtype=self.dtype, name="conv_in")(x)
        skips = [h]
        for level, width in enumerate(c.block_channels):
            for j in range(c.blocks_per_level):
                h = self._block(f"down_{level}", j, width, c.attention_levels[level], h, time)
                skips.append(h)
            if level + 1 < len(c.block_channels):
                padding = ((1, 1), (1, 1)) if c.symmetric_downsample else ((0, 1), (0, 1))
                h = Conv(width, 3, 2, padding, self.dtype, name=f"down_{level}_downsample")(h)
                skips.append(h)

        h = self._block("middle", 0, width, c.middle_attention, h, time)
        h = self._block("middle", 1, width, False, h, time)

        for level in reversed(range(len(c.block_channels))):
            width = c.block_channels[level]
            for j in range(c.blocks_per_level + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(f"up_{level}", j, width, c.attention_levels[level], h, time)
            if level > 0:
                h = UpsampleConv(width, self.dtype, name=f"up_{level}_upsample")(h)

        h = nn.silu(c.normalisation(self.dtype, "norm_out")(h))
        return Conv(c.out_channels, dtype=self.dtype, name="conv_out")(h).astype(x.dtype)

    def _block(self, place: str, j: int, width: int, attention: bool, h: Array, time: Array) -> Array:
        c = self.config
        block = nn.remat(ResBlock) if self.remat_blocks else ResBlock
        h = block(width, c, self.dtype, name=f"{place}_block_{j}")(h, time)
        if attention:
            heads = width // (c.head_channels or width)
            h = Attention(heads, c.norm_groups, c.norm_eps, self.dtype, name=f"{place}_attention_{j}")(h)
        return h
