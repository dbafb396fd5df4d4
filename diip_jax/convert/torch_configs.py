"""What a diffusers folder says of its network, and our networks in diffusers' words. Pure."""

from collections.abc import Mapping
from typing import Any

from diip_jax.models import ModelConfig
from diip_jax.models.adm_unet import ADMUNetConfig
from diip_jax.models.ddpm_unet import DDPMUNetConfig


class ConfigError(ValueError):
    """A configuration that this package cannot reproduce; the message names the key and its value."""


# Keys that even the configurations of diffusers 0.0.4 have. Their defaults have changed or differ from the DDPM files'
# values (freq_shift, flip_sin_to_cos, downsample_padding, norm_eps, attention_head_dim): never filled in.
_REQUIRED = (
    "act_fn", "attention_head_dim", "block_out_channels", "center_input_sample", "down_block_types",
    "downsample_padding", "flip_sin_to_cos", "freq_shift", "in_channels", "layers_per_block",
    "mid_block_scale_factor", "norm_eps", "norm_num_groups", "out_channels", "sample_size", "time_embedding_type",
    "up_block_types",
)  # fmt: skip
# Keys whose value our networks fix. Those that are not in _REQUIRED came later: a file without them is of the time
# when the first value below was the only behaviour.
_Values = dict[str, tuple[Any, ...]]
_FIXED: _Values = {
    "_class_name": ("UNet2DModel",),
    "act_fn": ("silu", "swish"),
    "center_input_sample": (False,),
    "mid_block_scale_factor": (1,),
    "time_embedding_type": ("positional",),
    "class_embed_type": (None,),
    "mid_block_type": ("UNetMidBlock2D",),
}
_DDPM_FIXED: _Values = {
    "add_attention": (False, True),
    "downsample_padding": (0, 1),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "resnet_time_scale_shift": ("default",),
    "num_class_embeds": (None,),
}
_ADM_FIXED: _Values = {
    "add_attention": (True,),
    "downsample_padding": (1,),
    "downsample_type": ("conv", "resnet"),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
}
_NO_EFFECT = ("dropout", "num_train_timesteps")  # training only; learned time embedding only


