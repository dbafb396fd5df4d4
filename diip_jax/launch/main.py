"""Restores image files: `python -m diip_jax.launch --image=PATH`. See `--help`.

Exit codes: 0 all well; 1 some image failed; 2 wrong usage, or nothing could start; 130 interrupted, 143 terminated.
"""

import contextlib
import dataclasses
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
from absl import flags

from diip_jax import distribute
from diip_jax.card import in_words
from diip_jax.command import UsageError, check_devices, expanded
from diip_jax.commands.settings import BlindSettings
from diip_jax.configuration import configure_as_usual
from diip_jax.images import ImageError, check_writable
from diip_jax.launch import photographed_faces
from diip_jax.launch.console import PROGRAM, Console
from diip_jax.launch.contact_sheet import ContactSheet
from diip_jax.launch.description import describe
from diip_jax.launch.failures import DiskFull
from diip_jax.launch.files import Files
from diip_jax.launch.flag_table import define_flags, help_text
from diip_jax.launch.known_data import read_kernel
from diip_jax.launch.outputs import Outputs
from diip_jax.launch.plan import Job, Run, plan_jobs
from diip_jax.launch.processes import check_same_inputs, meeting
from diip_jax.launch.program_cache import keep_compiled_programs
from diip_jax.launch.ray_engine import restore_with_ray
from diip_jax.launch.requests import Kind, existing, identity, kinds_of
from diip_jax.launch.restore_files import restore_files
from diip_jax.launch.setup import prior_of, run_of, suited
from diip_jax.prior import CheckpointError, read_card
from diip_jax.run.folder import FolderTaken, held, without_leftovers
from diip_jax.run.shards import Shard, shard_named
from diip_jax.run.store import StoreError, leased
from diip_jax.run.summary import Summary
from diip_jax.startup import Terminated
from diip_jax.terminal import occupy_standard_descriptors, say


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    occupy_standard_descriptors()
    console, summary = Console(), Summary()
    try:
        values = define_flags()
        positional = values([PROGRAM, *arguments])[1:]
        if values.help:
            say(help_text(values), sys.stdout)
            return 0
        if values.card:
            path = None if values.checkpoint is None else expanded("checkpoint", values.checkpoint)
            say(in_words(read_card(path)), sys.stdout)
            return 0
        with tempfile.TemporaryDirectory(prefix="diip_jax_", ignore_cleanup_errors=True) as scratch:
            _restore(values, positional, arguments, Files(Path(scratch), values.share_output), console, summary)
        return 1 if summary.failed and not values.tolerate_failures else 0
    except (KeyboardInterrupt, Terminated) as signal:
        what, code = ("terminated", 143) if isinstance(signal, Terminated) else ("interrupted", 130)
        console.error(f"{what}, {summary.progress_text()}; run the same command with --skip_existing to go on")
        return code
    except DiskFull as full:
        remedy = "make room and run the same command with --skip_existing"
        console.error(f"{full}: no space is left, {summary.progress_text()}; {remedy}")
        return 1
    except (flags.Error, UsageError, CheckpointError, ImageError, StoreError, FolderTaken) as error:
        console.error(str(error))
        return 2
    except OSError as error:  # a name that is too long, a folder that may not be read
        what = error.strerror or str(error)
        console.error(f"{error.filename}: {what}; check the path and its rights" if error.filename else what)
        return 2


def _restore(
    values: flags.FlagValues,
    positional: list[str],
    arguments: Sequence[str],
    files: Files,
    console: Console,
    summary: Summary,
) -> None:
    kernel = None if values.kernel is None else read_kernel(existing("kernel", values.kernel))
    kinds = kinds_of(values, positional, arguments, kernel, files)
    shard = _shard(values)
    if values.run_log is not None:
        summary.log_to(expanded("run_log", values.run_log))
    paths, errors = [path for kind in kinds for path in kind.paths], kinds[0].errors
    found = summary.images = len(paths) + len(errors)
    reference = _reference_path(values.reference, len(paths))
    mask = None if values.mask is None else existing("mask", values.mask)
    if not values.dry_run:
        distribute.use_every_core()
        keep_compiled_programs()
    configure_as_usual()
    with meeting(values, console):
        check_devices()
        check_same_inputs(paths, errors)
        if values.checkpoint is None:
            _choose_prior(kinds, paths, console)
        prior = prior_of(kinds[0].values)
    missed = None if values.manifest else files.left_out([*values.image, *positional])
    if missed is not None and jax.process_index() == 0:
        console.note(missed)
    output_dir = files.output_dir(values.output_dir)
    outputs = _outputs(files, output_dir)
    runs = [run_of(kind.values, kind.method, prior, kernel, output_dir) for kind in kinds]
    for kind, run in zip(kinds, runs, strict=True):
        photographed_faces.check(run, len(kind.paths))
    # Names are given as by the kind of run that leaves most files: no output of another kind lies on another one.
    most = max(runs, key=lambda run: len(run.estimates))
    every_job, name_errors = plan_jobs(paths, most, outputs, reference, mask)
    every_job, every_error = _part(shard, every_job, [*errors, *name_errors], output_dir)
    jobs, refused = distribute.share(every_job), distribute.share(every_error)
    summary.images = len(jobs) + len(refused)
    for error in refused:
        summary.failures["input"] += 1
        console.error(files.shown(str(error)))
    if values.dry_run:
        _check_folder(output_dir)
        for kind, run in zip(kinds, runs, strict=True):
            describe(kind.of(jobs), run, prior, files, console, summary)
        return
    if jobs:
        check_writable(output_dir)
        if values.share_output:
            # Others do the same images, each in an order of its own, and leave out what is finished: at the end alone
            # two may be at the same one.
            jobs = random.sample(jobs, len(jobs))
            runs = [dataclasses.replace(run, skip_existing=True) for run in runs]
        together = shard.count > 1 or jax.process_count() > 1 or values.share_output
        with (
            _folder(files, output_dir, identity(kinds, runs, prior), together, console) as alone,
            _watching(values.watch, jobs, most, console),
            summary.ending(),
        ):
            if alone:
                for folder in {job.folder for job in jobs}:
                    without_leftovers(folder)
            if values.engine == "ray":
                restore_with_ray(kinds, jobs, most.batch_size, values.ray_actors, console, summary, files)
            else:
                for kind, run in zip(kinds, runs, strict=True):
                    if mine := kind.of(jobs):
                        restore_files(mine, run, prior, console, summary, files, kind.seeds)
    if found > 1:
        console.line(_summary(summary, every_job, files))


