"""Quality of methods on corrupted images, and of a prior: `python -m diip_jax.evaluate --images=FILE.npz --first=64`.

Prints the table of quality as markdown and keeps every trajectory in --output_dir, so that an interrupted run goes on
where it stopped. The corruptions, settings, rules and numbers of images are those of a protocol in
`diip_jax.evaluate.protocol`: --protocol=quality for DIIP, --protocol=bird for BIRD beside it.

With --rules it compares the stopping rules with the best iterates instead (`diip_jax.evaluate.rules`).

With --prior it prints instead how well the prior predicts noise on the images: the mean squared error at six timesteps,
by which checkpoints can be compared. Nothing is kept then.
"""

import dataclasses
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from diip_jax import command
from diip_jax.evaluate import noise_prediction, rules
from diip_jax.evaluate.corruptions import CORRUPTIONS
from diip_jax.evaluate.protocol import PROTOCOLS, table
from diip_jax.evaluate.tables import markdown
from diip_jax.image_reading import ImageError, find_images, read_image, to_uint8
from diip_jax.images import check_writable, fit_to_size, write_json, write_text
from diip_jax.prior import Prior, bundled_checkpoint

PROGRAM = "diip_jax.evaluate"
# Flags of the table of quality alone.
_OF_QUALITY = ("protocol", "tasks", "entry", "output_dir")


def _flag_values() -> flags.FlagValues:
    values = command.prior_flags()
    flags.DEFINE_string(
        "images", None, "clean images: a folder, a glob, or an .npz that holds `images`", flag_values=values
    )
    flags.DEFINE_integer("first", 0, "leave out this many images at the beginning", lower_bound=0, flag_values=values)
    flags.DEFINE_boolean("prior", False, "how well the prior predicts noise on the images", flag_values=values)
    flags.DEFINE_boolean("rules", False, "how near stopping rules come to the best iterate", flag_values=values)
    flags.DEFINE_enum("protocol", "quality", list(PROTOCOLS), "what is compared", flag_values=values)
    flags.DEFINE_list("tasks", None, "corruptions; without it those of the protocol", flag_values=values)
    flags.DEFINE_multi_string("entry", [], "only these entries of the protocol; repeatable", flag_values=values)
    flags.DEFINE_string("output_dir", None, "trajectories and tables; without it results/PROTOCOL", flag_values=values)
    flags.DEFINE_integer(
        "seed", 0, "of corruptions and restorations; with --prior of the noise", lower_bound=0, flag_values=values
    )
    return values


def read_clean(pattern: str, prior: Prior) -> np.ndarray:
    """Images of the prior's size as `[N, H, W, 3]` uint8.

    Raises:
        ImageError: the file is missing, is no such archive, or an image cannot be read.
        ValueError: the images have another size or dtype.
    """
    height, width, _ = prior.image_shape
    if pattern.endswith(".npz"):
        try:
            with open(pattern, "rb") as file, np.load(file) as archive:
                images = archive["images"]
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise ImageError(pattern, f"holds no array `images` that can be read ({error})") from error
        if images.dtype != np.uint8 or images.shape[1:] != (height, width, 3):
            expected = f"[N, {height}, {width}, 3] uint8"
            raise ValueError(f"{pattern}: images are {images.shape} {images.dtype}, expected {expected}")
        return images
    paths, errors = find_images([pattern])
    if errors:
        raise errors[0]
    return np.stack([to_uint8(fit_to_size(read_image(path), height, width, "crop").rgb) for path in paths])


def _clean(values: flags.FlagValues, prior: Prior) -> np.ndarray:
    clean = read_clean(values.images, prior)[values.first :]
    if not len(clean):
        raise command.UsageError(f"--first={values.first}: no image is left")
    return clean


def _print_noise_prediction(values: flags.FlagValues) -> None:
    given = [f"--{name}" for name in _OF_QUALITY if values[name].present]
    if given:
        raise command.UsageError(f"{', '.join(given)}: no effect with --prior; leave it out")
    prior = command.prior_of(values)
    clean = _clean(values, prior)
    t = noise_prediction.timesteps(prior.schedule)
    errors = noise_prediction.noise_prediction_errors(prior, clean, t, values.seed)
    name = Path(values.checkpoint or bundled_checkpoint()).name
    print(noise_prediction.markdown(f"{name}, {prior.dtype}, {len(clean)} images", t, errors), end="")


def _print_quality(values: flags.FlagValues) -> None:
    protocol = PROTOCOLS[values.protocol]
    entries = [entry for entry in protocol.entries if not values.entry or entry.name in values.entry]
    if len(entries) < len(set(values.entry)) or not entries:
        expected = "; ".join(entry.name for entry in protocol.entries)
        raise command.UsageError(f"--entry={','.join(values.entry)}: expected of {expected}")
    folder = command.expanded("output_dir", values.output_dir or f"results/{values.protocol}")
    check_writable(folder)
    tasks = protocol.tasks if values.tasks is None else values.tasks
    if not tasks or not {*tasks} <= {*protocol.possible}:
        raise command.UsageError(f"--tasks={','.join(tasks)}: expected of {', '.join(protocol.possible)}")
    prior = command.prior_of(values)
    rows = table(entries, folder / "trajectories", prior, tasks, _clean(values, prior), values.seed)
    text = markdown(rows)
    # A part of the protocol does not overwrite the whole.
    name = values.protocol + "".join(
        f"-{entry.name.replace(', ', '-').replace(' ', '')}" for entry in entries if values.entry
    )
    write_text(folder / f"{name}.md", text)
    write_json(folder / f"{name}.json", [dataclasses.asdict(r) for r in rows])
    print(text, end="")


def _print_rules(values: flags.FlagValues) -> None:
    given = [f"--{name}" for name in ("protocol", "entry") if values[name].present]
    if given:
        raise command.UsageError(f"{', '.join(given)}: no effect with --rules; leave it out")
    tasks = values.tasks or list(CORRUPTIONS)
    if not {*tasks} <= {*CORRUPTIONS}:
        raise command.UsageError(f"--tasks={','.join(tasks)}: expected of {', '.join(CORRUPTIONS)}")
    folder = command.expanded("output_dir", values.output_dir or "results/rules")
    check_writable(folder)
    prior = command.prior_of(values)
    found = rules.compared(folder / "trajectories", prior, tasks, _clean(values, prior), values.seed)
    text = rules.markdown(found)
    write_text(folder / "rules.md", text)
    write_json(folder / "rules.json", [dataclasses.asdict(gap) for gap in found])
    print(text, end="")


def _evaluate(values: flags.FlagValues) -> None:
    if not values.images:
        raise command.UsageError("--images is missing: give a folder, a glob or an .npz of clean images")
    if values.prior and values.rules:
        raise command.UsageError("--prior and --rules: one of them")
    (_print_noise_prediction if values.prior else _print_rules if values.rules else _print_quality)(values)


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    return command.run(PROGRAM, str(__doc__), _flag_values(), _evaluate, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
