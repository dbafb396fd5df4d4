"""Several restorations of an image: what their mean gains, and what their spread tells of its error."""

from typing import NamedTuple

import numpy as np

from diip_jax.evaluate.report import interval, piped
from diip_jax.metrics import psnr, spread
from diip_jax.pixels import from_uint8


class Spread(NamedTuple):
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


def spread_of(task: str, method: str, samples: np.ndarray, clean: np.ndarray) -> Spread:
    """What samples `[n, S, H, W, C]` uint8, S at least 2, are worth against the clean images `[n, H, W, C]` uint8."""
    found = []
    for of_image, truth in zip(from_uint8(samples, np.float64), from_uint8(clean, np.float64), strict=True):
        mean = of_image.mean(axis=0)
        error = np.sqrt(((mean - truth) ** 2).mean(axis=-1))
        correlation = np.corrcoef(spread(of_image).ravel(), error.ravel())[0, 1]
        found.append((np.mean([psnr(sample, truth) for sample in of_image]), psnr(mean, truth), correlation))
    return Spread(task, method, *np.array(found).T)


def markdown(rows: list[Spread], samples: int) -> str:
    """The table: means over the images, 95 % bootstrap intervals of the gain and the correlation."""
    head = ["task", "method", "images", "PSNR of one (dB)", f"PSNR of the mean of {samples} (dB)", "gain (dB)"]
    lines = []
    for row in rows:
        values = [row.task, row.method, str(len(row.one)), f"{row.one.mean():.2f}", f"{row.mean.mean():.2f}"]
        lines.append([*values, interval(row.mean - row.one, 2), interval(row.correlation, 2)])
    return piped([*head, "correlation of spread and error"], lines)
