"""Name tables: which weight of a torch file becomes which of our parameters. Pure; needs no torch.

Two families name one network. "ddpm": pesser/pytorch_diffusion, ermongroup/ddim and SDEdit. "diffusers": UNet2DModel,
with the attention names of old files (`query`) and of new ones (`to_q`).
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

Family = Literal["ddpm", "diffusers"]
# How a torch weight is laid out, and so how it becomes ours: [O, I, 3, 3] -> [3, 3, I, O]; [O, I] -> [I, O];
# [O, I, 1, 1] -> [I, O]; [C] -> [C].
Kind = Literal["conv", "dense", "pointwise", "norm"]


class WeightError(ValueError):
    """A weight that is missing, surplus, given twice or misshapen; the message names it."""


class Target(NamedTuple):
    """Where a torch weight goes: our path, such as ("middle_block_0", "conv1", "kernel"), and torch's layout."""

    path: tuple[str, ...]
    kind: Kind


# Parts of a residual block and of an attention block: regular expression -> (our name, layout).
_Parts = dict[str, tuple[str, Kind]]
_DDPM_BLOCK: _Parts = {
    "norm1": ("norm1", "norm"),
    "conv1": ("conv1", "conv"),
    "temb_proj": ("time_projection", "dense"),
    "norm2": ("norm2", "norm"),
    "conv2": ("conv2", "conv"),
    "nin_shortcut": ("shortcut", "pointwise"),
}
_DDPM_ATTENTION: _Parts = {
    "norm": ("norm", "norm"),
    "q": ("query", "pointwise"),
    "k": ("key", "pointwise"),
    "v": ("value", "pointwise"),
    "proj_out": ("out", "pointwise"),
}
_DIFFUSERS_BLOCK: _Parts = {
    "norm1": ("norm1", "norm"),
    "conv1": ("conv1", "conv"),
    "time_emb_proj": ("time_projection", "dense"),
    "norm2": ("norm2", "norm"),
    "conv2": ("conv2", "conv"),
    "conv_shortcut": ("shortcut", "pointwise"),
}
_DIFFUSERS_ATTENTION: _Parts = {
    "group_norm": ("norm", "norm"),
    "to_q|query": ("query", "dense"),
    "to_k|key": ("key", "dense"),
    "to_v|value": ("value", "dense"),
    r"to_out\.0|proj_attn": ("out", "dense"),
}
_HERE_CONV: _Parts = {"": ("", "conv")}
_HERE_NORM: _Parts = {"": ("", "norm")}
_HERE_DENSE: _Parts = {"": ("", "dense")}

# Places in the network: (regular expression, our name, the parts found there). The groups: `level` counts from full
# resolution as ours do, `step` counts the up blocks in the order in which they run, from the lowest resolution;
# `j` counts blocks, `from1` counts them from 1.
_L, _S, _J = r"(?P<level>\d+)", r"(?P<step>\d+)", r"(?P<j>\d+)"
_PLACES: dict[Family, tuple[tuple[str, str, _Parts], ...]] = {
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
        (rf"mid_block\.resnets\.{_J}", "middle_block_{j}", _DIFFUSERS_BLOCK),
        (rf"mid_block\.attentions\.{_J}", "middle_attention_{j}", _DIFFUSERS_ATTENTION),
        (rf"up_blocks\.{_S}\.resnets\.{_J}", "up_{level}_block_{j}", _DIFFUSERS_BLOCK),
        (rf"up_blocks\.{_S}\.attentions\.{_J}", "up_{level}_attention_{j}", _DIFFUSERS_ATTENTION),
        (rf"up_blocks\.{_S}\.upsamplers\.0\.(conv|Conv2d_0)", "up_{level}_upsample", _HERE_CONV),
        ("conv_norm_out", "norm_out", _HERE_NORM),
        ("conv_out", "conv_out", _HERE_CONV),
    ),
}
_RULES: dict[Family, list[tuple[re.Pattern[str], str, Kind]]] = {
    family: [
        (re.compile(rf"{place}{r'[.]' if part else ''}({part})[.](?P<leaf>weight|bias)"), f"{ours}/{name}", kind)
        for place, ours, parts in places
        for part, (name, kind) in parts.items()
    ]
    for family, places in _PLACES.items()
}


