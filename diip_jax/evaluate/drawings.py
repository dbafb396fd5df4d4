"""Figures of the evaluation as pictures: curves of trajectories, and grids of restored images."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from diip_jax.evaluate.tables import Judged
from diip_jax.evaluate.trajectories import Trajectory
from diip_jax.plugs.rules import laplacian_variance
from diip_jax.report import montage

# The colours of Okabe and Ito, which colour-blind people can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_INK = "#24292f"
_PANEL = 3.2, 2.5  # inches, width and height
DPI = 100

# What is drawn: name, title, log scale.
_QUANTITIES = (
    ("psnr", "PSNR (dB)", False),
    ("loss", "Loss", True),
    ("laplacian_variance", "Laplacian variance", True),
)


def curves_of(run: Trajectory) -> dict[str, np.ndarray]:
    """By name `[K]`, the mean over the images at every iterate: "psnr" (dB), "loss", "laplacian_variance"."""
    errors = [
        ((images.astype(np.float32) - clean) ** 2).mean((1, 2, 3))
        for images, clean in zip(run.iterates, run.clean, strict=True)
    ]
    psnr = 10 * np.log10(255.0**2 / np.asarray(errors, np.float64))
    return {
        "psnr": psnr.mean(axis=0),
        "loss": run.loss.mean(axis=0),
        "laplacian_variance": run.laplacian_variance.mean(axis=0),
    }


def levels_of(run: Judged) -> dict[str, dict[str, float]]:
    """What curves are compared with: quantity -> label -> the mean over the images of the input, and of the clean."""
    errors = ((run.y.astype(np.float64) - run.clean) ** 2).mean((1, 2, 3))
    sharpness = {
        label: float(np.mean([laplacian_variance(jnp.asarray(image, jnp.float32) / 127.5 - 1) for image in images]))
        for label, images in (("input", run.y), ("clean", run.clean))
    }
    return {"psnr": {"input": float(np.mean(10 * np.log10(255.0**2 / errors)))}, "laplacian_variance": sharpness}


def curves_picture(
    curves: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    levels: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> np.ndarray:
    """One column per task, one row per quantity, one curve per method; the iteration on a logarithmic axis from 1.

    Args:
        curves: task -> method -> `curves_of`. At most six methods.
        levels: task -> `levels_of`, drawn as horizontal lines.

    Returns:
        `[H, W, 3]` uint8, of 320 x 250 pixels a panel.

    Raises:
        ValueError: no curves, or more methods than colours.
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('curves need matplotlib; run: pip install "diip_jax[plots]"') from error
    methods = list(dict.fromkeys(method for of_task in curves.values() for method in of_task))
    if not 1 <= len(methods) <= len(_COLOURS):
        raise ValueError(f"curves of {len(methods)} methods: expected 1 .. {len(_COLOURS)}")
    width, height = _PANEL[0] * len(curves), _PANEL[1] * len(_QUANTITIES)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(len(_QUANTITIES), len(curves), squeeze=False)
    for column, (task, of_task) in enumerate(curves.items()):
        for line, (quantity, title, log) in enumerate(_QUANTITIES):
            axes = panels[line, column]
            for method, values in of_task.items():
                colour = _COLOURS[methods.index(method)]
                axes.plot(1 + np.arange(len(values[quantity])), values[quantity], color=colour, label=method)
            for label, level in levels[task].get(quantity, {}).items():
                style = {"input": "--", "clean": ":"}[label]
                axes.axhline(level, color=_INK, linewidth=1, linestyle=style, label=label)
            _set_axes(axes, log)
            if line == 0:
                axes.set_title(task, fontsize=11, color=_INK)
            if column == 0:
                axes.set_ylabel(title, fontsize=10, color=_INK)
            if line == len(_QUANTITIES) - 1:
                axes.set_xlabel("iteration", fontsize=10, color=_INK)
    # The last row has every line.
    handles, labels = panels[-1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _set_axes(axes: Any, log: bool) -> None:
    axes.set_xscale("log")
    if log:
        axes.set_yscale("log", nonpositive="mask")
    axes.tick_params(which="both", labelsize=8, colors=_INK)
    axes.grid(True, color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)


def iterates_picture(runs: Mapping[str, Mapping[str, Trajectory]], cell: int = 128) -> np.ndarray:
    """Of the first image: the input, iterates 10, 30, 100, 300, ... and the last, the clean one; a row per trajectory.

    Args:
        runs: task -> method -> trajectory.
        cell: side of an image in the picture, in pixels.

    Returns:
        `[H, W, 3]` uint8.
    """
    longest = max(run.iterates.shape[1] for of_task in runs.values() for run in of_task.values())
    shown = sorted({k for k in (10, 30, 100, 300, 1000, 3000) if k < longest} | {longest})
    rows, labels = [], []
    for task, of_task in runs.items():
        for method, run in of_task.items():
            iterates = run.iterates[0]
            chosen = [iterates[min(k, len(iterates)) - 1] for k in shown]
            rows.append([run.y[0], *chosen, run.clean[0]])
            labels.append(f"{task}\n{method}")
    return montage(rows, labels, ["input", *map(str, shown), "clean"], cell)


def methods_picture(
    clean: np.ndarray, inputs: Mapping[str, np.ndarray], restored: Mapping[str, Mapping[str, np.ndarray]], cell: int
) -> np.ndarray:
    """A row per method, a column per task; the input above, the clean image below.

    Args:
        clean: `[H, W, C]` uint8.
        inputs: task -> the degraded image.
        restored: method -> task -> image; a task may be missing, its cell is then blank.
        cell: side of an image in the picture, in pixels.

    Returns:
        `[H, W, 3]` uint8.
    """
    blank = np.full_like(clean, 255)
    rows: list[Sequence[np.ndarray]] = [[*inputs.values()]]
    rows += [[of_method.get(task, blank) for task in inputs] for of_method in restored.values()]
    rows.append([clean] * len(inputs))
    return montage(rows, ["input", *restored, "clean"], [*inputs], cell)
