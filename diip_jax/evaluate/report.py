"""Scores as tables in markdown: means over the images, and 95 % bootstrap intervals."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from diip_jax.evaluate.score import Row
from diip_jax.metrics import mean_interval


def interval(values: Sequence[float] | np.ndarray, digits: int) -> str:
    """Their mean, and its 95 % bootstrap interval; of a single value itself alone."""
    mean = f"{np.mean(values):.{digits}f}"
    low, high = mean_interval(values)
    return f"{mean} [{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(high) else mean


def _lpips_gap(row: Row) -> str:
    """In percent of the best LPIPS."""
    best = np.mean(row.lpips) - np.mean(row.lpips_gap)
    return f"{interval(row.lpips_gap, 3)} ({100 * np.mean(row.lpips_gap) / best:.0f} %)"


# What a row shows, "" where it has nothing to show; and whether the column is there also where no row has.
_COLUMNS: tuple[tuple[str, Callable[[Row], str], bool], ...] = (
    ("task", lambda row: row.task, True),
    ("method", lambda row: row.method, True),
    ("PSNR (dB)", lambda row: interval(row.psnr, 2), True),
    ("SSIM", lambda row: interval(row.ssim, 3), True),
    ("LPIPS", lambda row: interval(row.lpips, 3) if row.lpips else "", False),
    ("PSNR to input (dB)", lambda row: "" if np.isinf(row.distance).all() else f"{np.mean(row.distance):.2f}", True),
    ("below the best PSNR (dB)", lambda row: interval(row.psnr_gap, 2) if row.psnr_gap else "", False),
    ("above the best LPIPS", lambda row: _lpips_gap(row) if row.lpips_gap else "", False),
    ("median iterate", lambda row: f"{np.median(row.k):.0f}" if row.k else "", True),
    ("stopped before the end", lambda row: f"{100 * row.stopped:.0f} %" if row.k else "", True),
    ("s / image", lambda row: f"{np.mean(row.seconds):.3g}" if row.seconds else "", False),
    ("evaluations / image", lambda row: f"{np.mean(row.evaluations):.0f}" if any(row.evaluations) else "", False),
    ("memory (MB)", lambda row: f"{row.memory_bytes / 1e6:.0f}" if row.memory_bytes else "", False),
    ("kernel correlation", lambda row: interval(row.kernel, 2) if row.kernel else "", False),
    ("std over seeds (dB)", lambda row: "" if row.seed_spread is None else f"{row.seed_spread:.2f}", False),
)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table; "-" where a row has no such value, no column where no row has one."""
    columns = [(head, [text(row) for row in rows], always) for head, text, always in _COLUMNS]
    shown = [(head, [text or "-" for text in texts]) for head, texts, always in columns if always or any(texts)]
    return piped([head for head, _ in shown], zip(*(texts for _, texts in shown), strict=True))


def overview(rows: Sequence[Row]) -> str:
    """The papers' table: a row per method, a column per task; means of PSNR (dB) / SSIM / LPIPS, "-" where none is."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        lpips = f" / {np.mean(row.lpips):.3f}" if row.lpips else ""
        cells.setdefault(row.method, {})[row.task] = f"{np.mean(row.psnr):.2f} / {np.mean(row.ssim):.3f}{lpips}"
    lines = ([method, *(of_tasks.get(task, "-") for task in tasks)] for method, of_tasks in cells.items())
    return piped(["method", *tasks], lines)


def noise_prediction(name: str, t: np.ndarray, errors: np.ndarray) -> str:
    """A prior's errors `[N, len(t)]` as a table: at each timestep and over all, the mean over images, its interval."""
    columns = [*errors.T, errors.mean(axis=1)]
    intervals = (mean_interval(column) for column in columns)
    means = [name, *(f"{column.mean():.6f}" for column in columns)]
    known = ["95 % interval", *(f"{low:.6f} .. {high:.6f}" if high < np.inf else "-" for low, high in intervals)]
    return piped(["t", *map(str, t), "mean"], [means, known])


def piped(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells under a head, as markdown has them."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))
