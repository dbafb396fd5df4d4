"""The fixed protocols: which methods, settings, rules and numbers of images make a table."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diip_jax.evaluate.tables import Row, row, rows_of
from diip_jax.evaluate.trajectories import trajectory
from diip_jax.methods import DIIP
from diip_jax.methods.diip import PAPER, Stopping
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


# DIIP with the printed numbers and with the defaults, in both gradient modes. Stride 200 halves the time. The
# full gradient costs about four times as much as the detached one, so it gets half the images. 120 iterates are enough
# for the printed rules, which fire right after k_min = 100.
QUALITY = (
    Entry("defaults, detached", DIIP(learning_rate=0.01, stride=200, max_iterations=160), ("paper", "robust"), 16),
    Entry("printed, detached", dataclasses.replace(PAPER, stride=200, max_iterations=120), ("paper",), 16),
    Entry(
        "defaults, full",
        DIIP(learning_rate=0.01, stride=200, max_iterations=120, gradient="full"),
        ("paper", "robust"),
        8,
    ),
    Entry("printed, full", dataclasses.replace(PAPER, stride=200, max_iterations=120, gradient="full"), ("paper",), 8),
)


def table(
    entries: Sequence[Entry], folder: Path, prior: Prior, tasks: Sequence[str], clean: np.ndarray, seed: int = 0
) -> list[Row]:
    """The rows of a table, task by task: the input, then every entry's rules and its oracle stop.

    Args:
        folder: keeps the trajectories; those that are there already are not computed again.
        clean: `[N, H, W, C]` uint8.
    """
    rows: list[Row] = []
    for task in tasks:
        for i, entry in enumerate(entries):
            run = trajectory(folder, prior, task, clean[: entry.images], entry.settings, seed=seed)
            if i == 0:
                rows.append(row(task, "input", run.y, run))
            rules = {
                stopping: dataclasses.replace(entry.settings, stopping=stopping).rule() for stopping in entry.rules
            }
            rows += rows_of(task, f"{entry.name} ({len(run.y)})", run, rules)
    return rows
