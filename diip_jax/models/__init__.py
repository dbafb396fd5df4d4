"""Networks in Flax Linen: the only files of the package that import flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from diip_jax.array_types import Params, PRNGKey
from diip_jax.models.adm_unet import ADMUNet, ADMUNetConfig
from diip_jax.models.ddpm_unet import DDPMUNet, DDPMUNetConfig
from diip_jax.models.lucidrains_unet import LucidrainsUNet, LucidrainsUNetConfig

ModelConfig = DDPMUNetConfig | ADMUNetConfig | LucidrainsUNetConfig
Network = nn.Module

# By architecture, as checkpoints name it.
CONFIGS: dict[str, type[ModelConfig]] = {
    "ddpm_unet": DDPMUNetConfig,
    "adm_unet": ADMUNetConfig,
    "lucidrains_unet": LucidrainsUNetConfig,
}


def network(
    config: ModelConfig, dtype: str = "float32", *, remat_blocks: bool = False, class_label: int | None = None
) -> Network:
    """The Flax module of a configuration, computing in `dtype`; its parameters are float32.

    Args:
        remat_blocks: the backward pass computes the inside of every residual block again.
        class_label: what a class-conditional network is told, 0 .. `num_classes(config) - 1`; None: no class.
    """
    if isinstance(config, ADMUNetConfig):
        return ADMUNet(config, jnp.dtype(dtype), remat_blocks, class_label)
    if isinstance(config, LucidrainsUNetConfig):
        return LucidrainsUNet(config, jnp.dtype(dtype), remat_blocks)
    return DDPMUNet(config, jnp.dtype(dtype), remat_blocks)


def num_classes(config: ModelConfig) -> int | None:
    """The number of classes that the network can be told; None for an unconditional one."""
    return config.num_classes if isinstance(config, ADMUNetConfig) else None


def image_sides(config: ModelConfig) -> tuple[int, int]:
    """Height and width of the images that the network was trained on, in pixels."""
    size = config.image_size
    return size if isinstance(size, tuple) else (size, size)


def architecture(config: ModelConfig) -> str:
    """The name of a configuration's architecture."""
    return next(name for name, cls in CONFIGS.items() if isinstance(config, cls))


def initial_params(config: ModelConfig, key: PRNGKey) -> Params:
    """Parameters that a training begins with.

    The last convolution of every residual block, what attention adds, and the last convolution of all are zero (Ho et
    al., 2020, released code): every block begins as its shortcut, and the network with no output.
    """
    side = config.size_multiple
    x = jnp.zeros((1, side, side, config.in_channels))
    params = network(config).init(key, x, jnp.zeros(1))["params"]
    ends = {"conv2", "out", "conv_out"}

    def begin(path: tuple, leaf: jax.Array) -> jax.Array:
        layers, kind = [key.key for key in path[:-1]], path[-1].key
        return jnp.zeros_like(leaf) if kind == "kernel" and layers[-1] in ends else leaf

    return jax.tree_util.tree_map_with_path(begin, params)
