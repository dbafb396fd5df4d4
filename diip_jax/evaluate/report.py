"""Scores as tables in markdown: means over the images, and 95 % bootstrap intervals."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from diip_jax.evaluate.score import Row
from diip_jax.metrics import mean_interval


class _Column(NamedTuple):
    """A column: what a row shows in it, and whether a row has something to show.

    A column that is not `always` there is left out where no row has anything to show.
    """

    head: str
    text: Callable[[Row], str]
    has: Callable[[Row], bool]
    always: bool = False


def interval(values: Sequence[float] | np.ndarray, digits: int) -> str:
    """Their mean, and its 95 % bootstrap interval; of a single value itself alone."""
    mean = f"{np.mean(values):.{digits}f}"
    low, high = mean_interval(values)
    return f"{mean} [{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(high) else mean


def _lpips_gap(row: Row) -> str:
    """In percent of the best LPIPS."""
    best = np.mean(row.lpips) - np.mean(row.lpips_gap)
    return f"{interval(row.lpips_gap, 3)} ({100 * np.mean(row.lpips_gap) / best:.0f} %)"


def _distance(row: Row) -> bool:
    return not np.isinf(row.distance).all()


_COLUMNS = (
    _Column("task", lambda row: row.task, lambda row: True, always=True),
    _Column("method", lambda row: row.method, lambda row: True, always=True),
    _Column("PSNR (dB)", lambda row: interval(row.psnr, 2), lambda row: True, always=True),
    _Column("SSIM", lambda row: interval(row.ssim, 3), lambda row: True, always=True),
    _Column("LPIPS", lambda row: interval(row.lpips, 3), lambda row: bool(row.lpips)),
    _Column("PSNR to input (dB)", lambda row: f"{np.mean(row.distance):.2f}", _distance, always=True),
    _Column("below the best PSNR (dB)", lambda row: interval(row.psnr_gap, 2), lambda row: bool(row.psnr_gap)),
    _Column("above the best LPIPS", _lpips_gap, lambda row: bool(row.lpips_gap)),
    _Column("median iterate", lambda row: f"{np.median(row.k):.0f}", lambda row: bool(row.k), always=True),
    _Column("stopped before the end", lambda row: f"{100 * row.stopped:.0f} %", lambda row: bool(row.k), always=True),
    _Column("s / image", lambda row: f"{np.mean(row.seconds):.3g}", lambda row: bool(row.seconds)),
    _Column("evaluations / image", lambda row: f"{np.mean(row.evaluations):.0f}", lambda row: any(row.evaluations)),
    _Column("memory (MB)", lambda row: f"{(row.memory_bytes or 0) / 1e6:.0f}", lambda row: bool(row.memory_bytes)),
    _Column("kernel correlation", lambda row: interval(row.kernel, 2), lambda row: bool(row.kernel)),
    _Column("std over seeds (dB)", lambda row: f"{row.seed_spread:.2f}", lambda row: row.seed_spread is not None),
)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table; "-" where a row has no such value, no column where no row has one."""
    columns = [column for column in _COLUMNS if column.always or any(column.has(row) for row in rows)]
    lines = [[column.head for column in columns], ["---"] * len(columns)]
    lines += [[column.text(row) if column.has(row) else "-" for column in columns] for row in rows]
    return piped(lines)


def overview(rows: Sequence[Row]) -> str:
    """The papers' table: a row per method, a column per task; means of PSNR (dB) / SSIM / LPIPS, "-" where none is."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        lpips = f" / {np.mean(row.lpips):.3f}" if row.lpips else ""
        cells.setdefault(row.method, {})[row.task] = f"{np.mean(row.psnr):.2f} / {np.mean(row.ssim):.3f}{lpips}"
    lines = [["method", *tasks], ["---"] * (1 + len(tasks))]
    lines += [[method, *(of_tasks.get(task, "-") for task in tasks)] for method, of_tasks in cells.items()]
    return piped(lines)


def piped(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as markdown has them."""
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
