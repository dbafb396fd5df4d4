"""Stopping rules replayed on trajectories, quality with confidence intervals, and the table as markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.evaluate.trajectories import Trajectory
from diip_jax.metrics import kernel_correlation, mean_interval, psnr, ssim
from diip_jax.stopping import Observation, StoppingRule


@dataclass(frozen=True)
class Row:
    """One line of a table: the quality of n images.

    Attributes:
        task, method: what was restored, and how.
        psnr, ssim: per image, dB and 1.
        distance: per image, PSNR of the restored image to the degraded one (a copy of the input is no restoration).
        k: per image, the iterate that was returned; empty where that means nothing.
        stopped: share of the images whose rule fired within the trajectory; for the oracle stop, share of those whose
            best iterate is not the last.
        kernel: per image, correlation of the estimated blur kernel with the true one; empty where there is none.
    """

    task: str
    method: str
    psnr: list[float]
    ssim: list[float]
    distance: list[float]
    k: list[int]
    stopped: float = 1.0
    kernel: list[float] = field(default_factory=list)


def replay(rule: StoppingRule, run: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """What a rule that returns an iterate would have done on a trajectory.

    Returns:
        selected `[n]`, the iterate it returns (the last one of the trajectory where it never fires), and fired `[n]`.
    """

    def one(loss: jax.Array, sharpness: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Rules that return an iterate decide from scalars alone: an empty image does.
        image = jnp.zeros((1, 1, 3))

        def step(carry, seen):
            state, selected, fired = carry
            k, loss_k, sharpness_k = seen
            state, verdict = rule.update(state, Observation(k, loss_k, sharpness_k, image))
            selected = jnp.where(fired, selected, jnp.where(verdict.stop, verdict.selected, k))
            return (state, selected, fired | verdict.stop), None

        start = (rule.init(image), jnp.int32(0), jnp.bool_(False))
        (_, selected, fired), _ = jax.lax.scan(step, start, (jnp.arange(len(loss)), loss, sharpness))
        return selected, fired

    selected, fired = jax.jit(jax.vmap(one))(jnp.asarray(run.loss), jnp.asarray(run.laplacian_variance))
    return np.asarray(selected), np.asarray(fired)


def oracle(run: Trajectory) -> np.ndarray:
    """The iterate of the highest PSNR, `[n]`: what no rule that does not know the clean image can beat."""
    pairs = zip(run.iterates, run.clean, strict=True)
    return np.array([np.argmin(((images.astype(np.float64) - clean) ** 2).mean((1, 2, 3))) for images, clean in pairs])


def row(
    task: str, method: str, images: np.ndarray, run: Trajectory, k: np.ndarray | None = None, stopped: float = 1.0
) -> Row:
    """The quality of uint8 images against the clean ones of a trajectory."""
    signed = [[a.astype(np.float64) / 127.5 - 1 for a in stack] for stack in (images, run.clean, run.y)]
    return Row(
        task,
        method,
        [psnr(a, b) for a, b in zip(signed[0], signed[1], strict=True)],
        [ssim(a, b) for a, b in zip(signed[0], signed[1], strict=True)],
        [psnr(a, b) for a, b in zip(signed[0], signed[2], strict=True)],
        [] if k is None else k.tolist(),
        stopped,
    )


def rows_of(
    task: str,
    name: str,
    run: Trajectory,
    rules: Mapping[Any, StoppingRule],
    true_kernels: Sequence[np.ndarray | None] = (),
) -> list[Row]:
    """The rows of a trajectory: each rule, then the oracle stop; with the kernel's where one is estimated and known."""
    every = np.arange(len(run.y))
    stops = {rule_name: replay(rule, run) for rule_name, rule in rules.items()}
    best = oracle(run)
    stops["oracle stop"] = best, best < run.iterates.shape[1] - 1
    rows = []
    for stop, (k, stopped) in stops.items():
        quality = row(task, f"{name}, {stop}", run.iterates[every, k], run, k, float(stopped.mean()))
        if run.kernels is not None:
            pairs = zip(run.kernels[every, k], true_kernels, strict=True)
            quality.kernel.extend(kernel_correlation(found, true) for found, true in pairs if true is not None)
        rows.append(quality)
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table: mean and 95 % bootstrap interval."""
    lines = [
        "| task | method | PSNR (dB) | SSIM | PSNR to input (dB) | median iterate | stopped before the end |",
        "|---|---|---|---|---|---|---|",
    ]
    kernels = any(r.kernel for r in rows)
    if kernels:
        lines = [lines[0] + " kernel correlation |", lines[1] + "---|"]
    for r in rows:
        low, high = mean_interval(r.psnr)
        s_low, s_high = mean_interval(r.ssim)
        distance = "-" if np.isinf(r.distance).all() else f"{np.mean(r.distance):.2f}"
        k, fired = (f"{np.median(r.k):.0f}", f"{100 * r.stopped:.0f} %") if r.k else ("-", "-")
        lines.append(
            f"| {r.task} | {r.method} | {np.mean(r.psnr):.2f} [{low:.2f}, {high:.2f}] "
            f"| {np.mean(r.ssim):.3f} [{s_low:.3f}, {s_high:.3f}] | {distance} | {k} | {fired} |"
            + (f" {_kernel(r)} |" if kernels else "")
        )
    return "\n".join(lines) + "\n"


def _kernel(r: Row) -> str:
    if not r.kernel:
        return "-"
    low, high = mean_interval(r.kernel)
    return f"{np.mean(r.kernel):.2f} [{low:.2f}, {high:.2f}]"
