"""diffusers' UNet2DModel: DDPM's network or ADM's, by its names and its config.json. Needs no torch.

Attention has the names of old files (`query`) or of new ones (`to_q`).
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from diip_jax.convert.families.family import ConfigError, Family, Preset, Shapes, Targets
from diip_jax.convert.families.layouts import Target, WeightError, renamed
from diip_jax.convert.families.level_names import (
    FROM_1,
    HERE_CONV,
    HERE_DENSE,
    HERE_NORM,
    J,
    L,
    Parts,
    S,
    block_parts,
    level_layout,
    level_targets,
    rules,
)
from diip_jax.convert.families.values import number, refuse_unknown, whole
from diip_jax.models import ModelConfig
from diip_jax.models.adm_unet import ADMUNetConfig
from diip_jax.models.ddpm_unet import DDPMUNetConfig

_BLOCK = block_parts("time_emb_proj", "conv_shortcut")
_ATTENTION: Parts = {
    "group_norm": ("norm", "same"),
    "to_q|query": ("query", "dense"),
    "to_k|key": ("key", "dense"),
    "to_v|value": ("value", "dense"),
    r"to_out\.0|proj_attn": ("out", "dense"),
}

_RULES = rules(
    (
        (rf"time_embedding\.linear_{FROM_1}", "time_embed_{j}", HERE_DENSE),
        ("conv_in", "conv_in", HERE_CONV),
        (rf"down_blocks\.{L}\.resnets\.{J}", "down_{level}_block_{j}", _BLOCK),
        (rf"down_blocks\.{L}\.attentions\.{J}", "down_{level}_attention_{j}", _ATTENTION),
        # Files of diffusers' first releases hold a resampling convolution as `Conv2d_0`, as `conv`, or as both.
        (rf"down_blocks\.{L}\.downsamplers\.0\.(conv|Conv2d_0)", "down_{level}_downsample", HERE_CONV),
        (rf"down_blocks\.{L}\.downsamplers\.0", "down_{level}_downsample", _BLOCK),
        (rf"mid_block\.resnets\.{J}", "middle_block_{j}", _BLOCK),
        (rf"mid_block\.attentions\.{J}", "middle_attention_{j}", _ATTENTION),
        (rf"up_blocks\.{S}\.resnets\.{J}", "up_{level}_block_{j}", _BLOCK),
        (rf"up_blocks\.{S}\.attentions\.{J}", "up_{level}_attention_{j}", _ATTENTION),
        (rf"up_blocks\.{S}\.upsamplers\.0\.(conv|Conv2d_0)", "up_{level}_upsample", HERE_CONV),
        (rf"up_blocks\.{S}\.upsamplers\.0", "up_{level}_upsample", _BLOCK),
        ("conv_norm_out", "norm_out", HERE_NORM),
        ("conv_out", "conv_out", HERE_CONV),
    )
)


def _targets(model: ModelConfig, new_attention_order: bool) -> Targets | None:
    if not isinstance(model, DDPMUNetConfig | ADMUNetConfig):
        return None

    def targets(name: str) -> list[Target]:
        if name == "class_embedding.weight":
            return [Target("class_embedding", "same")]
        return level_targets(name, _RULES, len(model.block_channels))

    return targets


def _check_names(names: Collection[str]) -> None:
    if any(".transformer_blocks." in name for name in names):
        raise WeightError("weights of a network that is told a text (UNet2DConditionModel): no prior of images alone")


def _layout(shapes: Shapes) -> dict[str, Any]:
    return level_layout(
        shapes,
        "down_blocks.{level}.resnets.{j}",
        "down_blocks.{level}.attentions.0.group_norm",
        "mid_block.attentions.0.group_norm",
    )


# Keys that even the configurations of diffusers 0.0.4 have. Their defaults have changed or differ from the DDPM files'
# values (freq_shift, flip_sin_to_cos, downsample_padding, norm_eps, attention_head_dim): never filled in.
_REQUIRED = (
    "act_fn", "attention_head_dim", "block_out_channels", "center_input_sample", "down_block_types",
    "downsample_padding", "flip_sin_to_cos", "freq_shift", "in_channels", "layers_per_block",
    "mid_block_scale_factor", "norm_eps", "norm_num_groups", "out_channels", "time_embedding_type", "up_block_types",
)  # fmt: skip
# Keys of which our networks have these values alone. Those that are not in _REQUIRED came later: a file without them is
# of the time when the first value was the only behaviour.
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "_class_name": ("UNet2DModel",),
    "act_fn": ("silu", "swish"),
    "add_attention": (True, False),
    "center_input_sample": (False, True),
    "class_embed_type": (None,),
    "downsample_padding": (0, 1),
    "downsample_type": ("conv", "resnet"),
    "flip_sin_to_cos": (False, True),
    "mid_block_type": ("UNetMidBlock2D",),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "time_embedding_type": ("positional",),
    "upsample_type": ("conv", "resnet"),
}
_READ = ("attn_norm_num_groups", "num_class_embeds", "sample_size", "time_embedding_dim")
_WITHOUT_EFFECT = (
    "dropout", "num_train_timesteps",  # training only; learned time embedding only
    # What diffusers' EMAModel.save_pretrained writes of the averaging.
    "decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup",
)  # fmt: skip

# What DDPM's network has of what ADM's may have. (A variance is learned by ADM's alone, too.)
_DDPM_HAS = {
    "num_classes": None, "scale_shift": False, "resblock_updown": False, "middle_scale": 1.0, "centre_input": False,
}  # fmt: skip


def _preset_of(config: Mapping[str, Any]) -> Preset:
    return Preset(model_from_diffusers(config))


def model_from_diffusers(config: Mapping[str, Any]) -> ModelConfig:
    """The network of a diffusers `config.json`: DDPM's, or ADM's where it has something that only this one has.

    Raises:
        ConfigError: a key is missing, unknown, or has a value that neither network can reproduce.
    """
    for key in ("_class_name", *_REQUIRED):
        if key not in config:
            raise ConfigError(f"{key} is missing: defaults differ between versions of diffusers, so add it")
    _check(config, _SUPPORTED)
    for key in ("in_channels", "out_channels", "layers_per_block", "norm_num_groups"):
        whole(config, key)
    for key in ("block_out_channels", "down_block_types", "up_block_types"):
        if not isinstance(config[key], list | tuple) or not config[key]:
            raise ConfigError(f"{key}={config[key]!r}: supported is a list with one entry per level")
    widths, groups = tuple(config["block_out_channels"]), config["norm_num_groups"]
    # With scale-shift, diffusers' middle attention has no norm unless it is told its groups.
    scale_shift = config.get("resnet_time_scale_shift") == "scale_shift"
    redundant = {
        "attn_norm_num_groups": (groups,) if scale_shift else (None, groups),
        "time_embedding_dim": (None, 4 * widths[0]),
    }
    because = " with resnet_time_scale_shift='scale_shift'" if scale_shift else ""
    _check({key: config.get(key) for key in redundant}, redundant, because)
    there = {key: value for key, value in config.items() if not key.startswith("_") and value is not None}
    refuse_unknown(there, {*_REQUIRED, *_SUPPORTED, *_READ, *_WITHOUT_EFFECT})
    common = {
        "image_size": _image_size(config.get("sample_size")),
        "block_channels": widths,
        "attention_levels": _attention_levels(config),
        "blocks_per_level": config["layers_per_block"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "norm_groups": groups,
        "norm_eps": config["norm_eps"],
        "head_channels": config["attention_head_dim"],
        "cos_first": config["flip_sin_to_cos"],
        "freq_shift": float(config["freq_shift"]),
        "symmetric_downsample": config["downsample_padding"] == 1,
        "middle_attention": config.get("add_attention", True),
    }
    own = {
        "num_classes": None if config.get("num_class_embeds") is None else whole(config, "num_class_embeds"),
        "scale_shift": scale_shift,
        "resblock_updown": _resblock_updown(config),
        "middle_scale": number(config, "mid_block_scale_factor", 1.0),
        "centre_input": config["center_input_sample"],
    }
    try:
        if own == _DDPM_HAS and config["in_channels"] == config["out_channels"]:
            return DDPMUNetConfig(**common)
        heads = 1 if common["head_channels"] is None else None
        return ADMUNetConfig(**common, **own, heads=heads, model_channels=widths[0])
    except (TypeError, ValueError) as error:
        keys = ("block_out_channels", "norm_num_groups", "attention_head_dim", "freq_shift", "out_channels")
        raise ConfigError(f"{', '.join(f'{key}={config[key]!r}' for key in keys)}: {error}") from error


def _check(config: Mapping[str, Any], values: Mapping[str, tuple[Any, ...]], because: str = "") -> None:
    for key, supported in values.items():
        if key in config and config[key] not in supported:
            raise ConfigError(f"{key}={config[key]!r}: supported{because} is {' or '.join(map(repr, supported))}")


def _attention_levels(config: Mapping[str, Any]) -> tuple[bool, ...]:
    levels = []
    for kind in ("Down", "Up"):
        key = f"{kind.lower()}_block_types"
        known = (f"{kind}Block2D", f"Attn{kind}Block2D", f"Resnet{kind}sampleBlock2D")
        for name in config[key]:
            if name not in known:
                raise ConfigError(f"{key} holds {name!r}: supported is {' or '.join(map(repr, known))}")
        levels.append(tuple(name.startswith("Attn") for name in config[key]))
    if levels[0] != levels[1][::-1]:
        down, up = config["down_block_types"], config["up_block_types"]
        raise ConfigError(f"up_block_types={up!r}: supported is the mirror image of down_block_types={down!r}")
    return levels[0]


def _resblock_updown(config: Mapping[str, Any]) -> bool | tuple[bool, ...]:
    """Whether a level is left by a residual block: for each level, or what is so of all."""

    def resampled(kind: str) -> list[bool]:
        types, of_attention = config[f"{kind.lower()}_block_types"], config.get(f"{kind.lower()}sample_type", "conv")
        return [of_attention == "resnet" if name.startswith("Attn") else name.startswith("Resnet") for name in types]

    down, up = resampled("Down"), resampled("Up")[::-1]
    if down[1:-1] != up[1:-1]:
        raise ConfigError(
            f"down_block_types={config['down_block_types']!r}: supported are levels that are left alike down and up"
        )
    # Nothing leads down from the lowest level, and nothing up from the first.
    levels = (*down[:-1], up[-1])
    return levels[0] if len(set(levels)) == 1 else levels


def _image_size(sample_size: Any) -> int | tuple[int, int]:
    if sample_size is None:
        raise ConfigError("sample_size is missing: add --image_size=SIDE or --image_size=HEIGHTxWIDTH, in pixels")
    sides = sample_size if isinstance(sample_size, list | tuple) else [sample_size] * 2
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ConfigError(f"sample_size={sample_size!r}: supported is a side in pixels, or height and width")
    return sides[0] if sides[0] == sides[1] else (sides[0], sides[1])


# Names that diffusers itself has changed since.
_NEW_NAMES = (
    (r"\.Conv2d_0\.", ".conv."),
    (r"(attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
)


def _in_diffusers(weights: Mapping[str, Any], preset: Preset, network: Any) -> dict[str, np.ndarray]:
    return {renamed(name, _NEW_NAMES): np.asarray(weight) for name, weight in weights.items()}


_DDPM_256 = Preset(DDPMUNetConfig(256, (128, 128, 256, 256, 512, 512), (False, False, False, False, True, False)))

DIFFUSERS = Family(
    name="diffusers",
    projects="diffusers' UNet2DModel",
    signs=("down_blocks.", "time_embedding.linear_1."),
    architecture=DDPMUNetConfig,
    layout=_layout,
    targets=_targets,
    preset_of=_preset_of,
    in_diffusers=_in_diffusers,
    check=_check_names,
    presets={
        "faces64": Preset(
            DDPMUNetConfig(64, (32, 64, 128, 192), (False, False, True, True), blocks_per_level=1, norm_groups=16)
        ),
        # google/ddpm-* on the Hugging Face Hub; a folder with config.json needs no preset
        "ddpm-cifar10-32": Preset(DDPMUNetConfig(32, (128, 256, 256, 256), (False, True, False, False))),
        "ddpm-celebahq-256": _DDPM_256,
        "ddpm-ema-celebahq-256": _DDPM_256,
        "ddpm-church-256": _DDPM_256,
        "ddpm-ema-church-256": _DDPM_256,
        "ddpm-bedroom-256": _DDPM_256,
        "ddpm-ema-bedroom-256": _DDPM_256,
        "ddpm-cat-256": _DDPM_256,
        "ddpm-ema-cat-256": _DDPM_256,
    },
)
