"""The operator of the damage found: what is left to the image, and when there is nothing to invert."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from test_damage import PICTURES, POWER, SIDE, blurred, noisy, wiener

import diip_jax as dj
from diip_jax import Prior
from diip_jax.plugs.operators import FoundDamage, SpectralBlur, find_damage


@pytest.fixture(scope="module")
def operator():
    return FoundDamage(Prior.of(wiener, jnp.asarray(POWER), (SIDE, SIDE, 3)))


def start(operator, y):
    y = jnp.asarray(y, jnp.float32)
    eta = operator.start(jax.random.key(0), y.shape, y, None)
    return eta, operator.guess(eta, y, None), y


def test_noise_is_taken_out_of_what_the_image_is_fitted_to(operator):
    eta, guess, y = start(operator, noisy(0.2)[0])
    assert guess.settled
    # k * x + n = y at the guess: there is nothing to fit.
    np.testing.assert_allclose(operator(eta, guess.image, None), y, atol=1e-5)
    assert np.mean((guess.image - PICTURES[0]) ** 2) < 0.4 * 0.2**2
    np.testing.assert_allclose(operator.estimates(eta)["noise"], 0.2, rtol=0.2)


def test_a_blur_leaves_something_to_invert(operator):
    eta, guess, _ = start(operator, blurred(PICTURES[0], 2.25 * np.eye(2)))
    assert not guess.settled
    x = jnp.asarray(PICTURES[0], jnp.float32)
    n = eta["y"] - eta["estimate"]
    np.testing.assert_allclose(operator(eta, x, None) - n, SpectralBlur(0.3)(eta, x, None), atol=1e-6)


def test_how_far_the_blur_is_inverted_depends_on_what_made_it(operator):
    wide = blurred(PICTURES[0], 2.25 * np.eye(2))
    grain = np.random.default_rng(0).standard_normal(wide.shape)
    # Enlarged, or as smooth as if it were; a camera's; and one in which noise hides which.
    ridges = [start(operator, wide + sigma * grain)[0]["ridge"] for sigma in (0, 2.5 / 127.5, 12 / 127.5)]
    np.testing.assert_allclose(ridges, [1.2, 0.1, 0.6], rtol=1e-5)


def test_a_blur_that_is_known_is_the_kernel(operator):
    y = noisy(0.2)[0]
    told = FoundDamage(operator.prior, blur=1.5, noise=0.1)
    eta, guess, y = start(told, y)
    assert not guess.settled and start(operator, y)[1].settled
    found = told.estimates(eta)
    np.testing.assert_allclose(found["covariance"], 2.25 * np.eye(2), rtol=1e-6)
    np.testing.assert_allclose(found["noise"], 0.1, rtol=1e-6)
    y, x = np.mgrid[-7:8, -7:8]
    gaussian = np.exp(-(x**2 + y**2) / 4.5)
    np.testing.assert_allclose(found["kernel"], gaussian / gaussian.sum(), atol=1e-3)


def test_an_enlarged_picture_is_fitted_in_its_means(operator):
    small = PICTURES[0].reshape(16, 4, 16, 4, 3).mean((1, 3))
    planes = [Image.fromarray((60 * plane + 127.5).astype(np.float32)) for plane in np.moveaxis(small, -1, 0)]
    large = np.stack([np.asarray(p.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for p in planes], -1)
    eta, guess, y = start(operator, large.round() / 127.5 - 1)
    assert eta["enlarged"] == 4 and not guess.settled and eta["noise"] == 0 and not eta["covariance"].any()
    np.testing.assert_array_equal(guess.image, y)
    # Half of what is missing of the means is what a step adds, and nothing within a block.
    x = jnp.asarray(PICTURES[1], jnp.float32)
    gradient = jax.grad(lambda x: jnp.mean((operator(eta, x, None) - y) ** 2))(x)
    step = -gradient * x.size / 2
    blocks = step.reshape(16, 4, 16, 4, 3)
    np.testing.assert_allclose(blocks, np.broadcast_to(blocks.mean((1, 3), keepdims=True), blocks.shape), atol=1e-5)
    missing = (60 * small + 127.5) / 127.5 - 1 - np.asarray(x).reshape(16, 4, 16, 4, 3).mean((1, 3))
    np.testing.assert_allclose(blocks.mean((1, 3)), missing / 2, atol=0.005)
    # Where somebody says what the damage is, nothing is looked for.
    assert start(FoundDamage(operator.prior, blur=1.0), y)[0]["enlarged"] == 1


def test_nothing_of_it_is_learned(operator):
    eta, _, y = start(operator, noisy(0.2)[0])
    gradient = jax.grad(lambda eta: jnp.sum(operator(eta, y, None) ** 2))(eta)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient))


def test_a_settled_image_takes_no_iterations_and_its_neighbours_do_not_mind(operator):
    y = np.stack([noisy(0.2)[0], blurred(PICTURES[1], 2.25 * np.eye(2))]).astype(np.float32)
    blind = dj.Blind(operator.prior, max_iterations=5)
    both, alone = dj.restore(blind, y), dj.restore(blind, y[1:])
    assert both.reasons == [["settled"], ["budget"]]
    assert both.result[0, 0] == dj.Result.SETTLED and "nothing to invert" in dj.Result.SETTLED.advice
    np.testing.assert_array_equal(both.stats["iterations"], [[0], [5]])
    # Three to find the damage, and one an iteration.
    np.testing.assert_array_equal(both.stats["evaluations"], [[3], [3 + 5]])
    # Bit for bit as users run it; the tests' quick compilation fuses a batch of one otherwise.
    np.testing.assert_allclose(both.images[1], alone.images[0], atol=1e-3)
    found = find_damage(operator.prior, jnp.asarray(y[0]))
    np.testing.assert_allclose(both.operator["noise"][0, 0], found.noise, rtol=1e-4)


def test_a_settled_image_stays_so_when_the_run_goes_on(operator):
    y = noisy(0.2)[0][None].astype(np.float32)
    blind = dj.Blind(operator.prior, max_iterations=5)
    once = dj.restore(blind, y)
    again = dj.restore(blind, y, u0=once.state)
    assert again.reasons == [["settled"]]
    np.testing.assert_array_equal(again.images, once.images)


def test_a_ridge_is_above_0():
    with pytest.raises(ValueError, match="ridge=0: expected above 0"):
        FoundDamage(None, ridge=0)
