"""Restorations without iterates, computed once and kept in files: what is compared with the methods of the loop."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diip_jax.evaluate.corruptions import corrupt
from diip_jax.evaluate.result_files import Batch, missing_files, parts_of, sha256, write_arrays
from diip_jax.evaluate.trajectories import BATCH_SIZE
from diip_jax.prior import Prior


@runtime_checkable
class Restorer(Protocol):
    """A restoration in one go: a frozen dataclass of its settings, whose values JSON has."""

    def restore(self, prior: Prior, y: np.ndarray, seed: int) -> np.ndarray:
        """Restored images of degraded ones, `[n, H, W, C]` uint8; each depends on its own y and the seed alone."""
        ...

    def evaluations(self, prior: Prior) -> int:
        """Evaluations of the prior's network for an image, 0 where it takes no part."""
        ...

    def memory_bytes(self, prior: Prior, y: np.ndarray) -> int | None:
        """What XLA plans for the program that restores y; None where it is not one program of XLA."""
        ...


@dataclasses.dataclass(frozen=True)
class OneShot:
    """Restored images, the degraded ones and the clean ones, `[n, H, W, C]` uint8."""

    images: np.ndarray
    y: np.ndarray
    clean: np.ndarray

    def head(self, n: int) -> "OneShot":
        """The first n images."""
        return OneShot(self.images[:n], self.y[:n], self.clean[:n])


def one_shot(
    folder: Path,
    prior: Prior,
    task: str,
    clean: np.ndarray,
    restorer: Restorer,
    *,
    seed: int = 0,
    severity: int | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], None] | None = None,
) -> OneShot:
    """What a restorer makes of corrupted images, from files if it was computed before, as `trajectory` does.

    Args:
        folder, prior, task, clean, seed, severity: as in `diip_jax.evaluate.trajectories.trajectory`.
        restorer: its class and settings take part in the digest.
        progress: called after every batch that is computed, with the number of its images.

    Raises:
        ValueError: an unknown task or severity.
    """
    batches = [_Batch(prior, task, part, seed, severity, restorer) for part in parts_of(clean, batch_size)]
    images = [batch.restored(folder, progress) for batch in batches]
    return OneShot(np.concatenate(images), np.concatenate([batch.y for batch in batches]), clean)


def missing(
    folder: Path,
    prior: Prior,
    task: str,
    clean: np.ndarray,
    restorer: Restorer,
    *,
    seed: int = 0,
    severity: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> dict[Path, int]:
    """The files that `one_shot` with these arguments would have to compute, and the number of images of each."""
    parts = parts_of(clean, batch_size)
    return missing_files(folder, [_Batch(prior, task, part, seed, severity, restorer) for part in parts])


@dataclasses.dataclass(frozen=True)
class _Batch(Batch):
    """Images for a restorer."""

    restorer: Restorer

    @cached_property
    def y(self) -> np.ndarray:
        return np.stack([corrupt(self.task, image, self.seed, self.severity) for image in self.clean])

    @property
    def decides(self) -> dict[str, Any]:
        return super().decides | {
            "y": sha256(self.y),
            "restorer": type(self.restorer).__name__,
            "settings": dataclasses.asdict(self.restorer),  # type: ignore[call-overload]  # a dataclass, see Restorer
        }

    def restored(self, folder: Path, progress: Callable[[int], None] | None) -> np.ndarray:
        path = self.path(folder)
        if not path.exists():
            images = self.restorer.restore(self.prior, self.y, self.seed)
            write_arrays(path, {"images": images, "y": self.y, "clean": self.clean}, self.decides)
            if progress is not None:
                progress(len(self.clean))
        with np.load(path) as stored:
            return stored["images"]
