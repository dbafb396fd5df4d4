"""Quality of methods on corrupted images, and of a prior: `python -m diip_jax.evaluate --images=FILE.npz --first=64`.

Prints two tables as markdown and keeps all that is computed in --output_dir, so that an interrupted evaluation goes on
where it stopped, and protocols share what they compute; --protocol=all fills all tables. How long it takes is said on
stderr. A protocol fixes the methods, their settings and rules, the corruptions and the numbers of images:

    quality    the default method, and DIIP
    bird       BIRD beside DIIP, where the kind of degradation is known
    methods    all methods on the papers' tasks
    dreamclean DreamClean's gamma and tau
    ablations  k_min and eps, stride, projection, learning rate, gradient
    rules      every stopping rule beside the best iterates
    two_phase  1500 iterations

With --degraded its methods restore pictures of one's own instead, judged by those of the same names in --images.

The first table is an overview: a row per method, a column per task, means of PSNR (dB) / SSIM / LPIPS. Columns of the
second: means over the images with 95 % bootstrap intervals. "PSNR to input" tells a restoration from a copy. "below
the best PSNR" and "above the best LPIPS" compare with the best iterate of the same run, which an oracle that knows the
clean image returns. LPIPS is AlexNet's. Seconds are the median iteration's of a batch of up to eight images times the
iterations until the stop; network evaluations are counted until there, of the prior's network, or of the method's own.
Memory is what XLA plans for such a batch: parameters, results and temporaries. With --seeds=0,1,2 every corruption and
restoration is done under three seeds: an image's values are means over them, and a column tells how far seeds differ.

--figures draws instead, from what the tables computed: PROTOCOL-picture1.png, ..., the first images (--pictures)
restored by every method (rows; by an entry's first rule) on every task (columns); of two_phase also
PROTOCOL-curves.png, PSNR, loss and Laplacian variance at every iteration, and PROTOCOL-iterates.png.

--samples=4 tells instead what several restorations of an image are worth: how much nearer their mean is to the clean
image than one of them, and how well their standard deviation tells where it is wrong. The method is the one that the
README advises for the task: BIRD where its operator has something to learn or to know, else DIIP.

--prior tells instead how well the prior predicts noise on the images: the mean squared error at six timesteps, by which
checkpoints can be compared. Nothing is kept then.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from diip_jax import command, startup
from diip_jax.degradations import CORRUPTIONS
from diip_jax.evaluate import figures, report, spread
from diip_jax.evaluate.protocols import PROTOCOLS, Protocol, advised
from diip_jax.evaluate.restorers import Samples
from diip_jax.evaluate.run import Store
from diip_jax.evaluate.tables import Study, compute, jobs_of, table
from diip_jax.evaluate.task import Task, corrupted, pairs, read_clean
from diip_jax.images import check_writable, write_image, write_json, write_text
from diip_jax.metrics import lpips
from diip_jax.noise_prediction import noise_prediction_errors, timesteps
from diip_jax.prior import Prior, bundled_checkpoint
from diip_jax.terminal import printable

PROGRAM = "diip_jax.evaluate"
_ALL = "all"
_PAIRS = "pairs"
# Of which several restorations are compared: two tasks for DIIP, two for BIRD.
SAMPLED = ("noise", "jpeg", "motion_blur", "hole")
# Flags that have no effect with another.
_NOT_WITH = {
    "prior": "protocol tasks entry severity degraded output_dir samples figures pictures cell",
    "samples": "protocol entry degraded figures pictures cell",
    "degraded": "tasks severity",
}


def _flag_values() -> flags.FlagValues:
    values = command.prior_flags()
    own: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_string("images", None, "clean images: a folder, a glob, or an .npz that holds `images`", **own)
    flags.DEFINE_string("degraded", None, "a folder of degraded images, named as the clean ones in --images", **own)
    flags.DEFINE_integer("first", 0, "leave out this many images at the beginning", lower_bound=0, **own)
    flags.DEFINE_integer("count", None, "at most so many of the rest; without it all", lower_bound=1, **own)
    flags.DEFINE_enum("protocol", "quality", [*PROTOCOLS, _ALL], "what is compared", **own)
    flags.DEFINE_list("tasks", None, "corruptions; without it those of the protocol", **own)
    flags.DEFINE_integer("severity", None, "of the corruptions; without it the standard one", **own)
    flags.DEFINE_multi_string("entry", [], "only these entries of the protocol; repeatable", **own)
    flags.DEFINE_list("seeds", ["0"], "of corruptions and restorations; of the noise of --prior", **own)
    flags.DEFINE_string("output_dir", "results", "what is computed, and what is made of it", **own)
    flags.DEFINE_boolean("figures", False, "draw what the tables computed", **own)
    flags.DEFINE_integer("pictures", 2, "with --figures: of how many images there are pictures", lower_bound=0, **own)
    flags.DEFINE_integer("cell", 128, "with --figures: side of an image in them, in pixels", lower_bound=1, **own)
    flags.DEFINE_integer("samples", None, "what so many restorations of an image are worth", lower_bound=2, **own)
    flags.DEFINE_boolean("prior", False, "how well the prior predicts noise on the images", **own)
    return values


def _evaluate(values: flags.FlagValues) -> None:
    if not values.images:
        raise command.UsageError("--images is missing: give a folder, a glob or an .npz of clean images")
    for mode, names in _NOT_WITH.items():
        if values[mode].value:
            command.refuse_given(values, names.split(), f"no effect with --{mode}; leave it out")
    if not values.figures:
        command.refuse_given(values, ("pictures", "cell"), "no effect without --figures; leave it out")
    tell = _noise_prediction if values.prior else _samples if values.samples else _tables
    try:
        tell(values)
    except ImportError as error:  # of an optional package: it says what to install
        raise command.UsageError(str(error)) from error


def _noise_prediction(values: flags.FlagValues) -> None:
    [seed] = _seeds(values)
    prior = command.prior_of(values)
    clean, t = _given(values, prior).clean, timesteps(prior.schedule)
    name = Path(values.checkpoint or bundled_checkpoint()).name
    errors = noise_prediction_errors(prior, clean, t, seed)
    command.tell(report.noise_prediction(f"{name}, {prior.dtype}, {len(clean)} images", t, errors))


def _samples(values: flags.FlagValues) -> None:
    [seed] = _seeds(values)
    names = _tasks(values, SAMPLED, tuple(CORRUPTIONS))
    study = _study(values, dict.fromkeys(names))
    rows = []
    for name in names:
        task, restorer = study.tasks[name][seed], Samples(study.prior, advised(name), values.samples)
        if left := sum(study.store.missing(restorer, task, seed).values()):
            command.report(f"{name}: {values.samples} restorations of {left} images")
        run = study.store.run(restorer, task, seed)
        rows.append(spread.spread_of(name, restorer.decides["method"], run.images, task.clean))
    text = spread.markdown(rows, values.samples)
    write_text(study.store.folder.parent / f"samples{values.samples}.md", text)
    command.tell(text)


def _tables(values: flags.FlagValues) -> None:
    selected = _selected(values)
    study = _study(values, dict.fromkeys(task for protocol in selected.values() for task in protocol.tasks))
    side = max(study.prior.image_shape[:2])
    if values.figures and values.cell < side:
        raise command.UsageError(f"--cell={values.cell}: expected at least {side}, the side of the images")
    jobs = {name: jobs_of(protocol.entries, protocol.tasks, study) for name, protocol in selected.items()}
    compute([job for of_one in jobs.values() for job in of_one], study, command.report)
    for n, (name, protocol) in enumerate(selected.items()):
        path = study.store.folder.parent / name
        if values.figures:
            of_first = [job for job in jobs[name] if job.seed == _seeds(values)[0]]
            drawn = figures.draw(of_first, study, values.pictures, values.cell, protocol.curves)
            for figure, picture in drawn.items():
                write_image(f"{path}-{figure}.png", picture)
                command.tell(printable(f"{path}-{figure}.png"))
            continue
        rows = table(jobs[name], protocol.tasks, study)
        text = f"{report.overview(rows)}\n{report.markdown(rows)}"
        write_text(f"{path}.md", text)
        write_json(f"{path}.json", [dataclasses.asdict(row) for row in rows])
        command.tell(text if len(selected) == 1 else f"{chr(10) * bool(n)}## {name}\n\n{text}")


def _selected(values: flags.FlagValues) -> dict[str, Protocol]:
    """The protocols that the flags name, or parts of them, by the names of their files.

    Files of a part do not overwrite those of the whole.
    """
    if values.protocol == _ALL:
        command.refuse_given(values, ("tasks", "entry"), "protocols differ in it; name one with --protocol")
    selected = {}
    for name in PROTOCOLS if values.protocol == _ALL else [values.protocol]:
        protocol = PROTOCOLS[name]
        entries = tuple(entry for entry in protocol.entries if not values.entry or entry.name in values.entry)
        if len(entries) < len(set(values.entry)) or not entries:
            expected = "; ".join(entry.name for entry in protocol.entries)
            raise command.UsageError(f"--entry={','.join(values.entry)}: expected of {expected}")
        tasks = [_PAIRS] if values.degraded else _tasks(values, protocol.tasks, protocol.possible)
        parts = [name, _PAIRS] if values.degraded else [name]
        parts += [] if values.severity is None else [f"severity{values.severity}"]
        parts += [] if _seeds(values) == [0] else [f"seeds{'_'.join(map(str, _seeds(values)))}"]
        parts += [entry.name.replace(", ", "-").replace(" ", "") for entry in entries if values.entry]
        selected["-".join(parts)] = dataclasses.replace(protocol, entries=entries, tasks=tuple(tasks))
    return selected


def _tasks(values: flags.FlagValues, default: Sequence[str], possible: Sequence[str]) -> Sequence[str]:
    """The corruptions that the flags name."""
    tasks = default if values.tasks is None else values.tasks
    if not tasks or not {*tasks} <= {*possible}:
        raise command.UsageError(f"--tasks={','.join(tasks)}: expected of {', '.join(possible)}")
    severities = min(len(CORRUPTIONS[task].severities) for task in tasks)
    if values.severity is not None and not 1 <= values.severity <= severities:
        raise command.UsageError(f"--severity={values.severity}: expected 1 .. {severities}")
    return tasks


def _seeds(values: flags.FlagValues) -> list[int]:
    if not values.seeds or not all(seed.isdecimal() for seed in values.seeds):
        raise command.UsageError(f"--seeds={','.join(values.seeds)}: expected whole numbers from 0 on, as in 0,1,2")
    seeds = list(dict.fromkeys(map(int, values.seeds)))
    for mode in ("prior", "samples"):
        if values[mode].value and len(seeds) > 1:
            raise command.UsageError(f"--seeds={','.join(values.seeds)}: expected one with --{mode}")
    return seeds


def _study(values: flags.FlagValues, names: Iterable[str]) -> Study:
    """The prior, the tasks of these names and the folder that the flags say; with LPIPS in tables, where it is had."""
    folder = command.expanded("output_dir", values.output_dir)
    check_writable(folder)
    prior = command.prior_of(values)
    given, seeds = _given(values, prior), _seeds(values)
    if values.degraded:
        tasks = {_PAIRS: dict.fromkeys(seeds, given)}
    else:
        tasks = {name: {seed: corrupted(name, given.clean, seed, values.severity) for seed in seeds} for name in names}
    perceptual = not values.samples and not values.figures and _has_lpips(given.clean[0])
    return Study(prior, Store(folder / "runs"), tasks, perceptual)


def _given(values: flags.FlagValues, prior: Prior) -> Task:
    """The images that the flags name, at least one; clean ones alone are not degraded."""
    size = prior.image_shape[:2]
    if values.degraded:
        task = pairs(values.degraded, values.images, size, _PAIRS)
    else:
        clean = read_clean(values.images, size)
        task = Task("clean", clean, clean, clean, {})
    if values.first >= len(task):
        raise command.UsageError(f"--first={values.first}: no image is left")
    return task[values.first : values.first + (values.count or len(task))]


def _has_lpips(image: np.ndarray) -> bool:
    try:
        lpips(image, image)
    except (ImportError, ValueError) as error:
        command.report(f"LPIPS is left out: {error}")
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    return command.run(PROGRAM, str(__doc__), _flag_values(), _evaluate, arguments)


if __name__ == "__main__":
    startup.run(main)
