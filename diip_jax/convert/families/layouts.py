"""How a torch weight is laid out, and how it becomes one of our parameters. Needs no torch."""

import itertools
import re
from collections.abc import Callable, Container
from typing import Literal, NamedTuple

import numpy as np

# conv: [O, I, 3, 3] -> [3, 3, I, O]; dense: [O, I] -> [I, O]; pointwise, a 1x1 convolution of images: [O, I, 1, 1] ->
# [I, O]; token, a convolution of width 1 over tokens: [O, I, 1] or [O, I, 1, 1] -> [I, O]; channels, a factor of each
# channel of images: [1, C, 1, 1] -> [C]; same: as it is.
Kind = Literal["conv", "dense", "pointwise", "token", "channels", "same"]


class WeightError(ValueError):
    """A weight that is missing, surplus, given twice or misshapen; the message names it."""


class Fused(NamedTuple):
    """Which third of a fused query-key-value weight a parameter is.

    Attributes:
        third: 0, 1, 2 for query, key, value.
        heads: the weight holds the three of each head side by side, for so many heads (guided-diffusion's "legacy"
            order); None: the three of all heads (its "new" order).
    """

    third: int
    heads: int | None


class Target(NamedTuple):
    """Where a torch weight goes: our name, such as "middle_block_0/conv1/kernel", and the layout it has in torch."""

    name: str
    kind: Kind
    fused: Fused | None = None


def torch_shapes(target: Target, ours: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes that a weight may have in torch if our parameter has the shape `ours`; the usual one first."""
    if target.kind == "same":
        shapes = [ours]
    elif target.kind == "channels":
        shapes = [(1, *ours, 1, 1)]
    elif target.kind == "conv":
        height, width, inputs, outputs = ours
        shapes = [(outputs, inputs, height, width)]
    else:
        trailing_ones = {"dense": [0], "pointwise": [2], "token": [1, 2]}[target.kind]
        shapes = [(*ours[::-1], *(1,) * ones) for ones in trailing_ones]
    return [(3 * shape[0], *shape[1:]) if target.fused else shape for shape in shapes]


def to_ours(weight: np.ndarray, target: Target) -> np.ndarray:
    """A torch weight of one of the `torch_shapes` as our parameter."""
    if target.fused is not None:
        third, heads = target.fused
        parts = weight.reshape(heads or 1, 3, -1, *weight.shape[1:])
        weight = parts[:, third].reshape(-1, *weight.shape[1:])
    if target.kind == "same":
        return weight
    if target.kind == "channels":
        return weight.reshape(-1)
    if target.kind == "conv":
        return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
    return np.ascontiguousarray(weight.reshape(weight.shape[:2]).T)


def count(names: Container[str], name: Callable[[int], str]) -> int:
    """How many of name(0), name(1), ... there are before the first that is missing."""
    return next(n for n in itertools.count() if name(n) not in names)


def renamed(name: str, changes: tuple[tuple[str, str], ...]) -> str:
    """A name after all replacements of regular expressions, in their order."""
    for pattern, replacement in changes:
        name = re.sub(pattern, replacement, name)
    return name
