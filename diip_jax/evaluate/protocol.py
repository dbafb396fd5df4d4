"""The fixed protocols: which methods, settings, rules and numbers of images make a table."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diip_jax.evaluate.tables import Row, row, rows_of
from diip_jax.evaluate.trajectories import trajectory
from diip_jax.methods import DIIP
from diip_jax.methods.diip import PAPER
from diip_jax.methods.inversion import Stopping
from diip_jax.prior import Prior


@dataclasses.dataclass(frozen=True)
class Entry:
    """One trajectory of a protocol and the rules that are judged on it.

    Attributes:
        name: how the table calls it.
        settings: of DIIP; `max_iterations` is the length of the trajectory.
        rules: values of DIIP's `stopping`.
        images: how many of the images take part, at most.
    """

    name: str
    settings: DIIP
    rules: tuple[Stopping, ...]
    images: int


# Stride 200 halves the time. The full gradient costs about four times as much as the detached one, and so gets half the
# images and fewer iterations. What a rule does not decide within the trajectory is decided by its end.
QUALITY = (
    Entry("Adam 0.01, detached", DIIP(stride=200), ("paper", "robust"), 16),
    Entry("Adam 0.0015, detached", dataclasses.replace(PAPER, stride=200, max_iterations=500), ("paper",), 8),
    Entry("Adam 0.01, full", DIIP(stride=200, gradient="full", max_iterations=120), ("paper", "robust"), 8),
    Entry(
        "Adam 0.0015, full",
        dataclasses.replace(PAPER, stride=200, gradient="full", max_iterations=120),
        ("paper",),
        8,
    ),
)
QUALITY_TASKS = ("noise", "blur", "jpeg", "x4")


def table(
    entries: Sequence[Entry], folder: Path, prior: Prior, tasks: Sequence[str], clean: np.ndarray, seed: int = 0
) -> list[Row]:
    """The rows of a table, task by task: the input, then every entry's rules and its oracle stop.

    Where entries have different numbers of images, each number gets a row of the input, and of the first entry, so that
    rows over the same images stand side by side.

    Args:
        folder: keeps the trajectories; those that are there already are not computed again.
        clean: `[N, H, W, C]` uint8.
    """
    rows: list[Row] = []
    # Entry by entry, so that an interrupted run has whole entries.
    runs = {
        (entry.name, task): trajectory(folder, prior, task, clean[: entry.images], entry.settings, seed=seed)
        for entry in entries
        for task in tasks
    }
    for task in tasks:
        for images in sorted({len(runs[entry.name, task].y) for entry in entries}, reverse=True):
            first = runs[entries[0].name, task].head(images)
            rows.append(row(task, f"input ({images})", first.y, first))
            for i, entry in enumerate(entries):
                run = runs[entry.name, task]
                if len(run.y) == images or i == 0:
                    rules = {s: dataclasses.replace(entry.settings, stopping=s).rule() for s in entry.rules}
                    rows += rows_of(task, f"{entry.name} ({images})", run.head(images), rules)
    return rows
