"""A run over the machines of a Ray cluster: `--engine=ray`.

Every actor has a chip, the prior and its slots, and restores images in blocks as a run on one machine would. Ray starts
an actor that is lost again and has its block done once more; records say what of it is finished already. An actor whose
chip is stuck leaves, which is the same. What actors say is said here.
"""

import dataclasses
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diip_jax.command import UsageError
from diip_jax.configuration import configure_as_usual
from diip_jax.launch.console import Console
from diip_jax.launch.failures import DiskFull
from diip_jax.launch.files import Files
from diip_jax.launch.flag_table import define_flags
from diip_jax.launch.known_data import read_kernel
from diip_jax.launch.plan import Job, Run
from diip_jax.launch.program_cache import keep_compiled_programs
from diip_jax.launch.requests import Kind, existing, method_of
from diip_jax.launch.restore_files import restore_files
from diip_jax.launch.setup import prior_of, run_of
from diip_jax.run import compile_time
from diip_jax.run.summary import Summary
from diip_jax.run.watchdog import watchdog

# Blocks end one by one: within each its last images leave slots free, so it has many more images than there are slots.
_BLOCK_OF_SLOTS = 16
# Where an actor finds out how many slots its chip has, it has so many or some more.
_SLOTS_OF_CHIP = 8
_COUNTS = ("restored", "skipped", "evaluations", "bytes_read", "bytes_written")
_COUNTS_OF_USE = ("iterations", "capacity", "pieces", "steps")


class _Told(Console):
    """A console that keeps what is said, for the driver."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def line(self, text: str) -> None:
        self.lines.append(("line", text))

    def error(self, text: str) -> None:
        self.lines.append(("error", text))


class Restorer:
    """What an actor does.

    Args:
        kinds: of each kind of images, the arguments of its command line.
        places: see `Files.places`.
        folder: that relative paths are meant from, where the machine has it.

    Attributes:
        patience: seconds without progress after which it leaves, so that Ray starts another one in its place. Nothing
            that a device does takes that long, nor does a compilation.
    """

    patience = 900.0

    def __init__(self, kinds: Sequence[Sequence[str]], places: Sequence[str], folder: str) -> None:
        if os.path.isdir(folder):
            os.chdir(folder)
        keep_compiled_programs()
        configure_as_usual()
        self._scratch = tempfile.TemporaryDirectory(prefix="diip_jax_")
        self._files = Files.at(places, Path(self._scratch.name))
        self._runs: list[Run] = []
        for number, arguments in enumerate(kinds):
            values = define_flags()
            values(["diip_jax.launch", *arguments])
            if number == 0:
                self._prior = prior_of(values)
                output_dir = self._files.output_dir(values.output_dir)
            kernel = None if values.kernel is None else read_kernel(existing("kernel", values.kernel))
            run = run_of(values, method_of(values, kernel), self._prior, kernel, output_dir)
            self._runs.append(dataclasses.replace(run, skip_existing=True))

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """A block of images, each its kind, job and seed as JSON; one row of what was said and counted, likewise."""
        images = [json.loads(image) for image in rows["image"]]
        console, summary = _Told(), Summary()
        full = None
        with watchdog(lambda: (summary.moved(), compile_time.counted()), self.patience):
            for number, run in enumerate(self._runs):
                mine = [image for image in images if image["kind"] == number]
                jobs = [self._files.arrived(row["job"]) for row in mine]
                seeds = {job.path: row["seed"] for job, row in zip(jobs, mine, strict=True) if row["seed"] is not None}
                if jobs:
                    try:
                        restore_files(jobs, run, self._prior, console, summary, self._files, seeds)
                    except DiskFull as error:
                        full = str(error)
        counts = {name: getattr(summary, name) for name in _COUNTS}
        counts |= {f"use_{name}": getattr(summary.use, name) for name in _COUNTS_OF_USE}
        told = {"lines": console.lines, "counts": counts, "failures": dict(summary.failures), "full": full}
        return {"told": [json.dumps(told)]}


def restore_with_ray(
    kinds: Sequence[Kind],
    jobs: Sequence[Job],
    batch_size: int | None,
    actors: int | None,
    console: Console,
    summary: Summary,
    files: Files,
) -> None:
    """Restores every job by the actors of a Ray cluster; as `restore_files` otherwise.

    Args:
        batch_size: slots of an actor; None: what each finds best for its chip.
        actors: how many; None: one for each GPU, TPU chip or, without those, CPU of the cluster.

    Raises:
        UsageError: Ray is missing, or has no room for an actor.
        DiskFull: as `restore_files`.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError('--engine=ray needs Ray; run: pip install "diip_jax[ray]"') from error
    started = not ray.is_initialized()
    if started:
        with warnings.catch_warnings():
            # JAX warns of forks in a process with its threads; Ray's are followed by exec at once.
            warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
            ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    try:
        rows = [
            {"kind": number, "job": files.portable(job), "seed": kind.seeds.get(job.path)}
            for number, kind in enumerate(kinds)
            for job in kind.of(jobs)
        ]
        full = None
        for told in _told(ray, kinds, rows, batch_size, actors, files):
            for how, text in told["lines"]:
                (console.line if how == "line" else console.error)(text)
            for name in _COUNTS:
                setattr(summary, name, getattr(summary, name) + told["counts"][name])
            for name in _COUNTS_OF_USE:
                setattr(summary.use, name, getattr(summary.use, name) + told["counts"][f"use_{name}"])
            summary.failures.update(told["failures"])
            summary.progress()
            full = full or told["full"]
        if full:
            raise DiskFull(full)
    finally:
        if started:
            ray.shutdown()


def _told(
    ray: Any,
    kinds: Sequence[Kind],
    rows: list[dict[str, Any]],
    batch_size: int | None,
    actors: int | None,
    files: Files,
) -> Iterator[dict[str, Any]]:
    """What the actors return, block by block."""
    resource, there = _resource(ray)
    count = min(actors or there, there, len(rows))
    slots = batch_size or (1 if "num_cpus" in resource else _SLOTS_OF_CHIP)
    block = max(1, min(_BLOCK_OF_SLOTS * slots, -(-len(rows) // (4 * count))))
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    images = ray.data.from_items(
        [{"image": json.dumps(row)} for row in rows], override_num_blocks=-(-len(rows) // block)
    )
    told = images.map_batches(
        Restorer,
        fn_constructor_args=([kind.arguments for kind in kinds], files.places(), os.getcwd()),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=count),
        **resource,
    )
    for row in told.iter_rows():
        yield json.loads(row["told"])


def _resource(ray: Any) -> tuple[dict[str, Any], int]:
    """(what an actor asks for: a chip; how many there are)."""
    found = ray.cluster_resources()
    for name, wanted in (("GPU", {"num_gpus": 1}), ("TPU", {"resources": {"TPU": 1}}), ("CPU", {"num_cpus": 1})):
        if found.get(name, 0) >= 1:
            return wanted, int(found[name])
    raise UsageError(f"--engine=ray: the cluster has no CPU, GPU or TPU for an actor ({os.environ.get('RAY_ADDRESS')})")
