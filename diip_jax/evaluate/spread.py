"""Several restorations of an image from different first noises: what their mean gains, what their spread tells."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diip_jax.commands.settings import Settings
from diip_jax.evaluate.result_files import missing_files, parts_of, write_arrays
from diip_jax.evaluate.table_text import interval, piped
from diip_jax.evaluate.trajectories import BATCH_SIZE, MethodBatch
from diip_jax.metrics import psnr, spread
from diip_jax.prior import Prior
from diip_jax.restore import restore


@dataclasses.dataclass(frozen=True)
class Spread:
    """What n images' samples are worth; arrays of length n.

    Attributes:
        one: mean PSNR of the single samples in dB.
        mean: PSNR of their mean image in dB.
        correlation: Pearson's, over the pixels, of the samples' standard deviation with the error of their mean image,
            each root mean square over channels.
    """

    task: str
    method: str
    one: np.ndarray
    mean: np.ndarray
    correlation: np.ndarray


def restored_samples(
    folder: Path,
    prior: Prior,
    task: str,
    clean: np.ndarray,
    method: Settings,
    samples: int,
    *,
    seed: int = 0,
    severity: int | None = None,
    batch_size: int = BATCH_SIZE,
    report: Callable[[str], None] = lambda line: None,
) -> np.ndarray:
    """Several restorations of each corrupted image, from files if they were computed before, as `trajectory` does.

    Args:
        folder, prior, task, clean, seed, severity: as in `diip_jax.evaluate.trajectories.trajectory`.
        method: stopped by its own rule, otherwise as there.
        samples: of each image, at least 2.
        report: is given a line where something has to be computed.

    Returns:
        `[n, samples, H, W, C]` uint8.

    Raises:
        ValueError: as `trajectory`.
    """
    batches = [_Batch(prior, task, part, seed, severity, method, samples) for part in parts_of(clean, batch_size)]
    left = sum(missing_files(folder, batches).values())
    if left:
        report(f"{task}: {samples} restorations of {left} images")
    return np.concatenate([batch.restored(folder) for batch in batches])


@dataclasses.dataclass(frozen=True)
class _Batch(MethodBatch):
    """Images of which a method restores several samples each."""

    method: Settings
    samples: int

    @property
    def decides(self) -> dict[str, Any]:
        method = {"name": type(self.method).__name__.removesuffix("Settings"), **dataclasses.asdict(self.method)}
        return super().decides | {"method": method, "samples": self.samples}

    def restored(self, folder: Path) -> np.ndarray:
        path = self.path(folder)
        if not path.exists():
            restored = restore(
                self.method.method(self.prior),
                self.given["y"],
                self.known,
                seed=self.seed,
                samples=self.samples,
            )
            write_arrays(path, {"samples": restored.samples, "clean": self.clean}, self.decides)
        with np.load(path) as stored:
            return stored["samples"]


def spread_of(task: str, method: str, samples: np.ndarray, clean: np.ndarray) -> Spread:
    """What samples are worth against the clean images.

    Args:
        samples: `[n, S, H, W, C]` uint8, S at least 2.
        clean: `[n, H, W, C]` uint8.
    """
    in_range = samples.astype(np.float64) / 127.5 - 1
    means, truth = in_range.mean(axis=1), clean / 127.5 - 1
    deviation = [spread(each) for each in in_range]
    error = np.sqrt(((means - truth) ** 2).mean(axis=-1))
    return Spread(
        task,
        method,
        one=np.array([np.mean([psnr(s, c) for s in each]) for each, c in zip(samples, clean, strict=True)]),
        mean=np.array([psnr(m, c) for m, c in zip(means, truth, strict=True)]),
        correlation=np.array([np.corrcoef(d.ravel(), e.ravel())[0, 1] for d, e in zip(deviation, error, strict=True)]),
    )


def markdown(rows: Sequence[Spread], samples: int) -> str:
    """The table: means over the images, 95 % bootstrap intervals of the gain and the correlation."""
    head = ["task", "method", "images", "PSNR of one (dB)", f"PSNR of the mean of {samples} (dB)", "gain (dB)"]
    lines = [[*head, "correlation of spread and error"], ["---"] * (len(head) + 1)]
    for row in rows:
        values = [row.task, row.method, str(len(row.one)), f"{row.one.mean():.2f}", f"{row.mean.mean():.2f}"]
        lines.append([*values, interval(row.mean - row.one, 2), interval(row.correlation, 2)])
    return piped(lines)
