"""Which files are pictures: the formats that can be read here, and what a user's files, folders and globs lead to."""

import glob
import importlib
import importlib.util
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diip_jax.terminal import printable

# Only decoders of plain raster formats: Pillow would hand an EPS file to Ghostscript, which runs programs.
FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif", ".avifs"),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
}
# Formats of Pillow's plugins: module, what registers it, extensions, the extra of this package that installs it.
_PLUGINS = {
    "HEIF": ("pillow_heif", "register_heif_opener", (".heic", ".heif", ".hif", ".heics", ".heifs"), "heif"),
    "JXL": ("pillow_jxl", None, (".jxl",), "jxl"),
}
FORMATS |= {name: given[2] for name, given in _PLUGINS.items() if importlib.util.find_spec(given[0])}
EXTENSIONS = frozenset(extension for extensions in FORMATS.values() for extension in extensions)
_EXTRA = {
    extension: extra
    for name, (_, _, extensions, extra) in _PLUGINS.items()
    if name not in FORMATS
    for extension in extensions
}
# Pictures, too, that nothing here reads: raw files of cameras, layered and vector graphics, and others.
_UNREADABLE = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 .srf "
    ".srw .x3f .cdr .eps .svg .svgz .psd .psb .xcf .kra .ora .dcm .dds .exr .fits .fts .hdr .icns .ico .cur .pcx "
    ".pfm .ras .sgi .bw .rgb .rgba .qoi .xbm .xpm .wmf .emf .bpg .flif .jxr .wdp .hdp".split()
)


class ImageError(ValueError):
    """One line for the user: which path, what is wrong with it, what to do."""

    def __init__(self, path: str | os.PathLike[str], problem: str):
        super().__init__(f"{printable(os.fspath(path))}: {' '.join(problem.split())}")


def reason(error: Exception) -> str:
    """What an exception says, without the path that OSError repeats."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def find_images(patterns: Sequence[str | os.PathLike[str]]) -> tuple[list[Path], list[ImageError]]:
    """Expand files, folders and globs (`**` too) to image paths, in the order given, each once.

    A file is taken whatever its name; a folder gives the files with an image extension directly in it, sorted; a glob
    gives those it matches, sorted. Hidden files are taken only when named. Returns (paths, errors): an item that leads
    to nothing becomes an `ImageError` in `errors` and does not stop the others.
    """
    paths: dict[str, Path] = {}  # by absolute path, so that `a.png` and `./a.png` are one
    errors: list[ImageError] = []
    for pattern in patterns:
        try:
            found = _expand(Path(pattern).expanduser())
        except ImageError as error:
            errors.append(error)
        except (OSError, RuntimeError) as error:  # RuntimeError: no home directory for `~name`
            errors.append(ImageError(pattern, f"cannot be looked up ({reason(error)}); check the path and its rights"))
        else:
            for path in found:
                paths.setdefault(os.path.abspath(path), path)
    return list(paths.values()), errors


def _expand(path: Path) -> list[Path]:
    if path.exists() and not path.is_dir():  # before the glob: a file may be called `photo[1].png`
        return [path]
    if not path.exists() and not glob.has_magic(str(path)):
        raise ImageError(path, "no such file or folder; check the path")
    found = [
        p for p in _candidates(path) if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".") and p.is_file()
    ]
    if not found:
        what = "holds" if path.is_dir() else "matches"
        raise ImageError(path, f"{what} no image file; expected files ending in {', '.join(sorted(EXTENSIONS))}")
    return found


def _candidates(path: Path) -> list[Path]:
    """What is in a folder, or what a glob matches, sorted."""
    return sorted(path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path), recursive=True)))


def left_out(patterns: Sequence[str | os.PathLike[str]]) -> str | None:
    """One line that names the pictures which `find_images` does not take; None where there are none.

    Those of a format that cannot be read here, with what makes it readable where something does, and links that lead
    nowhere.
    """
    missed: dict[str, Path] = {}
    for pattern in patterns:
        try:
            path = Path(pattern).expanduser()
            if path.is_dir() or not path.exists():
                for candidate in _candidates(path):
                    if _is_missed(candidate):
                        missed.setdefault(os.path.abspath(candidate), candidate)
        except (OSError, RuntimeError):
            continue  # `find_images` says so
    if not missed:
        return None
    kinds = Counter("dangling link" if not path.exists() else path.suffix.lower() for path in missed.values())
    names = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    extras = ",".join(sorted({_EXTRA[kind] for kind in kinds if kind in _EXTRA}))
    remedy = f'run: pip install "diip_jax[{extras}]"' if extras else "convert them to PNG"
    return f"left out, as they cannot be read here: {names}, such as {next(iter(missed.values()))}; {remedy}"


def _is_missed(path: Path) -> bool:
    known = path.suffix.lower() in EXTENSIONS
    named = known or path.suffix.lower() in _UNREADABLE or path.suffix.lower() in _EXTRA
    if not named or path.name.startswith("."):
        return False
    return path.is_file() if not known else not path.exists()


def readable_formats() -> list[str]:
    """Names of the formats for `PIL.Image.open`, their plugins loaded."""
    Image.init()
    for name, (module, register, _, _) in _PLUGINS.items():
        if name in FORMATS and name not in Image.OPEN:
            plugin = importlib.import_module(module)
            if register is not None:
                getattr(plugin, register)()
    return [name for name in FORMATS if name in Image.OPEN]


def archived_images(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array `images` of an .npz.

    Raises:
        ImageError: there is no such file, it is damaged or none, or has no such array.
    """
    try:
        with open(path, "rb") as file, np.load(file) as archive:
            return archive["images"]
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ImageError(path, f"holds no array `images` that can be read ({error})") from error
