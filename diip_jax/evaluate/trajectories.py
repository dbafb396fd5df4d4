"""Every iterate of a restoration, computed once and kept in a file, so that stopping rules can be compared offline."""

import dataclasses
import hashlib
import io
import json
import time
from pathlib import Path

import numpy as np

from diip_jax.api import restore
from diip_jax.evaluate.corruptions import corrupt
from diip_jax.images import write_bytes
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

    def head(self, n: int) -> "Trajectory":
        """The first n images."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Trajectory(**{name: value if name == "seconds" else value[:n] for name, value in values.items()})


def trajectory(
    folder: Path, prior: Prior, task: str, clean: np.ndarray, method: DIIP, *, seed: int = 0, batch_size: int = 8
) -> Trajectory:
    """The trajectory of a method on corrupted images, from its file if it was computed before.

    A file holds one batch. Its name is a digest of everything that decides its content (the degraded pixels, the
    settings without those of stopping rules, prior, seed): an interrupted run goes on where it stopped, and other
    settings never mix in.

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
    y = np.stack([corrupt(task, image, seed) for image in clean])
    rules = ("stopping", "k_min", "eps", "smoothing", "patience", "remat")
    decides = {
        "task": task,
        "y": hashlib.sha256(y.tobytes()).hexdigest(),
        "method": {name: value for name, value in dataclasses.asdict(method).items() if name not in rules},
        "prior": prior.provenance.params_sha256,
        "dtype": prior.dtype,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{task}-{digest}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, _run(prior, y, clean, method, seed), decides)
    with np.load(path) as stored:
        values = {field.name: stored[field.name] for field in dataclasses.fields(Trajectory)}
    return Trajectory(**(values | {"seconds": float(values["seconds"])}))


def _run(prior: Prior, y: np.ndarray, clean: np.ndarray, method: DIIP, seed: int) -> Trajectory:
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
    buffer = io.BytesIO()
    np.savez(buffer, settings=json.dumps(decides), **dataclasses.asdict(run))
    write_bytes(path, buffer.getvalue())
