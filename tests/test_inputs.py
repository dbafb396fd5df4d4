"""What `restore` is given: each mistake is a sentence."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from networks import images, uint8_images

import diip_jax as dj
from diip_jax.plugs.operators import Identity
from diip_jax.solve import inputs

ROOT = Path(__file__).resolve().parent.parent

SAYS = {
    "nan": "images hold nan at [1, 3, 4, 2], in all 1 values that are not finite: expected float in [-1, 1]",
    "infinity": "images hold -inf at [1, 3, 4, 2]",
    "nan of a sampler": "images hold nan at [1, 3, 4, 2]",
    "samples": "samples=2.5: expected a whole number",
    "samples whole": "samples=2.0: expected a whole number",
    "samples truth": "samples=True: expected a whole number",
    "samples none": "samples=0: expected at least 1",
    "batch_size": "batch_size='2': expected a whole number",
    "seed": "seed=4294967296: expected a whole number from 0 to 2**32 - 1",
    "seed float": "seed=1.5: expected a whole number from 0 to 2**32 - 1",
    "every": "iterations=1.5: expected a whole number",
    "max_iterations": "max_iterations=2.5: expected a whole number",
    "class": "DIIP is a class: expected an instance such as DIIP(prior)",
    "class of sampler": "DreamClean is a class: expected an instance such as DreamClean(prior)",
    "class of rule": "rule=Never: is a class, expected an instance such as Never(...)",
    "class of operator": "operator=Blur: is a class, expected an instance such as Blur(...)",
    "class of prior": "prior=Prior: is a class, expected an instance such as Prior(...)",
    "class in another": "operator=Blur: is a class, expected an instance such as Blur(...)",
    "no method": "the problem is a Prior: expected a method such as DIIP(prior), or a Problem",
    "name": "the problem is a str: expected a method such as DIIP(prior), or a Problem",
    "jit": "images: a tracer, expected an array; restore compiles its own program",
    "grad": "images: a tracer, expected an array; restore compiles its own program",
    "vmap": "images: a tracer, expected an array; restore compiles its own program",
    "jit over the prior": "problem.prior.params",
    "jit over args": "args['mask']: a tracer, expected an array",
    "torch": "images: Tensor is no array for NumPy (Can't call numpy() on Tensor that requires grad",
    "torch args": "args['kernel']: Tensor is no array for NumPy (Can't call numpy() on Tensor that requires grad",
    "ragged": "images: list is no array for NumPy (",
    "nothing": "images: NoneType of objects, expected an array of numbers; convert it first",
    "torch u0": "u0: Tensor is no array for NumPy (Can't call numpy() on Tensor that requires grad",
}


@pytest.fixture(scope="module")
def outcomes():
    command = [sys.executable, str(ROOT / "tests" / "refused_calls.py")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", SAYS)
def test_each_mistake_is_a_sentence(outcomes, name):
    kind, text = outcomes[name]
    assert kind == "ValueError" and text.startswith(SAYS[name]) and "\n" not in text


def test_every_refused_call_is_looked_at(outcomes):
    assert set(outcomes) == set(SAYS)


def test_arrays_of_other_libraries_and_lists_are_taken():
    y = uint8_images(1)
    for given in (y, jnp.asarray(y), torch.tensor(y), [torch.tensor(y)[0].numpy()]):
        np.testing.assert_array_equal(inputs.as_array("images", given), y)
    assert inputs.as_array("x", [[1.0, 2.0]]).shape == (1, 2)


class Own(dj.Operator):
    """Of no picture: its observations may lack values."""


def test_an_operator_of_ones_own_may_see_gaps():
    y = np.full((1, 4), np.nan, np.float32)
    assert np.isnan(inputs.observed(Own(), y, None)[0]).all()


def test_values_between_the_levels_of_8_bits_are_left_alone():
    y = np.asarray(images(2))
    assert inputs.observed(Identity(), y, None)[0].tobytes() == y.tobytes()


def test_the_key_of_a_sample_is_the_same_for_every_image():
    keys = jax.random.key_data(inputs.image_keys(uint8_images(3), 7, samples=2)).reshape(3, 2, -1)
    np.testing.assert_array_equal(keys, keys[:1].repeat(3, axis=0))
    assert (keys[0, 0] != keys[0, 1]).any()
    np.testing.assert_array_equal(jax.random.key_data(inputs.image_keys(uint8_images(1), 7)), keys[0, :1])
