"""Figures of the evaluation: `python -m diip_jax.evaluate.figures --images=FILE.npz --first=64 --protocol=two_phase`.

Takes the flags of `python -m diip_jax.evaluate` and draws from what that command has computed with them; what is
missing is computed first. --protocol=all draws the figures of all protocols. In --output_dir:

    PROTOCOL-picture1.png, ...  the first images (--pictures), restored by every method (rows; trajectories by the
                                entry's first rule) on every task (columns)
    PROTOCOL-curves.png         PSNR, loss and Laplacian variance at every iteration, mean over the images: two_phase
    PROTOCOL-iterates.png       iterates of the first image: two_phase
"""

from collections.abc import Sequence

import numpy as np
from absl import flags

from diip_jax import command, startup
from diip_jax.evaluate import drawings, options
from diip_jax.evaluate.entries import Job, Study, TrajectoryJob
from diip_jax.evaluate.options import Selection
from diip_jax.evaluate.runs import compute, jobs_of
from diip_jax.images import write_image

PROGRAM = "diip_jax.evaluate.figures"


def _flag_values() -> flags.FlagValues:
    values = options.flag_values()
    flags.DEFINE_integer("pictures", 2, "of how many images there are pictures", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("cell", 128, "side of an image in them, in pixels", lower_bound=1, flag_values=values)
    return values


def _draw(values: flags.FlagValues) -> None:
    options.check_images_given(values)
    with options.extras_asked_for():
        _draw_selections(values)


def _draw_selections(values: flags.FlagValues) -> None:
    selections = options.selections(values)
    study = options.study(values, perceptual=False)
    side = max(study.clean.shape[1:3])
    if values.cell < side:
        raise command.UsageError(f"--cell={values.cell}: expected at least {side}, the side of the images")
    jobs = {selection.name: jobs_of(selection.entries, selection.tasks, study) for selection in selections}
    compute([job for of_one in jobs.values() for job in of_one], options.report)
    for selection in selections:
        _draw_pictures(selection, jobs[selection.name], study, values.pictures, values.cell)
        if selection.protocol.curves:
            _draw_curves(selection, jobs[selection.name], study, values.cell)


def _draw_pictures(selection: Selection, jobs: Sequence[Job], study: Study, count: int, cell: int) -> None:
    count = min(count, len(study.clean))
    inputs = {task: [each.picture() for each in study.degraded(task, count)] for task in selection.tasks}
    restored = {(job.name, job.task): job.pictures() for job in jobs}
    for i in range(count):
        # An entry may have fewer images than are asked for.
        methods = {
            entry.name: {
                task: images[i] for (name, task), images in restored.items() if name == entry.name and i < len(images)
            }
            for entry in selection.entries
        }
        given = {task: images[i] for task, images in inputs.items()}
        _write(
            study, f"{selection.name}-picture{i + 1}", drawings.methods_picture(study.clean[i], given, methods, cell)
        )


def _draw_curves(selection: Selection, jobs: Sequence[Job], study: Study, cell: int) -> None:
    runs: dict[str, dict] = {task: {} for task in selection.tasks}
    for job in jobs:
        if isinstance(job, TrajectoryJob):
            runs[job.task][job.name] = job.trajectory()
    curves = {task: {name: drawings.curves_of(run) for name, run in of_task.items()} for task, of_task in runs.items()}
    levels = {task: drawings.levels_of(next(iter(of_task.values()))) for task, of_task in runs.items()}
    _write(study, f"{selection.name}-curves", drawings.curves_picture(curves, levels))
    _write(study, f"{selection.name}-iterates", drawings.iterates_picture(runs, cell))


def _write(study: Study, name: str, picture: np.ndarray) -> None:
    path = study.folder / f"{name}.png"
    write_image(path, picture)
    print(path)


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    return command.run(PROGRAM, str(__doc__), _flag_values(), _draw, arguments)


if __name__ == "__main__":
    startup.run(main)
