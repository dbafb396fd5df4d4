"""Stopping rules replayed on trajectories, quality with confidence intervals, and the table as markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.evaluate.trajectories import Trajectory
from diip_jax.metrics import kernel_correlation, mean_interval, psnr, ssim
from diip_jax.stopping import Observation, StoppingRule, Verdict, budget, first_of


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


class Replay(NamedTuple):
    """What a rule does on the n images of a trajectory.

    Attributes:
        selected: `[n]`, the iterate it returns, or up to which it averages; the last one where it never fires.
        fired: `[n]`, whether it fires before the trajectory ends.
        images: `[n, H, W, C]` uint8, what it returns.
    """

    selected: np.ndarray
    fired: np.ndarray
    images: np.ndarray


def replay(rule: StoppingRule, run: Trajectory) -> Replay:
    """What a rule does on a trajectory, whose end is the iteration budget.

    A rule that looks at images sees the iterates as they were kept, with 8 bits, and y as the method was given it.
    """
    length = run.iterates.shape[1]
    whole = first_of(rule, budget(length))

    def one(given: tuple[jax.Array, ...]) -> Verdict:
        iterates, loss, sharpness, y = given

        def step(carry: tuple[Any, Verdict, jax.Array]) -> tuple[Any, Verdict, jax.Array]:
            state, _, k = carry
            state, verdict = whole.update(state, Observation(k, loss[k], sharpness[k], _signed(iterates[k])))
            return state, verdict, k + 1

        first = _signed(iterates[0])
        start = Verdict(jnp.bool_(False), jnp.int32(0), jnp.int32(0), first)
        return jax.lax.while_loop(
            lambda carry: ~carry[1].stop, step, (whole.init(first, _signed(y)), start, jnp.int32(0))
        )[1]

    given = (run.iterates, run.loss, run.laplacian_variance, run.y if run.observation is None else run.observation)
    verdict = jax.jit(lambda given: jax.lax.map(one, given))(given)
    fired = [whole.names[reason] != "budget" for reason in verdict.reason]
    images = np.rint((np.clip(verdict.image, -1, 1) + 1) * 127.5).astype(np.uint8)
    return Replay(np.asarray(verdict.selected), np.array(fired), images)


def _signed(image: jax.Array) -> jax.Array:
    return image.astype(jnp.float32) / 127.5 - 1


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
    every, best = np.arange(len(run.y)), oracle(run)
    stops = {f"{rule_name}": replay(rule, run) for rule_name, rule in rules.items()}
    stops["oracle stop"] = Replay(best, best < run.iterates.shape[1] - 1, run.iterates[every, best])
    rows = []
    for stop, (k, fired, images) in stops.items():
        quality = row(task, f"{name}, {stop}", images, run, k, float(fired.mean()))
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
