"""What the outputs of an image are called, such that finished work stays where it is and nobody else's is lost."""

import io
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from diip_jax.images import SOFTWARE, ImageError, file_sha256
from diip_jax.launch.outputs import Outputs


def output_stems(paths: Sequence[Path], outputs: Outputs) -> list[Path]:
    """For each input the name of its outputs, without their endings, relative to the output folder.

    - The stem of the input: `in/x.png` gives `x`.
    - Inputs of one folder that differ in their extension keep it: `x.png`, `x.jpg`.
    - Inputs of one name in several folders keep them, relative to the deepest that holds them all: `a/x`, `b/x`.
    - An input that has a record in the output folder already keeps that name, whatever is added to the inputs or left
      out. Another one does not get it while that input exists, but the next that tells them apart.
    """
    kept: dict[int, Path] = {}
    taken: set[Path] = set()
    folders: dict[str, list[str]] = {}
    places = [outputs.place(path) for path in paths]
    for n, (path, place) in enumerate(zip(paths, places, strict=True)):
        found = _recorded(path, place, outputs, folders)
        if found is not None and found not in taken:
            kept[n] = found
            taken.add(found)
    stems = []
    for n, (place, usual) in enumerate(zip(places, usual_stems(places), strict=True)):
        if n not in kept:
            other = _other(place, usual, outputs)
            choice = [usual] if other is None else [usual_stems([place, other])[0]]
            if usual in taken or other is not None:
                choice += _longer(place)
            kept[n] = next((s for s in choice if s not in taken and _other(place, s, outputs) is None), usual)
            taken.add(kept[n])
        stems.append(kept[n])
    return stems


def _longer(place: Path) -> list[Path]:
    """Names of an input that say ever more of where it is."""
    return [Path(end, label) for end in _ends(os.fspath(place.parent)) for label in (place.stem, place.name)]


def _ends(folder: str) -> list[str]:
    parts = folder.split(os.sep)[1:]
    return [os.sep.join(parts[len(parts) - n :]) for n in range(len(parts) + 1)]


def _other(place: Path, stem: Path, outputs: Outputs) -> Path | None:
    """Another input that the record of this name is of, where that input is still there."""
    known = outputs.known(os.fspath(stem))
    return None if known is None or known.source == place else known.source


def _recorded(path: Path, place: Path, outputs: Outputs, folders: dict[str, list[str]]) -> Path | None:
    """The name under which a record of this input is there; `folders` remembers where one may be."""
    parent, name = os.path.split(place)
    if parent not in folders:
        folders[parent] = [end for end in _ends(parent) if outputs.listed(end) is not None]
    for folder in folders[parent]:
        there = outputs.listed(folder) or {}
        for label in (os.path.splitext(name)[0], name):
            if f"{label}.json" in there and (known := outputs.known(os.path.join(folder, label))) is not None:
                # What it was made of may be elsewhere by now.
                if known.source == place or (known.source is None and known.sha256 == _digest(path)):
                    return Path(folder, label)
    return None


def _digest(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except ImageError:
        return None  # said when it is to be restored


def usual_stems(paths: Sequence[Path]) -> list[Path]:
    """The names of `output_stems` where nothing is in the output folder yet."""
    absolute: dict[str, str] = {}
    split = [os.path.split(path) for path in paths]
    parents = [absolute.setdefault(parent, os.path.abspath(parent)) for parent, _ in split]
    stems = [os.path.splitext(name)[0] for _, name in split]
    alike = Counter(zip(parents, stems, strict=True))
    labels = [
        name if alike[parent, stem] > 1 else stem for parent, stem, (_, name) in zip(parents, stems, split, strict=True)
    ]
    folders: dict[str, list[str]] = defaultdict(list)
    for parent, label in zip(parents, labels, strict=True):
        folders[label].append(parent)
    return [
        Path(label)
        if len(folders[label]) == 1
        else Path(os.path.relpath(parent, os.path.commonpath(folders[label])), label)
        for parent, label in zip(parents, labels, strict=True)
    ]


def check_place(output: Path, recorded: bool, outputs: Outputs) -> None:
    """Refuses an output that could not be written once it is computed, or that would take the place of a stranger's.

    What is ours: beside our own record, or a picture that says so. An empty file is nobody's.

    Args:
        recorded: whether the image has a record of ours.

    Raises:
        ImageError: no file system takes the name, something else is there, or the folder cannot be made.
    """
    try:
        outputs.check_name(output)
        if not outputs.holds(output):
            return
        if outputs.is_folder(output):
            raise ImageError(output, "cannot be written: a folder has this name; choose another --output_dir")
        foreign = not recorded and not _nobodys(outputs.read(output))
    except NotADirectoryError as error:
        raise ImageError(output, f"cannot be written: {error.strerror}; choose another --output_dir") from error
    except OSError as error:
        raise ImageError(output, f"cannot be written ({error.strerror}); rename the input to a shorter name") from error
    if foreign:
        raise ImageError(output, "is not of this program and would be overwritten; choose another --output_dir")


def _nobodys(data: bytes) -> bool:
    """Whether it is nothing, or a picture that was written here."""
    if not data:
        return True
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            return picture.info.get("Software") == SOFTWARE
    except Exception:  # not a picture, or a damaged one: Pillow raises anything
        return False
