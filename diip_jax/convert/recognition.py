"""Which published network a state dict may belong to, from its names and shapes alone. Needs no torch."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from diip_jax import models
from diip_jax.convert.presets import PRESETS, Preset
from diip_jax.convert.torch_layouts import WeightError
from diip_jax.convert.weight_mapping import detect_family

Shapes = Mapping[str, tuple[int, ...]]


def recognise(shapes: Shapes) -> tuple[list[str], Preset]:
    """The presets whose network has these weights, all of one network, and what they say of it.

    Args:
        shapes: torch name to shape.

    Raises:
        WeightError: the weights are of no known network, or shapes do not tell between several.
    """
    architecture, layout = _layout(shapes)
    fitting = [
        name
        for name, preset in PRESETS.items()
        if models.architecture(preset.model) == architecture
        and all(getattr(preset.model, field) == value for field, value in layout.items())
    ]
    if not fitting:
        found = ", ".join(f"{field}={value}" for field, value in layout.items())
        raise WeightError(
            f"no preset has this network: {architecture} with {found}; "
            "describe it with a Preset to diip_jax.convert.convert in Python"
        )
    if len({PRESETS[name] for name in fitting}) > 1:
        raise WeightError(f"shapes do not tell which preset it is: add --preset, one of {', '.join(fitting)}")
    return fitting, PRESETS[fitting[0]]


def _layout(shapes: Shapes) -> tuple[str, dict[str, Any]]:
    """The architecture and those fields of its configuration that show in the weights."""
    family = detect_family(set(shapes))
    try:
        return ("adm_unet", _adm_layout(shapes)) if family == "adm" else ("ddpm_unet", _ddpm_layout(shapes, family))
    except (KeyError, IndexError) as error:
        raise WeightError(f"{family} names, but a weight is missing or has too few dimensions ({error})") from error


def _ddpm_layout(shapes: Shapes, family: str) -> dict[str, Any]:
    block, attention, middle = {
        "ddpm": ("down.{}.block.{}.conv1.weight", "down.{}.attn.0.norm.weight", "mid.attn_1.norm.weight"),
        "diffusers": (
            "down_blocks.{}.resnets.{}.conv1.weight",
            "down_blocks.{}.attentions.0.group_norm.weight",
            "mid_block.attentions.0.group_norm.weight",
        ),
    }[family]
    levels = range(_count(shapes, lambda level: block.format(level, 0)))
    return {
        "block_channels": tuple(shapes[block.format(level, 0)][0] for level in levels),
        "attention_levels": tuple(attention.format(level) in shapes for level in levels),
        "middle_attention": middle in shapes,
        "blocks_per_level": _count(shapes, lambda j: block.format(0, j)),
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes["conv_out.weight"][0],
    }


def _adm_layout(shapes: Shapes) -> dict[str, Any]:
    in_channels, out_channels = shapes["input_blocks.0.0.weight"][1], shapes["out.2.weight"][0]
    if in_channels == 6:
        raise WeightError("weights of an upsampler, whose input holds a small image as well: no prior of images alone")
    # On the way up the last block of a level, except of full resolution, ends with an upsampling.
    blocks = _count(shapes, lambda n: f"output_blocks.{n}.0.out_layers.3.weight")
    ups = {
        n: end
        for n in range(blocks)
        for end in (f"output_blocks.{n}.{place}.{part}" for place in (1, 2) for part in ("conv", "in_layers.2"))
        if f"{end}.weight" in shapes
    }
    levels = len(ups) + 1
    ends = [*ups, blocks - 1][::-1]  # the last block of each level, full resolution first
    width = shapes["output_blocks.0.0.out_layers.3.weight"][0]
    labels = shapes.get("label_emb.weight")
    return {
        "model_channels": shapes["time_embed.0.weight"][1],
        "block_channels": tuple(shapes[f"output_blocks.{n}.0.out_layers.3.weight"][0] for n in ends),
        "attention_levels": tuple(f"output_blocks.{n}.1.qkv.weight" in shapes for n in ends),
        "blocks_per_level": blocks // levels - 1,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "num_classes": labels and labels[0],
        "scale_shift": shapes["output_blocks.0.0.emb_layers.1.weight"][0] == 2 * width,
        "resblock_updown": not any(end.endswith(".conv") for end in ups.values()),
    }


def _count(shapes: Shapes, name: Callable[[int], str]) -> int:
    """How many of name(0), name(1), ... there are before the first that is missing."""
    return next(n for n in itertools.count() if name(n) not in shapes)
