"""Torch's names that tell the level of a block. Needs no torch.

"ddpm" are those of pesser/pytorch_diffusion, ermongroup/ddim and SDEdit; "diffusers" those of UNet2DModel, which may be
DDPM's network or ADM's, with the attention names of old files (`query`) and of new ones (`to_q`).
"""

import re
from typing import Literal

from diip_jax.convert.torch_layouts import Kind, Target

LevelFamily = Literal["ddpm", "diffusers"]

# Parts of a residual block and of an attention block: regular expression -> (our name, layout).
_Parts = dict[str, tuple[str, Kind]]
_DDPM_BLOCK: _Parts = {
    "norm1": ("norm1", "same"),
    "conv1": ("conv1", "conv"),
    "temb_proj": ("time_projection", "dense"),
    "norm2": ("norm2", "same"),
    "conv2": ("conv2", "conv"),
    "nin_shortcut": ("shortcut", "pointwise"),
}
_DDPM_ATTENTION: _Parts = {
    "norm": ("norm", "same"),
    "q": ("query", "pointwise"),
    "k": ("key", "pointwise"),
    "v": ("value", "pointwise"),
    "proj_out": ("out", "pointwise"),
}
_DIFFUSERS_BLOCK: _Parts = {
    "norm1": ("norm1", "same"),
    "conv1": ("conv1", "conv"),
    "time_emb_proj": ("time_projection", "dense"),
    "norm2": ("norm2", "same"),
    "conv2": ("conv2", "conv"),
    "conv_shortcut": ("shortcut", "pointwise"),
}
_DIFFUSERS_ATTENTION: _Parts = {
    "group_norm": ("norm", "same"),
    "to_q|query": ("query", "dense"),
    "to_k|key": ("key", "dense"),
    "to_v|value": ("value", "dense"),
    r"to_out\.0|proj_attn": ("out", "dense"),
}
_HERE_CONV: _Parts = {"": ("", "conv")}
_HERE_NORM: _Parts = {"": ("", "same")}
_HERE_DENSE: _Parts = {"": ("", "dense")}

# Places in the network: (regular expression, our name, the parts found there). The groups: `level` counts from full
# resolution as ours do, `step` counts the up blocks in the order in which they run, from the lowest resolution;
# `j` counts blocks, `from1` counts them from 1.
_L, _S, _J = r"(?P<level>\d+)", r"(?P<step>\d+)", r"(?P<j>\d+)"
_PLACES: dict[LevelFamily, tuple[tuple[str, str, _Parts], ...]] = {
    "ddpm": (
        (rf"temb\.dense\.{_J}", "time_embed_{j}", _HERE_DENSE),
        ("conv_in", "conv_in", _HERE_CONV),
        (rf"down\.{_L}\.block\.{_J}", "down_{level}_block_{j}", _DDPM_BLOCK),
        (rf"down\.{_L}\.attn\.{_J}", "down_{level}_attention_{j}", _DDPM_ATTENTION),
        (rf"down\.{_L}\.downsample\.conv", "down_{level}_downsample", _HERE_CONV),
        (r"mid\.block_(?P<from1>\d+)", "middle_block_{j}", _DDPM_BLOCK),
        (r"mid\.attn_(?P<from1>\d+)", "middle_attention_{j}", _DDPM_ATTENTION),
        (rf"up\.{_L}\.block\.{_J}", "up_{level}_block_{j}", _DDPM_BLOCK),
        (rf"up\.{_L}\.attn\.{_J}", "up_{level}_attention_{j}", _DDPM_ATTENTION),
        (rf"up\.{_L}\.upsample\.conv", "up_{level}_upsample", _HERE_CONV),
        ("norm_out", "norm_out", _HERE_NORM),
        ("conv_out", "conv_out", _HERE_CONV),
    ),
    "diffusers": (
        (r"time_embedding\.linear_(?P<from1>\d+)", "time_embed_{j}", _HERE_DENSE),
        ("conv_in", "conv_in", _HERE_CONV),
        (rf"down_blocks\.{_L}\.resnets\.{_J}", "down_{level}_block_{j}", _DIFFUSERS_BLOCK),
        (rf"down_blocks\.{_L}\.attentions\.{_J}", "down_{level}_attention_{j}", _DIFFUSERS_ATTENTION),
        # Files of diffusers' first releases hold a resampling convolution as `Conv2d_0`, as `conv`, or as both.
        (rf"down_blocks\.{_L}\.downsamplers\.0\.(conv|Conv2d_0)", "down_{level}_downsample", _HERE_CONV),
        (rf"down_blocks\.{_L}\.downsamplers\.0", "down_{level}_downsample", _DIFFUSERS_BLOCK),
        (rf"mid_block\.resnets\.{_J}", "middle_block_{j}", _DIFFUSERS_BLOCK),
        (rf"mid_block\.attentions\.{_J}", "middle_attention_{j}", _DIFFUSERS_ATTENTION),
        (rf"up_blocks\.{_S}\.resnets\.{_J}", "up_{level}_block_{j}", _DIFFUSERS_BLOCK),
        (rf"up_blocks\.{_S}\.attentions\.{_J}", "up_{level}_attention_{j}", _DIFFUSERS_ATTENTION),
        (rf"up_blocks\.{_S}\.upsamplers\.0\.(conv|Conv2d_0)", "up_{level}_upsample", _HERE_CONV),
        (rf"up_blocks\.{_S}\.upsamplers\.0", "up_{level}_upsample", _DIFFUSERS_BLOCK),
        ("conv_norm_out", "norm_out", _HERE_NORM),
        ("conv_out", "conv_out", _HERE_CONV),
    ),
}
_RULES: dict[LevelFamily, list[tuple[re.Pattern[str], str, Kind]]] = {
    family: [
        (re.compile(rf"{place}{r'[.]' if part else ''}({part})[.](?P<leaf>weight|bias)"), f"{ours}/{name}", kind)
        for place, ours, parts in places
        for part, (name, kind) in parts.items()
    ]
    for family, places in _PLACES.items()
}


def level_targets(name: str, family: LevelFamily, levels: int) -> list[Target]:
    """Our parameter for torch's `name` in a network of `levels` resolutions; empty if it has none."""
    if name == "class_embedding.weight" and family == "diffusers":
        return [Target("class_embedding", "same")]
    for pattern, template, kind in _RULES[family]:
        match = pattern.fullmatch(name)
        if match is None:
            continue
        groups = match.groupdict()
        level = levels - 1 - int(groups["step"]) if groups.get("step") else groups.get("level")
        j = int(groups["from1"]) - 1 if groups.get("from1") else groups.get("j")
        ours = template.format(level=level, j=j).rstrip("/")
        if groups["leaf"] == "bias":
            return [Target(f"{ours}/bias", "same")]
        return [Target(f"{ours}/{'scale' if kind == 'same' else 'kernel'}", kind)]
    return []
