"""Networks in Flax Linen: the only files of the package that import flax."""

import flax.linen as nn
import jax.numpy as jnp

from diip_jax.models.ddpm_unet import DDPMUNet, DDPMUNetConfig

ModelConfig = DDPMUNetConfig
Network = nn.Module

# By architecture, as checkpoints name it.
CONFIGS: dict[str, type[ModelConfig]] = {"ddpm_unet": DDPMUNetConfig}


def network(config: ModelConfig, dtype: str = "float32", *, remat_blocks: bool = False) -> Network:
    """The Flax module of a configuration, computing in `dtype`; its parameters are float32.

    With `remat_blocks` the backward pass computes the inside of every residual block again.
    """
    return DDPMUNet(config, dtype=jnp.dtype(dtype), remat_blocks=remat_blocks)


def architecture(config: ModelConfig) -> str:
    """The name of a configuration's architecture."""
    return next(name for name, cls in CONFIGS.items() if isinstance(config, cls))