def _choose_prior(kinds: Sequence[Kind], paths: Sequence[Path], console: Console) -> None:
    """Where no --checkpoint is given: that of all kinds is a bundled one, by the pictures' sizes."""
    chosen = suited(paths, max(kind.method.scale if isinstance(kind.method, BlindSettings) else 1 for kind in kinds))
    for kind in kinds:
        kind.values["checkpoint"].value = chosen
        kind.arguments.insert(0, f"--checkpoint={chosen}")
    if jax.process_index():
        return
    if not all(path.exists() for path in paths):
        console.note(
            f"prior: {chosen}; objects of a store are not looked at before: say --checkpoint=photos or faces64"
        )
    elif chosen != "faces64":
        console.note(f"prior: {chosen}, because a picture is larger than a face of it; --checkpoint=faces64 for that")


@contextlib.contextmanager
def _folder(files: Files, folder: Path, run: str, together: bool, console: Console) -> Iterator[bool]:
    """The folder of the outputs is this run's inside, or also that of others that do the same.

    Yields whether it is a folder of this machine that no other run writes to.
    """
    if files.output is not None:
        with leased(files.output.store, run, together):
            yield False
        return
    with held(folder, run, together) as locked:
        if not locked:
            console.line(f"{folder}: this storage has no locks; see that no other run writes here")
        yield locked and not together


@contextlib.contextmanager
def _watching(wanted: bool, jobs: Sequence[Job], run: Run, console: Console) -> Iterator[None]:
    """The contact sheet follows what happens inside, and is final after it, however it ended."""
    if not wanted:
        yield
        return
    name = "index.html" if jax.process_count() == 1 else f"index_{jax.process_index()}.html"
    sheet = ContactSheet(jobs, run.output_dir / name, run.resize)

    def follow(finished: bool = False) -> None:
        try:
            sheet.update(console.errors, finished)
        except ImageError as error:  # the results are worth more than the page
            console.watched = lambda: None
            console.error(str(error))

    console.watched = follow
    follow()
    console.line(f"watch it at {(run.output_dir / name).absolute().as_uri()}")
    try:
        yield
    finally:
        follow(finished=True)


def _reference_path(reference: str | None, images: int) -> Path | None:
    if reference is None:
        return None
    path = existing("reference", reference)
    if images > 1 and not path.is_dir():
        raise UsageError(f"--reference={reference} is one file for {images} images; give a folder with one for each")
    return path


def _shard(values: flags.FlagValues) -> Shard:
    try:
        return shard_named(values.shard)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def _part(
    shard: Shard, jobs: Sequence[Job], errors: Sequence[ImageError], output_dir: Path
) -> tuple[list[Job], list[ImageError]]:
    """What of a run a shard does; a file that cannot be restored is told of by the shard that would have it."""
    mine = [job for job in jobs if shard.holds(os.path.relpath(job.output(""), output_dir))]
    return mine, [error for error in errors if shard.holds(str(error))]


def _summary(summary: Summary, every_job: Sequence[Job], files: Files) -> str:
    """The last line of a run; of one in several processes, the last one to end tells of all."""
    text = f"{summary.restored} restored, {summary.skipped} skipped, {summary.failed} failed"
    if jax.process_count() == 1 or files.output is not None:
        return text
    recorded = sum(job.output(".json").is_file() for job in every_job)
    process = f"process {jax.process_index()} of {jax.process_count()}"
    return f"{process}: {text}; {recorded} of all {len(every_job)} images have a record"


def _outputs(files: Files, output_dir: Path) -> Outputs:
    outputs = files.outputs(output_dir)
    try:
        outputs.listed("")
    except OSError as error:
        raise ImageError(output_dir, f"cannot be used ({error.strerror}); choose another --output_dir") from error
    return outputs


def _check_folder(folder: Path) -> None:
    """Like `check_writable`, as far as that goes without writing."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ImageError(folder, "outputs cannot be written here; choose another --output_dir")
