"""ADM's weights in diffusers' names, for `--verify`: written from diffusers' module tree, apart from `adm`'s table."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diip_jax.convert.families.family import Preset
from diip_jax.convert.families.layouts import renamed
from diip_jax.models.adm_unet import ADMUNetConfig

# The modules of blocks by their place in them.
_FROM_ADM = (
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
    (r"\.op\.", ".conv."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)


def in_diffusers(weights: Mapping[str, Any], preset: Preset, network: Any) -> dict[str, np.ndarray]:
    """diffusers' state dict out of ADM's; its `network` tells which block holds what."""
    assert isinstance(preset.model, ADMUNetConfig)
    places = dict(_places(network))
    state = {}
    for name, weight in weights.items():
        theirs = re.match(r"(input_blocks|output_blocks)\.\d+\.\d+|middle_block\.\d+|[^.]+\.\d+|label_emb", name)
        if theirs is None:
            raise KeyError(name)
        name = renamed(places[theirs[0]] + name.removeprefix(theirs[0]), _FROM_ADM)
        array = np.asarray(weight)
        if ".qkv." not in name:
            state[name] = array
        elif preset.new_attention_order:
            for letter, third in zip("qkv", np.split(array, 3), strict=True):
                state[name.replace(".qkv.", f".to_{letter}.")] = third
        else:
            heads = np.split(array, preset.model.num_heads(len(array) // 3))
            for n, letter in enumerate("qkv"):
                thirds = [np.split(head, 3)[n] for head in heads]
                state[name.replace(".qkv.", f".to_{letter}.")] = np.concatenate(thirds)
    return state


def _places(network: Any) -> Iterator[tuple[str, str]]:
    """(ADM's module, diffusers' module) pairs, in the order in which diffusers' network runs them."""
    yield from {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "label_emb": "class_embedding",
        "input_blocks.0.0": "conv_in",
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "mid_block.resnets.1",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }.items()
    for theirs, ours, start in (("input_blocks", "down_blocks", 1), ("output_blocks", "up_blocks", 0)):
        n = start
        for i, block in enumerate(getattr(network, ours)):
            attentions = getattr(block, "attentions", [])
            for j in range(len(block.resnets)):
                yield f"{theirs}.{n}.0", f"{ours}.{i}.resnets.{j}"
                if len(attentions):
                    yield f"{theirs}.{n}.1", f"{ours}.{i}.attentions.{j}"
                n += 1
            if getattr(block, "downsamplers", None):
                yield f"{theirs}.{n}.0", f"{ours}.{i}.downsamplers.0"
                n += 1
            if getattr(block, "upsamplers", None):
                yield f"{theirs}.{n - 1}.{2 if len(attentions) else 1}", f"{ours}.{i}.upsamplers.0"
