"""A folder of pictures restored by the command as a user starts it: how long it takes, and the most memory it has."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import diip_jax
from diip_jax.command import UsageError
from diip_jax.models import DDPMUNetConfig
from diip_jax.prior import random_prior, save_prior

TINY_SIDE = 16
_NAME = "{:06}.png"


class FolderRun(NamedTuple):
    """A run of the command.

    Attributes:
        seconds: from its start to its end, with all that a start takes. cpu_seconds: of all cores, likewise.
        peak_bytes: the most memory that the process had.
        told: its last line.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    told: str


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="diip_jax_bench_") as folder:
        yield Path(folder)


def tiny_checkpoint(folder: Path) -> Path:
    """A prior of 16x16 images with random weights: what is not the network is most of the work."""
    network = DDPMUNetConfig(TINY_SIDE, (8, 16), (False, True), blocks_per_level=1, norm_groups=4)
    save_prior(folder / "prior", random_prior(network))
    return folder / "prior"


def make_pictures(folder: Path, count: int, side: int) -> Path:
    """Smooth pictures with noise of standard deviation 0 to 50, so that rules stop them at different iterations."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float)
        noisy = smooth + rng.uniform(0, 50) * rng.standard_normal(smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / _NAME.format(n))
    return folder


def finish(pictures: Path, out: Path, count: int, flags: Sequence[str]) -> None:
    """Makes `count` pictures and their outputs: one is restored, the others are its copies.

    Args:
        pictures: a folder of one picture, or of `count`.
    """
    first, one = _NAME.format(0), pictures.parent / "one"
    one.mkdir(exist_ok=True)
    shutil.copy(pictures / first, one)
    run(one, out, flags)
    picture, restored = (one / first).read_bytes(), (out / first).read_bytes()
    record = (out / first).with_suffix(".json").read_text(encoding="utf-8")
    record = record.replace(f"{one.name}/{first}", f"{pictures.name}/{first}")
    for n in range(count):
        name = _NAME.format(n)
        (pictures / name).write_bytes(picture)
        (out / name).write_bytes(restored)
        (out / name).with_suffix(".json").write_text(record.replace(first, name), encoding="utf-8")


def run(pictures: Path, out: Path, flags: Sequence[str], tree: Path | None = None) -> FolderRun:
    """Runs the command.

    Args:
        tree: source tree of another version of the package; None: this one.

    Raises:
        UsageError: it failed.
    """
    tree = Path(diip_jax.__file__).resolve().parent.parent if tree is None else tree
    cache = pictures.parent / f"cache of {tree.name}"
    environment = os.environ | {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", "diip_jax.launch", str(pictures), f"--output_dir={out}", *flags]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, cwd=pictures.parent)
        began = time.monotonic()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        last = (said.read().strip().splitlines() or [""])[-1]
    if process.returncode:
        raise UsageError(f"the command of {tree} ended with exit code {process.returncode}: {last}")
    return FolderRun(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, last)


def warm(pictures: Path, flags: Sequence[str], tree: Path | None = None) -> None:
    """Restores a few of the pictures, so that programs are compiled and kept."""
    few = pictures.parent / "few"
    few.mkdir()
    for path in sorted(pictures.iterdir())[:3]:
        shutil.copy(path, few)
    run(few, pictures.parent / "warm", flags, tree)
    shutil.rmtree(few)
    shutil.rmtree(pictures.parent / "warm")
