"""Image files in, restored files and records out: batch by batch, a failure costing no other image."""

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from diip_jax.images import ImageError, fit_to_size, placed, read_image
from diip_jax.launch.console import Console
from diip_jax.launch.known_data import read_mask
from diip_jax.launch.output_files import Loaded, Pixels, Snapshot, blended, write_outputs, write_pixels
from diip_jax.launch.plan import Job, Run, file_sha256, finished, snapshot_ending
from diip_jax.plugs.monitors import psnr
from diip_jax.prior import Prior
from diip_jax.restore import View, every, restore
from diip_jax.solve.loop import Saved


@dataclass
class Tally:
    """How many images of a run were restored, skipped because they are finished, and failed."""

    restored: int = 0
    skipped: int = 0
    failed: int = 0


def load(job: Job, run: Run, prior: Prior) -> Loaded:
    """Reads a job's input, mask and reference at the sizes that the prior and the operator want. Raises ImageError."""
    scale, margin = run.operator.scale, run.operator.margin
    height, width, _ = run.operator.y_shape(prior.image_shape)
    image = read_image(job.path, (height, width))
    if run.strip_metadata:
        image = dataclasses.replace(image, icc=None, exif=None)
    observed = fit_to_size(image, height, width, run.resize)
    fitted = placed(observed, scale, margin)
    clean = None
    if job.reference is not None:
        clean_size = (scale * height, scale * width)
        reference = fit_to_size(read_image(job.reference, clean_size), *clean_size, run.resize)
        reference = placed(reference, 1, margin)
        if reference.content != fitted.content:
            raise ImageError(job.reference, f"has another aspect than {job.path}; give the clean picture of that image")
        clean = _channels(reference.rgb, prior)
    mask = None if job.mask is None else read_mask(job.mask, image, height, width, run.resize)
    # Of the picture at its own size only the facts are needed from here on: a view of one number stands in for it, or a
    # batch of large photographs would fill the memory.
    facts = dataclasses.replace(image, rgb=np.broadcast_to(np.float32(0), image.rgb.shape), alpha=None)
    return Loaded(
        job,
        facts,
        fitted,
        _channels(fitted.rgb, prior),
        _channels(observed.rgb, prior),
        clean,
        mask,
        file_sha256(job.path),
        file_sha256(job.reference) if job.reference else None,
        file_sha256(job.mask) if job.mask else None,
    )


def _channels(rgb: Pixels, prior: Prior) -> Pixels:
    """rgb as it is, or its Rec. 601 grey where the prior has one channel."""
    if prior.model.in_channels == 3:
        return rgb
    return (rgb @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]


