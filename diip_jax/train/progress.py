"""What a training tells while it runs: to people, as JSON lines to programs, and to TensorBoard where it is installed.

progress.jsonl has an object a line, each with its `step`: of a training's course (`loss`, `gradient_norm`,
`learning_rate`, `images_seen`, `images_per_second`, `seconds_left`), of held-out errors (`heldout`, by timestep, and
their `mean`), or of a picture of samples (`samples`, its file).
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from diip_jax.card import HeldOut
from diip_jax.images import write_text

FILE = "progress.jsonl"


class Clock:
    """How many images a second a training takes while it runs."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._images = 0

    def shown(self, images: int) -> None:
        """A step has ended in which so many images were shown. The first after a stop starts the clock."""
        if self._since is None:
            self._since, self._images = time.monotonic(), 0
        else:
            self._images += images

    def rate(self) -> float | None:
        """Images a second since the last call or stop; None where no step began and ended since."""
        now = time.monotonic()
        if self._since is None or not self._images:
            return None
        rate = self._images / (now - self._since)
        self._since, self._images = now, 0
        return rate

    def stopped(self) -> None:
        """Something else takes the time now."""
        self._since = None


class Progress:
    """The records of a training in a folder."""

    def __init__(self, folder: Path | None, step: int, report: Callable[[str], None]):
        """
        Args:
            folder: None for a process that keeps none.
            step: where the training goes on; what is there of later steps is removed, for it comes again.
            report: gets the lines for people.
        """
        self._report = report
        self._path = None if folder is None else folder / FILE
        self._tensorboard = None if folder is None else _tensorboard(folder / "tensorboard", step)
        if self._path is not None:
            kept = [line for line in _lines(self._path) if _step_of(line) <= step]
            write_text(self._path, "".join(f"{line}\n" for line in kept))

    def course(self, step: int, of: int, images_seen: int, rate: float | None, metrics: Mapping[str, float]) -> None:
        """Where the training is.

        Args:
            rate: images a second, None where it is not known yet.
            metrics: the loss among them.
        """
        numbers = {**metrics, "images_seen": images_seen}
        speed = ""
        if rate is not None:
            left = round((of - step) * (images_seen / step) / rate)
            numbers |= {"images_per_second": round(rate, 2), "seconds_left": left}
            speed = f", {rate:.1f} images/s, {tqdm.format_interval(left)} left"
        self._report(f"step {step} of {of}: loss {metrics['loss']:.4f}{speed}")
        self._write(step, numbers, numbers)

    def heldout(self, heldout: HeldOut) -> None:
        """Held-out errors."""
        errors = dict(zip(heldout.t, heldout.errors, strict=True))
        by_t = ", ".join(f"{t}: {error:.5f}" for t, error in errors.items())
        self._report(f"step {heldout.step}: held-out error of the noise {heldout.mean:.5f} (t = {by_t})")
        scalars = {"heldout/mean": heldout.mean, **{f"heldout/t{t}": error for t, error in errors.items()}}
        self._write(heldout.step, {"heldout": errors, "mean": heldout.mean}, scalars)

    def samples(self, step: int, path: Path, picture: np.ndarray) -> None:
        """A picture of samples, uint8 `[H, W, 3]`, that was written to a path."""
        self._write(step, {"samples": str(path)}, {})
        if self._tensorboard is not None:
            self._tensorboard.add_image("samples", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Ends the writing to TensorBoard."""
        if self._tensorboard is not None:
            with contextlib.suppress(OSError):  # whatever keeps it from writing was told of where the state is saved
                self._tensorboard.close()

    def _write(self, step: int, content: Mapping[str, Any], scalars: Mapping[str, float]) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"step": step, **content}) + "\n")
        if self._tensorboard is not None:
            for name, number in scalars.items():
                self._tensorboard.add_scalar(name, number, step)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def _step_of(line: str) -> int | float:
    try:
        return json.loads(line)["step"]
    except (KeyError, TypeError, ValueError):  # a line that a kill cut off
        return float("inf")


def _tensorboard(folder: Path, step: int) -> Any:
    """A writer, or None where tensorboardX is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
