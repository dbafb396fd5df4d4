"""What the outputs of an image are called, such that finished work stays where it is and nobody else's is lost."""

import contextlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from diip_jax.images import SOFTWARE, ImageError, file_sha256


def read_record(path: Path) -> dict[str, Any] | None:
    """A record that this program wrote, or None where there is none: nothing of that name, or something else."""
    try:
        record = json.loads(path.read_bytes())
        parts = (record["input"], record["settings"], record["versions"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    ours = all(isinstance(part, dict) for part in parts)
    return record if ours and isinstance(parts[0].get("sha256"), str) and "diip_jax" in parts[2] else None


def relative_to(path: Path, folder: Path) -> str:
    """How a record in that folder names an input: the two may then be moved together."""
    return os.path.relpath(os.path.abspath(path), os.path.abspath(folder))


def _source(record: dict[str, Any], folder: Path) -> str | None:
    """Absolute path of the input that a record in that folder is of; None where it does not say, or it is gone."""
    given = record["input"].get("path")
    if not isinstance(given, str):
        return None
    path = os.path.abspath(os.path.join(os.path.abspath(folder), given))
    return path if os.path.exists(path) else None


def output_stems(paths: Sequence[Path], output_dir: Path) -> list[Path]:
    """For each input the name of its outputs, without their endings, relative to the output folder.

    - The stem of the input: `in/x.png` gives `x`.
    - Inputs of one folder that differ in their extension keep it: `x.png`, `x.jpg`.
    - Inputs of one name in several folders keep them, relative to the deepest that holds them all: `a/x`, `b/x`.
    - An input that has a record in the output folder already keeps that name, whatever is added to the inputs or left
      out. Another one does not get it while that input exists, but the next that tells them apart.
    """
    kept: dict[int, Path] = {}
    taken: set[Path] = set()
    folders: dict[Path, bool] = {}
    for n, path in enumerate(paths):
        found = _recorded(path, output_dir, folders)
        if found is not None and found not in taken:
            kept[n] = found
            taken.add(found)
    stems = []
    for n, (path, usual) in enumerate(zip(paths, usual_stems(paths), strict=True)):
        if n not in kept:
            other = _other(path, usual, output_dir)
            choice = [usual, *_longer(path)] if other is None else [usual_stems([path, other])[0], *_longer(path)]
            kept[n] = next((s for s in choice if s not in taken and _other(path, s, output_dir) is None), usual)
            taken.add(kept[n])
        stems.append(kept[n])
    return stems


def _longer(path: Path) -> list[Path]:
    """Names of an input that say ever more of where it is."""
    parts = Path(os.path.abspath(path.parent)).parts[1:]
    ends = [Path(*parts[len(parts) - n :]) for n in range(len(parts) + 1)]
    return [end / label for end in ends for label in (path.stem, path.name)]


def _other(path: Path, stem: Path, output_dir: Path) -> Path | None:
    """Another input that the record of this name is of, where that input is still there."""
    place = output_dir / stem
    record = read_record(place.with_name(f"{place.name}.json"))
    source = None if record is None else _source(record, place.parent)
    return None if source is None or source == os.path.abspath(path) else Path(source)


def _recorded(path: Path, output_dir: Path, folders: dict[Path, bool]) -> Path | None:
    """The name under which a record of this input is there; `folders` remembers which folders are."""
    for stem in _longer(path):
        folder = output_dir / stem.parent
        if folder not in folders:
            folders[folder] = folder.is_dir()
        record = read_record(folder / f"{stem.name}.json") if folders[folder] else None
        if record is not None:
            source = _source(record, folder)
            if source == os.path.abspath(path) or (source is None and record["input"]["sha256"] == _digest(path)):
                return stem
    return None


def _digest(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except ImageError:
        return None  # said when it is to be restored


def usual_stems(paths: Sequence[Path]) -> list[Path]:
    """The names of `output_stems` where nothing is in the output folder yet."""
    parents = [os.path.abspath(path.parent) for path in paths]
    alike = Counter((parent, path.stem) for parent, path in zip(parents, paths, strict=True))
    labels = [
        path.name if alike[parent, path.stem] > 1 else path.stem for parent, path in zip(parents, paths, strict=True)
    ]
    folders: dict[str, list[str]] = defaultdict(list)
    for parent, label in zip(parents, labels, strict=True):
        folders[label].append(parent)
    return [
        Path(os.path.relpath(parent, os.path.commonpath(folders[label]))) / label
        for parent, label in zip(parents, labels, strict=True)
    ]


def check_place(output: Path, record: dict[str, Any] | None, output_dir: Path) -> None:
    """Refuses an output that could not be written once it is computed, or that would take the place of a stranger's.

    What is ours: beside our own record, or a picture that says so. An empty file is nobody's.

    Args:
        record: that of the image, see `read_record`.

    Raises:
        ImageError: no file system takes the name, something else is there, or the folder cannot be made.
    """
    try:
        there = next(parent for parent in (output.parent, *output.parent.absolute().parents) if parent.exists())
        if not there.is_dir():
            if there == output_dir or there in output_dir.absolute().parents:
                return  # no output can be written there, which is said once
            raise ImageError(output, f"cannot be written: {there} is no folder; choose another --output_dir")
        for path in (output, there / output.name):  # the first alone does not show a long name in a missing folder
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.lstat(path)
        if not output.exists():
            return
        empty, folder = output.stat().st_size == 0, output.is_dir()
    except OSError as error:
        raise ImageError(output, f"cannot be written ({error.strerror}); rename the input to a shorter name") from error
    if folder:
        raise ImageError(output, "cannot be written: a folder has this name; choose another --output_dir")
    if not empty and record is None and not _says_ours(output):
        raise ImageError(output, "is not of this program and would be overwritten; choose another --output_dir")


def _says_ours(path: Path) -> bool:
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.info.get("Software") == SOFTWARE
    except Exception:  # not a picture, or a damaged one: Pillow raises anything
        return False
