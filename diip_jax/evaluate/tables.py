"""What a table needs: its runs, computed where they are missing, and their scores, row by row."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diip_jax.evaluate.protocols import Entry
from diip_jax.evaluate.run import Progress, Restorer, Run, Store
from diip_jax.evaluate.score import Row, pooled, quality, replay, score
from diip_jax.evaluate.task import Task
from diip_jax.prior import Prior
from diip_jax.terminal import duration

_REPORT_EVERY = 60.0  # seconds


class Study(NamedTuple):
    """What all tables have in common: the prior of the restorers, and the store that keeps their runs."""

    prior: Prior
    store: Store
    tasks: Mapping[str, Mapping[int, Task]]  # name -> seed -> the task of all images
    perceptual: bool = True  # with LPIPS


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """An entry on a task, under a seed."""

    entry: Entry
    restorer: Restorer
    task: Task
    seed: int

    def run(self, study: Study, progress: Progress | None = None) -> Run:
        """What it comes to, computed where it is missing."""
        return study.store.run(self.restorer, self.task, self.seed, progress, study.perceptual)

    def rows(self, study: Study, numbers: Sequence[int]) -> dict[int, list[Row]]:
        """The rows of the table over so many of the first images, for each of these numbers."""
        run, rules, seen = self.run(study), self.restorer.rules(self.entry.rules), self.restorer.seen(self.task)
        return {
            n: score(self.task[:n], f"{self.entry.name} ({n})", run[:n], rules, seen[:n], study.perceptual)
            for n in numbers
        }

    def pictures(self, study: Study) -> np.ndarray:
        """Restored images `[n, H, W, C]` uint8; of iterates, what the first rule returns."""
        run, rules = self.run(study), self.restorer.rules(self.entry.rules)
        first = next(iter(rules.values()), None)
        return run.images[:, -1] if first is None else replay(first, run, self.restorer.seen(self.task)).images


def jobs_of(entries: Sequence[Entry], tasks: Sequence[str], study: Study) -> list[Job]:
    """What entries and tasks make: entry by entry, so that an interrupted run has whole entries."""
    return [
        Job(entry, restorer, task[: entry.images], seed)
        for entry in entries
        for name in tasks
        if (restorer := entry.restorer(name, study.prior)) is not None
        for seed, task in study.tasks[name].items()
    ]


def compute(
    jobs: Sequence[Job], study: Study, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> None:
    """Computes what is missing, and says about once a minute how long the rest will take.

    The estimate goes by network evaluations. What is there already takes no time and is not spoken of. Lines are
    reported without their end.
    """
    missing: dict[Path, Job] = {}  # the first that makes the file
    total = done = 0
    # What is cheap comes first: a package that is missing shows at once.
    for job in sorted(jobs, key=_work):
        for path, images in study.store.missing(job.restorer, job.task, job.seed).items():
            if missing.setdefault(path, job) is job:
                total += images * _work(job)
    left = list(dict.fromkeys(missing.values()))
    if not left:
        return
    report(f"{len(left)} runs to compute")
    began = told = clock()

    def progress(images: int) -> None:
        nonlocal told, done
        done += images * _work(job)
        if clock() - told >= _REPORT_EVERY:
            told = clock()
            rest = duration((told - began) * (total - done) / done)
            what = f"{job.entry.name}, {job.task.name} (run {1 + left.index(job)} of {len(left)})"
            report(f"{what}: {done / total:.0%} of all done, about {rest} left")

    for job in left:
        job.run(study, progress)
    report(f"computed in {duration(clock() - began)}")


def _work(job: Job) -> int:
    return max(1, job.restorer.evaluations)


def table(jobs: Sequence[Job], tasks: Sequence[str], study: Study) -> list[Row]:
    """The rows of a table, task by task: the input, then every entry's; of several seeds, pooled.

    Where entries have different numbers of images, each number gets a row of the input, and of the first entry, so that
    rows over the same images stand side by side.
    """
    rows: list[Row] = []
    for name in tasks:
        here = [job for job in jobs if job.task.name == name]
        made: dict[int, dict[str, list[Row]]] = {}
        for n in sorted({len(job.task) for job in here}, reverse=True):
            parts = [task[:n] for task in study.tasks[name].values()]
            made[n] = {"input": [quality(part, f"input ({n})", part.y, study.perceptual) for part in parts]}
        # One run at a time: all of a table's do not fit into memory.
        for job in here:
            first = job.entry.name == here[0].entry.name
            for n, of_job in job.rows(study, [n for n in made if first or n == len(job.task)]).items():
                for row in of_job:
                    made[n].setdefault(row.method, []).append(row)
        rows += [pooled(of_seeds) for of_methods in made.values() for of_seeds in of_methods.values()]
    return rows
