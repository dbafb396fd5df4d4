"""Every iterate of a restoration, computed once and kept in a file, so that stopping rules can be compared offline."""

import dataclasses
import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from diip_jax.api import restore
from diip_jax.evaluate.corruptions import Degraded, degrade
from diip_jax.images import write_bytes
from diip_jax.loop import Problem
from diip_jax.methods import Method
from diip_jax.operators import Operator
from diip_jax.prior import Prior
from diip_jax.stopping import budget


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
        observation: `[n, h, w, C]` uint8, the degraded images as the method was given them, None where that is `y`.
    """

    iterates: np.ndarray
    loss: np.ndarray
    laplacian_variance: np.ndarray
    y: np.ndarray
    clean: np.ndarray
    seconds: float
    kernels: np.ndarray | None = None
    observation: np.ndarray | None = None

    def head(self, n: int) -> "Trajectory":
        """The first n images."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        arrays: dict[str, Any] = {name: value[:n] for name, value in values.items() if isinstance(value, np.ndarray)}
        return dataclasses.replace(self, **arrays)


@dataclasses.dataclass(frozen=True)
class _ToTheEnd:
    """A method that goes on to the end of its budget."""

    method: Method

    def problem(self, prior: Prior, image_shape: tuple[int, int, int]) -> Problem:
        problem = self.method.problem(prior, image_shape)
        return problem._replace(stopping=budget(problem.max_iterations))


def trajectory(
    folder: Path, prior: Prior, task: str, clean: np.ndarray, method: Method, *, seed: int = 0, batch_size: int = 8
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

    Raises:
        ValueError: the corruption has no mask or kernel where the method needs one.
    """
    batches = [clean[i : i + batch_size] for i in range(0, len(clean), batch_size)]
    parts = [_batch(folder, prior, task, part, method, seed) for part in batches]
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Trajectory)
        if isinstance(getattr(parts[0], field.name), np.ndarray)
    }
    return Trajectory(**joined, seconds=sum(part.seconds for part in parts))


def _batch(folder: Path, prior: Prior, task: str, clean: np.ndarray, method: Method, seed: int) -> Trajectory:
    degraded = [degrade(task, image, seed) for image in clean]
    given = _given(method.problem(prior, prior.image_shape).operator, task, degraded)
    of_rules = ("stopping", "k_min", "eps", "smoothing", "patience", "window", "explained", "tau", "loss_threshold")
    settings = dataclasses.asdict(method)  # type: ignore[call-overload]  # every Method is a dataclass
    decides = {
        "task": task,
        **{name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in given.items()},
        "method": {name: value for name, value in settings.items() if name not in (*of_rules, "remat")},
        "prior": prior.provenance.params_sha256,
        "dtype": prior.dtype,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{task}-{digest}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, _run(prior, given, degraded, clean, method, seed), decides)
    with np.load(path) as stored:
        values = {field.name: stored[field.name] for field in dataclasses.fields(Trajectory) if field.name in stored}
    return Trajectory(**(values | {"seconds": float(values["seconds"])}))


def _given(operator: Operator, task: str, degraded: list[Degraded]) -> dict[str, np.ndarray]:
    """What the method is given of the degraded images: y, and what its operator needs to know."""
    down = operator.geometry.scale > 1
    given = {"y": np.stack([each.observation() if down else each.picture() for each in degraded])}
    for name in operator.needs:
        values = [getattr(each, name) for each in degraded]
        if any(value is None for value in values):
            raise ValueError(f"corruption {task!r} has no {name}, which the method needs to know")
        given[f"{name}s"] = np.stack(values)
    return given


def _run(
    prior: Prior, given: dict[str, np.ndarray], degraded: list[Degraded], clean: np.ndarray, method: Method, seed: int
) -> Trajectory:
    iterates: list[np.ndarray] = []

    def keep(progress) -> None:
        iterates.append(np.rint((progress.current() + 1) * 127.5).astype(np.uint8))

    started = time.monotonic()
    restored = restore(
        prior,
        given["y"],
        _ToTheEnd(method),
        seed=seed,
        masks=given.get("masks"),
        kernels=given.get("kernels"),
        progress=keep,
        report_every=1,
    )
    kernels = restored.operator_traces.get("kernel")
    return Trajectory(
        iterates=np.stack(iterates, axis=1),
        loss=restored.traces["loss"][:, 0],
        laplacian_variance=restored.traces["laplacian_variance"][:, 0],
        y=np.stack([each.picture() for each in degraded]),
        clean=clean,
        seconds=time.monotonic() - started,
        kernels=None if kernels is None else kernels[:, 0],
        observation=None if given["y"].shape == clean.shape else given["y"],
    )


def _write(path: Path, run: Trajectory, decides: dict) -> None:
    buffer = io.BytesIO()
    values = {name: value for name, value in dataclasses.asdict(run).items() if value is not None}
    np.savez(buffer, settings=json.dumps(decides), **values)
    write_bytes(path, buffer.getvalue())
