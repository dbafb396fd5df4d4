"""The UNet of ADM (Dhariwal and Nichol, 2021, section 3 and appendix), as guided-diffusion has it.

The same network serves improved-diffusion (Nichol and Dhariwal, 2021), with strided convolutions between its levels,
and OpenAI's consistency models. Levels count from full resolution: `down_0_*` and `up_0_*` work at the image's own
size.
"""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from diip_jax.array_types import Array, Float, Num
from diip_jax.models.layers import (
    FLOAT32,
    Attention,
    Conv,
    Dense,
    GroupNorm,
    UpsampleConv,
    timestep_embedding,
    upsample_nearest,
)


@dataclass(frozen=True)
class ADMUNetConfig:
    """Everything that fixes the network. Defaults are those of guided-diffusion's published checkpoints.

    Attributes:
        image_size: side in pixels of the images it was trained on, or their height and width; the network itself takes
            any height and width that are multiples of `2 ** (levels - 1)`.
        model_channels: width of the sinusoidal timestep embedding; a quarter of what the blocks are told.
        block_channels: width of each level, full resolution first (`model_channels * channel_mult`).
        attention_levels: for each level, whether its blocks are followed by self-attention (the middle always is).
        blocks_per_level: residual blocks a level on the way down; one more on the way up.
        out_channels: `2 * in_channels` where the network also predicts a variance, in the second half (`learn_sigma`).
        head_channels: width of an attention head; None where `heads` is given.
        heads: number of attention heads at every level; None where `head_channels` is given.
        num_classes: rows of the table of class embeddings; None for an unconditional network.
        scale_shift: the embedding scales and shifts the second norm's output instead of being added before it.
        resblock_updown: resampling happens inside a residual block (average of 2 x 2 down, nearest up) instead of in a
            convolution (stride 2 down, after nearest up); a tuple has one for each level, of the way down from it and
            of the way up.
        timestep_scale: the network is told `t * timestep_scale` (improved-diffusion's `rescale_timesteps`: 1000 / T).
        cos_first, freq_shift, symmetric_downsample, middle_attention: as of `DDPMUNetConfig`.
        middle_scale: what the sums of the middle's blocks are divided by (diffusers: `mid_block_scale_factor`).
        centre_input: the network is shown 2 x - 1 (diffusers: `center_input_sample`).
    """

    image_size: int | tuple[int, int]
    model_channels: int
    block_channels: tuple[int, ...]
    attention_levels: tuple[bool, ...]
    blocks_per_level: int = 2
    in_channels: int = 3
    out_channels: int = 6
    head_channels: int | None = 64
    heads: int | None = None
    num_classes: int | None = None
    scale_shift: bool = True
    resblock_updown: bool | tuple[bool, ...] = True
    timestep_scale: float = 1.0
    norm_groups: int = 32
    norm_eps: float = 1e-5
    cos_first: bool = True
    freq_shift: float = 0.0
    symmetric_downsample: bool = True
    middle_attention: bool = True
    middle_scale: float = 1.0
    centre_input: bool = False

    def __post_init__(self) -> None:
        if len(self.attention_levels) != len(self.block_channels):
            raise ValueError(
                f"attention_levels has {len(self.attention_levels)} entries, block_channels "
                f"{len(self.block_channels)}: give one of each per level"
            )
        if not isinstance(self.resblock_updown, bool) and len(self.resblock_updown) != len(self.block_channels):
            raise ValueError(
                f"resblock_updown={self.resblock_updown}: expected one for all levels, or one for each of "
                f"{len(self.block_channels)}"
            )
        if (self.heads is None) == (self.head_channels is None):
            raise ValueError(f"heads={self.heads}, head_channels={self.head_channels}: give one of the two")
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise ValueError(
                f"out_channels={self.out_channels}: expected {self.in_channels} like in_channels, or twice as many "
                "with a variance"
            )
        last = self.attention_levels[-1] or self.middle_attention
        attended = (*self.attention_levels[:-1], last)  # the middle has the last level's width
        for width, attention in zip(self.block_channels, attended, strict=True):
            if width % self.norm_groups:
                raise ValueError(f"a level of {width} channels does not split into norm_groups={self.norm_groups}")
            if attention and width % (self.heads or self.head_channels or width):
                kind = f"{self.heads} heads" if self.heads else f"heads of {self.head_channels}"
                raise ValueError(f"a level of {width} channels does not split into {kind}")

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** (len(self.block_channels) - 1)

    @property
    def resampling_blocks(self) -> tuple[bool, ...]:
        """`resblock_updown` of each level."""
        if isinstance(self.resblock_updown, tuple):
            return self.resblock_updown
        return (self.resblock_updown,) * len(self.block_channels)

    def num_heads(self, width: int) -> int:
        """Attention heads of a level of `width` channels."""
        return self.heads or width // (self.head_channels or width)


