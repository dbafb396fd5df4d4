"""Under whatever configuration of JAX: the same restoration, bit for bit."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from command_line import checkpoint, picture, pixels, run
from networks import images, tiny_prior

import diip_jax as dj
from diip_jax.configuration import narrowed, usual_configuration

CONFIGURATIONS = {
    "64 bits": {"jax_enable_x64": True},
    "strict promotion": {"jax_numpy_dtype_promotion": "strict"},
    "no promotion of ranks": {"jax_numpy_rank_promotion": "raise"},
    "NaN and infinity are mistakes": {"jax_debug_nans": True, "jax_debug_infs": True},
    "no transfers": {"jax_transfer_guard": "disallow"},
    "leaks of tracers": {"jax_check_tracer_leaks": True},
    "keys of the new kind alone": {"jax_legacy_prng_key": "error"},
}
# In a process of its own: what is compiled under a configuration is not to be found by other tests, or found for them.
SCRIPT = """
import json, sys
import jax, numpy as np
import diip_jax as dj
from networks import tiny_prior

def restored():
    prior = tiny_prior()
    y = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    mask = np.ones((1, 16, 16), bool)
    mask[:, 4:9] = False
    hidden = dj.BIRD(prior, dj.Mask(), stride=500, max_iterations=2)
    solution = dj.restore(hidden, y, {"mask": mask}, save=("loss",))
    evaluated = prior.eps(jax.device_put(y), jax.device_put(np.ones(1, np.float32)))
    return [solution.images.astype(float).sum(), float(abs(np.asarray(evaluated)).sum())]

results = {}
for name, options in json.loads(sys.argv[1]).items():
    before = {option: getattr(jax.config, option) for option in options}
    for option, value in options.items():
        jax.config.update(option, value)
    results[name] = restored()
    for option, value in before.items():
        jax.config.update(option, value)
results["as usual"] = restored()  # last, so that nothing is found compiled before
print(json.dumps(results))
"""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    tests = os.path.dirname(__file__)
    path = os.pathsep.join([tests, os.path.dirname(tests), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_restorations_under_every_configuration_are_the_same():
    done = python("-c", SCRIPT, json.dumps(CONFIGURATIONS))
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results.keys() == {"as usual", *CONFIGURATIONS}
    for name, restored in results.items():
        assert restored == results["as usual"], name


def test_the_command_under_all_of_them_at_once(tmp_path, capsys):
    picture(tmp_path / "one.png")
    flags = [f"--checkpoint={checkpoint()}", "--method=diip", "--stride=250", "--max_iterations=4", "--stopping=budget"]
    assert run(capsys, tmp_path / "one.png", f"--output_dir={tmp_path / 'usual'}").code == 0
    strange = {
        "JAX_ENABLE_X64": "1", "JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_DEBUG_NANS": "1", "JAX_DEBUG_INFS": "1", "JAX_TRANSFER_GUARD": "disallow", "JAX_LEGACY_PRNG_KEY": "error",
    }  # fmt: skip
    image = (f"--image={tmp_path / 'one.png'}", f"--output_dir={tmp_path / 'strange'}")
    done = python("-m", "diip_jax.launch", *image, *flags, **strange)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    np.testing.assert_array_equal(pixels(tmp_path / "usual" / "one.png"), pixels(tmp_path / "strange" / "one.png"))


def test_without_its_platform_a_command_is_one_line_and_status_2(tmp_path):
    picture(tmp_path / "one.png")
    arguments = ("-m", "diip_jax.launch", f"--image={tmp_path / 'one.png'}", f"--output_dir={tmp_path / 'out'}")
    done = python(*arguments, JAX_PLATFORMS="a_platform_that_is_not_there")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("diip_jax.launch: error: JAX finds no device to compute on (")


def test_plugs_of_64_bits_are_narrowed_and_keys_are_not():
    with jax.enable_x64(True):
        tree = {"wide": jnp.ones(2, jnp.float64), "whole": jnp.ones(2, jnp.int64), "key": jax.random.key(0)}
        tree |= {"half": jnp.ones(2, jnp.bfloat16), "host": np.ones(2), "text": "x"}
        with usual_configuration():
            narrow = narrowed(tree)
        prior, y = tiny_prior(), np.asarray(images(1))
        wide = dataclasses.replace(prior, params=jax.tree.map(lambda leaf: leaf.astype(jnp.float64), prior.params))
        restored = dj.restore(dj.DIIP(wide, stride=500, max_iterations=1), y).images
    assert (narrow["wide"].dtype, narrow["whole"].dtype) == (jnp.float32, jnp.int32)
    assert all(narrow[name] is tree[name] for name in ("key", "half", "host", "text"))
    usual = dj.restore(dj.DIIP(prior, stride=500, max_iterations=1), y).images
    np.testing.assert_array_equal(restored, usual)
