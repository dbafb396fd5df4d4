"""What the commands of the evaluation share: their flags, and the images, entries and tasks that the flags name."""

import contextlib
import sys
import zipfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags

from diip_jax import command
from diip_jax.evaluate.corruptions import CORRUPTIONS
from diip_jax.evaluate.entries import Entry, OneShotEntry, Study
from diip_jax.evaluate.protocol import PROTOCOLS, Protocol
from diip_jax.image_reading import ImageError, find_images, read_image, to_uint8
from diip_jax.images import check_writable, fit_to_size
from diip_jax.metrics import lpips
from diip_jax.prior import Prior

ALL = "all"
# Flags of protocols alone.
OF_PROTOCOLS = ("protocol", "tasks", "entry", "severity", "output_dir")


class Selection(NamedTuple):
    """A protocol, or a part of it.

    Attributes:
        name: of its files. Those of a part do not overwrite those of the whole.
    """

    name: str
    protocol: Protocol
    entries: Sequence[Entry | OneShotEntry]
    tasks: Sequence[str]


def flag_values() -> flags.FlagValues:
    """Flags of the prior, the images and the protocol."""
    values = command.prior_flags()
    flags.DEFINE_string(
        "images", None, "clean images: a folder, a glob, or an .npz that holds `images`", flag_values=values
    )
    flags.DEFINE_integer("first", 0, "leave out this many images at the beginning", lower_bound=0, flag_values=values)
    flags.DEFINE_integer(
        "count", None, "at most so many of the rest; without it all", lower_bound=1, flag_values=values
    )
    flags.DEFINE_enum("protocol", "quality", [*PROTOCOLS, ALL], "what is compared", flag_values=values)
    flags.DEFINE_list("tasks", None, "corruptions; without it those of the protocol", flag_values=values)
    flags.DEFINE_integer("severity", None, "of the corruptions; without it the standard one", flag_values=values)
    flags.DEFINE_multi_string("entry", [], "only these entries of the protocol; repeatable", flag_values=values)
    flags.DEFINE_string("output_dir", "results", "what is computed, and what is made of it", flag_values=values)
    flags.DEFINE_integer(
        "seed", 0, "of corruptions and restorations; with --prior of the noise", lower_bound=0, flag_values=values
    )
    return values


def selections(values: flags.FlagValues) -> list[Selection]:
    """The protocols that the flags name, with the entries and tasks of each.

    Raises:
        UsageError: an entry, a task or a severity that there is not; or a part is asked of all protocols.
    """
    if values.protocol != ALL:
        return [_selection(values, values.protocol)]
    given = [f"--{name}" for name in ("tasks", "entry") if values[name].present]
    if given:
        raise command.UsageError(f"{', '.join(given)}: protocols differ in it; name one with --protocol")
    return [_selection(values, name) for name in PROTOCOLS]


def _selection(values: flags.FlagValues, name: str) -> Selection:
    protocol = PROTOCOLS[name]
    entries = [entry for entry in protocol.entries if not values.entry or entry.name in values.entry]
    if len(entries) < len(set(values.entry)) or not entries:
        expected = "; ".join(entry.name for entry in protocol.entries)
        raise command.UsageError(f"--entry={','.join(values.entry)}: expected of {expected}")
    tasks = tasks_of(values, protocol.tasks, protocol.possible)
    parts = [entry.name.replace(", ", "-").replace(" ", "") for entry in entries if values.entry]
    severity = [] if values.severity is None else [f"severity{values.severity}"]
    return Selection("-".join([name, *severity, *parts]), protocol, entries, tasks)


def tasks_of(values: flags.FlagValues, default: Sequence[str], possible: Sequence[str]) -> Sequence[str]:
    """The tasks that the flags name.

    Raises:
        UsageError: a task that is not possible, or a severity that they do not all have.
    """
    tasks = default if values.tasks is None else values.tasks
    if not tasks or not {*tasks} <= {*possible}:
        raise command.UsageError(f"--tasks={','.join(tasks)}: expected of {', '.join(possible)}")
    severities = min(len(CORRUPTIONS[task].severities) for task in tasks)
    if values.severity is not None and not 1 <= values.severity <= severities:
        raise command.UsageError(f"--severity={values.severity}: expected 1 .. {severities}")
    return tasks


def study(values: flags.FlagValues, perceptual: bool = True) -> Study:
    """The prior, the images and the folder that the flags name.

    Args:
        perceptual: with LPIPS; it is left out where it cannot be had, and said so.

    Raises:
        UsageError: no images are named, or none are left.
        ImageError: images cannot be read, or the folder cannot be written to.
    """
    folder = command.expanded("output_dir", values.output_dir)
    check_writable(folder)
    prior = command.prior_of(values)
    clean = clean_images(values, prior)
    return Study(folder, prior, clean, values.seed, values.severity, perceptual and _has_lpips(clean[0]))


@contextlib.contextmanager
def extras_asked_for() -> Iterator[None]:
    """Inside, that an optional package is missing is the user's mistake.

    Raises:
        UsageError: in the words of the ImportError, which say what to install.
    """
    try:
        yield
    except ImportError as error:
        raise command.UsageError(str(error)) from error


def report(line: str) -> None:
    """To stderr, where the course of a run is told."""
    print(line, file=sys.stderr, flush=True)


def _has_lpips(image: np.ndarray) -> bool:
    try:
        lpips(image, image)
    except (ImportError, ValueError) as error:
        report(f"LPIPS is left out: {error}")
        return False
    return True


def check_images_given(values: flags.FlagValues) -> None:
    """Raises UsageError where no images are named."""
    if not values.images:
        raise command.UsageError("--images is missing: give a folder, a glob or an .npz of clean images")


def clean_images(values: flags.FlagValues, prior: Prior) -> np.ndarray:
    """The images that the flags name, `[N, H, W, 3]` uint8; at least one.

    Raises:
        UsageError: none are left.
        ImageError, ValueError: as `read_clean`.
    """
    clean = read_clean(values.images, prior)[values.first :][: values.count]
    if not len(clean):
        raise command.UsageError(f"--first={values.first}: no image is left")
    return clean


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
