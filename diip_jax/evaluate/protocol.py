"""The fixed protocols: which methods, settings, rules and numbers of images make a table."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from diip_jax.commands.settings import (
    BIRDSettings,
    BlindSettings,
    DIIPSettings,
    DIPSettings,
    Settings,
    Stopping,
    settings_named,
)
from diip_jax.evaluate.corruptions import CORRUPTIONS
from diip_jax.evaluate.entries import Entry, OneShotEntry
from diip_jax.evaluate.one_shot import Restorer
from diip_jax.evaluate.restorers import Classical, Sampled


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What makes a table.

    Attributes:
        entries: the first one takes all images.
        tasks: names of corruptions.
        possible: corruptions that may be asked for instead.
        curves: whether there is a figure of the trajectories' curves.
    """

    entries: tuple[Entry | OneShotEntry, ...]
    tasks: tuple[str, ...]
    possible: tuple[str, ...]
    curves: bool = False


def _always(method: Settings) -> Callable[[str], Settings]:
    return lambda task: method


# What a user gets, but for the stride: 200 halves the time. What a rule does not decide within the trajectory is
# decided by its end.
_DIIP = Entry("DIIP", _always(DIIPSettings(stride=200)), ("robust", "combined", "paper"), 16)

# The default, as it is.
_DEFAULT = Entry("Blind", _always(BlindSettings()), ("budget",), 16)

QUALITY = Protocol(
    entries=(_DEFAULT, _DIIP),
    tasks=("noise", "blur", "jpeg", "x4"),
    possible=tuple(CORRUPTIONS),
)

# What BIRD is told of tasks in their standard severity. Kernels have the true one's size. No operator fits raindrops
# and deformation: BIRD takes no part there.
_OPERATORS: Mapping[str, Mapping[str, Any]] = {
    "motion_blur": {"degradation": "blur", "kernel_size": 15},
    "anisotropic_blur": {"degradation": "blur", "kernel_size": 17},
    "x4_blur": {"degradation": "downsample", "scale": 4, "kernel_size": 17},
    "x8_blur": {"degradation": "downsample", "scale": 8, "kernel_size": 17},
    "jpeg_noise": {"degradation": "identity"},
    "hole": {"degradation": "mask"},
    "holes": {"degradation": "mask"},
    "noise": {"degradation": "identity"},
    "mixed_noise": {"degradation": "identity"},
    "salt_and_pepper": {"degradation": "identity"},
    "jpeg": {"degradation": "identity"},
    "blur": {"degradation": "blur", "kernel_size": 13},
    "blur_noise_jpeg": {"degradation": "blur", "kernel_size": 9},
    "x4": {"degradation": "downsample", "scale": 4, "kernel_size": 1},
    "x8": {"degradation": "downsample", "scale": 8, "kernel_size": 1},
    "x4_noise_jpeg": {"degradation": "downsample", "scale": 4, "kernel_size": 1},
}


def _bird(task: str) -> Settings:
    return BIRDSettings(**_OPERATORS[task], stride=200)


def _bird_paper(task: str) -> Settings:
    return settings_named("bird", {**_OPERATORS[task], "stride": 200}, "paper")


def _bird_code(task: str) -> Settings:
    told = {name: value for name, value in _OPERATORS[task].items() if name != "kernel_size"}  # it is the release's
    return settings_named("bird", {**told, "stride": 200}, "code")


def _bird_true_kernel(task: str) -> Settings | None:
    blurred = _OPERATORS[task].get("kernel_size", 1) > 1
    return BIRDSettings(**_OPERATORS[task], kernel_model="known", stride=200) if blurred else None


# BIRD's own rule, the papers' (the last iterate), and DIIP's.
_OF_BIRD: tuple[Stopping, ...] = ("discrepancy", "budget", "robust")

# Stride 200 as above, also of the presets. The gradient through the network takes three times as long.
BLIND = Protocol(
    entries=(
        _DIIP,
        Entry("BIRD", _bird, _OF_BIRD, 16),
        Entry("BIRD, true kernel", _bird_true_kernel, _OF_BIRD, 16),
        Entry("BIRD, code preset", _bird_code, ("budget",), 16),
        Entry("BIRD, paper preset", _bird_paper, ("budget", "discrepancy"), 8),
    ),
    tasks=("motion_blur", "anisotropic_blur", "x4_blur", "x8_blur", "jpeg_noise", "hole"),
    possible=tuple(_OPERATORS),
)


def _each_task(restorer: Restorer) -> Callable[[str], Restorer]:
    return lambda task: restorer


# With the identity BIRD is DIIP, but for the rule.
def _bird_where_told(task: str) -> Settings | None:
    return None if _OPERATORS.get(task, {"degradation": "identity"})["degradation"] == "identity" else _bird(task)


def advised(task: str) -> Settings:
    """The method that the README advises for a task."""
    return _bird_where_told(task) or DIIPSettings(stride=200)


# Of which several restorations are compared: two tasks for DIIP, two for BIRD.
SAMPLED = ("noise", "jpeg", "motion_blur", "hole")


# "Early Stopping for Deep Image Prior" (Wang et al., TMLR 2023): windows of 100 iterates, or a weight of 0.1 of the
# newest, and 1000 iterates without a new minimum.
_EARLY_STOPPING: Mapping[str, Mapping[str, Any]] = {
    "ES-WMV": {"stopping": "wmv", "window": 100, "patience": 1000},
    "ES-EMV": {"stopping": "emv", "smoothing": 0.9, "patience": 1000},
}

