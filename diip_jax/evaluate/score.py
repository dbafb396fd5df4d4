"""Scores: stopping rules replayed on every iterate of a run, and the rows of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.evaluate.run import Run
from diip_jax.evaluate.task import Task
from diip_jax.metrics import kernel_correlation, lpips, psnr, ssim
from diip_jax.pixels import from_uint8, to_uint8
from diip_jax.plugs.rules import Candidate, Observation, Rule, Verdict

# Of one seed whole numbers, of several their means.
PerImage: TypeAlias = list[int] | list[float]


@dataclass(frozen=True)
class Row:
    """One line of a table: the quality of n images, and what they cost.

    Lists are per image, of several seeds the means over them, and empty where there is no such value.

    Attributes:
        task, method: what was restored, and how.
        psnr, ssim: dB and 1.
        distance: PSNR of the restored image to the degraded one (a copy of the input is no restoration).
        k: the iterate that was returned.
        stopped: share of the images whose rule fired within the run; for an oracle stop, share of those whose best
            iterate is not the last.
        kernel: correlation of the estimated blur kernel with the true one.
        lpips: LPIPS (AlexNet), where it was asked for.
        psnr_gap, lpips_gap: by how much PSNR (dB) is below, and LPIPS above, that of the run's best iterate; below 0
            where the mean of several iterates beats all of them.
        iterations: iterates evaluated until the stop; an oracle cannot stop.
        seconds, evaluations: wall time and network evaluations until there, see `Run`.
        memory_bytes: see `Run`, the largest.
        seed_spread: standard deviation over the seeds of the mean PSNR, dB; None where there was one seed.
    """

    task: str
    method: str
    psnr: list[float]
    ssim: list[float]
    distance: list[float]
    k: PerImage = field(default_factory=list)
    stopped: float = 1.0
    kernel: list[float] = field(default_factory=list)
    lpips: list[float] = field(default_factory=list)
    psnr_gap: list[float] = field(default_factory=list)
    lpips_gap: list[float] = field(default_factory=list)
    iterations: PerImage = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    evaluations: PerImage = field(default_factory=list)
    memory_bytes: int | None = None
    seed_spread: float | None = None


class Replay(NamedTuple):
    """What a rule does on the n images of a run.

    Attributes:
        selected: `[n]`, the iterate it returns, or up to which it averages; the last one where it never fires.
        fired: `[n]`, whether it fires before the run ends.
        images: `[n, H, W, C]` uint8, what it returns.
        iterations: `[n]`, how many iterates it has seen by then; None for an oracle, which sees all and cannot stop.
    """

    selected: np.ndarray
    fired: np.ndarray
    images: np.ndarray
    iterations: np.ndarray | None = None


def replay(rule: Rule, run: Run, seen: np.ndarray) -> Replay:
    """What a rule does on a run, whose end is the iteration budget.

    It is shown the observations `seen`, see `Restorer.seen`. One that looks at images sees the iterates as they were
    kept, with 8 bits.
    """
    (fired, _, chosen), iterations = _replayed(rule, (run.images, run.loss, run.laplacian_variance, seen))
    return Replay(np.asarray(chosen.k), np.asarray(fired), to_uint8(chosen.image), np.asarray(iterations))


@jax.jit
def _replayed(rule: Rule, given: tuple[Any, ...]) -> tuple[Verdict, jax.Array]:
    """(the verdict, iterates seen by then) on every image of a run; stopped by the rule, or by its end."""

    def one(given: tuple[Any, ...]) -> tuple[Verdict, jax.Array]:
        iterates, loss, sharpness, observed = given

        def step(carry: tuple[Any, Verdict, jax.Array]) -> tuple[Any, Verdict, jax.Array]:
            state, _, k = carry
            return *rule.judge(state, Observation(k, loss[k], sharpness[k], from_uint8(iterates[k]))), k + 1

        first = Candidate(jnp.int32(-1), from_uint8(iterates[0]))
        nothing = Verdict(jnp.bool_(False), jnp.int32(0), first)
        start = rule.start(first, observed), nothing, jnp.int32(0)
        return jax.lax.while_loop(lambda carry: ~carry[1].stop & (carry[2] < len(loss)), step, start)[1:]

    return jax.lax.map(one, given)


def psnrs(run: Run, clean: np.ndarray) -> np.ndarray:
    """PSNR of every image of a run, `[n, K]` in dB; there may be more clean images than the run has."""
    pairs = zip(run.images, clean[: len(run.images)], strict=True)
    return np.array([[psnr(image, truth) for image in images] for images, truth in pairs])


def oracle(run: Run, clean: np.ndarray) -> np.ndarray:
    """The iterate of the highest PSNR, `[n]`: what no rule that does not know the clean image can beat."""
    return psnrs(run, clean).argmax(axis=1)


def quality(task: Task, method: str, images: np.ndarray, perceptual: bool = False) -> Row:
    """The row of restored images `[n, H, W, C]` uint8, with LPIPS where that is asked for."""
    pairs = list(zip(images, task.clean, strict=True))
    decibels, similarity = ([metric(*pair) for pair in pairs] for metric in (psnr, ssim))
    distance = [psnr(image, y) for image, y in zip(images, task.y, strict=True)]
    perceived = [lpips(*pair) for pair in pairs] if perceptual else []
    return Row(task.name, method, decibels, similarity, distance, lpips=perceived)


def score(
    task: Task,
    name: str,
    run: Run,
    rules: Mapping[str, Rule] | None = None,
    seen: np.ndarray | None = None,
    perceptual: bool = False,
) -> list[Row]:
    """The rows of a run: that of its last images; where there are rules each one's, and then those of the oracle stops.

    "oracle stop" returns the iterate of the highest PSNR. Where the run has LPIPS, "LPIPS oracle stop" returns that of
    the lowest. Rules are of a run of iterates, and are shown `seen`, see `replay`; None: y.
    """
    if not rules:
        return [replace(quality(task, name, run.images[:, -1], perceptual), **_cost(run, np.full(len(task), -1)))]
    seen = from_uint8(task.y) if seen is None else seen
    every, last = np.arange(len(task)), run.images.shape[1] - 1
    stops = {stop: replay(rule, run, seen) for stop, rule in rules.items()}
    best = {"oracle stop": oracle(run, task.clean)}
    if run.lpips is not None:
        best["LPIPS oracle stop"] = run.lpips.argmin(axis=1)
    stops |= {stop: Replay(k, k < last, run.images[every, k]) for stop, k in best.items()}
    rows = {}
    for stop, (k, fired, images, iterations) in stops.items():
        told: dict[str, Any] = {"k": k.tolist(), "stopped": float(fired.mean())}
        if run.kernels is not None and "kernel" in task.known:
            found = zip(run.kernels[every, k], task.known["kernel"], strict=True)
            told["kernel"] = [kernel_correlation(*pair) for pair in found]
        if iterations is not None:
            told |= {"iterations": iterations.tolist(), **_cost(run, iterations - 1)}
        rows[stop] = replace(quality(task, f"{name}, {stop}", images, perceptual), **told)
    for stop in rules:
        gaps = {"psnr_gap": np.subtract(rows["oracle stop"].psnr, rows[stop].psnr).tolist()}
        if run.lpips is not None:
            gaps["lpips_gap"] = np.subtract(rows[stop].lpips, rows["LPIPS oracle stop"].lpips).tolist()
        rows[stop] = replace(rows[stop], **gaps)
    return list(rows.values())


def _cost(run: Run, k: np.ndarray) -> dict[str, Any]:
    """What it cost to get to iterate k of each image, as a row has it."""
    every = np.arange(len(k))
    memory = None if run.memory_bytes is None else int(run.memory_bytes.max())
    seconds, evaluations = run.seconds[every, k].tolist(), run.evaluations[every, k].tolist()
    return {"seconds": seconds, "evaluations": evaluations, "memory_bytes": memory}


def pooled(rows: Sequence[Row]) -> Row:
    """One row of the same images and method under several seeds; a single one is left as it is."""
    if len(rows) == 1:
        return rows[0]
    # What is per image, and the share of stopped images; the rest is of the method.
    names = [name for name, value in vars(rows[0]).items() if isinstance(value, list | float)]
    means: dict[str, Any] = {name: np.mean([getattr(row, name) for row in rows], axis=0).tolist() for name in names}
    return replace(rows[0], **means, seed_spread=float(np.std([np.mean(row.psnr) for row in rows], ddof=1)))