def detect_family(names: set[str]) -> Family:
    """Tells the naming family from the names of a state dict.

    Raises:
        WeightError: neither family.
    """
    if any(name.startswith("down_blocks.") for name in names):
        return "diffusers"
    if any(name.startswith("down.0.") for name in names):
        return "ddpm"
    few = ", ".join(sorted(names)[:3])
    if any(name.startswith("input_blocks.") for name in names):
        raise WeightError(f"weights of guided-diffusion (ADM: {few}, ...): only DDPM networks are supported")
    raise WeightError(f"unknown weights ({few}, ...): expected the names of DDPM or of diffusers' UNet2DModel")


def target(name: str, family: Family, levels: int) -> Target | None:
    """Our parameter for torch's `name` in a network of `levels` resolutions; None if it has none."""
    for pattern, template, kind in _RULES[family]:
        match = pattern.fullmatch(name)
        if match is None:
            continue
        groups = match.groupdict()
        level = levels - 1 - int(groups["step"]) if groups.get("step") else groups.get("level")
        j = int(groups["from1"]) - 1 if groups.get("from1") else groups.get("j")
        path = [part for part in template.format(level=level, j=j).split("/") if part]
        if groups["leaf"] == "bias":
            return Target((*path, "bias"), "norm")
        return Target((*path, "scale" if kind == "norm" else "kernel"), kind)
    return None


def map_weights(
    weights: Mapping[str, np.ndarray], shapes: Mapping[str, Any], family: Family, levels: int
) -> dict[str, Any]:
    """Turns a torch state dict into our parameter tree.

    Args:
        weights: torch name to array, as the file has them.
        shapes: our parameter tree with leaves that have a `shape` (`diip_jax.prior.param_shapes`).
        family: the names in use.
        levels: number of resolutions of the network.

    Returns:
        A tree like `shapes` with float32 arrays; every weight was used and every parameter filled exactly once. (Two
        torch names of one parameter are accepted if their values are equal.)

    Raises:
        WeightError: a weight is missing, surplus, misshapen, not finite, or given twice with different values.
    """
    expected = _flatten(shapes)
    torch_name: dict[tuple[str, ...], str] = {}
    filled: dict[tuple[str, ...], np.ndarray] = {}
    for name, weight in weights.items():
        to = target(name, family, levels)
        if to is None or to.path not in expected:
            raise WeightError(f"surplus weight {name} {list(weight.shape)}: this network has no such parameter")
        ours = "/".join(to.path)
        if to.path in filled:
            if not np.array_equal(weight, weights[torch_name[to.path]]):
                raise WeightError(f"weights {torch_name[to.path]} and {name} differ, but both are our {ours}")
            continue
        shape = expected[to.path]
        if tuple(weight.shape) != _torch_shape(shape, to.kind):
            raise WeightError(
                f"weight {name} has shape {list(weight.shape)}, expected {list(_torch_shape(shape, to.kind))} "
                f"(our {ours} {list(shape)}): the weights do not belong to this configuration"
            )
        if not np.isfinite(weight).all():
            raise WeightError(f"weight {name} (our {ours}) holds values that are not finite")
        torch_name[to.path] = name
        filled[to.path] = _to_ours(weight, to.kind)
    missing = ["/".join(path) for path in expected if path not in filled]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WeightError(f"missing weight for our {missing[0]} {list(expected[tuple(missing[0].split('/'))])}{more}")
    return _unflatten(filled)


def _torch_shape(ours: tuple[int, ...], kind: Kind) -> tuple[int, ...]:
    if kind == "conv":
        height, width, inputs, outputs = ours
        return (outputs, inputs, height, width)
    if kind == "norm":
        return ours
    return (*ours[::-1], 1, 1) if kind == "pointwise" else ours[::-1]


def _to_ours(weight: np.ndarray, kind: Kind) -> np.ndarray:
    weight = weight.astype(np.float32)
    if kind == "conv":
        return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
    if kind == "norm":
        return weight
    return np.ascontiguousarray(weight.reshape(weight.shape[:2]).T)


def _flatten(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], tuple[int, ...]]:
    flat: dict[tuple[str, ...], tuple[int, ...]] = {}
    for name, child in tree.items():
        flat |= _flatten(child, (*path, name)) if isinstance(child, Mapping) else {(*path, name): tuple(child.shape)}
    return flat


def _unflatten(flat: Mapping[tuple[str, ...], np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (*places, leaf), value in flat.items():
        node = tree
        for place in places:
            node = node.setdefault(place, {})
        node[leaf] = value
    return tree
