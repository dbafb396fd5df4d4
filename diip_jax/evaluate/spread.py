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
    """What samples are worth against the clean images.

    Args:
        samples: `[n, S, H, W, C]` uint8, S at least 2.
        clean: `[n, H, W, C]` uint8.
    """
    in_range = from_uint8(samples, np.float64)
    means, truth = in_range.mean(axis=1), from_uint8(clean, np.float64)
    errors = np.sqrt(((means - truth) ** 2).mean(axis=-1))
    one = [np.mean([psnr(sample, c) for sample in of_image]) for of_image, c in zip(samples, clean, strict=True)]
    mean = [psnr(m, c) for m, c in zip(means, truth, strict=True)]
    correlation = [
        np.corrcoef(spread(each).ravel(), error.ravel())[0, 1] for each, error in zip(in_range, errors, strict=True)
    ]
    return Spread(task, method, np.array(one), np.array(mean), np.array(correlation))


def markdown(rows: list[Spread], samples: int) -> str:
    """The table: means over the images, 95 % bootstrap intervals of the gain and the correlation."""
    head = ["task", "method", "images", "PSNR of one (dB)", f"PSNR of the mean of {samples} (dB)", "gain (dB)"]
    lines = []
    for row in rows:
        values = [row.task, row.method, str(len(row.one)), f"{row.one.mean():.2f}", f"{row.mean.mean():.2f}"]
        lines.append([*values, interval(row.mean - row.one, 2), interval(row.correlation, 2)])
    return piped([*head, "correlation of spread and error"], lines)
