"""What is found in pictures whose damage is known, with the exact prior of such pictures (Wiener's filter)."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image
from test_spectrum import blurred, natural

from diip_jax import Prior, Schedule
from diip_jax.plugs.operators import damage
from diip_jax.plugs.operators.quantisation import near_quantised, quantisation_scale

SIDE = 64


def power() -> np.ndarray:
    """Of every frequency of a picture of `natural`, per pixel: mean over many of them."""
    spectra = [np.fft.fft2(natural(seed), axes=(0, 1)) for seed in range(100, 140)]
    return np.mean(np.abs(np.stack(spectra)) ** 2, axis=(0, 3)) / SIDE**2


POWER = power().astype(np.float32)


def wiener(params, x_t, t):
    """E[n | x_t] of pictures with this power, linear because they are Gaussian."""
    alpha_bar = jnp.asarray(Schedule().alpha_bar, jnp.float32)[t.astype(jnp.int32)][:, None, None, None]
    share = (1 - alpha_bar) / (alpha_bar * params[None, ..., None] + 1 - alpha_bar)
    return jnp.fft.ifft2(jnp.fft.fft2(x_t, axes=(1, 2)) * share, axes=(1, 2)).real / jnp.sqrt(1 - alpha_bar)


@pytest.fixture(scope="module")
def prior():
    return Prior.of(wiener, jnp.asarray(POWER), (SIDE, SIDE, 3))


@pytest.fixture(scope="module")
def find(prior):
    batch = jax.jit(jax.vmap(lambda y: damage.find_damage(prior, y)))
    return lambda pictures: jax.tree.map(np.asarray, batch(jnp.asarray(np.stack(pictures), jnp.float32)))


PICTURES = [natural(seed) for seed in range(4)]


def noisy(sigma: float) -> list[np.ndarray]:
    return [p + sigma * np.random.default_rng(n).standard_normal(p.shape) for n, p in enumerate(PICTURES)]


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(np.clip(picture * 60 + 127.5, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream)) / 127.5 - 1


@pytest.mark.parametrize("sigma", [0.1, 0.2, 0.4])
def test_noise_is_found_and_nothing_else(find, sigma):
    found = find(noisy(sigma))
    np.testing.assert_allclose(found.noise, sigma, rtol=0.2)
    assert not found.impulses.any() and not found.covariance.any() and (found.blocks < 1.5).all()


def test_what_is_known_takes_the_place_of_what_is_found(prior):
    y = jnp.asarray(noisy(0.2)[0], jnp.float32)
    found = jax.jit(lambda **known: damage.find_damage(prior, y, **known))
    plain, told = found(), found(noise=0.1, blur=1.5)
    np.testing.assert_allclose(told.noise, 0.1, rtol=1e-6)
    np.testing.assert_allclose(told.covariance, 2.25 * np.eye(2), rtol=1e-6)
    # Less noise is taken out, and of none nothing.
    removed = [np.abs(each.estimate - y).mean() for each in (plain, told, found(noise=0.0))]
    assert removed[0] > 1.2 * removed[1] > 0 and removed[2] == 0
    assert not found(blur=0.0).covariance.any()
    np.testing.assert_array_equal(found(blur=0.0).estimate, plain.estimate)


def test_a_jpeg_is_left_as_it_is_where_no_noise_is_told(prior):
    y = jnp.asarray(jpeg(PICTURES[0], 10), jnp.float32)
    found = jax.jit(lambda **known: damage.find_damage(prior, y, **known))
    plain = found()
    assert abs(plain.jpeg_quality - 10) <= 1 and np.abs(plain.estimate - y).mean() > 0.01
    np.testing.assert_array_equal(found(noise=0.0).estimate, y)
    assert found(noise=0.0).jpeg_quality == plain.jpeg_quality


def test_noise_that_grows_with_brightness_is_not_underestimated(find):
    # A third of it in the dark half of the pixels.
    rng = np.random.default_rng(7)
    strength = [np.where(p.mean(axis=-1, keepdims=True) > 0, 0.36, 0.12) for p in PICTURES]
    noise = [each * rng.standard_normal(p.shape) for each, p in zip(strength, PICTURES, strict=True)]
    y = [p + n for p, n in zip(PICTURES, noise, strict=True)]
    true = np.array([np.sqrt(np.mean(n**2)) for n in noise])
    median = np.array([damage._median_noise(jnp.asarray(each)) for each in y])
    assert np.log(median / true).mean() < -0.15
    ratio = find(y).noise / true
    assert abs(np.log(ratio).mean()) < 0.1 and ratio.min() > 0.85 and ratio.max() < 1.25, ratio


def test_a_sharp_picture_has_no_damage(find):
    found = find(PICTURES)
    assert not found.noise.any() and not found.impulses.any() and not found.covariance.any()


def test_a_blur_is_found(find):
    found = find([blurred(p, 2.25 * np.eye(2)) for p in PICTURES])
    assert found.covariance.any((1, 2)).all() and not found.noise.any() and not found.impulses.any()
    np.testing.assert_allclose(np.sqrt(found.covariance[:, [0, 1], [0, 1]]).mean(), 1.5, rtol=0.2)


def test_white_noise_tells_a_blurred_picture_from_an_enlarged_one(find):
    wide = [blurred(p, 2.25 * np.eye(2)) for p in PICTURES]
    grainy = [p + 2.5 / 127.5 * np.random.default_rng(n).standard_normal(p.shape) for n, p in enumerate(wide)]
    smooth, real = find(wide), find(grainy)
    assert smooth.resampled.all() and not smooth.believed.any()
    assert real.believed.all() and not real.resampled.any()


def test_impulses_are_not_taken_for_noise(find):
    hit = np.random.default_rng(0).random((SIDE, SIDE))
    found = find([np.where((hit < 0.03)[..., None], -1.5, np.where((hit > 0.97)[..., None], 1.5, p)) for p in PICTURES])
    assert found.impulses.all() and not found.noise.any()


def test_the_blocks_of_a_jpeg_are_found_the_more_the_worse_it_is(find):
    ratios = [find([jpeg(p, quality) for p in PICTURES]) for quality in (90, 30, 10)]
    means = [found.blocks.mean() for found in ratios]
    print("blocks at quality 90, 30, 10:", means)
    assert means[0] < means[1] < means[2]
    assert (ratios[2].noise > 0).all() and (ratios[2].noise >= ratios[0].noise).all()


def test_the_estimate_of_a_jpeg_agrees_with_what_was_quantised_and_is_nearer_to_the_picture(find):
    # As `jpeg` scales and clips them.
    clean = [np.clip(p * 60 + 127.5, 0, 255) / 127.5 - 1 for p in PICTURES]
    y = [jpeg(p, 10) for p in PICTURES]
    found = find(y)
    scales = np.array([quantisation_scale(jnp.asarray(each, jnp.float32)) for each in y])
    seen = scales > 0
    assert seen.sum() >= 3
    np.testing.assert_array_equal(found.evaluations, np.where(seen, 6, 3))

    def distance(a, b):
        return np.mean((np.asarray(a) - b) ** 2)

    for n in np.flatnonzero(seen):
        estimate, observed, true = found.estimate[n], y[n], clean[n]
        near = near_quantised(jnp.asarray(estimate), jnp.asarray(observed), jnp.asarray(scales[n]), damage._NEAR)
        np.testing.assert_allclose(near, estimate, atol=1e-4)
        assert distance(estimate, true) < 0.9 * distance(observed, true)


def test_blocks_count_from_the_first_pixel():
    rng = np.random.default_rng(0)
    steps = np.kron(rng.standard_normal((8, 8)), np.ones((8, 8)))[..., None] + 0.1 * rng.standard_normal((64, 64, 3))
    assert damage.block_ratio(jnp.asarray(steps)) > 10
    assert damage.block_ratio(jnp.asarray(np.roll(steps, 3, axis=(0, 1)))) < 1
    assert damage.block_ratio(jnp.zeros((64, 64, 3))) == 1 and damage.block_ratio(jnp.zeros((8, 40, 1))) == 1


def test_impulses_alone_are_hidden(prior):
    y = PICTURES[0].astype(np.float32)
    hit = np.random.default_rng(1).random(y.shape[:2])
    at = (hit < 0.03) | (hit > 0.97)
    y[at] = np.where(hit[at] < 0.5, -1.5, 1.5)[:, None]
    found = damage.find_damage(prior, jnp.asarray(y))
    assert found.impulses
    hidden = np.asarray(found.hidden)
    print(f"hidden {hidden[at].mean():.3f} of the impulses, {hidden[~at].mean():.4f} of the others")
    assert hidden[at].mean() > 0.95 and hidden[~at].mean() < 0.01
    assert np.abs(found.estimate - PICTURES[0])[hidden].mean() < 0.2 * np.abs(y - PICTURES[0])[hidden].mean()
    np.testing.assert_array_equal(np.asarray(found.estimate)[~hidden], y[~hidden])
    clean = damage.find_damage(prior, jnp.asarray(PICTURES[0], jnp.float32))
    assert not clean.hidden.any()
    # In a reduced picture they count as far as the prior takes them for error, as this one does and that one does not.
    assert damage.find_damage(prior, jnp.asarray(y), reduced=True).impulses
    trusting = Prior.of(lambda params, x, t: jnp.zeros_like(x), (), (SIDE, SIDE, 3))
    assert damage.find_damage(trusting, jnp.asarray(y)).impulses
    assert not damage.find_damage(trusting, jnp.asarray(y), reduced=True).impulses


def test_the_median_of_nine_is_that_of_scipy():
    y = np.random.default_rng(0).standard_normal((17, 12, 3)).astype(np.float32)
    median, _ = damage._median_of_nine(jnp.asarray(y))
    np.testing.assert_array_equal(median, scipy.ndimage.median_filter(y, (3, 3, 1), mode="mirror"))


def test_the_texture_of_a_jpeg_is_no_impulses(find):
    # Dots on a coarse picture: much power in few pixels, and the finest details elsewhere are quantised away.
    rng = np.random.default_rng(3)
    dots = [np.where(rng.random((SIDE, SIDE, 1)) < 0.1, rng.choice([-1.2, 1.2], (SIDE, SIDE, 1)), 0) for _ in PICTURES]
    pictures = [scipy.ndimage.gaussian_filter(p, (2, 2, 0)) + dot for p, dot in zip(PICTURES, dots, strict=True)]
    assert find(pictures).impulses.all()
    y = [jpeg(picture, 10) for picture in pictures]
    assert all(quantisation_scale(jnp.asarray(each, jnp.float32)) > 0 for each in y)
    found = find(y)
    assert not found.impulses.any() and not found.hidden.any()
