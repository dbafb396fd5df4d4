"""Files and folders that hold weights, by the names that diffusers and accelerate give them."""

import json
import logging

import pytest

from diip_jax.convert.sources import find_source
from diip_jax.convert.weight_files import ConversionError

MODEL = "diffusion_pytorch_model"


def made(folder, *names):
    folder.mkdir(exist_ok=True, parents=True)
    for name in ("config.json", *names):
        (folder / name).touch()
    return folder


# Files in a folder: the first is taken.
FILES = {
    "safetensors before bin": (f"{MODEL}.safetensors", f"{MODEL}.bin"),
    "whole before a variant": (f"{MODEL}.bin", f"{MODEL}.fp16.safetensors"),
    "a variant": (f"{MODEL}.fp16.safetensors",),
    "a variant in torch's format": (f"{MODEL}.fp16.bin",),
    "averaged": (f"{MODEL}.ema.safetensors", f"{MODEL}.fp16.safetensors", f"{MODEL}.non_ema.safetensors"),
    "accelerate's": ("model.safetensors", "optimizer.bin", "random_states_0.pkl"),
    "accelerate's of earlier": ("pytorch_model.bin", "optimizer.bin", "scheduler.bin"),
}


@pytest.mark.parametrize("case", FILES)
def test_which_file_of_a_folder(case, tmp_path, caplog):
    folder = made(tmp_path / "unet", *FILES[case])
    with caplog.at_level(logging.INFO, "diip_jax"):
        source = find_source(tmp_path)
    best = folder / FILES[case][0]
    assert (source.path, source.files, source.folder) == (best, (best,), folder)
    assert ("not of" in caplog.text) == (case == "averaged")


@pytest.mark.parametrize(
    "index",
    [
        f"{MODEL}.safetensors.index.json",
        f"{MODEL}.bin.index.json",
        f"{MODEL}.safetensors.index.fp16.json",
    ],
)
@pytest.mark.parametrize("given", ["the folder", "the index"])
def test_sharded_files(index, given, tmp_path):
    shards = ("b-00002-of-00002.x", "a-00001-of-00002.x")
    folder = made(tmp_path, *shards)
    (folder / index).write_text(
        json.dumps({"metadata": {}, "weight_map": {"w": shards[0], "v": shards[1], "u": shards[1]}})
    )
    source = find_source(folder if given == "the folder" else folder / index)
    assert source.path == folder / index
    assert source.files == (folder / shards[1], folder / shards[0])
    (folder / shards[0]).unlink()
    with pytest.raises(ConversionError, match=rf"{shards[0]}: is missing, but {index} names it"):
        find_source(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight_map": {"w": "../other"}}, "names a file '../other': expected names in the same folder"),
        ({"weight_map": {"w": "/etc/passwd"}}, "names a file '/etc/passwd'"),
        ({"weight_map": {"w": 3}}, "names a file 3"),
        ({"weight_map": 3}, "no index of a sharded file"),
        ([], "no index of a sharded file"),
    ],
)
def test_an_index_that_names_something_else(content, message, tmp_path):
    path = tmp_path / "index.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConversionError, match=message):
        find_source(path)


def test_of_a_training_s_checkpoint_the_averaged_network_is_taken_and_it_is_said(tmp_path, caplog):
    for name in ("unet", "unet_ema"):
        made(tmp_path / name, f"{MODEL}.safetensors")
    with caplog.at_level(logging.INFO, "diip_jax"):
        assert find_source(tmp_path).folder == tmp_path / "unet_ema"
    assert "weights of 'unet_ema' (not of 'unet'; --weights=unet takes those)" in caplog.text
    assert find_source(tmp_path, "unet").folder == tmp_path / "unet"


def test_what_is_converted_already(tmp_path):
    (tmp_path / "_CHECKPOINT_METADATA").touch()
    with pytest.raises(ConversionError, match="what is converted already goes to --checkpoint as it is"):
        find_source(tmp_path)
