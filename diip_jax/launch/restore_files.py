"""Image files in, restored files and records out: one by one as they are ready, a failure costing no other image.

Files are read and decoded ahead of the devices and encoded and written behind them, in threads; what is held does not
grow with the number of files.
"""

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from diip_jax import distribute
from diip_jax.launch.console import Console
from diip_jax.launch.failures import DiskFull, cause_of, explain, no_room
from diip_jax.launch.files import Files
from diip_jax.launch.loading import known, load
from diip_jax.launch.output_files import Loaded, Snapshot, blended, write_outputs, write_pixels
from diip_jax.launch.photographed_faces import PhotographedFaces
from diip_jax.launch.plan import Job, Run, asked_of, finished, snapshot_ending
from diip_jax.plugs.monitors import psnr
from diip_jax.prior import Prior
from diip_jax.priors import Windowed
from diip_jax.run import compile_time, compiler_memory
from diip_jax.run.pace import Pace, divisor
from diip_jax.run.pipeline import Ahead, Behind
from diip_jax.run.summary import Summary
from diip_jax.solve import refill
from diip_jax.solve.loop import Saved, State
from diip_jax.solve.problem import Problem, Result
from diip_jax.solve.size import usual_size
from diip_jax.stream import Given, Restored, restore_each

# Bytes of pictures that are decoded before the devices have room for them, at most.
_AHEAD = 256_000_000
# A picture that keeps its size goes through a local network as a whole up to so many pixels a side, in some hundred MB;
# a larger one in windows of so many, which overlap. Through other networks all go in windows of what they were trained
# on.
_WHOLE, _WINDOW = 512, 256


@dataclass(frozen=True)
class _Read:
    """What was found of a job: its files, or that it is finished; what an earlier run differed in; bytes read."""

    item: Loaded | None
    why: str | None
    bytes: int = 0

    @property
    def held(self) -> int:
        """Bytes of its pictures."""
        item = self.item
        arrays = [] if item is None else [item.fitted.rgb, item.fitted.alpha, item.input, item.y, item.clean, item.mask]
        return sum({id(array): array.nbytes for array in arrays if array is not None}.values())


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
    if run.batch_size is not None:
        # No more than there are; the same for all of them: another number is another program.
        run = dataclasses.replace(run, batch_size=min(run.batch_size, len(jobs) * run.samples))
    console.start(len(jobs), run.max_iterations * run.samples)
    save: Saved = ("loss", "laplacian_variance", *run.estimates, *([psnr] if jobs[0].reference else []))
    work = _Work(run, files, seeds or {}, prior, save, console, summary, len(jobs))
    room = 2 * (run.batch_size or jax.local_device_count()) + 4
    ahead = Ahead(work.read, jobs, min(4, len(jobs)), room, lambda read: read.held, _AHEAD)
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


class _Ended(NamedTuple):
    """An image that is to be written.

    Attributes:
        at_once: how many (image, sample) pairs were restored together with it.
        faces: what the record says of its faces, None where they are no matter.
    """

    item: Loaded
    restored: Restored
    at_once: int
    faces: dict[str, Any] | None


