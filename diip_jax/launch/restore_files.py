"""Image files in, restored files and records out: one by one as they are ready, a failure costing no other image.

Files are read and decoded ahead of the devices and encoded and written behind them, in threads; what is held does not
grow with the number of files.
"""

import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diip_jax import distribute
from diip_jax.images import ImageError, fit_to_size, placed, read_image
from diip_jax.launch.console import Console
from diip_jax.launch.failures import DiskFull, cause_of, explain, no_room
from diip_jax.launch.files import Files
from diip_jax.launch.known_data import read_mask
from diip_jax.launch.output_files import Loaded, Pixels, Snapshot, blended, write_outputs, write_pixels
from diip_jax.launch.plan import Job, Run, file_sha256, finished, snapshot_ending
from diip_jax.plugs.monitors import psnr
from diip_jax.prior import Prior
from diip_jax.priors import Windowed
from diip_jax.run.pace import Pace, divisor
from diip_jax.run.pipeline import Ahead, Behind
from diip_jax.run.summary import Summary
from diip_jax.solve import refill
from diip_jax.solve.loop import Saved, State
from diip_jax.solve.problem import Result
from diip_jax.stream import Given, Restored, restore_each

# Pictures that keep their size are filled up to multiples of this, and go through a local network in windows of at most
# so many pixels a side, whose activations take some hundred MB; through others in windows of what they were trained on.
_STEP, _WINDOW = 64, 512


def load(job: Job, run: Run, prior: Prior, files: Files) -> Loaded:
    """Reads a job's input, mask and reference at the sizes that the prior and the operator want. Raises ImageError."""
    scale, margin = run.operator.scale, run.operator.margin
    if run.resize == "keep":
        image = read_image(job.path)
        height, width = (_bucket(side, scale, margin, prior) for side in image.size)
    else:
        height, width, _ = run.operator.y_shape(prior.image_shape)
        image = read_image(job.path, (height, width))
    if run.strip_metadata:
        image = dataclasses.replace(image, icc=None, exif=None, xmp=None)
    observed = fit_to_size(image, height, width, run.resize)
    fitted = placed(observed, scale, margin)
    clean = None
    if job.reference is not None:
        clean_size = (scale * height, scale * width)
        reduced_to = None if run.resize == "keep" else clean_size
        reference = fit_to_size(read_image(job.reference, reduced_to), *clean_size, run.resize)
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
        files.named(job),
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


def _bucket(side: int, scale: int, margin: int, prior: Prior) -> int:
    """The side of the observation that a picture is filled up to: few sizes, so that a folder compiles few programs."""
    step = math.lcm(_STEP, prior.size_multiple)
    return (math.ceil((scale * side + 2 * margin) / step) * step - 2 * margin) // scale


def _channels(rgb: Pixels, prior: Prior) -> Pixels:
    """rgb as it is, or its Rec. 601 grey where the prior has one channel."""
    if prior.model.in_channels == 3:
        return rgb
    return (rgb @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]


@dataclass(frozen=True)
class _Read:
    """What was found of a job: its files, or that it is finished; what an earlier run differed in; bytes read."""

    item: Loaded | None
    why: str | None
    bytes: int = 0


def restore_files(
    jobs: Sequence[Job],
    run: Run,
    prior: Prior,
    console: Console,
    summary: Summary,
    files: Files,
    seeds: Mapping[Path, int] | None = None,
) -> None:
    """Restores every job and writes its files as soon as it has ended; counts in `summary`, also when interrupted.

    Args:
        files: where inputs come from and outputs go to.
        seeds: of inputs that have their own.

    Raises:
        DiskFull: after what had been restored until then is written, as far as there was room.
    """
    # No more than there are; the same for all of them: another number is another program.
    run = dataclasses.replace(run, batch_size=min(run.batch_size, len(jobs) * run.samples))
    console.start(len(jobs), run.max_iterations * run.samples)
    save: Saved = ("loss", "laplacian_variance", *run.estimates, *([psnr] if jobs[0].reference else []))
    work = _Work(run, files, seeds or {}, prior, save, console, summary)
    ahead = Ahead(work.read, jobs, threads=min(4, len(jobs)), room=2 * run.batch_size + 4)
    try:
        with warnings.catch_warnings():
            # It is about arrays of 0 to 1: what comes from a file is in [-1, 1], however bright.
            warnings.filterwarnings("ignore", "images hold no value below 0", UserWarning)
            work.restore(ahead)
    finally:
        # What has ended is written, whatever ends the run.
        ahead.close()
        try:
            work.behind.close()
        finally:
            console.close()


