import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images

from diip_jax import operators
from diip_jax.operators import Geometry, Known


def test_identity_has_no_parameters_and_returns_the_image():
    operator = operators.identity()
    x = images(1)[0]
    eta = operator.init(jax.random.key(0))
    assert jax.tree.leaves(eta) == []
    np.testing.assert_array_equal(operator.apply(eta, x, Known()), x)


def test_mask_shows_what_is_known_and_nothing_else():
    operator, x = operators.mask(), images(1)[0]
    hidden = jnp.zeros(x.shape[:2], bool).at[3:7, 2:9].set(True)
    y = operator.apply((), x, Known(mask=~hidden))
    np.testing.assert_array_equal(y[~hidden], x[~hidden])
    np.testing.assert_array_equal(y[hidden], 0)


@pytest.mark.parametrize("scale, margin", [(1, 0), (4, 0), (1, 7), (2, 5)])
def test_geometry_there_and_back(scale, margin):
    geometry = Geometry(scale, margin)
    y_shape = geometry.y_shape((64, 32, 3))
    assert y_shape == ((64 - 2 * margin) // scale, (32 - 2 * margin) // scale, 3)
    assert geometry.image_shape(y_shape) == (64, 32, 3)


@pytest.mark.parametrize(
    "geometry, message",
    [
        (Geometry(scale=3), "scale=3: expected a divisor of 64 and 32, the image's sides"),
        (Geometry(margin=16), "boundary='valid' takes 16 px off all sides of 64x32, which leaves no block of 1x1"),
    ],
)
def test_a_geometry_that_does_not_fit_is_refused(geometry, message):
    with pytest.raises(ValueError, match=message):
        geometry.y_shape((64, 32, 3))
