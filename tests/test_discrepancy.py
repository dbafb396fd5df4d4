import jax.numpy as jnp
import numpy as np
import pytest
from rule_runs import run

from diip_jax.stopping import discrepancy, noise_level

_ROWS, _COLUMNS = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")


def _picture(sigma, channels=3):
    """A slope with a straight edge and a bump, in noise of standard deviation sigma."""
    clean = 0.3 * _ROWS + 0.2 * (_COLUMNS > 0.2) + 0.3 * np.exp(-8 * (_ROWS**2 + _COLUMNS**2))
    noise = sigma * np.random.default_rng(0).standard_normal((64, 64, channels))
    return jnp.asarray(clean[..., None] + noise, jnp.float32)


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_level_is_found_whatever_the_picture(sigma, channels):
    np.testing.assert_allclose(noise_level(_picture(sigma, channels)), np.full(channels, sigma), rtol=0.1)


def test_channels_have_their_own_level():
    y = jnp.concatenate([_picture(0.05, 1), _picture(0.2, 1)], axis=-1)
    np.testing.assert_allclose(noise_level(y), [0.05, 0.2], rtol=0.1)


def test_slopes_edges_and_a_few_outliers_are_no_noise():
    clean = _picture(0.0)
    assert noise_level(clean).max() < 0.001
    hidden = _picture(0.1).at[20:40, 20:40].set(0)
    np.testing.assert_allclose(noise_level(hidden), 0.1, rtol=0.2)


def test_discrepancy_stops_where_the_loss_falls_to_the_noise():
    loss = 0.1 * np.exp(-np.arange(40) / 8)
    y = _picture(0.1)
    for tau in (1.0, 1.5):
        threshold = tau**2 * float(jnp.mean(noise_level(y) ** 2))
        images = [jnp.full(y.shape, float(k)) for k in range(40)]
        (fired, selected, name), image = run(discrepancy(tau), loss, images=images, y=y)
        assert fired == selected == np.argmax(loss <= threshold) > 0 and name == "discrepancy"
        assert (image == fired).all()
    assert run(discrepancy(), loss, images=images, y=_picture(0.0)) is None


def test_bad_tau_is_refused():
    with pytest.raises(ValueError, match=r"tau=0\.0: expected above 0"):
        discrepancy(0.0)
