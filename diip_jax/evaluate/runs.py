"""Entries run on tasks: how long it will take, what is missing computed, and the rows of the table."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diip_jax.evaluate.entries import Entry, Job, OneShotEntry, Study
from diip_jax.evaluate.tables import Row, row

Report = Callable[[str], None]

_REPORT_EVERY = 60.0  # seconds


class _Input(NamedTuple):
    """The degraded images, judged as if they were restored."""

    y: np.ndarray
    clean: np.ndarray


def jobs_of(entries: Sequence[Entry | OneShotEntry], tasks: Sequence[str], study: Study) -> list[Job]:
    """What entries and tasks make: entry by entry, so that an interrupted run has whole entries."""
    jobs = (entry.job(study, task) for entry in entries for task in tasks)
    return [job for job in jobs if job is not None]


def compute(jobs: Sequence[Job], report: Report, clock: Callable[[], float] = time.monotonic) -> None:
    """Computes what is missing, and says how long it will take: first, and then about once a minute.

    The first estimate is that of the measured cost of an iteration times iterations times images; later ones take up
    by how much it was wrong so far. What is there already takes no time and is not spoken of.

    Args:
        report: is given lines without their end.
    """
    left: list[tuple[Job, int]] = []
    files: set[Path] = set()  # that an earlier job makes
    for job in jobs:
        new = {path: iterations for path, iterations in job.left().items() if path not in files}
        files |= {*new}
        if new:
            left.append((job, sum(new.values())))
    if not left:
        return
    report(f"{len(left)} runs to compute; measuring what their iterations cost")
    seconds = [job.cost().seconds for job, _ in left]
    total = sum(each * iterations for each, (_, iterations) in zip(seconds, left, strict=True))
    report(f"this will take about {duration(total)}")
    began, told, done = clock(), clock(), 0.0
    for n, (job, _) in enumerate(left):

        def progress(added: int, n: int = n, job: Job = job) -> None:
            nonlocal told, done
            done += added * seconds[n]
            if clock() - told >= _REPORT_EVERY:
                told = clock()
                rest = (told - began) * (total - done) / done
                run = f"{job.name}, {job.task} (run {n + 1} of {len(left)})"
                report(f"{run}: {done / total:.0%} of all done, about {duration(rest)} left")

        job.compute(progress)
    report(f"computed in {duration(clock() - began)}")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def table(jobs: Sequence[Job], study: Study, tasks: Sequence[str]) -> list[Row]:
    """The rows of a table, task by task: the input, then every entry's.

    Where entries have different numbers of images, each number gets a row of the input, and of the first entry, so that
    rows over the same images stand side by side.
    """
    rows: list[Row] = []
    for task in tasks:
        here = [job for job in jobs if job.task == task]
        numbers = sorted({job.images for job in here}, reverse=True)
        # One trajectory at a time: all of a table's do not fit into memory.
        made = [job.rows([n for n in numbers if i == 0 or n == job.images]) for i, job in enumerate(here)]
        for n in numbers:
            y = np.stack([each.picture() for each in study.degraded(task, n)])
            given = _Input(y, study.clean[:n])
            rows.append(row(task, f"input ({n})", y, given, perceptual=study.perceptual))
            rows += [each for of_job in made for each in of_job.get(n, [])]
    return rows
