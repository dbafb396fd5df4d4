"""The Unet of denoising-diffusion-pytorch against the package itself (golden/lucidrains.npz), with random weights.

`pytest tests/test_lucidrains_unet.py -s -n 0` prints the relative error of each configuration.
"""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lucidrains_cases import CASES, TIMESTEPS, noise, random_unet

from diip_jax import models
from diip_jax.convert.families.lucidrains import LUCIDRAINS
from diip_jax.convert.weight_mapping import map_weights
from diip_jax.models.lucidrains_unet import LucidrainsUNetConfig
from diip_jax.prior import load_prior, random_prior, save_prior

TOLERANCE = 1e-5
QUICK = {"xla_backend_optimization_level": 0}  # compiling is most of the time
SMALL = LucidrainsUNetConfig(8, 8, (8, 16), (False,), (2,), (4,), memory_tokens=2)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "golden" / "lucidrains.npz") as arrays:
        return dict(arrays)


def network_of(golden: dict[str, np.ndarray], case: str) -> tuple[LucidrainsUNetConfig, dict[str, np.ndarray]]:
    shapes = {name: tuple(shape) for name, shape in json.loads(str(golden[f"{case}/shapes"])).items()}
    groups = {"norm_groups": 4} if "group" in case else {}
    return LucidrainsUNetConfig(image_size=8, **LUCIDRAINS.layout(shapes), **groups), random_unet(shapes)


def output(model: LucidrainsUNetConfig, params, x, dtype="float32") -> np.ndarray:
    run = jax.jit(models.network(model, dtype).apply, compiler_options=QUICK)
    return np.asarray(run({"params": params}, x, np.array(TIMESTEPS, np.float32)))


@pytest.mark.parametrize("case", CASES)
def test_matches_the_package(case, golden):
    model, state = network_of(golden, case)
    params = jax.tree.map(np.asarray, map_weights(state, model))
    assert len(jax.tree.leaves(params)) == len(state) + 2 * sum("to_qkv" in name for name in state)
    options, size = CASES[case]
    given, expected = output(model, params, noise(options.get("channels", 3), size)), golden[f"{case}/output"]
    assert given.shape == expected.shape
    assert 0.1 < expected.std() < 10 and np.abs(np.diff(expected, axis=0)).max() > 0.01  # the outputs say something
    error = float(np.abs(given - expected).max() / np.abs(expected).max())
    print(f"relative error {error:.1e}  denoising-diffusion-pytorch, {case}, t = {TIMESTEPS}")
    assert error <= TOLERANCE


def test_the_shapes_of_a_file_tell_the_configuration(golden):
    model, _ = network_of(golden, "other widths, heads and attention; grey")
    assert model == LucidrainsUNetConfig(
        8, 8, (12, 8, 24), (True, False), heads=(2, 3), head_channels=(8, 16), in_channels=1, out_channels=1
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": (1, 2)}, "heads has 2 entries, widths 2"),
        ({"model_channels": 7}, "model_channels=7: expected an even number"),
        ({"out_channels": 4}, "out_channels=4: expected 3 like in_channels, or twice as many"),
        ({"block_norm": "group", "norm_groups": 3}, "a level of 8 channels does not split into norm_groups=3"),
    ],
)
def test_configurations_that_are_no_network(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_it_is_a_prior_like_the_others(tmp_path):
    prior = replace(random_prior(SMALL), prediction="v_prediction")
    save_prior(tmp_path / "prior", prior)
    loaded = load_prior(tmp_path / "prior")
    assert (loaded.model, loaded.image_shape, loaded.size_multiple, loaded.local) == (SMALL, (8, 8, 3), 1, False)
    x = jnp.asarray(noise(3, (8, 8))).at[0].set(0)  # no colour: norms of 0 / 0

    def energy(x, remat):
        return jnp.sum(loaded.denoise(x, jnp.array(TIMESTEPS), remat_blocks=remat).eps ** 2)

    gradient = jax.jit(jax.grad(energy), static_argnums=1, compiler_options=QUICK)
    plain = np.asarray(gradient(x, False))
    assert np.isfinite(plain).all() and np.abs(plain).max() > 0
    np.testing.assert_allclose(gradient(x, True), plain, atol=1e-5 * np.abs(plain).max())


def test_it_computes_in_half_precision():
    params, x = random_prior(SMALL).params, noise(3, (8, 8))
    exact, half = output(SMALL, params, x), output(SMALL, params, x, "bfloat16")
    assert half.dtype == exact.dtype and 0 < np.abs(half - exact).max() < 0.1 * np.abs(exact).max()
