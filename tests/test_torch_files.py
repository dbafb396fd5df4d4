"""Weights are read from a file one by one, and what has been read does not stay."""

import tracemalloc

import numpy as np
import pytest
import safetensors.torch
import torch

from diip_jax.convert import torch_files
from diip_jax.convert.torch_files import ConversionError, read_weights

STATE = {f"layer{n}.weight": torch.randn(64, 1024, generator=torch.Generator().manual_seed(n)) for n in range(40)}
# How a file is written; torch's format of before its version 1.6 is still that of some published files.
FORMATS = {
    "model.safetensors": lambda path: safetensors.torch.save_file(STATE, path),
    "model.pt": lambda path: torch.save({"model": STATE}, path),
    "old.pt": lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
}


@pytest.fixture(params=FORMATS)
def path(request, tmp_path):
    FORMATS[request.param](tmp_path / request.param)
    return tmp_path / request.param


def test_shapes_first_values_when_asked_for(path):
    weights = read_weights(path)
    assert {name: weight.shape for name, weight in weights.items()} == dict.fromkeys(STATE, (64, 1024))
    for name, tensor in STATE.items():
        np.testing.assert_array_equal(np.asarray(weights[name]), tensor.numpy(), err_msg=name)
    assert np.asarray(weights["layer0.weight"], np.float64).dtype == np.float64


@pytest.mark.parametrize("path", ["model.safetensors", "model.pt"], indirect=True)
def test_a_mapped_file_is_mapped_anew_and_gives_the_same(path, monkeypatch):
    monkeypatch.setattr(torch_files, "_MAPPED", 2**20)  # four weights
    name = {"model.pt": "torch.load", "model.safetensors": "safetensors.safe_open"}[path.name]
    module, function = name.split(".")
    opened = []
    original = getattr(__import__(module), function)
    monkeypatch.setattr(name, lambda *args, **kwargs: opened.append(args) or original(*args, **kwargs))
    weights = read_weights(path)
    for name, tensor in STATE.items():
        np.testing.assert_array_equal(np.asarray(weights[name]), tensor.numpy(), err_msg=name)
    assert len(opened) == 40 // 5


@pytest.mark.parametrize("path", ["model.safetensors", "model.pt"], indirect=True)
def test_reading_keeps_nothing(path):
    weights = read_weights(path)
    np.asarray(weights["layer0.weight"])
    tracemalloc.start()
    for weight in weights.values():
        np.asarray(weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 64 * 1024 * 4


@pytest.mark.parametrize("path", ["model.safetensors", "model.pt"], indirect=True)
def test_a_file_that_changes_while_it_is_read_is_one_line(path, monkeypatch):
    monkeypatch.setattr(torch_files, "_MAPPED", 0)
    weights = read_weights(path)
    np.asarray(weights["layer0.weight"])
    path.write_bytes(b"other")
    with pytest.raises(ConversionError, match="damaged, or no") as error:
        np.asarray(weights["layer1.weight"])
    assert "\n" not in str(error.value)
