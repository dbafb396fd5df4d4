"""The ADM UNet against an independent implementation (deepinv's, in golden/adm.npz), with random weights.

`pytest tests/test_adm_unet.py -s -n 0` prints the relative error of each configuration.
"""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from adm_cases import GOLDEN, TIMESTEPS, TINY_CASES, tiny
from adm_network import ADMNetwork, adm_network, adm_shapes, random_state
from networks import images

import diip_jax
from diip_jax import models
from diip_jax.convert.families import PRESETS, Preset
from diip_jax.convert.weight_mapping import map_weights
from diip_jax.prior import Prior, random_prior

TOLERANCE = 1e-5
# Compiling is most of the time; only the published configuration is compiled as users have it.
QUICK = {"xla_backend_optimization_level": 0}
SMALL = [case for case in GOLDEN if case not in PRESETS]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "golden" / "adm.npz") as arrays:
        return dict(arrays)


def golden_shapes(golden: dict[str, np.ndarray], case: str) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in json.loads(str(golden[f"{case}/shapes"])).items()}


def prior_of(preset: Preset, state: dict[str, np.ndarray], label: int | None = None) -> Prior:
    params = map_weights(state, preset.model, new_attention_order=preset.new_attention_order)
    return Prior(jax.tree.map(np.asarray, params), preset.model).with_class_label(label)


def noise(preset: Preset, size: tuple[int, int]) -> np.ndarray:
    shape = (len(TIMESTEPS), *size, preset.model.in_channels)
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def our_output(prior: Prior, x: np.ndarray, options: dict | None = QUICK) -> np.ndarray:
    """All of the network's output, for one timestep per image."""
    network = models.network(prior.model, class_label=prior.class_label)
    t = np.array(TIMESTEPS, np.float32)
    return np.asarray(jax.jit(network.apply, compiler_options=options)({"params": prior.params}, x, t))


def torch_output(network: ADMNetwork, x: np.ndarray, label: int | None) -> np.ndarray:
    t = torch.tensor(TIMESTEPS, dtype=torch.float32)
    return network(torch.from_numpy(x.transpose(0, 3, 1, 2)), t, label).numpy().transpose(0, 2, 3, 1)


def assert_close(given: np.ndarray, expected: np.ndarray, what: str) -> None:
    assert given.shape == expected.shape
    assert 0.1 < expected.std() < 10 and np.abs(np.diff(expected, axis=0)).max() > 0.01  # the outputs say something
    error = float(np.abs(given - expected).max() / np.abs(expected).max())
    print(f"relative error {error:.1e}  {what}, {given.shape[1]} x {given.shape[2]}, t = {TIMESTEPS}")
    assert error <= TOLERANCE


@pytest.mark.parametrize("case", SMALL)
def test_matches_an_independent_implementation_for_every_option(case, golden):
    preset, size, label = GOLDEN[case]
    prior = prior_of(preset, random_state(golden_shapes(golden, case)), label)
    assert_close(our_output(prior, noise(preset, size)), golden[f"{case}/output"], f"deepinv, {case}")


def test_matches_an_independent_implementation_of_the_ffhq_network(golden):
    preset, size, _ = GOLDEN["ffhq_10m"]
    prior = prior_of(preset, random_state(golden_shapes(golden, "ffhq_10m")))
    given = our_output(prior, noise(preset, size), options=None)
    assert_close(given, golden["ffhq_10m/output"], "deepinv, ffhq_10m")


@pytest.mark.parametrize("case", GOLDEN)
def test_the_torch_network_of_the_tests_has_the_true_names_and_shapes(case, golden):
    assert adm_shapes(GOLDEN[case][0]) == golden_shapes(golden, case)


@pytest.mark.parametrize("case", SMALL)
def test_the_torch_network_of_the_tests_is_the_true_one(case, golden):
    preset, size, label = GOLDEN[case]
    given = torch_output(adm_network(preset), noise(preset, size), label)
    assert_close(given, golden[f"{case}/output"], f"torch, {case}")


