"""Configurations of the ADM network that the tests share."""

from dataclasses import replace
from typing import Any

from diip_jax.convert.families import PRESETS, Preset
from diip_jax.models.adm_unet import ADMUNetConfig

TIMESTEPS = (0, 500, 999)
_TINY = ADMUNetConfig(16, 8, (8, 16), (False, True), blocks_per_level=1, head_channels=8, norm_groups=4)
# Norms of 32 groups, which is all that the independent implementation has.
_SMALL = ADMUNetConfig(16, 32, (32, 64), (False, True), blocks_per_level=1, head_channels=32)


def tiny(*, new_attention_order: bool = False, **options: Any) -> Preset:
    """A network of 8 and 16 channels for 16 x 16 images."""
    return Preset(replace(_TINY, **options), new_attention_order=new_attention_order)


def _small(*, new_attention_order: bool = False, **options: Any) -> Preset:
    return Preset(replace(_SMALL, **options), new_attention_order=new_attention_order)


# Between them every option takes every kind of value: (preset, height and width, class or None).
GOLDEN: dict[str, tuple[Preset, tuple[int, int], int | None]] = {
    "legacy order, two heads": (_small(), (16, 12), None),
    "new order, class": (_small(new_attention_order=True, num_classes=5, blocks_per_level=2), (8, 8), 3),
    "strided, no scale-shift, one head": (
        _small(resblock_updown=False, scale_shift=False, heads=1, head_channels=None, timestep_scale=0.25),
        (8, 12),
        None,
    ),
    "four heads everywhere, noise alone, three levels, half width at the top": (
        _small(
            block_channels=(32, 64, 64),
            attention_levels=(True, True, False),
            heads=4,
            head_channels=None,
            out_channels=3,
            model_channels=64,
        ),
        (8, 8),
        None,
    ),
    "ffhq_10m": (PRESETS["ffhq_10m"], (64, 64), None),
}
# Shapes of files that the independent implementation cannot have.
TINY_CASES: dict[str, tuple[Preset, tuple[int, int], int | None]] = {
    "tiny": (tiny(), (16, 12), None),
    "grey with variance": (tiny(in_channels=1, out_channels=2), (6, 10), None),
    "no class told": (tiny(num_classes=7, heads=2, head_channels=None), (8, 8), None),
    "one level, no resampling": (
        tiny(block_channels=(12,), attention_levels=(True,), norm_groups=3, head_channels=4),
        (5, 7),
        None,
    ),
    "new order, convolutions of images in attention": (
        tiny(new_attention_order=True, resblock_updown=False, num_classes=3),
        (10, 6),
        2,
    ),
}
