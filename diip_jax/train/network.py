"""The network that a training begins with: by a word for its size and any of its fields, or that of a checkpoint."""

from collections.abc import Mapping
from typing import Any

from diip_jax.models import DDPMUNetConfig

# Width of the first level, width of each level as its multiple (the last one repeats), blocks a level, norm groups.
SIZES = {
    "small": (32, (1, 2, 4, 6), 1, 16),
    "base": (64, (1, 2, 3, 4), 2, 32),
    "large": (128, (1, 2, 3, 4), 2, 32),
}
# Levels go down to at least so many pixels; attention is at levels of at most so many.
_LOWEST, _ATTENDED = 8, 16


def network_of(size: str, given: Mapping[str, Any]) -> DDPMUNetConfig:
    """A network of a size, with the fields that are given in the place of the size's own.

    Args:
        size: a key of `SIZES`; "small" at 64 pixels is the bundled prior's network.
        given: fields of `DDPMUNetConfig`, `image_size` among them.

    Raises:
        ValueError: fields that do not go together.
    """
    width, multiples, blocks, groups = SIZES[size]
    side = given["image_size"]
    levels = 1
    while side % 2**levels == 0 and side >> levels >= _LOWEST:
        levels += 1
    widths = tuple(width * multiples[min(level, len(multiples) - 1)] for level in range(levels))
    widths = given.get("block_channels", widths)
    fields = {
        "block_channels": widths,
        "attention_levels": tuple(side >> level <= _ATTENDED for level in range(len(widths))),
        "blocks_per_level": blocks,
        "norm_groups": groups,
        "out_channels": given.get("in_channels", 3),
        **given,
    }
    model = DDPMUNetConfig(**fields)
    if model.out_channels != model.in_channels:
        raise ValueError(f"out_channels={model.out_channels}: expected {model.in_channels} like in_channels")
    if side < model.size_multiple or side % model.size_multiple:
        raise ValueError(
            f"image_size={side}: expected a multiple of {model.size_multiple} with {len(widths)} levels; give another "
            "size or fewer block_channels"
        )
    return model