# The tasks of both papers, and what the DIIP note leaves open: impulses, a hole and a composite. DIP takes 2000
# iterations for an image, the published number for super-resolution (1800 for noise), and so gets fewer images.
METHODS = Protocol(
    entries=(
        _DEFAULT,
        _DIIP,
        Entry("BIRD", _bird_where_told, _OF_BIRD, 16),
        Entry("DIP", _always(DIPSettings(max_iterations=2000)), ("budget",), 4, variants=_EARLY_STOPPING),
        OneShotEntry("DreamClean", _each_task(Sampled()), 16),
        OneShotEntry("non-local means", _each_task(Classical("non_local_means")), 16),
        OneShotEntry("total variation", _each_task(Classical("total_variation")), 16),
        OneShotEntry("unsupervised Wiener", _each_task(Classical("unsupervised_wiener")), 16),
    ),
    tasks=(
        "noise",
        "mixed_noise",
        "anisotropic_blur",
        "motion_blur",
        "x4",
        "x8",
        "jpeg",
        "raindrops",
        "deformation",
        "salt_and_pepper",
        "hole",
        "blur_noise_jpeg",
    ),
    possible=tuple(CORRUPTIONS),
)

# DreamClean's settings, which its paper does not print: to be chosen on other images than are reported.
DREAMCLEAN = Protocol(
    entries=tuple(
        OneShotEntry(f"gamma {gamma}, tau {tau}", _each_task(Sampled(gamma=gamma, tau=tau)), 8)
        for tau in (50, 100, 200, 300)
        for gamma in (0.05, 0.2, 0.4, 0.6, 0.8)
    ),
    tasks=("noise", "blur", "jpeg", "x4"),
    possible=tuple(CORRUPTIONS),
)

# DIIP's paper ablates k_min and eps, BIRD's the stride. Other rules are replayed on the same iterates. At the printed
# rate the iterates travel 0.15 times as far, and so get more iterations.
ABLATIONS = Protocol(
    entries=(
        Entry(
            "DIIP",
            _always(DIIPSettings(stride=200)),
            ("robust", "paper"),
            8,
            variants={
                **{f"paper, k_min {k_min}": {"stopping": "paper", "k_min": k_min} for k_min in (50, 150)},
                **{f"paper, eps {eps}": {"stopping": "paper", "eps": eps} for eps in (0.005, 0.0005)},
            },
        ),
        Entry("stride 100", _always(DIIPSettings(stride=100)), ("robust", "paper"), 8),
        Entry("stride 50", _always(DIIPSettings(stride=50)), ("robust", "paper"), 8),
        Entry("not projected", _always(DIIPSettings(stride=200, project=False)), ("robust", "paper"), 8),
        Entry(
            "rate 0.0015",
            _always(settings_named("diip", {"stride": 200, "max_iterations": 500}, "paper")),
            ("paper",),
            8,
        ),
        Entry("full gradient", _always(DIIPSettings(stride=200, gradient="full")), ("robust", "paper"), 8),
    ),
    tasks=("noise", "blur", "jpeg"),
    possible=tuple(CORRUPTIONS),
)

# Every rule with its defaults, and what was tried beside them; one setting for all corruptions.
RULES = Protocol(
    entries=(
        Entry(
            "DIIP",
            _always(DIIPSettings(stride=200)),
            ("paper", "robust", "wmv", "emv", "discrepancy", "averaged", "combined", "budget"),
            16,
            variants={
                "robust, robust_eps 0.001": {"stopping": "robust", "robust_eps": 1e-3},
                "wmv, patience 5": {"stopping": "wmv", "patience": 5},
                "wmv, window 20, patience 20": {"stopping": "wmv", "window": 20, "patience": 20},
                "combined, explained 0.8": {"stopping": "combined", "explained": 0.8},
                "combined, explained 0.92": {"stopping": "combined", "explained": 0.92},
                "combined, sharpness_ratio 1": {"stopping": "combined", "sharpness_ratio": 1.0},
                "combined, fully_explained 0.98": {"stopping": "combined", "fully_explained": 0.98},
            },
        ),
    ),
    tasks=tuple(CORRUPTIONS),
    possible=tuple(CORRUPTIONS),
)

# The study in DIIP's paper has 1500 iterations at a rate of 0.0015. One image: the full gradient takes minutes for it.
TWO_PHASE = Protocol(
    entries=(
        Entry("DIIP, detached", _always(settings_named("diip", {"stride": 200}, "paper")), ("paper",), 1),
        Entry(
            "DIIP, full", _always(settings_named("diip", {"stride": 200, "gradient": "full"}, "paper")), ("paper",), 1
        ),
        Entry("DIP", _always(DIPSettings(max_iterations=1500)), ("budget",), 1),
    ),
    tasks=("noise", "blur", "jpeg", "blur_noise_jpeg"),
    possible=tuple(CORRUPTIONS),
    curves=True,
)

PROTOCOLS = {
    "quality": QUALITY,
    "bird": BLIND,
    "methods": METHODS,
    "dreamclean": DREAMCLEAN,
    "ablations": ABLATIONS,
    "rules": RULES,
    "two_phase": TWO_PHASE,
}