def average_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """Halves height and width: means of 2 x 2 pixels."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


class ResBlock(nn.Module):
    """Norm, swish, convolution; norm with the embedding, swish, convolution; plus the input (1x1 where widths differ).

    A block that resamples does so with the input, and before the first convolution.
    """

    features: int
    config: ADMUNetConfig
    dtype: jnp.dtype
    resample: Literal["down", "up"] | None = None
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"], embedding: Float[Array, "B d"]) -> Float[Array, "B h w f"]:
        groups, eps = self.config.norm_groups, self.config.norm_eps
        h = nn.silu(GroupNorm(groups, eps, self.dtype, name="norm1")(x))
        if self.resample == "up":
            h, x = UpsampleConv(self.features, self.dtype, name="conv1")(h), upsample_nearest(x)
        else:
            if self.resample == "down":
                h, x = average_pool(h), average_pool(x)
            h = Conv(self.features, dtype=self.dtype, name="conv1")(h)

        norm2 = GroupNorm(groups, eps, self.dtype, name="norm2")
        projected = 2 * self.features if self.config.scale_shift else self.features
        time = Dense(projected, self.dtype, name="time_projection")(embedding)[:, None, None, :]
        if self.config.scale_shift:
            scale, shift = jnp.split(time, 2, axis=-1)
            h = norm2(h) * (1 + scale) + shift
        else:
            h = norm2(h + time)
        h = Conv(self.features, dtype=self.dtype, name="conv2")(nn.silu(h))
        if x.shape[-1] != self.features:
            x = Dense(self.features, self.dtype, name="shortcut")(x)
        return (x + h) / self.scale


class ADMUNet(nn.Module):
    """Predicts the noise of `x_t`, and its variance where it was trained to.

    `[B, H, W, in_channels]` and t `[B]` to `[B, H, W, out_channels]` of x_t's dtype, the noise first. With
    `remat_blocks` the backward pass computes the inside of every residual block again. `class_label` is the class of a
    conditional network; None tells it none, which the published networks were not trained for.
    """

    config: ADMUNetConfig
    dtype: jnp.dtype = FLOAT32
    remat_blocks: bool = False
    class_label: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"], t: Num[Array, " B"]) -> Float[Array, "B H W o"]:
        c = self.config
        embedding = nn.silu(self._embedding(t))
        if c.centre_input:
            x = 2 * x - 1

        h = Conv(c.block_channels[0], dtype=self.dtype, name="conv_in")(x)
        skips = [h]
        for level, width in enumerate(c.block_channels):
            for j in range(c.blocks_per_level):
                h = self._block(f"down_{level}", j, width, c.attention_levels[level], h, embedding)
                skips.append(h)
            if level + 1 < len(c.block_channels):
                h = self._resampled(level, "down", width, h, embedding)
                skips.append(h)

        h = self._block("middle", 0, width, c.middle_attention, h, embedding)
        h = self._block("middle", 1, width, False, h, embedding)

        for level in reversed(range(len(c.block_channels))):
            width = c.block_channels[level]
            for j in range(c.blocks_per_level + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(f"up_{level}", j, width, c.attention_levels[level], h, embedding)
            if level > 0:
                h = self._resampled(level, "up", width, h, embedding)

        h = nn.silu(GroupNorm(c.norm_groups, c.norm_eps, self.dtype, name="norm_out")(h))
        return Conv(c.out_channels, dtype=self.dtype, name="conv_out")(h).astype(x.dtype)

    def _embedding(self, t: Array) -> Array:
        c = self.config
        width = 4 * c.model_channels
        scaled = t.astype(jnp.float32) * c.timestep_scale
        time = timestep_embedding(scaled, c.model_channels, cos_first=c.cos_first, freq_shift=c.freq_shift)
        time = nn.silu(Dense(width, self.dtype, name="time_embed_0")(time))
        embedding = Dense(width, self.dtype, name="time_embed_1")(time)
        if c.num_classes is None:
            return embedding
        table = self.param("class_embedding", nn.initializers.normal(1.0), (c.num_classes, width))
        return embedding if self.class_label is None else embedding + table[self.class_label].astype(self.dtype)

    def _block(self, place: str, j: int, width: int, attention: bool, h: Array, embedding: Array) -> Array:
        c = self.config
        scale = c.middle_scale if place == "middle" else 1.0
        h = self._res_block(f"{place}_block_{j}", None, width, h, embedding, scale)
        if attention:
            heads = c.num_heads(width)
            h = Attention(heads, c.norm_groups, c.norm_eps, self.dtype, name=f"{place}_attention_{j}")(h) / scale
        return h

    def _resampled(self, level: int, to: Literal["down", "up"], width: int, h: Array, embedding: Array) -> Array:
        name = f"{to}_{level}_{to}sample"
        if self.config.resampling_blocks[level]:
            return self._res_block(name, to, width, h, embedding)
        if to == "down":
            padding = ((1, 1), (1, 1)) if self.config.symmetric_downsample else ((0, 1), (0, 1))
            return Conv(width, 3, 2, padding, self.dtype, name=name)(h)
        return UpsampleConv(width, self.dtype, name=name)(h)

    def _res_block(
        self,
        name: str,
        resample: Literal["down", "up"] | None,
        width: int,
        h: Array,
        embedding: Array,
        scale: float = 1.0,
    ) -> Array:
        block = nn.remat(ResBlock) if self.remat_blocks else ResBlock
        return block(width, self.config, self.dtype, resample, scale, name=name)(h, embedding)
