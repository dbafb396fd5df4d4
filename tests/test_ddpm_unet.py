"""The DDPM UNet against diffusers' UNet2DModel and against a torch DDPM network, all with random weights.

`pytest tests/test_ddpm_unet.py -s -n 0` prints the relative error of each configuration.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch_networks import DDPMNetwork, diffusers_network, prior_of, randomise

from diip_jax import models
from diip_jax.convert.families import PRESETS
from diip_jax.models.ddpm_unet import DDPMUNetConfig
from diip_jax.prior import Prior, param_shapes, random_prior

TOLERANCE = 1e-5
TIMESTEPS = (0, 100, 500, 999)
TINY = DDPMUNetConfig(16, (8, 16), (False, True), blocks_per_level=1, norm_groups=4)
# Between them every option takes every kind of value; the sizes are even, most not square.
TINY_CASES = {
    "ddpm": (TINY, (16, 12)),
    "three levels, attention below the top": (
        replace(TINY, block_channels=(8, 16, 24), attention_levels=(False, True, False), blocks_per_level=2),
        (8, 20),
    ),
    "attention everywhere, equal widths": (
        replace(TINY, block_channels=(8, 8), attention_levels=(True, True), blocks_per_level=3, norm_groups=8),
        (6, 10),
    ),
    "no attention but in the middle": (replace(TINY, attention_levels=(False, False)), (2, 4)),
    "no attention": (replace(TINY, attention_levels=(False, False), middle_attention=False), (6, 4)),
    "grey, heads of 4": (replace(TINY, in_channels=1, out_channels=1, head_channels=4), (8, 8)),
    "cosines first, frequency shift 0": (replace(TINY, cos_first=True, freq_shift=0.0), (8, 6)),
    "symmetric down-sampling, eps 1e-5": (replace(TINY, symmetric_downsample=True, norm_eps=1e-5), (10, 6)),
    "one channel to three, one level": (
        replace(TINY, block_channels=(12,), attention_levels=(True,), in_channels=1, norm_groups=3),
        (5, 7),
    ),
}  # fmt: skip
# Compiling is most of the time; only the published configurations are compiled as users have them.
QUICK = {"xla_backend_optimization_level": 0}


def relative_error(
    network: torch.nn.Module,
    run: Callable[..., torch.Tensor],
    config: DDPMUNetConfig,
    size: tuple[int, int],
    label: str,
) -> float:
    """max|ours - torch's| / max|torch's| over one batch that holds every timestep."""
    x = np.random.default_rng(0).standard_normal((len(TIMESTEPS), *size, config.in_channels), dtype=np.float32)
    t = np.array(TIMESTEPS, np.float32)
    expected = run(torch.from_numpy(x.transpose(0, 3, 1, 2)), torch.from_numpy(t)).numpy().transpose(0, 2, 3, 1)
    prior = prior_of(network, config)
    options = QUICK if config.image_size == TINY.image_size else None
    ours = jax.jit(models.network(config).apply, compiler_options=options)
    given = np.asarray(ours({"params": prior.params}, x, t))
    assert given.shape == expected.shape == (len(TIMESTEPS), *size, config.out_channels)
    assert 0.1 < expected.std() < 10 and np.abs(np.diff(expected, axis=0)).max() > 0.01  # the outputs say something
    error = float(np.abs(given - expected).max() / np.abs(expected).max())
    print(f"relative error {error:.1e}  {label}, {size[0]} x {size[1]}, t = {', '.join(map(str, TIMESTEPS))}")
    return error


@pytest.mark.parametrize("case", TINY_CASES)
def test_matches_diffusers_for_every_option(case):
    config, size = TINY_CASES[case]
    network = diffusers_network(config)
    assert relative_error(network, lambda x, t: network(x, t).sample, config, size, case) <= TOLERANCE


@pytest.mark.parametrize(
    ("preset", "size"), [("faces64", (64, 64)), ("ddpm-cifar10-32", (32, 32)), ("ddpm-celebahq-256", (32, 32))]
)
def test_matches_diffusers_for_published_configurations(preset, size):
    config = PRESETS[preset].model
    network = diffusers_network(config)
    assert relative_error(network, lambda x, t: network(x, t).sample, config, size, preset) <= TOLERANCE


@pytest.mark.parametrize("case", ["ddpm", "three levels, attention below the top"])
def test_matches_a_ddpm_network_by_its_own_names(case):
    config, size = TINY_CASES[case]
    network = randomise(DDPMNetwork(config))
    assert relative_error(network, network, config, size, f"DDPM names, {case}") <= TOLERANCE


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("ddpm-celebahq-256", 113_673_219),
        ("sdedit-celebahq-256", 113_673_219),
        ("pesser-lsun-church", 113_673_219),
        ("ddpm-cifar10-32", 35_746_307),
        ("ddim-celeba-64", 78_700_803),
        ("faces64", 7_252_003),
    ],
)
def test_published_configurations_have_the_published_number_of_parameters(preset, count):
    shapes = param_shapes(PRESETS[preset].model)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_the_ddpm_reference_has_the_published_number_of_parameters():
    with torch.device("meta"):  # shapes without memory
        network = DDPMNetwork(PRESETS["sdedit-celebahq-256"].model)
    assert sum(parameter.numel() for parameter in network.parameters()) == 113_673_219


def test_bfloat16_computes_in_bfloat16_and_stays_near_float32():
    config = TINY_CASES["three levels, attention below the top"][0]
    prior = prior_of(diffusers_network(config), config)
    x, t = jax.random.normal(jax.random.key(0), (2, 16, 16, 3)), jnp.array([10.0, 900.0])
    eps = jax.jit(Prior.eps, compiler_options=QUICK)
    exact = eps(prior, x, t)
    low = prior.with_dtype("bfloat16")
    program = str(jax.make_jaxpr(Prior.eps)(low, x, t))
    near = eps(low, x, t)
    assert {leaf.dtype for leaf in jax.tree.leaves(low.params)} == {jnp.dtype("float32")}
    assert near.dtype == jnp.float32
    convolutions = [line for line in program.splitlines() if "= conv_general_dilated" in line]
    assert convolutions and all(":bf16" in line for line in convolutions)
    # One rounding to bfloat16 is 2^-9 = 0.002; some 30 of them follow one another.
    error = float(jnp.linalg.norm(near - exact) / jnp.linalg.norm(exact))
    print(f"relative error {error:.1e}  three levels, bfloat16 against float32 (norm)")
    assert 1e-4 < error < 0.02


def test_without_attention_and_group_norm_a_place_sees_its_surroundings_only():
    config = replace(TINY, attention_levels=(False, False), middle_attention=False, norm="pixel")
    network = models.network(config)
    x, t = jax.random.normal(jax.random.key(0), (1, 72, 80, 3)), jnp.array([300.0])
    params = random_prior(config, 0).params
    run = jax.jit(lambda x: network.apply({"params": params}, x, t), compiler_options=QUICK)
    whole, part = np.asarray(run(x)), np.asarray(run(x[:, :, 8:]))
    # 26 pixels is the reach of TINY's convolutions: of the cut side's padding nothing is seen from there on.
    np.testing.assert_allclose(whole[:, :, 8 + 26 :], part[:, :, 26:], rtol=1e-5, atol=1e-5)
    assert np.abs(whole[:, :, 8:12] - part[:, :, :4]).max() > 1e-2


def test_a_size_that_the_levels_do_not_divide_is_an_error():
    config = TINY_CASES["three levels, attention below the top"][0]
    prior = Prior({}, config)
    with pytest.raises(ValueError, match="multiples of 4"):
        prior.eps(jnp.zeros((1, 6, 8, 3)), jnp.zeros(1))
    with pytest.raises(ValueError, match="1 channels: this prior takes 3"):
        prior.eps(jnp.zeros((1, 8, 8, 1)), jnp.zeros(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_levels": (True,)}, "attention_levels has 1 entries"),
        ({"norm_groups": 3}, "norm_groups=3"),
        ({"norm_groups": 3, "norm": "pixel"}, "norm_groups=3"),  # its attention still norms by groups
        ({"head_channels": 5}, "heads of 5"),
    ],
)
def test_impossible_configurations_are_errors(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)
