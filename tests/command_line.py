"""The command line run inside the tests, on a tiny prior that knows nothing."""

import atexit
import dataclasses
import functools
import json
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from networks import TINY
from PIL import Image

from diip_jax.launch import main as launch
from diip_jax.launch import setup
from diip_jax.prior import Prior, load_prior, random_prior, save_prior


class Outcome(NamedTuple):
    """What a command left: exit code, lines of stdout and of stderr."""

    code: int
    out: list[str]
    err: list[str]


@functools.cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def checkpoint(channels: int = 3) -> Path:
    """A 16x16 prior of random weights, on disk."""
    path = _scratch() / f"prior{channels}"
    save_prior(path, random_prior(dataclasses.replace(TINY, in_channels=channels, out_channels=channels)))
    return path


@functools.cache
def _load_prior(path: Path | None, *, dtype: str, class_label: int | None) -> Prior:
    return load_prior(path, dtype=dtype, class_label=class_label)


def own_programs(cache: Path) -> dict[str, str]:
    """The environment of a process that keeps what it compiles in this folder, as the command does by itself."""
    usual = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return usual | {"XDG_CACHE_HOME": str(cache)}


def run(capsys, *arguments: object) -> Outcome:
    """Runs the command with the tiny prior, 4 network evaluations in each of 4 iterations unless told otherwise."""
    usual = [f"--checkpoint={checkpoint()}", "--method=diip", "--max_iterations=4", "--stopping=budget"]
    if "--method=blind" not in arguments:
        usual.append("--stride=250")
    capsys.readouterr()
    # Loading is most of what a run of this prior takes; the tests load it once.
    once = mock.patch.object(setup, "load_prior", _load_prior)
    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(_scratch())}), once:
        code = launch.main([*usual, *map(str, arguments)])
    captured = capsys.readouterr()
    return Outcome(code, captured.out.splitlines(), captured.err.splitlines())


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Path:
    """Writes a smooth random image of (height, width) `size`; returns its path."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 4), dtype=np.uint8))
    small.convert(mode).resize(size[::-1], Image.Resampling.BICUBIC).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    """A picture's values as int."""
    return np.asarray(Image.open(path)).astype(int)


def record(path: Path) -> dict:
    """A JSON file."""
    return json.loads(path.read_text())


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
