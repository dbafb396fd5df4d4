"""Every preset against the true names and shapes of its file. No weights: shapes take no memory."""

import math

import jax
import numpy as np
import pytest
from preset_files import NETWORKS, file_shapes

from diip_jax.convert.families import PRESETS
from diip_jax.convert.recognition import recognise
from diip_jax.convert.weight_mapping import map_weights
from diip_jax.schedule import Schedule

COUNTS = {
    "faces64": 7_252_003,
    "ddpm-cifar10-32": 35_746_307,
    "ddpm-celebahq-256": 113_673_219,
    "ddim-celeba-64": 78_700_803,
    "ffhq_10m": 93_563_910,
    "imagenet64_cond": 295_904_454,
    "imagenet128_cond": 421_529_606,
    "imagenet256_cond": 553_838_086,
    "imagenet512_cond": 558_997_638,
    "imagenet256_uncond": 552_814_086,
    "imagenet64_uncond_100M": 121_063_942,
    "imagenet64_cond_270M": 273_049_350,
    "cifar10_uncond_50M": 52_546_438,
    "lsun_uncond_100M": 113_676_678,
    "edm_imagenet64_ema": 295_899_267,
    "cd_imagenet64_l2": 295_899_267,
    "edm_bedroom256_ema": 526_304_771,
    "cd_bedroom256_l2": 526_304_771,
}


def test_every_network_is_counted():
    assert {*NETWORKS.values()} == {*COUNTS}


@pytest.mark.parametrize("name", COUNTS)
def test_true_names_and_shapes_map_to_the_published_number_of_parameters(name):
    preset = PRESETS[name]
    shapes = file_shapes(preset)
    weights = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    # It raises unless every weight is used, and every parameter that `jax.eval_shape` finds in the network is filled.
    mapped = map_weights(weights, preset.model, new_attention_order=preset.new_attention_order)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(mapped)) == COUNTS[name]
    assert sum(map(math.prod, shapes.values())) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_a_file_is_recognised_or_its_presets_are_listed(name):
    preset = PRESETS[name]
    namesakes = [other for other, of in PRESETS.items() if of == preset]
    if preset.prediction == "epsilon":
        assert recognise(file_shapes(preset)) == (namesakes, preset)
    else:  # an EDM network and the consistency models made of it have the same shapes
        family = [other for other, of in PRESETS.items() if of.model == preset.model]
        with pytest.raises(ValueError, match=f"add --preset, one of {', '.join(family)}$"):
            recognise(file_shapes(preset))


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("ffhq_10m", Schedule()),
        ("imagenet64_cond", Schedule(beta_schedule="cosine")),
        ("imagenet64_uncond_100M", Schedule(4000, beta_schedule="cosine")),
    ],
)
def test_schedules(name, schedule):
    assert PRESETS[name].schedule == schedule