@pytest.mark.parametrize("case", TINY_CASES)
def test_matches_torch_for_other_shapes(case):
    preset, size, label = TINY_CASES[case]
    network = adm_network(preset, image_convolutions="images" in case)
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    x = noise(preset, size)
    assert_close(our_output(prior_of(preset, state, label), x), torch_output(network, x, label), case)


# --- as a prior

eps = jax.jit(Prior.eps, compiler_options=QUICK)


def test_the_noise_is_the_first_half_of_the_output():
    preset = tiny()
    prior = prior_of(preset, random_state(adm_shapes(preset)))
    x = noise(preset, (8, 8))
    given = eps(prior, x, np.array(TIMESTEPS))
    np.testing.assert_allclose(given, our_output(prior, x)[..., :3], atol=1e-5)
    assert given.shape == x.shape


def test_a_class_changes_the_noise_and_no_class_adds_nothing():
    preset = tiny(num_classes=3)
    prior = prior_of(preset, random_state(adm_shapes(preset)))
    x, t = noise(preset, (8, 8)), np.array(TIMESTEPS)
    told = [eps(prior.with_class_label(label), x, t) for label in (None, 0, 2)]
    assert float(jnp.abs(told[1] - told[2]).max()) > 0.01 and float(jnp.abs(told[0] - told[1]).max()) > 0.01
    unconditional = {name: array for name, array in prior.params.items() if name != "class_embedding"}
    same = Prior(unconditional, replace(preset.model, num_classes=None))
    np.testing.assert_allclose(told[0], eps(same, x, t), atol=1e-6)


@pytest.mark.parametrize(
    ("classes", "label", "message"),
    [
        (None, 3, "class_label=3: this prior is not class-conditional; leave it out"),
        (3, 3, "class_label=3: this prior has classes 0 to 2"),
        (3, -1, "class_label=-1: this prior has classes 0 to 2"),
    ],
)
def test_a_class_that_there_is_not_is_an_error(classes, label, message):
    with pytest.raises(ValueError, match=message):
        random_prior(tiny(num_classes=classes).model).with_class_label(label)


def test_bfloat16_computes_in_bfloat16_and_stays_near_float32():
    preset = tiny(num_classes=2)
    prior = prior_of(preset, random_state(adm_shapes(preset)), 1)
    x, t = noise(preset, (16, 16)), np.array(TIMESTEPS, np.float32)
    low = prior.with_dtype("bfloat16")
    exact, near = eps(prior, x, t), eps(low, x, t)
    program = str(jax.make_jaxpr(Prior.eps)(low, x, t))
    convolutions = [line for line in program.splitlines() if "= conv_general_dilated" in line]
    assert convolutions and all(":bf16" in line for line in convolutions)
    assert near.dtype == jnp.float32
    # One rounding to bfloat16 is 2^-9 = 0.002; some 30 of them follow one another.
    error = float(jnp.linalg.norm(near - exact) / jnp.linalg.norm(exact))
    print(f"relative error {error:.1e}  tiny, bfloat16 against float32 (norm)")
    assert 1e-4 < error < 0.02


@pytest.mark.parametrize("method", [diip_jax.DIIP, diip_jax.BIRD])
@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_methods_run_unchanged(method, gradient):
    prior = random_prior(tiny(num_classes=4).model).with_class_label(2)
    problem = method(prior, rule=diip_jax.Never(), stride=500, max_iterations=4, gradient=gradient)
    restored = diip_jax.restore(problem, np.asarray(images(2)), save=("loss",))
    loss = restored.traces["loss"]
    assert (loss[..., -1] < loss[..., 0]).all() and restored.images.std() > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_levels": (True,)}, "attention_levels has 1 entries"),
        ({"norm_groups": 3}, "norm_groups=3"),
        ({"head_channels": 5}, "heads of 5"),
        ({"heads": 3, "head_channels": None}, "3 heads"),
        ({"heads": 2}, "heads=2, head_channels=8: give one of the two"),
        ({"head_channels": None}, "heads=None, head_channels=None: give one of the two"),
        ({"out_channels": 4}, "out_channels=4: expected 3"),
    ],
)
def test_impossible_configurations_are_errors(change, message):
    with pytest.raises(ValueError, match=message):
        tiny(**change)
