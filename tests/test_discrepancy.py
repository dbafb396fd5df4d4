import jax.numpy as jnp
import numpy as np
import pytest
from rule_runs import run, shown
from skimage import data as image_dataset

from diip_jax.plugs.rules import Discrepancy, noise_level

_ROWS, _COLUMNS = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")


def _picture(sigma, channels=3):
    """A slope with a straight edge and a bump, in noise of standard deviation sigma."""
    clean = 0.3 * _ROWS + 0.2 * (_COLUMNS > 0.2) + 0.3 * np.exp(-8 * (_ROWS**2 + _COLUMNS**2))
    noise = sigma * np.random.default_rng(0).standard_normal((64, 64, channels))
    return jnp.asarray(clean[..., None] + noise, jnp.float32)


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_level_is_found_whatever_the_picture(sigma, channels):
    np.testing.assert_allclose(noise_level(_picture(sigma, channels)), sigma, rtol=0.1)


def test_what_channels_share_is_picture_and_not_noise():
    texture = 0.2 * np.random.default_rng(1).standard_normal((64, 64, 1))
    y = _picture(0.1)
    np.testing.assert_allclose(noise_level(y + texture), noise_level(y), rtol=1e-4)
    assert noise_level(y[..., :1] + texture) > 0.2  # one channel cannot tell


def test_a_small_picture_without_noise_has_none():
    clean = image_dataset.astronaut()[:512, :512].reshape(16, 32, 16, 32, 3).mean((1, 3)) / 127.5 - 1
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    assert noise_level(jnp.asarray(clean)) < 0.06 < 0.12 < noise_level(jnp.asarray(clean[..., :1]))
    np.testing.assert_allclose(noise_level(jnp.asarray(clean + 0.2 * noise)), 0.2, rtol=0.15)


def test_slopes_edges_and_a_few_outliers_are_no_noise():
    clean = _picture(0.0, 1)
    assert noise_level(clean) < 0.001
    constant = _picture(0.1).at[20:40, 20:40].set(0)
    np.testing.assert_allclose(noise_level(constant), 0.1, rtol=0.2)


def test_what_is_hidden_does_not_count():
    y, mask = _picture(0.1), np.ones((64, 64), bool)
    mask[::7] = mask[:, 20:40] = False
    seen = [noise_level(shown(jnp.where(mask[..., None], y, hidden), jnp.asarray(mask))) for hidden in (0.0, 5.0)]
    assert seen[0] == seen[1]
    np.testing.assert_allclose(seen[0], 0.1, rtol=0.1)


def test_too_few_pixels_have_no_level():
    loss, y = np.zeros(5), _picture(0.1)
    scattered = np.zeros((64, 64), bool)
    scattered[::2, ::2] = True
    for few in (y[:5, :7], y[:2, :2], shown(y, jnp.asarray(scattered))):
        assert np.isnan(noise_level(few))
        assert run(Discrepancy(), loss, images=[few] * 5, y=few) is None
    assert noise_level(y[:6, :6]) > 0.05


def test_discrepancy_stops_where_the_loss_falls_to_the_noise():
    loss = 0.1 * np.exp(-np.arange(40) / 8)
    y = _picture(0.1)
    for tau in (1.0, 1.5):
        threshold = tau**2 * float(noise_level(y)) ** 2
        images = [jnp.full(y.shape, float(k)) for k in range(40)]
        (fired, selected, name), image = run(Discrepancy(tau), loss, images=images, y=y)
        assert fired == selected == np.argmax(loss <= threshold) > 0 and name == "discrepancy"
        assert (image == fired).all()
    assert run(Discrepancy(), loss, images=images, y=_picture(0.0)) is None


def test_bad_tau_is_refused():
    with pytest.raises(ValueError, match=r"tau=0\.0: expected above 0"):
        Discrepancy(0.0)
