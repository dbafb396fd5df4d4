"""The fixed protocols: which methods, settings, rules and numbers of images make a table."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diip_jax.evaluate.corruptions import CORRUPTIONS, degrade
from diip_jax.evaluate.tables import Row, row, rows_of
from diip_jax.evaluate.trajectories import trajectory
from diip_jax.methods import BIRD, DIIP, bird
from diip_jax.methods.diip import PAPER
from diip_jax.methods.inversion import NoiseInversion, Stopping
from diip_jax.prior import Prior


@dataclasses.dataclass(frozen=True)
class Entry:
    """One trajectory for every task, and the rules that are judged on it.

    Attributes:
        name: how the table calls it.
        settings: task -> the method and its settings, None where it has nothing to do with the task; `max_iterations`
            is the length of the trajectory.
        rules: values of the method's `stopping`.
        images: how many of the images take part, at most.
    """

    name: str
    settings: Callable[[str], NoiseInversion | None]
    rules: tuple[Stopping, ...]
    images: int


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What makes a table.

    Attributes:
        entries: the first one takes all images.
        tasks: names of corruptions.
        possible: corruptions that may be asked for instead.
    """

    entries: tuple[Entry, ...]
    tasks: tuple[str, ...]
    possible: tuple[str, ...]


def _always(method: NoiseInversion) -> Callable[[str], NoiseInversion]:
    return lambda task: method


# Stride 200 halves the time. The full gradient costs about four times as much as the detached one, and so gets half the
# images and fewer iterations. What a rule does not decide within the trajectory is decided by its end.
QUALITY = Protocol(
    entries=(
        Entry("Adam 0.01, detached", _always(DIIP(stride=200)), ("paper", "robust"), 16),
        Entry(
            "Adam 0.0015, detached",
            _always(dataclasses.replace(PAPER, stride=200, max_iterations=500)),
            ("paper",),
            8,
        ),
        Entry(
            "Adam 0.01, full",
            _always(DIIP(stride=200, gradient="full", max_iterations=120)),
            ("paper", "robust"),
            8,
        ),
        Entry(
            "Adam 0.0015, full",
            _always(dataclasses.replace(PAPER, stride=200, gradient="full", max_iterations=120)),
            ("paper",),
            8,
        ),
    ),
    tasks=("noise", "blur", "jpeg", "x4"),
    possible=tuple(CORRUPTIONS),
)

# What BIRD is told of its tasks. Kernels have the true one's size.
_OPERATORS: Mapping[str, Mapping[str, Any]] = {
    "motion_blur": {"degradation": "blur", "kernel_size": 15},
    "anisotropic_blur": {"degradation": "blur", "kernel_size": 17},
    "x4_blur": {"degradation": "downsample", "scale": 4, "kernel_size": 17},
    "x8_blur": {"degradation": "downsample", "scale": 8, "kernel_size": 17},
    "jpeg_noise": {"degradation": "identity"},
    "hole": {"degradation": "mask"},
}


def _bird(task: str) -> NoiseInversion:
    return BIRD(**_OPERATORS[task], stride=200)


def _bird_paper(task: str) -> NoiseInversion:
    return BIRD(**{**bird.PAPER, **_OPERATORS[task], "stride": 200})


def _bird_code(task: str) -> NoiseInversion:
    told = _OPERATORS[task]
    return BIRD(**{**told, **bird.CODE[told["degradation"]], "stride": 200})  # the kernel's size is the release's


def _bird_true_kernel(task: str) -> NoiseInversion | None:
    return BIRD(**_OPERATORS[task], kernel_model="known", stride=200) if "kernel_size" in _OPERATORS[task] else None


# Stride 200 as above, also of the presets. "budget" is BIRD's own rule, the last iterate; "robust" is DIIP's.
BLIND = Protocol(
    entries=(
        Entry("DIIP", _always(DIIP(stride=200)), ("robust",), 16),
        Entry("BIRD", _bird, ("budget", "robust"), 16),
        Entry("BIRD, paper preset", _bird_paper, ("budget", "robust"), 16),
        Entry("BIRD, code preset", _bird_code, ("budget",), 16),
        Entry("BIRD, true kernel", _bird_true_kernel, ("budget", "robust"), 16),
    ),
    tasks=tuple(_OPERATORS),
    possible=tuple(_OPERATORS),
)

PROTOCOLS = {"quality": QUALITY, "bird": BLIND}


def table(
    entries: Sequence[Entry], folder: Path, prior: Prior, tasks: Sequence[str], clean: np.ndarray, seed: int = 0
) -> list[Row]:
    """The rows of a table, task by task: the input, then every entry's rules and its oracle stop.

    Where entries have different numbers of images, each number gets a row of the input, and of the first entry, so that
    rows over the same images stand side by side.

    Args:
        folder: keeps the trajectories; those that are there already are not computed again.
        clean: `[N, H, W, C]` uint8.
    """
    rows: list[Row] = []
    # Entry by entry, so that an interrupted run has whole entries.
    methods = {(entry.name, task): entry.settings(task) for entry in entries for task in tasks}
    runs = {
        (entry.name, task): trajectory(folder, prior, task, clean[: entry.images], method, seed=seed)
        for entry in entries
        for task in tasks
        if (method := methods[entry.name, task]) is not None
    }
    for task in tasks:
        here = [entry for entry in entries if (entry.name, task) in runs]
        kernels = [degrade(task, image, seed).kernel for image in clean[: max((e.images for e in here), default=0)]]
        for images in sorted({len(runs[entry.name, task].y) for entry in here}, reverse=True):
            first = runs[here[0].name, task].head(images)
            rows.append(row(task, f"input ({images})", first.y, first))
            for i, entry in enumerate(here):
                run, method = runs[entry.name, task], methods[entry.name, task]
                if method is not None and (len(run.y) == images or i == 0):
                    rules = {s: dataclasses.replace(method, stopping=s).rule() for s in entry.rules}
                    rows += rows_of(task, f"{entry.name} ({images})", run.head(images), rules, kernels[:images])
    return rows
