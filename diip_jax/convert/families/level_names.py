"""Names that tell the level of a block, as DDPM's and diffusers' do. Needs no torch."""

import re
from collections.abc import Sequence

from diip_jax.convert.families.layouts import Kind, Target

# Parts of a residual block and of an attention block: regular expression -> (our name, layout).
Parts = dict[str, tuple[str, Kind]]
HERE_CONV: Parts = {"": ("", "conv")}
HERE_NORM: Parts = {"": ("", "same")}
HERE_DENSE: Parts = {"": ("", "dense")}

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
