"""Every iterate of a restoration, computed once and kept in a file, so that stopping rules can be compared offline."""

import dataclasses
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from diip_jax.api import restore
from diip_jax.evaluate.corruptions import corrupt
from diip_jax.methods import DIIP
from diip_jax.prior import Prior


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """A run of n images over K iterations.

    Attributes:
        iterates: `[n, K, H, W, C]` uint8.
        loss, laplacian_variance: `[n, K]` float32, as the loop recorded them.
        y: `[n, H, W, C]` uint8, the degraded images.
        clean: `[n, H, W, C]` uint8.
        seconds: wall time of the run, with compilation.
    """

    iterates: np.ndarray
    loss: np.ndarray
    laplacian_variance: np.ndarray
    y: np.ndarray
    clean: np.ndarray
    seconds: float


def trajectory(
    folder: Path, prior: Prior, task: str, clean: np.ndarray, method: DIIP, *, seed: int = 0, batch_size: int = 8
) -> Trajectory:
    """The trajectory of a method on corrupted images, from its file if it was computed before.

    A file holds one batch. Its name is a digest of everything that decides its content (task, pixels, settings without
    the stopping rule, prior, seed): an interrupted run goes on where it stopped, and other settings never mix in.

    Args:
        folder: where the files are.
        task: name of a corruption.
        clean: `[n, H, W, C]` uint8.
        method: its `max_iterations` is the length of the trajectory; its stopping rule is not used.
    """
    method = dataclasses.replace(method, stopping="budget")
    batches = [clean[i : i + batch_size] for i in range(0, len(clean), batch_size)]
    parts = [_batch(folder, prior, task, part, method, seed) for part in batches]
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Trajectory)
        if field.name != "seconds"
    }
    return Trajectory(**joined, seconds=sum(part.seconds for part in parts))


def _batch(folder: Path, prior: Prior, task: str, clean: np.ndarray, method: DIIP, seed: int) -> Trajectory:
    decides = {
        "task": task,
        "clean": hashlib.sha256(np.ascontiguousarray(clean).tobytes()).hexdigest(),
        "method": [type(method).__name__, dataclasses.asdict(method)],
        "prior": prior.provenance.params_sha256,
        "dtype": prior.dtype,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{task}-{digest}.npz"
    if not path.exists():
        _write(path, _run(prior, task, clean, method, seed), decides)
    with np.load(path) as stored:
        values = {field.name: stored[field.name] for field in dataclasses.fields(Trajectory)}
    return Trajectory(**(values | {"seconds": float(values["seconds"])}))


def _run(prior: Prior, task: str, clean: np.ndarray, method: DIIP, seed: int) -> Trajectory:
    y = np.stack([corrupt(task, image, seed) for image in clean])
    iterates: list[np.ndarray] = []

    def keep(progress) -> None:
        iterates.append(np.rint((progress.current() + 1) * 127.5).astype(np.uint8))

    started = time.monotonic()
    restored = restore(prior, y, method, seed=seed, progress=keep, report_every=1)
    return Trajectory(
        iterates=np.stack(iterates, axis=1),
        loss=restored.traces["loss"][:, 0],
        laplacian_variance=restored.traces["laplacian_variance"][:, 0],
        y=y,
        clean=clean,
        seconds=time.monotonic() - started,
    )


def _write(path: Path, run: Trajectory, decides: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    os.close(handle)
    np.savez(temporary, settings=json.dumps(decides), **dataclasses.asdict(run))
    os.replace(temporary, path)