def model_from_diffusers(config: Mapping[str, Any]) -> ModelConfig:
    """The network of a diffusers `config.json`: DDPM's, or ADM's where it has something that only this one has.

    Raises:
        ConfigError: a key is missing, unknown, or has a value that neither network can reproduce.
    """
    for key in ("_class_name", *_REQUIRED):
        if key not in config:
            raise ConfigError(f"{key} is missing: defaults differ between versions of diffusers, so add it")
    _check(config, _FIXED)
    for key in ("in_channels", "out_channels", "layers_per_block", "norm_num_groups"):
        if not isinstance(config[key], int) or config[key] < 1:
            raise ConfigError(f"{key}={config[key]!r}: supported is a whole number from 1")
    for key in ("block_out_channels", "down_block_types", "up_block_types"):
        if not isinstance(config[key], list | tuple) or not config[key]:
            raise ConfigError(f"{key}={config[key]!r}: supported is a list with one entry per level")
    widths, groups = tuple(config["block_out_channels"]), config["norm_num_groups"]
    of_adm = _only_adm_has(config)
    # With scale-shift, diffusers' middle attention has no norm unless it is told its groups.
    scale_shift = config.get("resnet_time_scale_shift") == "scale_shift"
    redundant: _Values = {
        "attn_norm_num_groups": (groups,) if scale_shift else (None, groups),
        "time_embedding_dim": (None, 4 * widths[0]),
    }
    _check({key: config.get(key) for key in redundant}, redundant, of_adm)
    if of_adm is None:
        _check(config, _DDPM_FIXED)
    else:
        resampling = config.get("downsample_type", "conv")
        _check({"upsample_type": "conv", **config}, _ADM_FIXED | {"upsample_type": (resampling,)}, of_adm)
    known = {*_REQUIRED, *_FIXED, *_DDPM_FIXED, *_ADM_FIXED, *_NO_EFFECT, *redundant}
    for key, value in config.items():
        if key not in known and not key.startswith("_") and value is not None:
            raise ConfigError(f"{key}={value!r}: this version does not know the key, so cannot tell what it changes")
    common = {
        "image_size": _image_size(config["sample_size"]),
        "block_channels": widths,
        "attention_levels": _attention_levels(config),
        "blocks_per_level": config["layers_per_block"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "norm_groups": groups,
        "norm_eps": config["norm_eps"],
        "head_channels": config["attention_head_dim"],
    }
    try:
        return _ddpm_model(config, common) if of_adm is None else _adm_model(config, common)
    except (TypeError, ValueError) as error:
        keys = ("block_out_channels", "norm_num_groups", "attention_head_dim", "freq_shift", "out_channels")
        raise ConfigError(f"{', '.join(f'{key}={config[key]!r}' for key in keys)}: {error}") from error


def _check(config: Mapping[str, Any], values: _Values, because: str | None = None) -> None:
    for key, supported in values.items():
        if key in config and config[key] not in supported:
            with_it = f" with {because}" if because else ""
            raise ConfigError(f"{key}={config[key]!r}: supported{with_it} is {' or '.join(map(repr, supported))}")


def _only_adm_has(config: Mapping[str, Any]) -> str | None:
    """The first setting that DDPM's network does not have but ADM's does, in words; None without one."""
    signs = {
        "downsample_type": config.get("downsample_type") == "resnet",
        "resnet_time_scale_shift": config.get("resnet_time_scale_shift") == "scale_shift",
        "num_class_embeds": config.get("num_class_embeds") is not None,
        "out_channels": config["out_channels"] != config["in_channels"],  # with a learned variance
    }
    return next((f"{key}={config[key]!r}" for key, there in signs.items() if there), None)


def _ddpm_model(config: Mapping[str, Any], common: dict[str, Any]) -> DDPMUNetConfig:
    return DDPMUNetConfig(
        **common,
        cos_first=config["flip_sin_to_cos"],
        freq_shift=float(config["freq_shift"]),
        symmetric_downsample=config["downsample_padding"] == 1,
        middle_attention=config.get("add_attention", True),
    )


def _adm_model(config: Mapping[str, Any], common: dict[str, Any]) -> ADMUNetConfig:
    classes = config.get("num_class_embeds")
    if classes is not None and (not isinstance(classes, int) or classes < 1):
        raise ConfigError(f"num_class_embeds={classes!r}: supported is a whole number from 1")
    return ADMUNetConfig(
        **common,
        model_channels=common["block_channels"][0],
        heads=1 if common["head_channels"] is None else None,
        num_classes=classes,
        scale_shift=config.get("resnet_time_scale_shift") == "scale_shift",
        resblock_updown=config.get("downsample_type") == "resnet",
    )


def _attention_levels(config: Mapping[str, Any]) -> tuple[bool, ...]:
    levels = []
    for kind in ("Down", "Up"):
        key = f"{kind.lower()}_block_types"
        plain = f"Resnet{kind}sampleBlock2D" if config.get("downsample_type") == "resnet" else f"{kind}Block2D"
        for name in config[key]:
            if name not in (plain, f"Attn{kind}Block2D"):
                raise ConfigError(f"{key} holds {name!r}: supported is {plain!r} or 'Attn{kind}Block2D'")
        levels.append(tuple(name.startswith("Attn") for name in config[key]))
    if levels[0] != levels[1][::-1]:
        down, up = config["down_block_types"], config["up_block_types"]
        raise ConfigError(f"up_block_types={up!r}: supported is the mirror image of down_block_types={down!r}")
    return levels[0]


def _image_size(sample_size: Any) -> int:
    sides = sample_size if isinstance(sample_size, list | tuple) else [sample_size] * 2
    if len(sides) != 2 or sides[0] != sides[1] or not isinstance(sides[0], int):
        raise ConfigError(f"sample_size={sample_size!r}: supported is one whole number, the side in pixels")
    return sides[0]


def to_diffusers(model: ModelConfig) -> dict[str, Any]:
    """Keyword arguments that make diffusers' `UNet2DModel` this network; no default of theirs is relied on.

    Of an ADM network they leave open the number of heads, where not their width is given, and the width of the
    sinusoids, where it is not the first level's: `diip_jax.convert.torch_parity.diffusers_network` sees to both.
    """
    if isinstance(model, ADMUNetConfig):
        plain = "ResnetDownsampleBlock2D" if model.resblock_updown else "DownBlock2D"
        own: dict[str, Any] = {
            "freq_shift": 0.0,
            "flip_sin_to_cos": True,
            "time_embedding_dim": 4 * model.model_channels,
            "downsample_padding": 1,
            "downsample_type": "resnet" if model.resblock_updown else "conv",
            "upsample_type": "resnet" if model.resblock_updown else "conv",
            "attn_norm_num_groups": model.norm_groups,
            "resnet_time_scale_shift": "scale_shift" if model.scale_shift else "default",
            "num_class_embeds": model.num_classes,
        }
    else:
        plain = "DownBlock2D"
        own = {
            "freq_shift": model.freq_shift,
            "flip_sin_to_cos": model.cos_first,
            "downsample_padding": int(model.symmetric_downsample),
            "add_attention": model.middle_attention,
        }
    down = ["AttnDownBlock2D" if attention else plain for attention in model.attention_levels]
    return own | {
        "sample_size": model.image_size,
        "in_channels": model.in_channels,
        "out_channels": model.out_channels,
        "center_input_sample": False,
        "time_embedding_type": "positional",
        "down_block_types": tuple(down),
        "up_block_types": tuple(name.replace("Down", "Up") for name in reversed(down)),
        "block_out_channels": model.block_channels,
        "layers_per_block": model.blocks_per_level,
        "mid_block_scale_factor": 1,
        "act_fn": "silu",
        "attention_head_dim": model.head_channels,
        "norm_num_groups": model.norm_groups,
        "norm_eps": model.norm_eps,
    }
