"""Names that tell the level of a block, as DDPM's and diffusers' do. Needs no torch."""

import re
from collections.abc import Sequence
from typing import Any

from diip_jax.convert.families.family import Shapes
from diip_jax.convert.families.layouts import Kind, Target, count

# Parts of a residual block and of an attention block: regular expression -> (our name, layout).
Parts = dict[str, tuple[str, Kind]]
HERE_CONV: Parts = {"": ("", "conv")}
HERE_NORM: Parts = {"": ("", "same")}
HERE_DENSE: Parts = {"": ("", "dense")}


def block_parts(time_projection: str, shortcut: str) -> Parts:
    """The parts of a residual block, two of which the projects call differently."""
    return {
        "norm1": ("norm1", "same"),
        "conv1": ("conv1", "conv"),
        time_projection: ("time_projection", "dense"),
        "norm2": ("norm2", "same"),
        "conv2": ("conv2", "conv"),
        shortcut: ("shortcut", "pointwise"),
    }


# The groups of a place: `level` counts from full resolution as ours do, `step` counts the up blocks in the order in
# which they run, from the lowest resolution; `j` counts blocks, `from1` counts them from 1.
L, S, J, FROM_1 = r"(?P<level>\d+)", r"(?P<step>\d+)", r"(?P<j>\d+)", r"(?P<from1>\d+)"

Rules = list[tuple[re.Pattern[str], str, Kind]]


def rules(places: Sequence[tuple[str, str, Parts]]) -> Rules:
    """For `level_targets`, from places in the network: regular expression, our name, the parts found there."""
    return [
        (re.compile(rf"{place}{r'[.]' if part else ''}({part})[.](?P<leaf>weight|bias)"), f"{ours}/{name}", kind)
        for place, ours, parts in places
        for part, (name, kind) in parts.items()
    ]


def level_targets(name: str, rules: Rules, levels: int) -> list[Target]:
    """Our parameter for torch's `name` in a network of `levels` resolutions; empty if it has none."""
    for pattern, template, kind in rules:
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


def level_layout(shapes: Shapes, block: str, attention_norm: str, middle_attention_norm: str) -> dict[str, Any]:
    """What shows of the network in torch's names and shapes, see `Family.layout`.

    Args:
        block, attention_norm: names of the j-th block of a level on the way down, and of the norm of its first
            attention, as templates of `level` and `j`.
        middle_attention_norm: likewise in the middle.
    """

    def conv(level: int, j: int = 0) -> str:
        return f"{block.format(level=level, j=j)}.conv1.weight"

    levels = range(count(shapes, conv))
    return {
        "block_channels": tuple(shapes[conv(level)][0] for level in levels),
        "attention_levels": tuple(f"{attention_norm.format(level=level)}.weight" in shapes for level in levels),
        "middle_attention": f"{middle_attention_norm}.weight" in shapes,
        "blocks_per_level": count(shapes, lambda j: conv(0, j)),
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes["conv_out.weight"][0],
    }
