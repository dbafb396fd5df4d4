"""Stopping rules replayed on trajectories, and the rows of a table: the quality and the cost of restored images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.evaluate.costs import Cost
from diip_jax.evaluate.trajectories import Trajectory
from diip_jax.metrics import kernel_correlation, lpips, psnr, ssim
from diip_jax.plugs.rules import Candidate, Observation, Rule, Verdict


@dataclass(frozen=True)
class Row:
    """One line of a table: the quality of n images, and what they cost.

    Attributes:
        task, method: what was restored, and how.
        psnr, ssim: per image, dB and 1.
        distance: per image, PSNR of the restored image to the degraded one (a copy of the input is no restoration).
        k: per image, the iterate that was returned; empty where that means nothing.
        stopped: share of the images whose rule fired within the trajectory; for an oracle stop, share of those whose
            best iterate is not the last.
        kernel: per image, correlation of the estimated blur kernel with the true one; empty where there is none.
        lpips: per image, LPIPS (AlexNet); empty where it was not asked for.
        psnr_gap: per image, by how many dB the PSNR is below that of the trajectory's best iterate; empty without one.
            Below 0 where the mean of several iterates beats all of them.
        lpips_gap: per image, by how much LPIPS is above that of the trajectory's best iterate; likewise.
        iterations: per image, iterates evaluated until the stop; empty for an oracle, which cannot stop.
        seconds: per image, their time on the machine that measured it, see `diip_jax.evaluate.costs.Cost`.
        evaluations: per image, network evaluations in them.
        memory_bytes: see `diip_jax.evaluate.costs.Cost`.
    """

    task: str
    method: str
    psnr: list[float]
    ssim: list[float]
    distance: list[float]
    k: list[int]
    stopped: float = 1.0
    kernel: list[float] = field(default_factory=list)
    lpips: list[float] = field(default_factory=list)
    psnr_gap: list[float] = field(default_factory=list)
    lpips_gap: list[float] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    memory_bytes: int | None = None

    def at_cost(self, cost: Cost, iterations: Sequence[int]) -> "Row":
        """The row with what so many iterations of each image cost."""
        return replace(
            self,
            iterations=[*iterations],
            seconds=[n * cost.seconds for n in iterations],
            evaluations=[n * cost.evaluations for n in iterations],
            memory_bytes=cost.memory_bytes,
        )


@runtime_checkable
class Judged(Protocol):
    """What restored images are judged by: the clean and the degraded ones, `[n, H, W, C]` uint8."""

    @property
    def clean(self) -> np.ndarray: ...

    @property
    def y(self) -> np.ndarray: ...


class Replay(NamedTuple):
    """What a rule does on the n images of a trajectory.

    Attributes:
        selected: `[n]`, the iterate it returns, or up to which it averages; the last one where it never fires.
        fired: `[n]`, whether it fires before the trajectory ends.
        images: `[n, H, W, C]` uint8, what it returns.
        iterations: `[n]`, how many iterates it has seen by then; None for an oracle, which sees all and cannot stop.
    """

    selected: np.ndarray
    fired: np.ndarray
    images: np.ndarray
    iterations: np.ndarray | None = None


def replay(rule: Rule, run: Trajectory) -> Replay:
    """What a rule does on a trajectory, whose end is the iteration budget.

    A rule that looks at images sees the iterates as they were kept, with 8 bits, and y as the method was given it.
    """
    y = run.y if run.observation is None else run.observation
    verdict, iterations = _replayed(rule, (run.iterates, run.loss, run.laplacian_variance, y, run.masks))
    images = np.rint((np.clip(verdict.chosen.image, -1, 1) + 1) * 127.5).astype(np.uint8)
    return Replay(np.asarray(verdict.chosen.k), np.asarray(verdict.stop), images, np.asarray(iterations))


@jax.jit
def _replayed(rule: Rule, given: tuple[Any, ...]) -> tuple[Verdict, jax.Array]:
    """(the verdict, iterates seen by then) on every image of a trajectory; stopped by the rule, or by its end."""
    length = given[0].shape[1]

    def one(given: tuple[Any, ...]) -> tuple[Verdict, jax.Array]:
        iterates, loss, sharpness, y, mask = given
        observed = _signed(y) if mask is None else jnp.where(mask[..., None], _signed(y), jnp.nan)

        def goes_on(carry: tuple[Any, Verdict, jax.Array]) -> jax.Array:
            return ~carry[1].stop & (carry[2] < length)

        def step(carry: tuple[Any, Verdict, jax.Array]) -> tuple[Any, Verdict, jax.Array]:
            state, _, k = carry
            state, verdict = rule.judge(state, Observation(k, loss[k], sharpness[k], _signed(iterates[k])))
            return state, verdict, k + 1

        first = Candidate(jnp.int32(-1), _signed(iterates[0]))
        nothing = Verdict(jnp.bool_(False), jnp.int32(0), first)
        return jax.lax.while_loop(goes_on, step, (rule.start(first, observed), nothing, jnp.int32(0)))[1:]

    return jax.lax.map(one, given)


def _signed(image: jax.Array) -> jax.Array:
    return image.astype(jnp.float32) / 127.5 - 1


def oracle(run: Trajectory) -> np.ndarray:
    """The iterate of the highest PSNR, `[n]`: what no rule that does not know the clean image can beat."""
    pairs = zip(run.iterates, run.clean, strict=True)
    return np.array([np.argmin(((images.astype(np.float64) - clean) ** 2).mean((1, 2, 3))) for images, clean in pairs])


def row(
    task: str,
    method: str,
    images: np.ndarray,
    run: Judged,
    k: np.ndarray | None = None,
    stopped: float = 1.0,
    perceptual: bool = False,
) -> Row:
    """The quality of uint8 images against the clean ones, with LPIPS where that is asked for."""
    pairs = list(zip(images, run.clean, strict=True))
    return Row(
        task,
        method,
        [psnr(*pair) for pair in pairs],
        [ssim(*pair) for pair in pairs],
        [psnr(image, y) for image, y in zip(images, run.y, strict=True)],
        [] if k is None else k.tolist(),
        stopped,
        lpips=[lpips(*pair) for pair in pairs] if perceptual else [],
    )


def rows_of(
    task: str,
    name: str,
    run: Trajectory,
    rules: Mapping[Any, Rule],
    true_kernels: Sequence[np.ndarray | None] = (),
    cost: Cost | None = None,
) -> list[Row]:
    """The rows of a trajectory: each rule, then the oracle stops.

    "oracle stop" returns the iterate of the highest PSNR. Where the trajectory has LPIPS, "LPIPS oracle stop" returns
    that of the lowest.

    Args:
        rules: by name.
        true_kernels: per image, where the degradation has one; for the correlation of those that were estimated.
        cost: of an iteration.
    """
    every, last = np.arange(len(run.y)), run.iterates.shape[1] - 1
    stops = {rule_name: replay(rule, run) for rule_name, rule in rules.items()}
    best = {"oracle stop": oracle(run)}
    if run.lpips is not None:
        best["LPIPS oracle stop"] = run.lpips.argmin(axis=1)
    stops |= {stop: Replay(k, k < last, run.iterates[every, k]) for stop, k in best.items()}
    rows = {}
    for stop, (k, fired, images, _) in stops.items():
        rows[stop] = row(task, f"{name}, {stop}", images, run, k, float(fired.mean()), run.lpips is not None)
        if run.kernels is not None:
            pairs = zip(run.kernels[every, k], true_kernels, strict=True)
            rows[stop].kernel.extend(kernel_correlation(found, true) for found, true in pairs if true is not None)
    for stop in rules:
        rows[stop] = _with_gaps(rows[stop], rows["oracle stop"], rows.get("LPIPS oracle stop"))
        iterations = stops[stop].iterations
        if cost is not None and iterations is not None:
            rows[stop] = rows[stop].at_cost(cost, iterations.tolist())
    return list(rows.values())


def _with_gaps(quality: Row, best: Row, best_lpips: Row | None) -> Row:
    perceptual = [] if best_lpips is None else np.subtract(quality.lpips, best_lpips.lpips).tolist()
    return replace(quality, psnr_gap=np.subtract(best.psnr, quality.psnr).tolist(), lpips_gap=perceptual)