class _Work:
    """The images of a run on their way; methods run in the caller's thread unless they say otherwise."""

    def __init__(
        self,
        run: Run,
        files: Files,
        seeds: Mapping[Path, int],
        prior: Prior,
        save: Saved,
        console: Console,
        summary: Summary,
    ) -> None:
        self._files, self._seeds = files, seeds
        self._run, self._prior, self._save, self._console, self._summary = run, prior, save, console, summary
        self._items: dict[Job, Loaded] = {}
        self._snapshots: dict[Job, dict[tuple[int, int], Snapshot]] = {}
        self.behind: Behind[tuple[Loaded, Restored], tuple[str, int]] = Behind(self._write, self._written, room=4)

    def _run_of(self, job: Job) -> Run:
        """The run as this job alone would have it."""
        return dataclasses.replace(self._run, seed=self._seeds.get(job.path, self._run.seed))

    def read(self, job: Job) -> _Read:
        """In a thread: what is to be done with a job, and its files."""
        run = self._run_of(job)
        try:
            self._files.bring(job, run)
            skip, why = finished(job, run, self._prior, self._files.whole) if run.skip_existing else (False, None)
            if skip:
                return _Read(None, None)
            item = load(job, run, self._prior, self._files)
            files = (job.path, job.reference, job.mask)
            return _Read(item, why, sum(file.stat().st_size for file in files if file))
        finally:
            self._files.loaded(job, run)

    def restore(self, ahead: Ahead[Job, _Read]) -> None:
        """All jobs, from their files to their outputs."""
        run, devices = self._run, distribute.device_mesh(self._run.batch_size).size
        compiling = _compile_intervals()
        compiling.clear()
        in_turn = -(-run.batch_size // devices) if jax.default_backend() == "cpu" else 1
        pace = Pace(self._summary.use, devices, in_turn)

        def piece() -> int:
            self._console.iterations_done(self._summary.use.iterations)
            self._summary.progress()
            self.behind.tell()
            return divisor(pace(), run.save_every)

        prior: Prior | Windowed = self._prior
        if run.resize == "keep":
            prior = Windowed(self._prior, _WINDOW if self._prior.local else None)
        for of_one_size in _by_shape(self._observations(ahead)):
            ended = restore_each(
                run.method.method(prior),
                of_one_size,
                seed=run.seed,
                samples=run.samples,
                batch_size=run.batch_size,
                save=self._save,
                piece=piece,
                look=self._look if run.save_every else None,
                use=self._summary.use,
            )
            for one in ended:
                self._ended(one)

    def _observations(self, ahead: Ahead[Job, _Read]) -> Iterator[Given | None]:
        for ready in ahead:
            if ready is None:
                yield None
                continue
            job, future = ready
            try:
                read = future.result()
            except Exception as error:  # whatever is wrong with one file, the others are restored
                self._fail(job, error, "input")
                continue
            record, output = job.output(".json"), job.output(".png")
            if read.item is None:
                self._summary.skipped += 1
                self._console.image_done()
                self._console.line(self._files.shown(f"{job.path}: skipped, {record} is finished"))
                continue
            if read.why:
                self._console.line(self._files.shown(f"{job.path}: restored again, {output} was {read.why}"))
            self._items[job] = read.item
            self._summary.bytes_read += read.bytes
            yield Given(job, read.item.y, _known(read.item, self._run), self._seeds.get(job.path))

    def _ended(self, one: Restored) -> None:
        item = self._items.pop(one.name)
        if one.fault is not None:
            self._snapshots.pop(one.name, None)
            self._fail(item.job, one.fault, "device")
        else:
            self.behind.put((item, one))

    def _write(self, ended: tuple[Loaded, Restored]) -> tuple[str, int]:
        """In a thread: the files of an image; the line that says so, and their bytes."""
        item, one = ended
        shots = [shot for _, shot in sorted(self._snapshots.pop(item.job, {}).items())]
        compiled = _covered(_within(_compile_intervals(), one.began, one.ended))
        at_once = self._run.batch_size / self._run.samples
        seconds = {
            "seconds": round((one.ended - one.began - compiled) / max(1.0, at_once), 3),
            "compile_seconds": round(compiled, 3),
        }
        assert one.solution is not None
        line = write_outputs(item, 0, one.solution, self._run_of(item.job), self._prior, seconds, shots)
        size = sum(output.stat().st_size for output in item.job.outputs(self._run))
        self._files.publish(item.job, self._run)
        return line, size

    def _written(self, ended: tuple[Loaded, Restored], future: Future[tuple[str, int]]) -> None:
        item, one = ended
        try:
            line, size = future.result()
        except Exception as error:
            self._fail(item.job, error, "output")
            return
        assert one.solution is not None
        self._summary.restored += 1
        self._summary.bytes_written += size
        self._summary.evaluations += int(one.solution.stats["evaluations"].sum())
        self._console.image_done(int(one.solution.stats["iterations"].sum()))
        self._console.line(self._files.shown(line))

    def _fail(self, job: Job, error: Exception, stage: str) -> None:
        self._summary.failures[cause_of(error, stage)] += 1
        self._console.image_done()
        self._console.error(self._files.shown(explain(job, error, self._run)))
        if no_room(error):
            raise DiskFull(self._files.shown(str(self._run.output_dir))) from error

    def _look(self, state: State, where: np.ndarray, who: list[tuple[Job, int]]) -> np.ndarray | None:
        """Writes the snapshots that are due. Raises ImageError where that fails."""
        counts, running = np.asarray(state.k)[where], np.asarray(state.result)[where] == Result.RUNNING
        due = [
            (n, int(k), *pair)
            for n, (k, goes_on, pair) in enumerate(zip(counts, running, who, strict=True))
            # What an image that has stopped would show is the iterate that its rule chose, not its last one.
            if goes_on
            and k
            and k % self._run.save_every == 0
            and (pair[1], int(k)) not in self._snapshots.get(pair[0], {})
        ]
        images = np.clip(np.asarray(state.chosen.image)[where], -1, 1) if due else np.empty(0)
        for n, k, job, sample in due:
            item = self._items[job]
            # It would speak of snapshots that are no longer its own.
            job.output(".json").unlink(missing_ok=True)
            ending = snapshot_ending(self._run, sample, k)
            write_pixels(item, ending, blended(images[n], item, self._run))
            self._snapshots.setdefault(job, {})[sample, k] = Snapshot(job.output(ending).name, sample, k)
        return None


def _by_shape(observations: Iterator[Given | None]) -> Iterator[Iterator[Given | None]]:
    """Runs of observations of one shape: each of them one program."""
    held: list[Given] = []

    def of_one_size() -> Iterator[Given | None]:
        shape = held[0].y.shape
        yield held.pop()
        for given in observations:
            if given is not None and given.y.shape != shape:
                held.append(given)
                return
            yield given

    for first in observations:
        if first is None:
            time.sleep(refill.PATIENCE)
            continue
        held.append(first)
        while held:
            yield of_one_size()


def _known(item: Loaded, run: Run) -> dict[str, np.ndarray] | None:
    """What is known of an image beside itself: "clean", "mask", "kernel"."""
    given: dict[str, Any] = {"clean": item.clean, "mask": item.mask, "kernel": run.kernel and run.kernel.values}
    return {name: value for name, value in given.items() if value is not None} or None


def _within(intervals: Sequence[tuple[float, float]], began: float, ended: float) -> list[tuple[float, float]]:
    return [(max(begin, began), min(end, ended)) for begin, end in list(intervals) if end > began and begin < ended]


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