def restore_files(jobs: Sequence[Job], run: Run, prior: Prior, console: Console, tally: Tally) -> None:
    """Restores every job and writes its files as soon as its batch ends; counts in `tally`, also when interrupted."""
    at_once = max(1, min(run.batch_size // run.samples, len(jobs)))
    # The same for every batch, also for a smaller last one, which is padded: another size is another program.
    run = dataclasses.replace(run, batch_size=min(run.batch_size, at_once * run.samples))
    console.start(len(jobs), run.max_iterations, run.batch_size / run.samples)
    try:
        batch: list[Loaded] = []
        # A batch is filled up past images that are skipped or cannot be read: padding is lost time on an accelerator.
        for item in _to_restore(jobs, run, prior, console, tally):
            batch.append(item)
            if len(batch) == at_once:
                _restore_batch(batch, run, prior, console, tally)
                batch = []
        if batch:
            _restore_batch(batch, run, prior, console, tally)
    finally:
        console.close()


def _to_restore(jobs: Sequence[Job], run: Run, prior: Prior, console: Console, tally: Tally) -> Iterator[Loaded]:
    for job in jobs:
        try:
            if run.skip_existing:
                skip, why = finished(job, run, prior)
                if skip:
                    tally.skipped += 1
                    console.image_done()
                    console.line(f"{job.path}: skipped, {job.output('.json')} is finished")
                    continue
                if why:
                    console.line(f"{job.path}: restored again, {job.output('.png')} was {why}")
            item = load(job, run, prior)
        except Exception as error:  # whatever is wrong with one file, the others are restored
            _fail(job, error, run, console, tally)
        else:
            yield item


def _fail(job: Job, error: Exception, run: Run, console: Console, tally: Tally) -> None:
    tally.failed += 1
    console.image_done()
    console.error(explain(job, error, run))


def explain(job: Job, error: Exception, run: Run) -> str:
    """One line on why a job failed."""
    if isinstance(error, ImageError):
        return str(error)
    text = (str(error).strip().splitlines() or [""])[0][:300]
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower():
        smaller = "use --dtype=bfloat16 or a smaller prior"
        remedy = f"lower --batch_size={run.batch_size}" if run.batch_size > 1 else smaller
        return f"{job.path}: out of memory; {remedy}"
    return f"{job.path}: {type(error).__name__}: {text}"


def _restore_batch(batch: list[Loaded], run: Run, prior: Prior, console: Console, tally: Tally) -> None:
    known = _known(batch, run)
    compiling = _compile_intervals()
    compiling.clear()
    saved: dict[tuple[int, int], Snapshot] = {}
    console.batch_started()
    began = time.monotonic()
    try:
        look = every(_look_every(run.save_every), functools.partial(_look, batch, run, console, saved))
        save: Saved = ("loss", "laplacian_variance", *run.estimates, *([psnr] if "clean" in known else []))
        result = restore(
            run.method.method(prior),
            np.stack([item.y for item in batch]),
            known or None,
            seed=run.seed,
            samples=run.samples,
            batch_size=run.batch_size,
            save=save,
            callback=look,
        )
    except Exception as error:  # out of memory, a full disk under the snapshots, a fault: the other batches go on
        for item in batch:
            _fail(item.job, error, run, console, tally)
        return
    compiled = _covered(compiling)
    seconds = {
        "seconds": round((time.monotonic() - began - compiled) / len(batch), 3),
        "compile_seconds": round(compiled, 3),
    }
    for n, item in enumerate(batch):
        try:
            snapshots = [shot for (pair, _), shot in sorted(saved.items()) if pair // run.samples == n]
            console.line(write_outputs(item, n, result, run, prior, seconds, snapshots))
        except Exception as error:
            _fail(item.job, error, run, console, tally)
        else:
            tally.restored += 1
            console.image_done()


def _known(batch: list[Loaded], run: Run) -> dict[str, np.ndarray]:
    """What is known of the images of a batch beside themselves: "clean", "mask", "kernel"."""
    clean = [item.clean for item in batch if item.clean is not None]
    masks = [item.mask for item in batch if item.mask is not None]
    kernels = [] if run.kernel is None else [run.kernel.values] * len(batch)
    given: dict[str, Any] = {"clean": clean, "mask": masks, "kernel": kernels}
    return {name: np.stack(values) for name, values in given.items() if values}


def _look_every(save_every: int) -> int:
    """Iterations between two looks at a running batch: a divisor of `save_every`, so that no snapshot is missed.

    On a CPU an iteration of a real prior takes a good part of a second and a look at it about a millisecond, so every
    one is looked at (an interrupt is felt only then, too); an accelerator is asked every tenth.
    """
    usual = 1 if jax.default_backend() == "cpu" else 10
    return max(n for n in range(1, usual + 1) if save_every % n == 0)


def _look(batch: list[Loaded], run: Run, console: Console, saved: dict[tuple[int, int], Snapshot], seen: View) -> None:
    """What happens at every look at a running batch: the bar moves, due snapshots are written."""
    if run.save_every:
        # What an image that has stopped would show is the iterate that its rule chose, not its last one.
        due = {
            (pair, int(k)): n
            for n, (pair, k, stopped) in enumerate(zip(seen.running, seen.iterations, seen.stopped, strict=True))
            if k % run.save_every == 0 and not stopped
        }
        images = seen.current() if due.keys() - saved.keys() else np.empty(0)
        for pair, k in sorted(due.keys() - saved.keys()):
            item, sample = batch[pair // run.samples], pair % run.samples
            # It would speak of snapshots that are no longer its own.
            item.job.output(".json").unlink(missing_ok=True)
            ending = snapshot_ending(run, sample, k)
            write_pixels(item, ending, blended(images[due[pair, k]], item, run))
            saved[pair, k] = Snapshot(item.job.output(ending).name, sample, k)
    before, after = seen.running.start / run.samples, seen.running.stop / run.samples
    console.batch_at(int(seen.iterations.max()), before, after, bool(seen.stopped.all()))


@functools.cache
def _compile_intervals() -> list[tuple[float, float]]:
    """Beginnings and ends of JAX's tracing, lowering and compiling, on `time.monotonic`; one list, ever growing."""
    intervals: list[tuple[float, float]] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            intervals.append((time.monotonic() - duration_secs, time.monotonic()))

    jax.monitoring.register_event_duration_secs_listener(listen)
    return intervals


def _covered(intervals: list[tuple[float, float]]) -> float:
    """Length of the union: traces nest, and would count twice in a sum."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
