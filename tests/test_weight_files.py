"""Weights are read from a file one by one, and what has been read does not stay."""

import argparse
import builtins
import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from diip_jax.convert import weight_files
from diip_jax.convert.weight_files import ConversionError, read_weights

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
    monkeypatch.setattr(weight_files, "_MAPPED", 2**20)  # four weights
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
    monkeypatch.setattr(weight_files, "_MAPPED", 0)
    weights = read_weights(path)
    np.asarray(weights["layer0.weight"])
    path.write_bytes(b"other")
    with pytest.raises(ConversionError, match="damaged, or no") as error:
        np.asarray(weights["layer1.weight"])
    assert "\n" not in str(error.value)


SAFETENSORS = safetensors.torch.save({"a": torch.ones(2)})


def archive(*names: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for name in names:
            file.writestr(name, "")
    return written.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer, .*; run: git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page, .*; download the file itself again"),
        (b"\n <html lang=en>", "a web page"),
        (b"<?xml version='1.0'?><Error>", "a web page"),
        (b'{"error": "not found"}', "a text file, no weights"),
        (b"", "it is empty"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (archive("model/constants.pkl", "model/data.pkl"), "a TorchScript program"),
        (archive("betas.npy"), "NumPy arrays"),
        (archive("readme.txt"), "a zip archive"),
        (bytes(range(200)), "damaged, or no file of weights"),
    ],
)
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_what_is_no_file_of_weights_is_named(content, message, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=message) as error:
        read_weights(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model"])
def test_safetensors_of_another_name(name, tmp_path):
    (tmp_path / name).write_bytes(SAFETENSORS)
    np.testing.assert_array_equal(read_weights(tmp_path / name)["a"], np.ones(2))


def test_torch_of_another_name(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(read_weights(tmp_path / "model.safetensors")["a"], np.ones(2))


@pytest.mark.parametrize("error", [OSError("libcudart.so.12: cannot open"), RuntimeError("two\nlines")])
def test_a_torch_that_does_not_import_is_one_line(error, tmp_path, monkeypatch):
    torch.save({"a": torch.ones(2)}, tmp_path / "model.pt")

    def broken(name, *rest, original=builtins.__import__):
        if name == "torch":
            raise error
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(ConversionError, match="needs torch, which does not import here") as caught:
        read_weights(tmp_path / "model.pt")
    assert "\n" not in str(caught.value)


def test_flags_and_figures_beside_the_weights_are_passed_over(tmp_path):
    beside = {
        "args": argparse.Namespace(lr=0.1, folder="x"),
        "best": np.float64(3.5),
        "step": np.int64(7),
        "losses": np.ones(3, np.float32),
    }
    torch.save({"state_dict": {"a": torch.ones(2)}, **beside}, tmp_path / "model.ckpt")
    np.testing.assert_array_equal(read_weights(tmp_path / "model.ckpt")["a"], np.ones(2))
