"""What a table compares: trajectories with the rules that are judged on them, and restorations without iterates."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diip_jax.commands.settings import Settings, Stopping
from diip_jax.evaluate import costs, one_shot, trajectories
from diip_jax.evaluate.corruptions import Degraded, degrade
from diip_jax.evaluate.costs import Cost
from diip_jax.evaluate.one_shot import OneShot, Restorer
from diip_jax.evaluate.tables import Row, replay, row, rows_of
from diip_jax.evaluate.trajectories import BATCH_SIZE, Trajectory
from diip_jax.plugs.rules import Rule
from diip_jax.prior import Prior


@dataclasses.dataclass(frozen=True)
class Study:
    """What all entries of a table have in common.

    Attributes:
        folder: keeps trajectories, images and costs.
        clean: `[N, H, W, C]` uint8.
        seed: of corruptions and restorations.
        severity: of the corruptions; None: each one's standard.
        perceptual: with LPIPS.
    """

    folder: Path
    prior: Prior
    clean: np.ndarray
    seed: int = 0
    severity: int | None = None
    perceptual: bool = True

    def degraded(self, task: str, images: int) -> list[Degraded]:
        """The first images of a task."""
        return [degrade(task, image, self.seed, self.severity) for image in self.clean[:images]]


@runtime_checkable
class Job(Protocol):
    """An entry on a task.

    Attributes:
        name: the entry's.
        images: how many take part.
    """

    @property
    def name(self) -> str: ...

    @property
    def task(self) -> str: ...

    @property
    def images(self) -> int: ...

    def cost(self) -> Cost:
        """What an image's iteration costs, or an image where there are no iterates; measured where it is not known."""
        ...

    def left(self) -> dict[Path, int]:
        """The files that have to be computed yet, and the number of such iterations, or images, of each."""
        ...

    def compute(self, progress: Callable[[int], None]) -> None:
        """Computes what is missing; `progress` is told how many iterations or images have been added."""
        ...

    def rows(self, numbers: Sequence[int]) -> dict[int, list[Row]]:
        """The rows of the table over so many of the first images, for each of these numbers."""
        ...

    def pictures(self) -> np.ndarray:
        """Restored images `[n, H, W, C]` uint8, of trajectories by the first rule."""
        ...


