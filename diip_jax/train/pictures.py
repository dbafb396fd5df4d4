"""Pictures to train on, by their number: the files of a folder or a zip, or an array of an npz.

Reading is safe in threads, and nothing is kept of what was read.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from diip_jax.image_files import archived_images
from diip_jax.image_reading import EXTENSIONS, ImageError, LoadedImage, decode_image, reason
from diip_jax.pixels import from_uint8


class Pictures(NamedTuple):
    """Attributes:
    source: the folder or file that they are in.
    names: of the pictures, in their order; what errors call them.
    read: the picture of a number; raises ImageError.
    """

    source: Path
    names: Sequence[str]
    read: Callable[[int], LoadedImage]

    def of(self, numbers: Sequence[int]) -> "Pictures":
        """These of the pictures alone."""
        return Pictures(self.source, [self.names[n] for n in numbers], lambda n: self.read(numbers[n]))


def open_pictures(path: Path) -> Pictures:
    """The pictures in a folder and all folders in it, in a zip, or in the array `images` of an npz.

    Files are sorted by name, and hidden ones left out. The array is uint8, `[N, H, W, 3]`, or `[N, H, W]` of grey ones.

    Raises:
        ImageError: there is no such folder or file, it is damaged or of another kind, or holds no picture.
    """
    if not path.exists():
        raise ImageError(path, "no such folder or file; check the path")
    if path.is_dir():
        return _of_folder(path)
    if path.suffix.lower() == ".npz":
        return _of_npz(path)
    if path.suffix.lower() == ".zip":
        return _of_zip(path)
    raise ImageError(path, "is neither a folder nor a .zip nor an .npz of pictures; give one of these")


def _of_folder(folder: Path) -> Pictures:
    try:
        paths = sorted(path for path in folder.rglob("*") if _is_picture(path.relative_to(folder).parts))
    except OSError as error:
        raise ImageError(folder, f"cannot be looked through ({reason(error)}); check its rights") from error
    _check_any(folder, paths)

    def read(number: int) -> LoadedImage:
        path = paths[number]
        try:
            with path.open("rb") as file:
                return decode_image(file, path)
        except OSError as error:
            raise ImageError(path, f"cannot be opened ({reason(error)}); check the path and its rights") from error

    return Pictures(folder, [str(path) for path in paths], read)


def _of_zip(path: Path) -> Pictures:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ImageError(path, f"is no zip that can be read ({reason(error)}); get a whole copy of it") from error
    members = sorted(name for name in archive.namelist() if _is_picture(PurePosixPath(name).parts))
    _check_any(path, members)

    def read(number: int) -> LoadedImage:
        name = f"{path}/{members[number]}"
        try:
            content = archive.read(members[number])
        except (OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError, zlib.error) as error:
            raise ImageError(name, f"cannot be unpacked ({reason(error)}); get a whole copy of the zip") from error
        return decode_image(io.BytesIO(content), name)

    return Pictures(path, [f"{path}/{name}" for name in members], read)


def _of_npz(path: Path) -> Pictures:
    images = archived_images(path)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)):
        raise ImageError(path, f"`images` is {images.shape} {images.dtype}, expected [N, H, W, 3] or [N, H, W] uint8")
    _check_any(path, images)
    images = images.reshape(*images.shape[:3], -1)

    def read(number: int) -> LoadedImage:
        rgb = from_uint8(np.broadcast_to(images[number], (*images.shape[1:3], 3)))
        return LoadedImage(path, rgb, None, "RGB")

    return Pictures(path, [f"{path}, image {n}" for n in range(len(images))], read)


def _is_picture(parts: Sequence[str]) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and PurePosixPath(parts[-1]).suffix.lower() in EXTENSIONS


def _check_any(path: Path, found: Sequence[object] | np.ndarray) -> None:
    if not len(found):
        raise ImageError(path, f"holds no picture; expected files ending in {', '.join(sorted(EXTENSIONS))}")
