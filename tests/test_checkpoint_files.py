"""Checkpoints written piece by piece: what arrives, how much memory it takes, what a failure leaves."""

import gc
import hashlib
import logging
import sys
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from diip_jax import checkpoint_files
from diip_jax.checkpoint_files import (
    CheckpointError,
    named_leaves,
    nested,
    params_sha256,
    read_custom_metadata,
    read_params,
    write_checkpoint,
)


@dataclass(frozen=True)
class Made:
    """A parameter that is made when it is asked for."""

    shape: tuple[int, ...]
    seed: int

    def __array__(self, dtype=None, copy=None):
        return np.random.default_rng(self.seed).standard_normal(self.shape, np.float32)


def made(tree):
    return {key: np.asarray(leaf) if isinstance(leaf, Made) else made(leaf) for key, leaf in tree.items()}


def assert_equal(a, b):
    assert named_leaves(a).keys() == named_leaves(b).keys()
    for name, leaf in named_leaves(a).items():
        np.testing.assert_array_equal(leaf, named_leaves(b)[name], err_msg=name)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(checkpoint_files, "_PIECE", 2**16)


PARAMS = {f"block_{n}": {"conv": {"kernel": Made((32, 64), n), "bias": Made((64,), n)}} for n in range(40)}


def test_pieces_make_one_checkpoint(tmp_path, small_pieces):
    write_checkpoint(tmp_path / "a", PARAMS, lambda sha256: {"sha256": sha256, "tuple": (1, 2)})
    metadata = read_custom_metadata(tmp_path / "a")
    assert metadata == {"sha256": params_sha256(made(PARAMS)), "tuple": [1, 2]}
    assert_equal(read_params(tmp_path / "a", made(PARAMS), "float32", metadata["sha256"]), made(PARAMS))


def test_one_large_parameter_is_a_piece_of_its_own(tmp_path, small_pieces):
    params = {"a": Made((3,), 0), "b": Made((100, 1000), 1), "c": Made((3,), 2)}
    write_checkpoint(tmp_path / "a", params, lambda sha256: {"sha256": sha256})
    sha256 = read_custom_metadata(tmp_path / "a")["sha256"]
    assert_equal(read_params(tmp_path / "a", made(params), "float32", sha256), made(params))


def test_never_all_parameters_are_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_files, "_PIECE", 2**20)
    params = {f"p{n}": Made((256, 512), n) for n in range(40)}
    write_checkpoint(tmp_path / "warm", {"a": Made((3,), 0)}, lambda sha256: {})
    tracemalloc.start()
    write_checkpoint(tmp_path / "a", params, lambda sha256: {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.25 * sum(np.asarray(leaf).nbytes for leaf in params.values())


def test_a_parameter_that_cannot_be_made_leaves_nothing(tmp_path, small_pieces):
    class Broken(Made):
        def __array__(self, dtype=None, copy=None):
            raise OSError("the file has gone")

    with pytest.raises(OSError, match="the file has gone"):
        write_checkpoint(tmp_path / "a", PARAMS | {"last": Broken((3,), 0)}, lambda sha256: {})
    assert list(tmp_path.iterdir()) == []


def test_names_and_trees():
    tree = {"b": {"y": 1, "x": 2}, "a": 3}
    assert list(named_leaves(tree).items()) == [("a", 3), ("b/x", 2), ("b/y", 1)]
    assert nested(named_leaves(tree)) == tree


def test_sha256_is_of_names_dtypes_shapes_and_bytes():
    a = np.arange(6, dtype=np.float32)
    digest = hashlib.sha256(b"p float32 (2, 3)\n" + a.tobytes()).hexdigest()
    assert params_sha256({"p": a.reshape(2, 3)}) == digest
    different = [{"p": a}, {"q": a.reshape(2, 3)}, {"p": a.reshape(2, 3).astype(np.float64)}]
    assert digest not in {params_sha256(params) for params in different}


def test_parameters_of_other_shapes_or_values_are_refused(tmp_path):
    params = {"p": Made((2, 3), 0)}
    write_checkpoint(tmp_path / "a", params, lambda sha256: {})
    sha256 = params_sha256(made(params))
    with pytest.raises(CheckpointError, match="parameters do not fit the network"):
        read_params(tmp_path / "a", {"p": np.empty((3, 2), np.float32)}, "float32", sha256)
    with pytest.raises(CheckpointError, match="parameters do not match their sha256"):
        read_params(tmp_path / "a", made(params), "float32", "0" * 64)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A checkpoint in whose files bytes are changed, and what to read it with."""
    folder = tmp_path_factory.mktemp("damaged") / "a"
    write_checkpoint(folder, PARAMS, lambda sha256: {})
    for file in folder.rglob("*"):
        if file.is_file() and file.stat().st_size > 2000:
            content = bytearray(file.read_bytes())
            content[1000:-1000:7] = bytes(len(content[1000:-1000:7]))
            file.write_bytes(content)
    return folder, made(PARAMS)


def test_a_failed_load_says_one_thing_and_leaves_the_interpreter_as_it_was(damaged, monkeypatch, caplog, capsys):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    hook = sys.unraisablehook
    with pytest.raises(CheckpointError, match="damaged checkpoint") as error:
        read_params(*damaged, "float32", "0" * 64)
    assert sys.unraisablehook is hook and not logging.getLogger("asyncio").filters
    del error
    gc.collect()
    time.sleep(0.3)
    assert said == [] and caplog.text == "" and capsys.readouterr() == ("", "")


def test_other_things_that_cannot_be_raised_still_go_to_the_hook_in_loads_of_several_threads(monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: said.append(str(unraisable.exc_value)))
    hook = sys.unraisablehook

    class Broken:
        def __del__(self):
            raise ValueError("in a destructor")

    class Late:
        def __del__(self):
            raise RuntimeError("Event loop is closed")

    with checkpoint_files._failure_said_once():
        with checkpoint_files._failure_said_once():
            Broken()
        Late()
        assert sys.unraisablehook is not hook
    assert said == ["in a destructor"] and sys.unraisablehook is hook
    Late()
    assert said[1:] == ["Event loop is closed"]
