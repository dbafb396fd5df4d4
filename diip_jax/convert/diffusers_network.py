"""Our networks as diffusers' UNet2DModel: the reference of `--verify` and of the tests."""

from typing import Any

from diip_jax.models.adm_unet import ADMUNetConfig
from diip_jax.models.ddpm_unet import DDPMUNetConfig


def to_diffusers(model: DDPMUNetConfig | ADMUNetConfig) -> dict[str, Any]:
    """Keyword arguments that make diffusers' `UNet2DModel` this network; no default of theirs is relied on.

    Of an ADM network they leave open the number of heads, where not their width is given, and the width of the
    sinusoids, where it is not the first level's: `diffusers_network` sees to both.
    """
    own: dict[str, Any] = {}
    resampled = (False,) * len(model.block_channels)  # by residual blocks
    if isinstance(model, ADMUNetConfig):
        resampled = model.resampling_blocks
        attended = [*zip(model.attention_levels, resampled, strict=True)]
        own = {
            "time_embedding_dim": 4 * model.model_channels,
            # Of levels with attention; the others' block types say it themselves.
            "downsample_type": "resnet" if (True, True) in attended[:-1] else "conv",
            "upsample_type": "resnet" if (True, True) in attended[1:] else "conv",
            "attn_norm_num_groups": model.norm_groups,
            "resnet_time_scale_shift": "scale_shift" if model.scale_shift else "default",
            "num_class_embeds": model.num_classes,
        }
    plain = ["ResnetDownsampleBlock2D" if by_block else "DownBlock2D" for by_block in resampled]
    down = ["AttnDownBlock2D" if at else name for name, at in zip(plain, model.attention_levels, strict=True)]
    return own | {
        "sample_size": model.image_size,
        "in_channels": model.in_channels,
        "out_channels": model.out_channels,
        "center_input_sample": isinstance(model, ADMUNetConfig) and model.centre_input,
        "time_embedding_type": "positional",
        "freq_shift": model.freq_shift,
        "flip_sin_to_cos": model.cos_first,
        "downsample_padding": int(model.symmetric_downsample),
        "add_attention": model.middle_attention,
        "down_block_types": tuple(down),
        "up_block_types": tuple(name.replace("Down", "Up") for name in reversed(down)),
        "block_out_channels": model.block_channels,
        "layers_per_block": model.blocks_per_level,
        "mid_block_scale_factor": model.middle_scale if isinstance(model, ADMUNetConfig) else 1,
        "act_fn": "silu",
        "attention_head_dim": model.head_channels,
        "norm_num_groups": model.norm_groups,
        "norm_eps": model.norm_eps,
    }


def diffusers_network(model: DDPMUNetConfig | ADMUNetConfig) -> Any:
    """diffusers' `UNet2DModel` that is this network, with the weights that torch initialises it with."""
    from diffusers import UNet2DModel
    from diffusers.models.attention_processor import Attention
    from diffusers.models.embeddings import TimestepEmbedding, Timesteps

    network: Any = UNet2DModel(**to_diffusers(model))
    if isinstance(model, ADMUNetConfig):
        # What UNet2DModel's own arguments cannot say.
        network.time_proj = Timesteps(model.model_channels, model.cos_first, model.freq_shift)
        network.time_embedding = TimestepEmbedding(model.model_channels, 4 * model.model_channels)
        for module in network.modules():
            if isinstance(module, Attention):
                module.heads = model.num_heads(module.inner_dim)
    return network
