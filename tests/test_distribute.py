"""Batches over devices, work over processes. Several devices need a process of their own: on_devices.py."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import pytest
from networks import images

import diip_jax
from diip_jax import distribute


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What on_devices.py writes on 1, 2, 4 and 8 devices: {count}.npz, and 2.txt."""
    folder = tmp_path_factory.mktemp("devices")
    script, running = str(Path(__file__).with_name("on_devices.py")), []
    for count, outputs in ((2, ["2.npz", "2.txt"]), (4, ["4.npz"]), (8, ["8.npz"])):
        flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"
        environment = os.environ | {"XLA_FLAGS": flags}
        command = [sys.executable, script, *(str(folder / output) for output in outputs)]
        running.append(subprocess.Popen(command, env=environment))
    on_devices.main(str(folder / "1.npz"))
    assert [process.wait() for process in running] == [0, 0, 0]
    return folder


@pytest.mark.parametrize("count", [2, 4, 8])
def test_results_do_not_depend_on_the_number_of_devices(folder, count):
    several, one = (np.load(folder / f"{n}.npz") for n in (count, 1))
    assert (several["devices"], one["devices"]) == (count, 1)
    for name in {*one} - {"devices", "seen", "ended"}:
        np.testing.assert_array_equal(several[name], one[name], err_msg=name)
    assert np.isfinite(one["psnr"][:, 0, 0]).all()


def test_devices_of_another_process_agree_with_those_of_this_one(folder):
    committed = jax.device_put(on_devices.METHOD, jax.devices()[0])  # which the devices of a batch override
    restored = diip_jax.restore(committed, np.asarray(images(11)))
    np.testing.assert_array_equal(np.load(folder / "4.npz")["images"], restored.images)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_padding_and_free_slots_are_not_reported(folder, count):
    """Every image is seen once after its end; nine at once are three slots on each of four devices."""
    told = np.load(folder / f"{count}.npz")
    assert {len(set(counts)) for counts in told["seen"].tolist()} == {1}
    assert 1 <= told["seen"].min() and told["seen"].max() <= -(-9 // count)
    assert sorted(told["ended"].tolist()) == list(range(11))


def test_no_device_waits_for_another(folder):
    program = (folder / "2.txt").read_text()
    assert "while" in program and "num_partitions=2" in program
    for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute"):
        assert collective not in program


def test_each_part_is_handled_with_the_whole():
    mesh = distribute.device_mesh(3)
    part = distribute.split({"a": np.arange(3.0, dtype=np.float32)}, mesh)
    whole = distribute.replicate(np.float32(2), mesh)
    doubled = distribute.on_each_device(lambda whole, part: jax.tree.map(lambda a: whole * a, part), mesh)(whole, part)
    np.testing.assert_array_equal(doubled["a"], [0, 2, 4])
    assert doubled["a"].dtype == jnp.float32


def test_devices_must_be_ones_own(monkeypatch):
    with pytest.raises(ValueError, match=r"devices=\[\]: expected devices of this process"):
        diip_jax.restore(on_devices.METHOD, np.zeros((1, 16, 16, 3), np.float32), devices=[])
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with pytest.raises(ValueError, match="expected devices of this process"):
        distribute.device_mesh(1, jax.local_devices())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shares_are_all_there_is_and_nothing_twice(monkeypatch, count):
    monkeypatch.setattr(jax, "process_count", lambda: count)
    shares = []
    for index in range(count):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        shares.append(distribute.share("abcd"))
    assert sorted("".join(shares)) == list("abcd")
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_outside_a_meeting_has_nobody_to_agree_with():
    with pytest.raises(RuntimeError, match="same_everywhere is for the processes of a meeting"):
        distribute.same_everywhere(b"digest")