class _AtOnce:
    """How many (image, sample) pairs of one shape are restored at once, and the pace of that."""

    def __init__(self, run: Run, images: int, save: Saved, use: refill.Use) -> None:
        self._run, self._images, self._save, self._use = run, images, save, use
        self.size = 1

    def decide(self, problem: Problem, inputs: Any) -> int:
        """As `restore_each` asks for it."""
        pairs = self._images * self._run.samples
        self.size = self._run.batch_size or usual_size(problem, inputs, pairs, save=self._save)
        devices = distribute.device_mesh(self.size).size
        in_turn = -(-self.size // devices) if jax.default_backend() == "cpu" else 1
        self._pace = Pace(self._use, devices, in_turn)
        return self.size

    def iterations(self) -> int:
        """Of the next piece."""
        return self._pace()


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
        images: int,
    ) -> None:
        self._files, self._seeds, self._images = files, seeds, images
        self._run, self._prior, self._save, self._console, self._summary = run, prior, save, console, summary
        self._full = False
        self._asked = asked_of(run, prior)
        self._faces = PhotographedFaces(run) if run.faces else None
        self._items: dict[Job, Loaded] = {}
        self._snapshots: dict[Job, dict[tuple[int, int], Snapshot]] = {}
        self.behind: Behind[_Ended, tuple[str, int]] = Behind(self._write, self._written, room=4)

    def _run_of(self, job: Job) -> Run:
        """The run as this job alone would have it."""
        seed = self._seeds.get(job.path)
        return self._run if seed is None else dataclasses.replace(self._run, seed=seed)

    def read(self, job: Job) -> _Read:
        """In a thread: what is to be done with a job, and its files."""
        run = self._run_of(job)
        try:
            self._files.bring(job, run)
            skip, why = finished(job, run, self._asked, self._files.whole) if run.skip_existing else (False, None)
            if skip:
                return _Read(None, None)
            item = load(job, run, self._prior, self._files)
            files = (job.path, job.reference, job.mask)
            return _Read(item, why, sum(file.stat().st_size for file in files if file))
        finally:
            self._files.loaded(job, run)

    def restore(self, ahead: Ahead[Job, _Read]) -> None:
        """All jobs, from their files to their outputs."""
        run = self._run
        compile_time.began()
        compiler_memory.give_back()
        for shape, of_one_size in _by_shape(self._observations(ahead), ahead.wait):
            at_once = _AtOnce(run, self._images, self._save, self._summary.use)
            ended = restore_each(
                run.method.method(self._prior_for(shape)),
                of_one_size,
                seed=run.seed,
                samples=run.samples,
                batch_size=at_once.decide,
                save=self._save,
                piece=functools.partial(self._piece, at_once),
                look=self._look if run.save_every else None,
                use=self._summary.use,
            )
            for one in ended:
                self._ended(one, at_once.size)

    def _prior_for(self, shape: tuple[int, ...]) -> Prior | Windowed:
        """The prior as it takes images whose observations have this shape."""
        if self._run.resize != "keep":
            return self._prior
        # On a CPU several together take their memory and save no time.
        at_once = 1 if jax.default_backend() == "cpu" else Windowed.at_once
        if not self._prior.local:
            return Windowed(self._prior, at_once=at_once)
        whole = max(self._run.operator.image_shape(shape)[:2]) <= _WHOLE
        return Windowed(self._prior, _WHOLE if whole else _WINDOW, at_once=at_once)

    def _piece(self, pace: "_AtOnce") -> int:
        """Iterations of the next piece; what has been done is told before."""
        self._console.iterations_done(self._summary.use.iterations)
        self._summary.progress()
        self.behind.tell()
        return divisor(pace.iterations(), self._run.save_every)

    def _observations(self, ahead: Ahead[Job, _Read]) -> Iterator[Given | None]:
        for ready in ahead:
            if ready is None:
                yield None
                continue
            job, future = ready
            try:
                read = future.result()
                if read.item is not None and self._files.shared and self._done_by_another(job, read.item):
                    read = _Read(None, None)
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
            yield Given(job, read.item.y, known(read.item, self._run), self._seeds.get(job.path))

    def _done_by_another(self, job: Job, item: Loaded) -> bool:
        """Whether another run has finished the image since its files were read."""
        run = self._run_of(job)
        try:
            self._files.bring_outputs(job, run)
            return finished(job, run, self._asked, self._files.whole, item.sha256)[0]
        finally:
            self._files.clear(job, run)

    def _ended(self, one: Restored, at_once: int) -> None:
        item = self._items.pop(one.name)
        if one.fault is not None:
            self._snapshots.pop(one.name, None)
            self._fail(item.job, one.fault, "device", at_once)
            return
        faces = None
        if self._faces is not None and one.solution is not None:
            try:
                solution, faces = self._faces(item, one.solution, self._run_of(item.job).seed)
            except Exception as error:
                self._fail(item.job, error, "device")
                return
            one = one._replace(solution=solution, ended=time.monotonic())
        self.behind.put(_Ended(item, one, at_once, faces))

    def _write(self, ended: "_Ended") -> tuple[str, int]:
        """In a thread: the files of an image; the line that says so, and their bytes."""
        item, one, at_once, faces = ended
        shots = [shot for _, shot in sorted(self._snapshots.pop(item.job, {}).items())]
        compiled = compile_time.within(one.began, one.ended)
        images = max(1.0, at_once / self._run.samples)
        seconds = {
            "seconds": round((one.ended - one.began - compiled) / images, 3),
            "compile_seconds": round(compiled, 3),
        }
        assert one.solution is not None
        line = write_outputs(item, 0, one.solution, self._run_of(item.job), self._prior, seconds, shots, faces)
        size = sum(output.stat().st_size for output in item.job.outputs(self._run))
        self._files.publish(item.job, self._run)
        return line, size

    def _written(self, ended: "_Ended", future: Future[tuple[str, int]]) -> None:
        item, one = ended.item, ended.restored
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

    def _fail(self, job: Job, error: Exception, stage: str, at_once: int = 1) -> None:
        self._summary.failures[cause_of(error, stage)] += 1
        self._console.image_done()
        full = no_room(error)
        if not (full and self._full):  # what was on the way fails of the same
            self._console.error(self._files.shown(explain(job, error, self._run, at_once)))
        if full:
            self._full = True
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


def _by_shape(
    observations: Iterator[Given | None], wait: Callable[[float], None]
) -> Iterator[tuple[tuple[int, ...], Iterator[Given | None]]]:
    """(shape, observations) of one shape, each of them one program. Waits for more where nothing is on the way."""
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
            wait(refill.PATIENCE)
            continue
        held.append(first)
        while held:
            yield held[0].y.shape, of_one_size()
