"""Which smaller picture an enlarged one comes from, against the interpolations of Pillow and torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.measure import block_reduce
from test_spectrum import blurred, natural

from diip_jax.plugs.operators.enlargement import _interpolation, find_enlargement, looked_for, project
from diip_jax.plugs.operators.spectrum import fit_spectrum

FILTERS = [
    Image.Resampling.NEAREST,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    None,
    Image.Resampling.LANCZOS,
]
PICTURES = np.stack([np.clip(60 * natural(seed) + 127.5, 0, 255) for seed in range(4)])
KINDS = range(len(FILTERS))


def enlarged(small: np.ndarray, side: int, kind: int) -> np.ndarray:
    """A picture `[n, n, C]` enlarged by Pillow, or (3) by torch, as floats."""
    if FILTERS[kind] is None:
        planes = torch.tensor(np.moveaxis(small, -1, 0)[None].astype(np.float32))
        larger = torch.nn.functional.interpolate(planes, (side, side), mode="bicubic", align_corners=False)
        return np.moveaxis(larger[0].numpy(), 0, -1)
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in np.moveaxis(small, -1, 0)]
    return np.stack([np.asarray(plane.resize((side, side), FILTERS[kind])) for plane in planes], -1)


def small_ones(n: int) -> np.ndarray:
    """Pictures of n x n pixels that a camera of so few would have made."""
    areas = [
        [Image.fromarray(p[..., c].astype(np.float32)).resize((n, n), Image.Resampling.BOX) for c in range(3)]
        for p in PICTURES
    ]
    return np.stack([np.stack([np.asarray(plane) for plane in planes], -1) for planes in areas])


@jax.jit
@jax.vmap
def find(y):
    return find_enlargement(y, jnp.sqrt(jnp.trace(fit_spectrum(y).covariance) / 2))


def found(pictures):
    """Of pictures in 0 .. 255, rounded and cut off as in a file."""
    return find(jnp.asarray(np.clip(pictures, 0, 255).round() / 127.5 - 1, jnp.float32))


@pytest.mark.parametrize("n", [8, 13, 29, 32])
@pytest.mark.parametrize("kind", KINDS)
def test_interpolation_is_that_of_pillow_and_torch(n, kind):
    planes = np.random.default_rng(n).standard_normal((n, n, 1))
    matrix = np.asarray(_interpolation(64, jnp.int32(n), jnp.int32(kind)), np.float64)
    assert not matrix[:, n:].any()
    expected = matrix[:, :n] @ planes[..., 0] @ matrix[:, :n].T
    np.testing.assert_allclose(enlarged(planes, 64, kind)[..., 0], expected, atol=2e-5)


@pytest.mark.parametrize("n", [8, 16, 20, 27, 32])
def test_the_factor_is_found_to_the_pixel(n):
    for kind in KINDS:
        result = found(np.stack([enlarged(small, 64, kind) for small in small_ones(n)]))
        np.testing.assert_allclose(result.factor, 64 / n, rtol=1e-6, err_msg=f"interpolation {kind}")


def test_what_is_seen_are_the_means_over_the_small_pictures_pixels():
    smalls = small_ones(16)
    result = found(np.stack([enlarged(small, 64, 2) for small in smalls]))
    for n, small in enumerate(smalls):
        seen = 127.5 * (np.asarray(result.seen[n]) + 1)
        np.testing.assert_allclose(seen, np.kron(small, np.ones((4, 4, 1))), atol=1)  # rounding to 8 bits
        x = natural(n + 50)
        means = np.kron(block_reduce(x, (4, 4, 1), np.mean), np.ones((4, 4, 1)))
        projected = project(result.rows[n], jnp.asarray(x, jnp.float32), result.columns[n])
        np.testing.assert_allclose(projected, means, atol=1e-4)


def test_means_are_taken_over_parts_of_pixels_where_the_factor_is_no_whole_one():
    small = small_ones(20)[:1]
    result = found(np.stack([enlarged(each, 64, 2) for each in small]))
    # Along rows: the mean over every twentieth of the image, which begins and ends within a pixel.
    seen = 127.5 * (np.asarray(result.seen[0], np.float64) + 1)
    fine = np.repeat(np.repeat(seen, 5, axis=0), 5, axis=1)  # 320 = 20 x 16
    np.testing.assert_allclose(block_reduce(fine, (16, 16, 1), np.mean), small[0], atol=1.5)
    twice = project(result.rows[0], result.seen[0], result.columns[0])
    np.testing.assert_allclose(twice, result.seen[0], atol=1e-4)


def test_what_interpolation_overshoots_and_the_file_cuts_off_does_not_hide_it():
    loud = np.clip(3 * (small_ones(16) - 127.5) + 127.5, 0, 255)
    y = np.stack([enlarged(small, 64, 2) for small in loud])
    assert ((y < 0) | (y > 255)).mean() > 0.02
    np.testing.assert_allclose(found(y).factor, 4)


@pytest.mark.parametrize("sigma", [0, 1.5, 2, 3, 4])
def test_pictures_that_are_sharp_or_blurred_are_no_enlargements(sigma):
    y = np.stack([60 * blurred(natural(n), sigma**2 * np.eye(2)) + 127.5 for n in range(4)])
    result = found(y)
    np.testing.assert_array_equal(result.factor, 1)
    np.testing.assert_array_equal(result.rows, np.broadcast_to(np.eye(64), (4, 64, 64)))
    np.testing.assert_allclose(127.5 * (result.seen + 1), np.clip(y, 0, 255).round(), atol=1e-3)


def test_noise_on_top_or_nothing_at_all_is_none():
    y = enlarged(small_ones(16)[0], 64, 2)
    noise = np.random.default_rng(0).standard_normal(y.shape)
    pictures = np.stack([y + 3 * noise, np.full_like(y, 90), np.full_like(y, 255)])
    np.testing.assert_array_equal(found(pictures).factor, 1)


def test_sides_may_differ_and_large_ones_have_whole_factors():
    small = np.random.default_rng(0).integers(40, 210, (24, 32, 3))
    y = np.stack([Image.fromarray(small.astype(np.uint8)).resize((128, 96), Image.Resampling.BICUBIC)])
    assert found(y).factor == 4 and found(y).seen.shape == (1, 96, 128, 3)
    y = np.stack([Image.fromarray(small[:20, :28].astype(np.uint8)).resize((128, 96), Image.Resampling.BICUBIC)])
    assert found(y).factor == 1


def test_it_is_looked_for_in_pictures_of_32_to_256_pixels():
    assert looked_for((32, 256, 3)) and not looked_for((31, 64, 3)) and not looked_for((64, 257, 3))
    assert not looked_for((97, 101, 3))  # no whole factor
    with pytest.raises(ValueError, match="y is 31x64: expected sides of 32 to 256 pixels"):
        find_enlargement(jnp.zeros((31, 64, 3)), jnp.float32(0))
