"""DDPM's names: pesser/pytorch_diffusion, ermongroup/ddim, SDEdit and who took their files. Needs no torch."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from diip_jax.convert.families.family import Family, Preset, Shapes, Targets
from diip_jax.convert.families.layouts import renamed
from diip_jax.convert.families.level_names import (
    FROM_1,
    HERE_CONV,
    HERE_DENSE,
    HERE_NORM,
    J,
    L,
    Parts,
    block_parts,
    level_layout,
    level_targets,
    rules,
)
from diip_jax.convert.families.values import flag, number, numbers, one_of, refuse_unknown, whole
from diip_jax.models import ModelConfig
from diip_jax.models.ddpm_unet import DDPMUNetConfig
from diip_jax.schedule import Schedule

_BLOCK = block_parts("temb_proj", "nin_shortcut")
_ATTENTION: Parts = {
    "norm": ("norm", "same"),
    "q": ("query", "pointwise"),
    "k": ("key", "pointwise"),
    "v": ("value", "pointwise"),
    "proj_out": ("out", "pointwise"),
}

_RULES = rules(
    (
        (rf"temb\.dense\.{J}", "time_embed_{j}", HERE_DENSE),
        ("conv_in", "conv_in", HERE_CONV),
        (rf"down\.{L}\.block\.{J}", "down_{level}_block_{j}", _BLOCK),
        (rf"down\.{L}\.attn\.{J}", "down_{level}_attention_{j}", _ATTENTION),
        (rf"down\.{L}\.downsample\.conv", "down_{level}_downsample", HERE_CONV),
        (rf"mid\.block_{FROM_1}", "middle_block_{j}", _BLOCK),
        (rf"mid\.attn_{FROM_1}", "middle_attention_{j}", _ATTENTION),
        (rf"up\.{L}\.block\.{J}", "up_{level}_block_{j}", _BLOCK),
        (rf"up\.{L}\.attn\.{J}", "up_{level}_attention_{j}", _ATTENTION),
        (rf"up\.{L}\.upsample\.conv", "up_{level}_upsample", HERE_CONV),
        ("norm_out", "norm_out", HERE_NORM),
        ("conv_out", "conv_out", HERE_CONV),
    )
)


def _targets(model: ModelConfig, new_attention_order: bool) -> Targets | None:
    if not isinstance(model, DDPMUNetConfig):
        return None
    return lambda name: level_targets(name, _RULES, len(model.block_channels))


def _layout(shapes: Shapes) -> dict[str, Any]:
    return level_layout(shapes, "down.{level}.block.{j}", "down.{level}.attn.0.norm", "mid.attn_1.norm")


# Of a configuration file of these projects; the rest of it is about training.
_SECTIONS = ("model", "data", "diffusion")
_OTHER_SECTIONS = ("training", "sampling", "optim")
_WITHOUT_EFFECT = (
    "type", "dropout", "var_type", "ema_rate", "ema", "dataset", "category", "random_flip", "rescaled",
    "gaussian_dequantization", "uniform_dequantization", "logit_transform", "num_workers",
)  # fmt: skip
_READ = (
    "image_size", "resolution", "ch", "ch_mult", "num_res_blocks", "attn_resolutions", "in_channels", "channels",
    "out_ch", "resamp_with_conv", "norm_groups", "num_diffusion_timesteps", "beta_schedule", "beta_start", "beta_end",
)  # fmt: skip


def _preset_of(content: Mapping[str, Any]) -> Preset:
    """Of the sections of ermongroup/ddim's configuration, or their keys without sections; pesser's say `resolution`.

    `norm_groups` is a key of ours, for networks with other groups than 32.
    """
    config = {key: value for key, value in content.items() if key not in (*_SECTIONS, *_OTHER_SECTIONS)}
    for section in _SECTIONS:
        config |= content.get(section, {})
    refuse_unknown(config, (*_READ, *_WITHOUT_EFFECT))
    one_of({"resamp_with_conv": str(flag(config, "resamp_with_conv", True))}, "resamp_with_conv", {"True": True}, None)
    side, width = whole(config, "resolution" if "resolution" in config else "image_size"), whole(config, "ch")
    channels = whole(config, "in_channels" if "in_channels" in config else "channels", 3)
    multipliers, attended = numbers(config, "ch_mult"), numbers(config, "attn_resolutions")
    model = DDPMUNetConfig(
        side,
        tuple(int(width * multiplier) for multiplier in multipliers),
        tuple(side // 2**level in attended for level in range(len(multipliers))),
        blocks_per_level=whole(config, "num_res_blocks"),
        in_channels=channels,
        out_channels=whole(config, "out_ch", channels),
        norm_groups=whole(config, "norm_groups", 32),
    )
    usual = Schedule()
    return Preset(
        model,
        Schedule(
            whole(config, "num_diffusion_timesteps", usual.num_timesteps),
            number(config, "beta_start", usual.beta_start),
            number(config, "beta_end", usual.beta_end),
            # ermongroup/ddim's "quad" is linear in sqrt(beta).
            one_of(config, "beta_schedule", {"linear": "linear", "quad": "scaled_linear"}, "linear"),
        ),
    )


# In this order; written from diffusers' module tree, not from _RULES.
_FROM_DDPM = (
    (r"^temb\.dense\.0", "time_embedding.linear_1"),
    (r"^temb\.dense\.1", "time_embedding.linear_2"),
    (r"^norm_out", "conv_norm_out"),
    (r"^mid\.block_1", "mid_block.resnets.0"),
    (r"^mid\.block_2", "mid_block.resnets.1"),
    (r"^mid\.attn_1", "mid_block.attentions.0"),
    (r"^down\.", "down_blocks."),
    (r"\.block\.", ".resnets."),
    (r"\.attn\.", ".attentions."),
    (r"\.downsample\.", ".downsamplers.0."),
    (r"\.upsample\.", ".upsamplers.0."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.q\.", r"\1.to_q."),
    (r"(attentions\.\d+)\.k\.", r"\1.to_k."),
    (r"(attentions\.\d+)\.v\.", r"\1.to_v."),
    (r"(attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
    (r"\.temb_proj\.", ".time_emb_proj."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
)


def _in_diffusers(weights: Mapping[str, Any], preset: Preset, network: Any) -> dict[str, np.ndarray]:
    assert isinstance(preset.model, DDPMUNetConfig)
    levels = len(preset.model.block_channels)

    def place(name: str) -> str:
        name = renamed(name, _FROM_DDPM)
        return re.sub(r"^up\.(\d+)\.", lambda match: f"up_blocks.{levels - 1 - int(match[1])}.", name)

    return {place(name): np.asarray(weight) for name, weight in weights.items()}


_DDPM_256 = Preset(DDPMUNetConfig(256, (128, 128, 256, 256, 512, 512), (False, False, False, False, True, False)))
_CIFAR10 = Preset(DDPMUNetConfig(32, (128, 256, 256, 256), (False, True, False, False)))

DDPM = Family(
    name="ddpm",
    projects="DDPM (pesser/pytorch_diffusion, ermongroup/ddim, SDEdit)",
    signs=("down.0.", "temb.dense."),
    architecture=DDPMUNetConfig,
    layout=_layout,
    targets=_targets,
    preset_of=_preset_of,
    in_diffusers=_in_diffusers,
    presets={
        # SDEdit: celeba_hq.ckpt (also BIRD's, DDRM's, DDNM's), church_outdoor.ckpt, bedroom.ckpt
        "sdedit-celebahq-256": _DDPM_256,
        "sdedit-church-256": _DDPM_256,
        "sdedit-bedroom-256": _DDPM_256,
        # pesser/pytorch_diffusion; the ema_ files are the same networks
        "pesser-cifar10": _CIFAR10,
        "pesser-lsun-bedroom": _DDPM_256,
        "pesser-lsun-cat": _DDPM_256,
        "pesser-lsun-church": _DDPM_256,
        # ermongroup/ddim, configs/celeba.yml
        "ddim-celeba-64": Preset(DDPMUNetConfig(64, (128, 256, 256, 256, 512), (False, False, True, False, False))),
    },
)
