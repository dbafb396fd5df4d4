"""Quality of methods on corrupted images, and of a prior: `python -m diip_jax.evaluate --images=FILE.npz --first=64`.

Prints two tables as markdown and keeps all that is computed in --output_dir, so that an interrupted run goes on where
it stopped, and protocols share what they compute; --protocol=all fills all tables. How long it takes is said on stderr.
`python -m diip_jax.evaluate.figures` with the same flags draws their figures. The corruptions, settings, rules and
numbers of images are those of a protocol in `diip_jax.evaluate.protocol`:

    quality    DIIP as it is by default
    bird       BIRD beside DIIP, where the kind of degradation is known
    methods    all methods on the papers' tasks
    dreamclean DreamClean's gamma and tau
    ablations  k_min and eps, stride, projection, learning rate, gradient
    rules      every stopping rule beside the best iterates
    two_phase  1500 iterations

The first table is an overview: a row per method, a column per task, means of PSNR (dB) / SSIM / LPIPS. Columns of the
second: means over the images with 95 % bootstrap intervals. "PSNR to input" tells a restoration from a copy. "below
the best PSNR" and "above the best LPIPS" compare with the best iterate of the same trajectory, which an oracle that
knows the clean image returns. LPIPS is AlexNet's. Seconds are those of an iteration without compilation, measured in a
batch of up to eight images before the first run, times the iterations until the stop; network evaluations likewise, of
the prior's network, or of the method's own. Memory is what XLA plans for such a batch: parameters, results and
temporaries.

With --samples=4 it prints instead what several restorations of an image are worth: how much nearer their mean is to
the clean image than one of them, and how well their standard deviation tells where it is wrong. The method is the one
that the README advises for the task: BIRD where its operator has something to learn or to know, else DIIP.

With --prior it prints instead how well the prior predicts noise on the images: the mean squared error at six timesteps,
by which checkpoints can be compared. Nothing is kept then.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from diip_jax import command, startup
from diip_jax.evaluate import noise_prediction, options, spread
from diip_jax.evaluate.corruptions import CORRUPTIONS
from diip_jax.evaluate.protocol import SAMPLED, advised
from diip_jax.evaluate.runs import compute, jobs_of, table
from diip_jax.evaluate.table_text import markdown, overview
from diip_jax.images import write_json, write_text
from diip_jax.prior import bundled_checkpoint

PROGRAM = "diip_jax.evaluate"


def _flag_values() -> flags.FlagValues:
    values = options.flag_values()
    flags.DEFINE_boolean("prior", False, "how well the prior predicts noise on the images", flag_values=values)
    flags.DEFINE_integer(
        "samples", None, "what so many restorations of an image are worth", lower_bound=2, flag_values=values
    )
    return values


def _refuse(values: flags.FlagValues, names: Sequence[str], mode: str) -> None:
    given = [f"--{name}" for name in names if values[name].present]
    if given:
        raise command.UsageError(f"{', '.join(given)}: no effect with {mode}; leave it out")


def _print_noise_prediction(values: flags.FlagValues) -> None:
    _refuse(values, (*options.OF_PROTOCOLS, "samples"), "--prior")
    prior = command.prior_of(values)
    clean = options.clean_images(values, prior)
    t = noise_prediction.timesteps(prior.schedule)
    errors = noise_prediction.noise_prediction_errors(prior, clean, t, values.seed)
    name = Path(values.checkpoint or bundled_checkpoint()).name
    print(noise_prediction.markdown(f"{name}, {prior.dtype}, {len(clean)} images", t, errors), end="")


def _print_spread(values: flags.FlagValues) -> None:
    _refuse(values, ("protocol", "entry"), "--samples")
    tasks = options.tasks_of(values, SAMPLED, tuple(CORRUPTIONS))
    study = options.study(values, perceptual=False)
    rows = []
    for task in tasks:
        method = advised(task)
        samples = spread.restored_samples(
            study.folder / "samples",
            study.prior,
            task,
            study.clean,
            method,
            values.samples,
            seed=study.seed,
            severity=study.severity,
            report=options.report,
        )
        rows.append(spread.spread_of(task, type(method).__name__.removesuffix("Settings"), samples, study.clean))
    text = spread.markdown(rows, values.samples)
    write_text(study.folder / f"samples{values.samples}.md", text)
    print(text, end="")


def _print_tables(values: flags.FlagValues) -> None:
    selections = options.selections(values)
    study = options.study(values)
    jobs = {selection.name: jobs_of(selection.entries, selection.tasks, study) for selection in selections}
    compute([job for of_one in jobs.values() for job in of_one], options.report)
    for selection in selections:
        rows = table(jobs[selection.name], study, selection.tasks)
        text = f"{overview(rows)}\n{markdown(rows)}"
        write_text(study.folder / f"{selection.name}.md", text)
        write_json(study.folder / f"{selection.name}.json", [dataclasses.asdict(row) for row in rows])
        if len(selections) > 1:
            print(f"## {selection.name}\n")
        print(text, end="" if selection is selections[-1] else "\n")


def _evaluate(values: flags.FlagValues) -> None:
    options.check_images_given(values)
    with options.extras_asked_for():
        printed = _print_noise_prediction if values.prior else _print_spread if values.samples else _print_tables
        printed(values)


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    return command.run(PROGRAM, str(__doc__), _flag_values(), _evaluate, arguments)


if __name__ == "__main__":
    startup.run(main)
