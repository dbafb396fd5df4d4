"""Restores image files: `python -m diip_jax.launch --image=PATH`. See `--help`.

Exit codes: 0 all well; 1 some image failed; 2 wrong usage, or nothing could start; 130 interrupted.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from diip_jax import distribute
from diip_jax.command import UsageError, expanded
from diip_jax.commands.settings import Settings
from diip_jax.images import ImageError, check_writable, find_images
from diip_jax.launch.console import PROGRAM, Console
from diip_jax.launch.contact_sheet import ContactSheet
from diip_jax.launch.flag_table import METHOD_HELP, define_flags, help_text, method_from
from diip_jax.launch.known_data import read_kernel
from diip_jax.launch.plan import Job, KernelFile, Run, finished, plan_jobs
from diip_jax.launch.processes import check_same_inputs, meeting
from diip_jax.launch.program_cache import keep_compiled_programs
from diip_jax.launch.restore_files import Tally, explain, load, restore_files
from diip_jax.plugs.operators import PictureOperator
from diip_jax.prior import CheckpointError, Prior, load_prior
from diip_jax.solve.inputs import estimated

_NEEDED = {
    "mask": "--mask is missing: give the picture, or the folder of pictures, that shows what is hidden",
    "kernel": "--kernel is missing: --kernel_model=known needs the kernel; give its file",
}
_NOT_NEEDED = {
    "mask": "--mask has no effect here; leave it out, or use --method=bird --degradation=mask",
    "kernel": "--kernel has no effect here; leave it out, or use a --degradation that blurs",
}


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    console, tally = Console(), Tally()
    images = 0
    try:
        values = define_flags()
        positional = values([PROGRAM, *arguments])[1:]
        if values.help:
            print(help_text(values))
            return 0
        kernel = None if values.kernel is None else read_kernel(_existing("kernel", values.kernel))
        method = _method(values, kernel)
        paths, errors = _inputs([*values.image, *positional])
        found = images = len(paths) + len(errors)
        reference = _reference_path(values.reference, len(paths))
        mask = None if values.mask is None else _existing("mask", values.mask)
        if not values.dry_run:
            distribute.use_every_core()
            keep_compiled_programs()
        with meeting(values, console):
            check_same_inputs(paths, errors)
            prior = _prior(values)
        run = _run(values, method, prior, kernel)
        every_job, name_errors = plan_jobs(paths, run, reference, mask)
        jobs, refused = distribute.share(every_job), distribute.share([*errors, *name_errors])
        images = len(jobs) + len(refused)
        for error in refused:
            tally.failed += 1
            console.error(str(error))
        if values.dry_run:
            _check_folder(run.output_dir)
            _describe(jobs, run, prior, console, tally)
        elif jobs:
            check_writable(run.output_dir)
            with _watching(values.watch, jobs, run, console):
                restore_files(jobs, run, prior, console, tally)
        if found > 1 and not values.dry_run:
            console.line(_summary(tally, every_job))
        return 1 if tally.failed else 0
    except KeyboardInterrupt:
        done = f"{tally.restored + tally.skipped} of {images} images are finished"
        console.error(f"interrupted, {done}; run the same command with --skip_existing to go on")
        return 130
    except (flags.Error, UsageError, CheckpointError, ImageError) as error:
        console.error(str(error))
        return 2
    except OSError as error:  # a name that is too long, a folder that may not be read
        what = error.strerror or str(error)
        console.error(f"{error.filename}: {what}; check the path and its rights" if error.filename else what)
        return 2


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


def _method(values: flags.FlagValues, kernel: KernelFile | None) -> Settings:
    if values.compare and importlib.util.find_spec("matplotlib") is None:
        raise UsageError('--compare needs matplotlib; run: pip install "diip_jax[plots]"')
    if values.animate and not values.save_every:
        raise UsageError("--animate shows snapshots; add --save_every=5, or another number of iterations between two")
    try:
        return method_from(values, None if kernel is None else len(kernel.values))
    except ValueError as error:
        raise UsageError(str(error)) from error


def _run(values: flags.FlagValues, method: Settings, prior: Prior, kernel: KernelFile | None) -> Run:
    operator = _operator(method, prior, {"mask": values.mask, "kernel": kernel and kernel.values})
    return Run(
        method_name=values.method,
        method=method,
        max_iterations=method.max_iterations,
        operator=operator,
        estimates=estimated(operator, prior.image_shape),
        kernel=kernel,
        output_dir=expanded("output_dir", values.output_dir),
        seed=values.seed,
        samples=values.samples,
        batch_size=values.batch_size or _usual_batch(prior),
        resize=values.resize,
        blend=values.blend,
        compare=values.compare,
        save_every=values.save_every,
        animate=values.animate,
        skip_existing=values.skip_existing,
    )


def _usual_batch(prior: Prior) -> int:
    devices = jax.local_device_count()
    # Images of a batch that have stopped are computed along until the last one of their device stops. An accelerator is
    # faster with several at once nevertheless.
    if jax.default_backend() != "cpu":
        return 8 * devices
    # Every device has its copy of the parameters, and CPU devices have one memory.
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    copies = memory // (4 * sum(leaf.nbytes for leaf in jax.tree.leaves(prior.params)))
    return max(1, min(devices, copies))


def _inputs(patterns: list[str]) -> tuple[list[Path], list[ImageError]]:
    if not patterns:
        raise UsageError("no image was given; add --image=PATH, a file, folder or glob (see --help)")
    if "" in patterns:
        raise UsageError("--image is empty; give a file, folder or glob")
    return find_images(patterns)


def _existing(flag: str, given: str) -> Path:
    path = expanded(flag, given)
    if not given or not path.exists():
        raise UsageError(f"--{flag}={given}: no such file or folder; check the path")
    if path.is_dir():
        next(path.iterdir(), None)  # one that may not be read is said once here, not for every image
    return path


def _reference_path(reference: str | None, images: int) -> Path | None:
    if reference is None:
        return None
    path = _existing("reference", reference)
    if images > 1 and not path.is_dir():
        raise UsageError(f"--reference={reference} is one file for {images} images; give a folder with one for each")
    return path


def _prior(values: flags.FlagValues) -> Prior:
    path = None if values.checkpoint is None else expanded("checkpoint", values.checkpoint)
    try:
        prior = load_prior(path, dtype=values.dtype, class_label=values.class_label)
    except CheckpointError:
        raise
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    if prior.model.in_channels not in (1, 3):
        raise UsageError(f"the prior has {prior.model.in_channels} channels; give one of grey (1) or RGB (3) images")
    return prior


def _operator(method: Settings, prior: Prior, known: dict[str, Any]) -> PictureOperator:
    """What the method takes for what happened, for images of the prior's size; tried out as far as computes nothing.

    Settings that do not go with this prior show here: a stride that its schedule does not have where the generator is
    made, a size that the network does not take, a kernel larger than the images where the operator is traced.

    Args:
        known: "mask" and "kernel", None where the user gave none.
    """
    try:
        problem = method.method(prior).problem()
        operator, shape = problem.operator, prior.image_shape
        for name in known:
            if (known[name] is not None) != (name in method.needs):
                raise ValueError(_NEEDED[name] if name in method.needs else _NOT_NEEDED[name])
        y_shape = operator.y_shape(shape)
        args = {
            "mask": None if known["mask"] is None else jnp.ones(y_shape[:2], bool),
            "kernel": None if known["kernel"] is None else jnp.asarray(known["kernel"]),
        }
        key, image = jax.random.key(0), jnp.zeros(shape)
        jax.eval_shape(lambda: problem.generator.init(key, shape))
        jax.eval_shape(lambda: operator(operator.init(key, shape), image, args))
    except ValueError as error:
        flag = "--" if str(error).partition("=")[0] in METHOD_HELP else ""
        raise UsageError(f"{flag}{error}") from error
    return operator


def _summary(tally: Tally, every_job: Sequence[Job]) -> str:
    """The last line of a run; of one in several processes, the last one to end tells of all."""
    text = f"{tally.restored} restored, {tally.skipped} skipped, {tally.failed} failed"
    if jax.process_count() == 1:
        return text
    recorded = sum(job.output(".json").is_file() for job in every_job)
    process = f"process {jax.process_index()} of {jax.process_count()}"
    return f"{process}: {text}; {recorded} of all {len(every_job)} images have a record"


def _describe(jobs: Sequence[Job], run: Run, prior: Prior, console: Console, tally: Tally) -> None:
    """Says of every image what would be done with it, having read it."""
    height, width, channels = prior.image_shape
    source, sha256 = prior.provenance.source or "of unknown source", prior.provenance.params_sha256
    console.line(f"prior: {source}, {height}x{width}x{channels}, sha256 {sha256}")
    console.line(
        "settings: "
        + ", ".join(f"{name}={value}" for name, value in run.settings(prior).items())
        + f", seed={run.seed}, batch_size={run.batch_size}"
    )
    for job in jobs:
        try:
            skip, why = finished(job, run, prior) if run.skip_existing else (False, None)
            item = load(job, run, prior)
        except Exception as error:  # as in a run: the other images are looked at all the same
            tally.failed += 1
            console.error(explain(job, error, run))
            continue
        facts = [f"{item.image.size[0]}x{item.image.size[1]} {item.image.mode}", *item.image.notes]
        if item.image.size != item.y.shape[:2]:
            content = "x".join(str(side // run.operator.scale) for side in item.fitted.content[2:])
            facts.append(f"{run.resize} to {content} of {item.y.shape[0]}x{item.y.shape[1]}")
        if item.y.shape[:2] != (height, width):
            facts.append(f"restored to {height}x{width}")
        facts += [f"{name} {path}" for name, path in (("reference", job.reference), ("mask", job.mask)) if path]
        if why:
            facts.append(f"was {why}")
        endings = ",".join(output.name.removeprefix(job.stem) for output in job.outputs(run))
        todo = "skip, finished" if skip else f"restore to {job.output(f'{{{endings}}}')}"
        if run.save_every and not skip:
            most = len(job.snapshots(run))
            todo += f" and up to {most} snapshot{'' if most == 1 else 's'}"
        console.line(f"{job.path}: {'; '.join(facts)}: {todo}")


def _check_folder(folder: Path) -> None:
    """Like `check_writable`, as far as that goes without writing."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ImageError(folder, "outputs cannot be written here; choose another --output_dir")
