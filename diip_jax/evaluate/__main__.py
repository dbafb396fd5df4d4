"""Quality of DIIP on corrupted images: `python -m diip_jax.evaluate --images=FILE.npz --first=64`.

Prints the table as markdown and keeps every trajectory in --output_dir, so that an interrupted run goes on where it
stopped. The corruptions, settings, rules and numbers of images are those of `diip_jax.evaluate.protocol.QUALITY`.
"""

import dataclasses
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from diip_jax.evaluate.corruptions import CORRUPTIONS
from diip_jax.evaluate.protocol import QUALITY, QUALITY_TASKS, table
from diip_jax.evaluate.tables import markdown
from diip_jax.image_reading import ImageError, find_images, read_image, to_uint8
from diip_jax.images import check_writable, fit_to_size, write_json, write_text
from diip_jax.prior import CheckpointError, Prior, load_prior

PROGRAM = "diip_jax.evaluate"


def _flag_values() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "images", None, "clean images: a folder, a glob, or an .npz that holds `images`", flag_values=values
    )
    flags.DEFINE_integer("first", 0, "leave out this many images at the beginning", lower_bound=0, flag_values=values)
    flags.DEFINE_list("tasks", list(QUALITY_TASKS), f"corruptions, of {', '.join(CORRUPTIONS)}", flag_values=values)
    flags.DEFINE_multi_string("entry", [], "only these entries of the protocol; repeatable", flag_values=values)
    flags.DEFINE_string("checkpoint", None, "prior; without it the bundled one", flag_values=values)
    flags.DEFINE_string("output_dir", "results/quality", "trajectories and tables", flag_values=values)
    flags.DEFINE_integer("seed", 0, "of corruptions and restorations", lower_bound=0, flag_values=values)
    flags.DEFINE_boolean("help", False, "show this", short_name="h", flag_values=values)
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


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    values = _flag_values()
    try:
        values([PROGRAM, *arguments])
        if values.help:
            print(f"{__doc__}\n{values.get_help()}")
            return 0
        if not values.images:
            raise ValueError("--images is missing: give a folder, a glob or an .npz of clean images")
        entries = [entry for entry in QUALITY if not values.entry or entry.name in values.entry]
        if len(entries) < len(set(values.entry)) or not entries:
            raise ValueError(f"--entry={','.join(values.entry)}: expected of {'; '.join(e.name for e in QUALITY)}")
        folder = Path(values.output_dir)
        check_writable(folder)
        unknown = [task for task in values.tasks if task not in CORRUPTIONS]
        if unknown or not values.tasks:
            raise ValueError(f"--tasks={','.join(values.tasks)}: expected of {', '.join(CORRUPTIONS)}")
        prior = load_prior(values.checkpoint)
        clean = read_clean(values.images, prior)[values.first :]
        if not len(clean):
            raise ValueError(f"--first={values.first}: no image is left")
        rows = table(entries, folder / "trajectories", prior, values.tasks, clean, values.seed)
    except (flags.Error, CheckpointError, ImageError, ValueError) as error:
        print(f"{PROGRAM}: error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    text = markdown(rows)
    # A part of the protocol does not overwrite the whole.
    name = "quality" + "".join(
        f"-{entry.name.replace(', ', '-').replace(' ', '')}" for entry in entries if values.entry
    )
    write_text(folder / f"{name}.md", text)
    write_json(folder / f"{name}.json", [dataclasses.asdict(r) for r in rows])
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
