"""Tasks: what is to be restored, what is known of it, and the clean images that a restoration is judged by."""

import dataclasses
import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from diip_jax.degradations import degrade
from diip_jax.image_files import archived_images
from diip_jax.image_reading import ImageError, find_images, read_image
from diip_jax.images import fit_to_size
from diip_jax.pixels import to_uint8


@dataclasses.dataclass(frozen=True)
class Task:
    """n degraded images and the truth.

    Attributes:
        name: how tables call it.
        clean: `[n, H, W, C]` uint8.
        y: `[n, H, W, C]` uint8, the degraded images at the size of the clean ones: what a blind method is given.
        observed: `[n, h, w, C]` uint8, the observations at their own size: what a method is given whose operator
            down-samples.
        known: by name `[n, ...]` what is known of each image beside: "kernel" (of the blur) and "mask", where there
            are any.
    """

    name: str
    clean: np.ndarray
    y: np.ndarray
    observed: np.ndarray
    known: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, images: slice) -> "Task":
        """Some of the images."""
        known = {name: values[images] for name, values in self.known.items()}
        return Task(self.name, self.clean[images], self.y[images], self.observed[images], known)

    @cached_property
    def digest(self) -> str:
        """Of all that it holds."""
        digest = hashlib.sha256(self.name.encode())
        for name, values in {"clean": self.clean, "y": self.y, "observed": self.observed, **self.known}.items():
            digest.update(f"{name} {values.dtype} {values.shape}".encode() + np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def corrupted(name: str, clean: np.ndarray, seed: int = 0, severity: int | None = None) -> Task:
    """Clean images `[n, H, W, C]` uint8 under a corruption, see `diip_jax.degrade`.

    Raises:
        ValueError: an unknown corruption or severity, or a side that the corruption does not take.
    """
    made = [degrade(name, image, seed, severity) for image in clean]
    of_first = (known for known in ("kernel", "mask") if getattr(made[0], known) is not None)
    known = {name: np.stack([getattr(each, name) for each in made]) for name in of_first}
    y, observed = np.stack([each.picture() for each in made]), np.stack([each.observation() for each in made])
    return Task(name, clean, y, observed, known)


def pairs(degraded: str | Path, clean: str | Path, size: tuple[int, int] | None = None, name: str = "pairs") -> Task:
    """Pairs of one's own: a folder (or glob) of degraded images, and one of the clean ones under the same file names.

    Endings may differ: `blurred/7.jpg` belongs to `sharp/7.png`. The largest centred region of an image is scaled to
    `size`, (H, W); None: they have the same size.

    Raises:
        ImageError: a folder or an image cannot be read, or an image has no partner.
        ValueError: size is None and the sizes differ.
    """
    inputs, truths = ({path.stem: path for path in _found(where)} for where in (degraded, clean))
    for stem in inputs.keys() ^ truths.keys():
        path, other = (inputs[stem], clean) if stem in inputs else (truths[stem], degraded)
        raise ImageError(path, f"has no partner of this name in {other}; give both, or neither")
    y, truth = (_read([of[stem] for stem in inputs], size) for of in (inputs, truths))
    if y.shape != truth.shape:
        raise ValueError(
            f"{degraded}: images are {y.shape[1]}x{y.shape[2]}, the clean ones {truth.shape[1]}x"
            f"{truth.shape[2]}: expected the same; say size=(height, width)"
        )
    return Task(name, truth, y, y, {})


def read_clean(pattern: str, size: tuple[int, int]) -> np.ndarray:
    """Images as `[N, H, W, 3]` uint8: a folder or a glob, cropped to the aspect of `size` (H, W) and scaled to it,
    or an .npz that holds `images` of this size.

    Raises:
        ImageError: a file is missing, is no such archive, or cannot be read.
        ValueError: the archive's images have another size or dtype.
    """
    if not pattern.endswith(".npz"):
        return _read(_found(pattern), size)
    images = archived_images(pattern)
    if images.dtype != np.uint8 or images.shape[1:] != (*size, 3):
        expected = f"[N, {size[0]}, {size[1]}, 3] uint8"
        raise ValueError(f"{pattern}: images are {images.shape} {images.dtype}, expected {expected}")
    return images


def _found(pattern: str | Path) -> list[Path]:
    paths, errors = find_images([pattern])
    if errors:
        raise errors[0]
    return paths


def _read(paths: list[Path], size: tuple[int, int] | None) -> np.ndarray:
    """Images of one size, `[N, H, W, 3]` uint8."""
    images = [read_image(path) for path in paths]
    sizes = {image.size for image in images} if size is None else {size}
    if len(sizes) > 1:
        found = ", ".join(f"{height}x{width}" for height, width in sorted(sizes))
        raise ValueError(f"{paths[0].parent}: images are {found}, expected one size; say size=(height, width)")
    return np.stack([to_uint8(fit_to_size(image, *next(iter(sizes)), "crop").rgb) for image in images])
