"""The untrained network of Deep Image Prior: an encoder-decoder with skip connections.

D. Ulyanov, A. Vedaldi and V. Lempitsky, "Deep Image Prior" (CVPR 2018), as its released code builds it.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Float, PRNGKey
from diip_jax.models.convolution import convolution

Upsampling = Literal["bilinear", "nearest"]


class SkipNetwork(nn.Module):
    """Noise to an image, fully convolutional.

    A level halves height and width with a 3x3 convolution of stride 2 and convolves once more; what the next level
    makes of that is doubled again, joined with 1x1 features of the level's own input, and convolved by 3x3 and 1x1.
    Every convolution but the last is followed by batch norm (of the one image, statistics never kept) and leaky ReLU of
    slope 0.2. Convolutions pad by reflection, and start as torch initialises them.

    Attributes:
        image_channels: C.
        levels: how often height and width are halved; they are multiples of `size_multiple`, at least twice that.
        channels: of every 3x3 convolution.
        skip_channels: of the skip connections, at least 1.
        upsampling: how decoders double a size; "bilinear" takes pixels as squares (torch's align_corners=False).
    """

    image_channels: int
    levels: int = 5
    channels: int = 128
    skip_channels: int = 4
    upsampling: Upsampling = "bilinear"

    @property
    def size_multiple(self) -> int:
        """What height and width must be divisible by. At the lowest level a reflection takes two pixels at least."""
        return 2**self.levels

    @nn.compact
    def __call__(self, noise: Float[Array, "B H W c"]) -> Float[Array, "B H W C"]:
        """The image, in (0, 1)."""
        features = _Level(self.levels, self.channels, self.skip_channels, self.upsampling, name="level")(noise)
        return nn.sigmoid(_Conv(self.image_channels, 1, name="to_image")(features))


class _Level(nn.Module):
    """A level and all that are below it."""

    levels: int
    channels: int
    skip_channels: int
    upsampling: Upsampling

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"]) -> Float[Array, "B H W f"]:
        skipped = _Block(self.skip_channels, 1, name="skip")(x)
        lower = _Block(self.channels, 3, stride=2, name="down")(x)
        lower = _Block(self.channels, 3, name="encoder")(lower)
        if self.levels > 1:
            lower = _Level(self.levels - 1, self.channels, self.skip_channels, self.upsampling, name="level")(lower)
        doubled = jax.image.resize(lower, (*x.shape[:3], self.channels), self.upsampling)
        joined = _norm("join_norm")(jnp.concatenate([skipped, doubled], axis=-1))
        return _Block(self.channels, 1, name="mixer")(_Block(self.channels, 3, name="decoder")(joined))


class _Block(nn.Module):
    """Convolution, norm, leaky ReLU."""

    features: int
    kernel_size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"]) -> Float[Array, "B h w f"]:
        x = _Conv(self.features, self.kernel_size, self.stride, name="conv")(x)
        return nn.leaky_relu(_norm("norm")(x), 0.2)


class _Conv(nn.Module):
    """Convolution with reflection padding of half the kernel; parameters uniform in +-1 / sqrt(fan_in)."""

    features: int
    kernel_size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"]) -> Float[Array, "B h w f"]:
        k, inputs = self.kernel_size, x.shape[-1]
        bound = (k * k * inputs) ** -0.5

        def uniform(key: PRNGKey, shape: tuple[int, ...]) -> Array:
            return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

        kernel = self.param("kernel", uniform, (k, k, inputs, self.features))
        bias = self.param("bias", uniform, (self.features,))
        padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)), mode="reflect")
        return convolution(padded, jnp.asarray(kernel), ((0, 0), (0, 0)), self.stride) + bias


def _norm(name: str) -> Any:
    # Batch norm of a batch of one, in training mode.
    return nn.InstanceNorm(epsilon=1e-5, use_fast_variance=False, name=name)
