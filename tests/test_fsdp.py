"""Weights that are split over devices: 2, 4 and 8 do what one does, and hold their part. weights_on_devices.py runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import picture, pixels, run
from jax.sharding import PartitionSpec
from networks import images, tiny_prior
from weights_on_devices import PRIOR, Y, method

import diip_jax as dj
from diip_jax import fsdp

COUNTS = (2, 4, 8)
WEIGHTS = sum(leaf.nbytes for leaf in jax.tree.leaves(PRIOR.params))


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What weights_on_devices.py writes on 2, 4 and 8 devices, by their number."""
    folder = tmp_path_factory.mktemp("weights")
    script, running = str(Path(__file__).with_name("weights_on_devices.py")), []
    for count in COUNTS:
        # Else the CPU's compiler gathers all kernels at once, to have more to do side by side. Those of accelerators
        # keep to their memory.
        flags = f"{os.environ['XLA_FLAGS']} --xla_cpu_enable_concurrency_optimized_scheduler=false"
        flags += f" --xla_force_host_platform_device_count={count}"
        command = [sys.executable, script, str(folder / f"{count}.npz")]
        running.append(subprocess.Popen(command, env=os.environ | {"XLA_FLAGS": flags}))
    assert [process.wait() for process in running] == [0] * len(COUNTS)
    return {count: np.load(folder / f"{count}.npz") for count in COUNTS}


@pytest.fixture(scope="module")
def alone():
    """The same on one device that has all weights."""
    return dj.restore(method(PRIOR), Y, save=("loss",)), dj.restore(method(PRIOR, "detached", refresh=1), Y[:3])


@pytest.mark.parametrize("count", COUNTS)
def test_as_many_devices_do_what_one_does(told, alone, count):
    assert told[count]["devices"] == count
    full, detached = alone
    for name in ("together", "in_slots"):
        np.testing.assert_allclose(told[count][name], full.images, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(told[count]["loss"], full.traces["loss"], rtol=1e-5)
    np.testing.assert_allclose(told[count]["detached"], detached.images, atol=1e-5)


def test_a_device_holds_its_part_and_the_kernels_in_use(told):
    for count in COUNTS:
        assert told[count]["weights_of_one"] < WEIGHTS / count + 0.05 * WEIGHTS
    # With images and activations, forwards and backwards: less than all weights alone.
    assert max(told[count]["memory_of_one"] for count in (4, 8)) < WEIGHTS


def test_kernels_are_gathered_in_every_step_anew(told):
    """Inside the loops: what is gathered before them would be there all the time."""
    program = str(told[4]["program"])
    bodies = set(re.findall(r"body=%?([\w.-]+)", program))
    gathering = {
        name
        for name, body in re.findall(r"^%?([\w.-]+) [^\n]*\{\n(.*?)^\}", program, re.M | re.S)
        if " all-gather(" in body
    }
    assert gathering and gathering <= bodies


def test_what_does_not_divide_stays_whole():
    mesh = fsdp.device_mesh(jax.devices())
    params = {"conv": {"kernel": np.ones((3, 3, 4, 6), np.float32), "bias": np.ones(6, np.float32)}}
    placed = fsdp.split(params, mesh)
    assert placed["conv"]["kernel"].sharding.spec == PartitionSpec(None, None, None, "batch")
    assert placed["conv"]["bias"].sharding.spec == PartitionSpec()


def test_devices_are_those_that_it_is_split_over(prior):
    split = prior.sharded(jax.devices()[:1])
    y = np.asarray(images(2))
    with pytest.raises(ValueError, match=r"the prior is split over .*; leave devices out"):
        dj.restore(dj.DIIP(split, stride=500, max_iterations=2), y, devices=[])
    cleaned = dj.restore(dj.DreamClean(split, tau=400, stride=200), y).images
    np.testing.assert_allclose(cleaned, dj.restore(dj.DreamClean(prior, tau=400, stride=200), y).images, atol=1e-4)


def test_the_flag(capsys, tmp_path, monkeypatch):
    given = [picture(tmp_path / "in" / f"{n}.png", n) for n in range(3)]
    for folder, flags in (("whole", []), ("split", ["--fsdp"])):
        assert run(capsys, *given, f"--output_dir={tmp_path / folder}", *flags).code == 0
    for path in given:
        assert np.abs(pixels(tmp_path / "split" / path.name) - pixels(tmp_path / "whole" / path.name)).max() <= 1
    outcome = run(capsys, *given, "--fsdp", "--engine=ray")
    assert outcome.code == 2 and "--fsdp has no effect with --engine=ray" in outcome.err[0]

    def none(**_):
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(jax, "local_devices", none)
    outcome = run(capsys, *given, "--fsdp")
    assert outcome.code == 2 and "--fsdp loads the prior into the host's memory" in outcome.err[0]


def test_a_split_prior_is_another_program_of_the_same_prior(prior):
    split = tiny_prior().sharded(jax.devices()[:1])
    assert jax.tree.structure(split) != jax.tree.structure(prior)
    assert dj.prior.identity_of(split) == dj.prior.identity_of(prior)
