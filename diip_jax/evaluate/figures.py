"""Figures of the evaluation as pictures: grids of restored images, iterates, and curves over the iterations.

All are `[H, W, 3]` uint8, and so are the images in them; `cell` is the side of an image in a picture, in pixels. Runs
are task -> method -> run.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from diip_jax.evaluate.run import Run
from diip_jax.evaluate.score import psnrs
from diip_jax.evaluate.tables import Job, Study
from diip_jax.evaluate.task import Task
from diip_jax.pixels import from_uint8
from diip_jax.plots import INK, drawing, set_axes
from diip_jax.plugs.rules import laplacian_variance
from diip_jax.report import PANELS, montage

# The colours of Okabe and Ito, which colour-blind people can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# What is drawn of every iterate, from above.
_QUANTITIES = ("psnr", "loss", "laplacian_variance")


def draw(jobs: Sequence[Job], study: Study, pictures: int, cell: int, curves: bool) -> dict[str, np.ndarray]:
    """The figures of a protocol by name, of jobs of one seed.

    Args:
        pictures: of how many images.
        curves: also those of the iterations.
    """
    tasks = {job.task.name: study.tasks[job.task.name][job.seed] for job in jobs}
    restored: dict[str, dict[str, np.ndarray]] = {}
    for job in jobs if pictures else ():
        restored.setdefault(job.entry.name, {})[job.task.name] = job.pictures(study)
    clean, drawn = next(iter(tasks.values())).clean, {}
    for i in range(min(pictures, len(clean))):
        # An entry may have fewer images than are asked for.
        methods = {
            method: {name: images[i] for name, images in of_tasks.items() if i < len(images)}
            for method, of_tasks in restored.items()
        }
        inputs = {name: task.y[i] for name, task in tasks.items()}
        drawn[f"picture{i + 1}"] = methods_picture(clean[i], inputs, methods, cell)
    if curves:
        runs: dict[str, dict[str, Run]] = {name: {} for name in tasks}
        for job in jobs:
            if job.entry.rules:
                runs[job.task.name][job.entry.name] = job.run(study)
        drawn |= {"curves": curves_picture(tasks, runs), "iterates": iterates_picture(tasks, runs, cell)}
    return drawn


def curves_of(task: Task, run: Run) -> dict[str, np.ndarray]:
    """By name `[K]`, the mean over the images at every iterate: "psnr" (dB), "loss", "laplacian_variance"."""
    found = {"psnr": psnrs(run, task.clean), "loss": run.loss, "laplacian_variance": run.laplacian_variance}
    return {name: np.mean(values, axis=0) for name, values in found.items() if values is not None}


def levels_of(task: Task) -> dict[str, dict[str, float]]:
    """What curves are compared with: quantity -> label -> the mean over the images of the input, and of the clean."""
    sharpness = {
        label: float(np.mean([laplacian_variance(jnp.asarray(from_uint8(image))) for image in images]))
        for label, images in (("input", task.y), ("clean", task.clean))
    }
    return {"psnr": {"input": float(psnrs(Run.of(task.y), task.clean).mean())}, "laplacian_variance": sharpness}


def curves_picture(tasks: Mapping[str, Task], runs: Mapping[str, Mapping[str, Run]]) -> np.ndarray:
    """One column per task, one row per quantity, one curve per method; the iteration on a logarithmic axis from 1.

    The input's and the clean images' levels are horizontal lines. A panel has 320 x 250 pixels.

    Raises:
        ValueError: no runs, or more than six methods, one for each colour.
        ImportError: matplotlib is missing.
    """
    methods = list(dict.fromkeys(method for of_task in runs.values() for method in of_task))
    if not 1 <= len(methods) <= len(_COLOURS):
        raise ValueError(f"curves of {len(methods)} methods: expected 1 .. {len(_COLOURS)}")
    drawn = drawing(320 * len(runs), 250 * len(_QUANTITIES), "curves", layout="constrained")
    panels = drawn.figure.subplots(len(_QUANTITIES), len(runs), squeeze=False)
    for column, (name, of_task) in enumerate(runs.items()):
        curves = {method: curves_of(tasks[name], run) for method, run in of_task.items()}
        levels = levels_of(tasks[name])
        panels[0, column].set_title(name, fontsize=11, color=INK)
        panels[-1, column].set_xlabel("iteration", fontsize=10, color=INK)
        for axes, quantity in zip(panels[:, column], _QUANTITIES, strict=True):
            for method, values in curves.items():
                colour = _COLOURS[methods.index(method)]
                axes.plot(1 + np.arange(len(values[quantity])), values[quantity], color=colour, label=method)
            for label, level in levels.get(quantity, {}).items():
                style = {"input": "--", "clean": ":"}[label]
                axes.axhline(level, color=INK, linewidth=1, linestyle=style, label=label)
            axes.set_xscale("log")
            if quantity != "psnr":
                axes.set_yscale("log", nonpositive="mask")
            set_axes(axes, 8)
            if column == 0:
                axes.set_ylabel(PANELS[quantity][0], fontsize=10, color=INK)
    # The last row has every line.
    handles, labels = panels[-1, 0].get_legend_handles_labels()
    drawn.figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return drawn.picture()


def iterates_picture(tasks: Mapping[str, Task], runs: Mapping[str, Mapping[str, Run]], cell: int) -> np.ndarray:
    """Of the first image: the input, iterates 10, 30, 100, 300, ... and the last, the clean one; a row per run."""
    longest = max(run.images.shape[1] for of_task in runs.values() for run in of_task.values())
    shown = sorted({k for k in (10, 30, 100, 300, 1000, 3000) if k < longest} | {longest})
    rows, labels = [], []
    for name, of_task in runs.items():
        for method, run in of_task.items():
            iterates = run.images[0]
            chosen = [iterates[min(k, len(iterates)) - 1] for k in shown]
            rows.append([tasks[name].y[0], *chosen, tasks[name].clean[0]])
            labels.append(f"{name}\n{method}")
    return montage(rows, labels, ["input", *map(str, shown), "clean"], cell)


def methods_picture(
    clean: np.ndarray, inputs: Mapping[str, np.ndarray], restored: Mapping[str, Mapping[str, np.ndarray]], cell: int
) -> np.ndarray:
    """A row per method, a column per task; the input above, the clean image below.

    Inputs are task -> degraded image, restored ones method -> task -> image; where one is missing its cell is blank.
    """
    blank = np.full_like(clean, 255)
    rows = {"input": inputs, **restored, "clean": dict.fromkeys(inputs, clean)}
    return montage([[row.get(task, blank) for task in inputs] for row in rows.values()], [*rows], [*inputs], cell)
