"""The Unet of denoising-diffusion-pytorch (P. Wang, "lucidrains"), as its versions from 1.8 on have it.

DDPM's UNet with other parts: root mean square norms, attention at every level (linear in the number of pixels but where
it is full) to which learned keys and values are added, and resampling between the levels of different widths. Levels
count from full resolution: `down_0_*` and `up_0_*` work at the image's own size.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from diip_jax.array_types import Array, Float, Num
from diip_jax.models.convolution import precision
from diip_jax.models.layers import (
    FLOAT32,
    ChannelNorm,
    Conv,
    Dense,
    GroupNorm,
    UpsampleConv,
    at_least_float32,
    timestep_embedding,
)

BlockNorm = Literal["rms", "group"]


@dataclass(frozen=True)
class LucidrainsUNetConfig:
    """Everything that fixes the network.

    Attributes:
        image_size: side in pixels of the images it was trained on, or their height and width; the network itself takes
            any height and width that are multiples of `2 ** (levels - 1)`.
        model_channels: width of the sinusoidal timestep embedding (`dim`); a quarter of what the blocks are told.
        widths: of what enters the levels, full resolution first, and of the middle: `init_dim`, and then
            `dim * dim_mults`; one more than there are levels.
        full_attention: for each level, whether its attention is full and not linear.
        heads, head_channels: number and width of the attention heads of each level; the middle has the last level's.
        memory_tokens: keys and values that each attention has besides the picture's (`num_mem_kv`).
        out_channels: `2 * in_channels` where the network also predicts a variance (`learned_variance`).
        block_norm: of the residual blocks: "rms", each pixel over its channels (versions from 2.0 on), or "group".
        norm_groups: of the latter.
    """

    image_size: int | tuple[int, int]
    model_channels: int
    widths: tuple[int, ...]
    full_attention: tuple[bool, ...]
    heads: tuple[int, ...]
    head_channels: tuple[int, ...]
    memory_tokens: int = 4
    in_channels: int = 3
    out_channels: int = 3
    block_norm: BlockNorm = "rms"
    norm_groups: int = 8

    def __post_init__(self) -> None:
        levels = len(self.widths) - 1
        for name in ("full_attention", "heads", "head_channels"):
            if len(getattr(self, name)) != levels or levels < 1:
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} entries, widths {levels + 1}: give one of each per level "
                    "and one more width for the middle"
                )
        if self.block_norm not in get_args(BlockNorm):
            raise ValueError(f"block_norm={self.block_norm!r}: expected one of {', '.join(get_args(BlockNorm))}")
        if self.model_channels < 4 or self.model_channels % 2:
            raise ValueError(f"model_channels={self.model_channels}: expected an even number from 4")
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise ValueError(
                f"out_channels={self.out_channels}: expected {self.in_channels} like in_channels, or twice as many "
                "with a variance"
            )
        for width in self.widths if self.block_norm == "group" else ():
            if width % self.norm_groups:
                raise ValueError(f"a level of {width} channels does not split into norm_groups={self.norm_groups}")

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** (len(self.full_attention) - 1)


class ResBlock(nn.Module):
    """Convolution, norm, scaled and shifted by the time, swish; the same without time; plus the input (1x1 where widths
    differ)."""

    features: int
    config: LucidrainsUNetConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"], time: Float[Array, "B d"]) -> Float[Array, "B H W f"]:
        told = Dense(2 * self.features, self.dtype, name="time_projection")(nn.silu(time))[:, None, None, :]
        scale, shift = jnp.split(told, 2, axis=-1)
        h = self._norm("norm1")(Conv(self.features, dtype=self.dtype, name="conv1")(x))
        h = nn.silu(h * (scale + 1) + shift)
        h = nn.silu(self._norm("norm2")(Conv(self.features, dtype=self.dtype, name="conv2")(h)))
        if x.shape[-1] != self.features:
            x = Dense(self.features, self.dtype, name="shortcut")(x)
        return h + x

    def _norm(self, name: str) -> nn.Module:
        if self.config.block_norm == "group":
            return GroupNorm(self.config.norm_groups, 1e-5, self.dtype, name=name)
        return ChannelNorm(self.dtype, name=name)


class MemoryAttention(nn.Module):
    """Residual self-attention over all pixels and `memory` learned keys and values besides.

    Full: softmax of q k / sqrt(d) over the keys. Otherwise linear (Shen et al., "Efficient Attention", WACV 2021): the
    softmax of q over its d features times that of k over the tokens, so that no pixel meets another.
    """

    full: bool
    heads: int
    head_channels: int
    memory: int
    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        b, h, w, c = x.shape
        heads, d = self.heads, self.head_channels
        exactly, wide = precision(self.dtype), at_least_float32(self.dtype)
        tokens = ChannelNorm(self.dtype, name="norm")(x).reshape(b, h * w, c)
        query, key, value = (
            Dense(heads * d, self.dtype, bias=False, name=name)(tokens).reshape(b, h * w, heads, d)
            for name in ("query", "key", "value")
        )
        if self.memory:
            of_memory = (2, heads, self.memory, d) if self.full else (2, heads, d, self.memory)  # as the files have it
            stored = self.param("memory", nn.initializers.normal(1.0), of_memory).astype(self.dtype)
            learned = stored.transpose(0, 2, 1, 3) if self.full else stored.transpose(0, 3, 1, 2)
            learned = jnp.broadcast_to(learned[:, None], (2, b, self.memory, heads, d))
            key = jnp.concatenate([learned[0], key], axis=1)
            value = jnp.concatenate([learned[1], value], axis=1)
        if self.full:
            logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, precision=exactly, preferred_element_type=wide)
            weights = nn.softmax(logits / d**0.5, axis=-1).astype(self.dtype)
            mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value, precision=exactly)
        else:
            query = (nn.softmax(query.astype(wide), axis=-1) / d**0.5).astype(self.dtype)
            key = nn.softmax(key.astype(wide), axis=1).astype(self.dtype)
            context = jnp.einsum("bkhd,bkhe->bhde", key, value, precision=exactly)
            mixed = jnp.einsum("bhde,bqhd->bqhe", context, query, precision=exactly)
        out = Dense(c, self.dtype, name="out")(mixed.reshape(b, h, w, heads * d))
        return x + (out if self.full else ChannelNorm(self.dtype, name="norm_out")(out))


class LucidrainsUNet(nn.Module):
    """Predicts what it was trained to of `x_t`: `[B, H, W, in_channels]` and t `[B]` to `[B, H, W, out_channels]` of
    x_t's dtype.

    With `remat_blocks` the backward pass computes the inside of every residual block again.
    """

    config: LucidrainsUNetConfig
    dtype: jnp.dtype = FLOAT32
    remat_blocks: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"], t: Num[Array, " B"]) -> Float[Array, "B H W o"]:
        c = self.config
        first, last = c.widths[0], len(c.full_attention) - 1
        time = timestep_embedding(t, c.model_channels, cos_first=False, freq_shift=1.0)
        time = nn.gelu(Dense(4 * c.model_channels, self.dtype, name="time_embed_0")(time), approximate=False)
        time = Dense(4 * c.model_channels, self.dtype, name="time_embed_1")(time)

        h = begin = Conv(first, kernel_size=7, dtype=self.dtype, name="conv_in")(x)
        skips = []
        for level in range(last + 1):
            inside, outside = c.widths[level], c.widths[level + 1]
            h = self._block(f"down_{level}_block_0", inside, h, time)
            skips.append(h)
            h = self._block(f"down_{level}_block_1", inside, h, time)
            h = self._attention(f"down_{level}_attention_0", level, c.full_attention[level], h)
            skips.append(h)
            name = f"down_{level}_downsample"
            if level < last:
                h = Dense(outside, self.dtype, name=name)(_pixels_to_channels(h))
            else:
                h = Conv(outside, dtype=self.dtype, name=name)(h)

        h = self._block("middle_block_0", c.widths[-1], h, time)
        h = self._attention("middle_attention_0", last, True, h)
        h = self._block("middle_block_1", c.widths[-1], h, time)

        for level in reversed(range(last + 1)):
            inside, outside = c.widths[level + 1], c.widths[level]
            for j in range(2):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(f"up_{level}_block_{j}", inside, h, time)
            h = self._attention(f"up_{level}_attention_0", level, c.full_attention[level], h)
            name = f"up_{level}_upsample"
            if level > 0:
                h = UpsampleConv(outside, self.dtype, name=name)(h)
            else:
                h = Conv(outside, dtype=self.dtype, name=name)(h)

        h = self._block("last_block_0", first, jnp.concatenate([h, begin], axis=-1), time)
        return Dense(c.out_channels, self.dtype, name="conv_out")(h).astype(x.dtype)

    def _block(self, name: str, width: int, h: Array, time: Array) -> Array:
        block = nn.remat(ResBlock) if self.remat_blocks else ResBlock
        return block(width, self.config, self.dtype, name=name)(h, time)

    def _attention(self, name: str, level: int, full: bool, h: Array) -> Array:
        c = self.config
        heads, width = c.heads[level], c.head_channels[level]
        return MemoryAttention(full, heads, width, c.memory_tokens, self.dtype, name=name)(h)


def _pixels_to_channels(x: Float[Array, "B H W C"]) -> Float[Array, "B h w c"]:
    """Each 2 x 2 pixels side by side as channels; those of one channel first."""
    b, h, w, c = x.shape
    return jax.lax.transpose(x.reshape(b, h // 2, 2, w // 2, 2, c), (0, 1, 3, 5, 2, 4)).reshape(
        b, h // 2, w // 2, 4 * c
    )