@runtime_checkable
class _Named(Protocol):
    """What every entry has, see `Entry`."""

    @property
    def name(self) -> str: ...

    @property
    def images(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class _OfEntry:
    """What the jobs of all entries share."""

    entry: _Named
    study: Study
    task: str

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def images(self) -> int:
        return min(self.entry.images, len(self.study.clean))


@dataclasses.dataclass(frozen=True)
class Entry:
    """One trajectory for every task, and the rules that are judged on it.

    Attributes:
        name: how the table calls it.
        settings: task -> the method and its settings, None where it has nothing to do with the task; `max_iterations`
            is the length of the trajectory.
        rules: values of the method's `stopping`.
        images: how many of the images take part, at most.
        variants: further rules: name -> the settings of the rule that differ from the method's.
    """

    name: str
    settings: Callable[[str], Settings | None]
    rules: tuple[Stopping, ...]
    images: int
    variants: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def job(self, study: Study, task: str) -> "TrajectoryJob | None":
        """What there is to do for a task."""
        method = self.settings(task)
        return None if method is None else TrajectoryJob(self, study, task, method)


@dataclasses.dataclass(frozen=True)
class TrajectoryJob(_OfEntry):
    """A trajectory of a method, see `Job`."""

    entry: Entry
    method: Settings

    @property
    def _arguments(self) -> tuple[Path, Prior, str, np.ndarray, Settings]:
        study = self.study
        return study.folder / "trajectories", study.prior, self.task, study.clean[: self.images], self.method

    def cost(self) -> Cost:
        study = self.study
        degraded = study.degraded(self.task, min(self.images, BATCH_SIZE))
        given = trajectories.given_to(self.method, self.task, degraded)
        return costs.method_cost(study.folder / "costs", study.prior, self.method, given)

    def left(self) -> dict[Path, int]:
        files = trajectories.missing(*self._arguments, seed=self.study.seed, severity=self.study.severity)
        return {path: images * self.method.max_iterations for path, images in files.items()}

    def compute(self, progress: Callable[[int], None]) -> None:
        self.trajectory(progress)

    def trajectory(self, progress: Callable[[int], None] | None = None) -> Trajectory:
        """The trajectory, computed where it is missing."""
        study = self.study
        return trajectories.trajectory(
            *self._arguments,
            seed=study.seed,
            severity=study.severity,
            perceptual=study.perceptual,
            progress=progress,
        )

    def rules(self) -> dict[str, Rule]:
        """The rules by name, the first one first."""
        changes: dict[str, Mapping[str, Any]] = {name: {"stopping": name} for name in self.entry.rules}
        changes |= self.entry.variants
        return {name: _rule_of(dataclasses.replace(self.method, **change)) for name, change in changes.items()}

    def rows(self, numbers: Sequence[int]) -> dict[int, list[Row]]:
        run, rules, cost = self.trajectory(), self.rules(), self.cost()
        kernels = [degraded.kernel for degraded in self.study.degraded(self.task, self.images)]
        return {n: rows_of(self.task, f"{self.name} ({n})", run.head(n), rules, kernels[:n], cost) for n in numbers}

    def pictures(self) -> np.ndarray:
        run = self.trajectory()
        k = replay(next(iter(self.rules().values())), run)[0]
        return run.iterates[np.arange(len(k)), k]


# The same object every time: what is compiled for a rule is compiled once.
@functools.lru_cache
def _rule_of(method: Settings) -> Rule:
    return method.rule()


@dataclasses.dataclass(frozen=True)
class OneShotEntry:
    """A restoration without iterates, for every task.

    Attributes:
        name: how the table calls it.
        restorer: task -> the restorer and its settings, None where it has nothing to do with the task.
        images: how many of the images take part, at most.
    """

    name: str
    restorer: Callable[[str], Restorer | None]
    images: int

    def job(self, study: Study, task: str) -> "OneShotJob | None":
        """What there is to do for a task."""
        restorer = self.restorer(task)
        return None if restorer is None else OneShotJob(self, study, task, restorer)


@dataclasses.dataclass(frozen=True)
class OneShotJob(_OfEntry):
    """Images restored without iterates, see `Job`."""

    entry: OneShotEntry
    restorer: Restorer

    @property
    def _arguments(self) -> tuple[Path, Prior, str, np.ndarray, Restorer]:
        study = self.study
        return study.folder / "one_shot", study.prior, self.task, study.clean[: self.images], self.restorer

    def cost(self) -> Cost:
        study = self.study
        y = np.stack([each.picture() for each in study.degraded(self.task, min(self.images, BATCH_SIZE))])
        return costs.restorer_cost(study.folder / "costs", study.prior, self.restorer, y, study.seed)

    def left(self) -> dict[Path, int]:
        return one_shot.missing(*self._arguments, seed=self.study.seed, severity=self.study.severity)

    def compute(self, progress: Callable[[int], None]) -> None:
        self._restored(progress)

    def _restored(self, progress: Callable[[int], None] | None = None) -> OneShot:
        study = self.study
        return one_shot.one_shot(*self._arguments, seed=study.seed, severity=study.severity, progress=progress)

    def rows(self, numbers: Sequence[int]) -> dict[int, list[Row]]:
        run, cost = self._restored(), self.cost()
        return {n: [self._row(run.head(n), cost)] for n in numbers}

    def _row(self, run: OneShot, cost: Cost) -> Row:
        n = len(run.images)
        quality = row(self.task, f"{self.name} ({n})", run.images, run, perceptual=self.study.perceptual)
        # No iterate of it is known: what it costs is that of one go.
        return dataclasses.replace(quality.at_cost(cost, [1] * n), iterations=[])

    def pictures(self) -> np.ndarray:
        return self._restored().images
