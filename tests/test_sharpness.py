"""How sharp a picture is behind its noise, and the rule that compares iterates with it."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from rule_runs import run
from skimage import data as image_dataset

from diip_jax.plugs.rules import laplacian_variance, picture_in, sharpness_peak


@pytest.mark.parametrize("channels", [1, 3])
def test_laplacian_variance_equals_scipy(channels):
    image = np.random.default_rng(0).uniform(-1, 1, (12, 17, channels)).astype(np.float32)
    grey = image @ np.array([0.299, 0.587, 0.114], np.float32) if channels == 3 else image[..., 0]
    expected = scipy.ndimage.laplace(grey.astype(np.float64), mode="mirror").var()
    np.testing.assert_allclose(laplacian_variance(jnp.asarray(image)), expected, rtol=1e-5)


def _portrait(blur=0.0, noise=0.0, side=64):
    """`[side, side, 3]`, with independent noise of that standard deviation in its channels."""
    clean = image_dataset.astronaut()[:256, 96:352].reshape(side, 256 // side, side, 256 // side, 3).mean((1, 3))
    picture = scipy.ndimage.gaussian_filter(clean / 127.5 - 1, (blur, blur, 0), mode="mirror")
    return jnp.asarray(picture + noise * np.random.default_rng(0).standard_normal(picture.shape), jnp.float32)


@pytest.mark.parametrize("blur", [0.0, 1.5])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_picture_is_the_same_in_any_noise(blur, noise):
    clean, seen = picture_in(_portrait(blur)), picture_in(_portrait(blur, noise))
    chance = 20 * noise**2 / np.sqrt(3 * 64 * 64)  # standard error of a covariance of three pairs
    assert abs(seen.laplacian_variance - clean.laplacian_variance) < 0.03 * clean.laplacian_variance + 3 * chance
    np.testing.assert_allclose(seen.variance, clean.variance, rtol=0.05)
    np.testing.assert_allclose(seen.noise - clean.noise, noise**2, rtol=0.1, atol=1e-6)
    assert (laplacian_variance(_portrait(blur, noise)) > 2 * clean.laplacian_variance) == (
        noise > 0.1 or noise > 0 < blur
    )


def test_very_strong_noise_does_not_pass_for_a_smooth_picture():
    noise = 0.8 * np.random.default_rng(0).standard_normal((200, 16, 16, 3))
    found = np.array([picture_in(jnp.asarray(y, jnp.float32)).laplacian_variance for y in noise])
    # The covariances of noise lie around zero, and a third of a normal distribution lies 0.4 deviations below.
    assert (found >= 0).all() and 0.25 < (found == 0).mean() < 0.45
    assert (found < 20 * 0.8**2 * 6 / np.sqrt(3 * 16 * 16)).all()


def test_one_channel_is_taken_as_it_is():
    y = _portrait(noise=0.2)[..., :1]
    seen = picture_in(y)
    assert seen.laplacian_variance == laplacian_variance(y) and seen.noise == 0
    np.testing.assert_allclose(seen.variance, y.var(), rtol=1e-5)


# Grey, so that its channels share everything.
_Y = np.random.default_rng(0).uniform(-1, 1, (12, 17, 1)).astype(np.float32).repeat(3, axis=2)
_Y_SHARPNESS, _Y_VARIANCE = float(laplacian_variance(jnp.asarray(_Y))), float(_Y.var())
_ITERATES = [jnp.full(_Y.shape, float(k)) for k in range(40)]


def _sharpness_stop(loss, sharpness, **settings):
    """On curves in units of y's variance and of y's Laplacian variance."""
    rule = sharpness_peak(**settings)
    found = run(rule, _Y_VARIANCE * loss, _Y_SHARPNESS * sharpness, _ITERATES, jnp.asarray(_Y))
    assert found is None or (found[1] == found[0][1]).all()
    return None if found is None else found[0]


def test_sharpness_rule_begins_where_the_picture_is_formed():
    """The loss is below 0.14 of y's variance from k = 10 on, but for 12; the Laplacian variance falls, but for 14."""
    loss = np.where(np.arange(40) < 10, 0.5, 0.05)
    loss[12] = 0.2
    falling = np.linspace(5, 2, 40)
    assert _sharpness_stop(loss, falling, patience=3) == (13, 10, "sharpness")
    assert _sharpness_stop(loss, np.where(np.arange(40) == 14, 6, falling), patience=6)[1] == 14
    assert _sharpness_stop(loss, falling, explained=0.4, patience=3) == (4, 1, "sharpness")
    assert _sharpness_stop(loss, falling, explained=0.99) is None


def test_sharpness_rule_is_silent_where_y_is_sharper_than_the_iterates():
    formed = np.full(40, 0.01)
    rising_then_falling = 1 - np.abs(np.arange(40) - 20) / 50
    assert _sharpness_stop(formed, 1.59 * rising_then_falling) is None
    assert _sharpness_stop(formed, 1.59 * rising_then_falling, sharpness_ratio=1.0) == (30, 20, "sharpness")
    assert _sharpness_stop(formed, 3 * rising_then_falling) == (30, 20, "sharpness")
    # Sharp for a while: iterates that are not do not count, and the patience runs on.
    assert _sharpness_stop(formed, 1.65 * rising_then_falling) == (30, 20, "sharpness")


def test_noise_does_not_hide_that_y_is_blurred():
    """The iterates form, and then lose their sharpness; y is sharper than they are, because of its noise alone."""
    y = _portrait(1.5, 0.1)
    course = np.concatenate([np.linspace(0.5, 1, 20), np.linspace(0.95, 0.2, 20)])
    sharp = 3 * float(picture_in(y).laplacian_variance) * course
    assert sharp.max() < laplacian_variance(y)
    loss = np.linspace(0.2, 0.0, 40) * float(y.var()) + 0.1**2
    images = [jnp.zeros(y.shape)] * 40
    assert run(sharpness_peak(patience=5), loss, sharp, images, y)[0] == (24, 19, "sharpness")
    assert run(sharpness_peak(patience=5), loss, sharp, images, _portrait(0.0, 0.1)) is None


def test_sharpness_and_variance_of_y_are_those_of_what_is_shown():
    y = np.random.default_rng(0).uniform(-1, 1, (16, 16, 1)).astype(np.float32).repeat(3, axis=2)
    hidden = y.copy()
    hidden[:, 8:] = np.nan
    seen = laplacian_variance(jnp.asarray(hidden))
    grey = y[:, :8] @ np.array([0.299, 0.587, 0.114], np.float32)
    inner = scipy.ndimage.laplace(grey.astype(np.float64), mode="mirror")[:, :7]
    np.testing.assert_allclose(seen, inner.var(), rtol=1e-5)
    # Sharper than what is shown, and formed by its variance: the peak is found as if that were all.
    course = np.concatenate([np.linspace(1, 3, 30), np.linspace(2.9, 2, 10)])
    loss, sharp = np.linspace(0.2, 0, 40) * y.var(), seen * course
    found, _ = run(sharpness_peak(patience=5), loss, sharp, [jnp.zeros(y.shape)] * 40, jnp.asarray(hidden))
    assert found == (34, 29, "sharpness")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sharpness_peak(1.0), "explained=1.0: expected 0 < explained < 1"),
        (lambda: sharpness_peak(sharpness_ratio=0.0), "sharpness_ratio=0.0: expected above 0"),
        (lambda: sharpness_peak(patience=0), "patience=0: expected at least 1"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
