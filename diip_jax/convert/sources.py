"""What `--source` points at: a file of weights, or a folder of diffusers with its configuration and its files."""

import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from diip_jax.checkpoint_files import METADATA_FILE
from diip_jax.convert.state_dicts import is_averaged
from diip_jax.convert.weight_files import ConversionError, first_line

_log = logging.getLogger(__name__)

# In the order of preference; diffusers' own name, and those of accelerate.
_NAMES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
# Networks of a pipeline, or of a training's checkpoint; the averaged one first.
_SUBFOLDERS = ("unet_ema", "unet")


@dataclass(frozen=True)
class Source:
    """Weights on disk.

    Attributes:
        path: the file of weights, or the index of a sharded one.
        files: the files that hold them.
        folder: of a diffusers model, with its config.json; None for a plain file.
    """

    path: Path
    files: tuple[Path, ...]
    folder: Path | None


def find_source(source: str | os.PathLike[str], wanted: str | None = None) -> Source:
    """Finds the weights that a path stands for.

    Args:
        wanted: "unet" or "unet_ema", where a folder has both; None for the averaged ones.

    Raises:
        ConversionError: there are none.
    """
    path = Path(source)
    if path.is_file():
        return Source(path, _files(path), None)
    if not path.is_dir():
        raise ConversionError(f"{path}: no such file or folder")
    if (path / METADATA_FILE).is_file():
        raise ConversionError(f"{path}: an Orbax checkpoint: what is converted already goes to --checkpoint as it is")
    folder = path if (path / "config.json").is_file() else _subfolder(path, wanted)
    name = _file_name(folder)
    return Source(folder / name, _files(folder / name), folder)


def _subfolder(path: Path, wanted: str | None) -> Path:
    there = [name for name in _SUBFOLDERS if (path / name / "config.json").is_file()]
    if not there:
        raise ConversionError(f"{path}: no config.json there or in unet/: expected a diffusers folder or a file")
    name = wanted if wanted in there else there[0]
    others = [other for other in there if other != name]
    if others:
        _log.info("%s: weights of %r (not of %r; --weights=%s takes those)", path, name, others[0], others[0])
    return path / name


def _file_name(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir())
    # Variants are called name.VARIANT.suffix, and name.suffix.index.VARIANT.json if they are sharded.
    fitting = {name: place for name in names if (place := _place(name)) is not None}
    if not fitting:
        raise ConversionError(f"{folder}: holds neither {' nor '.join(_NAMES[:2])}, whole, sharded or as a variant")
    best, *others = sorted(fitting, key=lambda name: fitting[name])
    if others and fitting[best][0]:
        _log.info("%s: weights of %s (not of %s)", folder, best, ", ".join(others))
    return best


def _place(name: str) -> tuple[bool, bool, int, bool, str] | None:
    """Where a file comes in the order of preference; None for one that holds no weights."""
    if re.search(r"-\d+-of-\d+", name):  # a shard, which an index names
        return None
    for n, usual in enumerate(_NAMES):
        stem, _, suffix = usual.rpartition(".")
        parts = name.removeprefix(stem).split(".")
        if not name.startswith(f"{stem}.") or suffix not in parts:
            continue
        sharded = parts[-1] == "json" and "index" in parts
        variant = ".".join(part for part in parts[1:] if part not in (suffix, "index", "json"))
        if parts[-1] == suffix or sharded:
            return bool(variant), variant != "" and not is_averaged(variant.replace("non_ema", "")), n, sharded, variant
    return None


def _files(path: Path) -> tuple[Path, ...]:
    """The file itself, or those that an index of a sharded file names."""
    if path.suffix != ".json":
        return (path,)
    try:
        names = {*json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()}
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise ConversionError(f"{path}: no weights, and no index of a sharded file ({first_line(error)})") from error
    files = []
    for name in sorted(names):
        if not isinstance(name, str) or Path(name).name != name:  # nothing outside the folder
            raise ConversionError(f"{path}: names a file {name!r}: expected names in the same folder")
        if not (path.parent / name).is_file():
            raise ConversionError(f"{path.parent / name}: is missing, but {path.name} names it; download it as well")
        files.append(path.parent / name)
    return tuple(files)
