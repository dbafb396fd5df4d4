import jax
import numpy as np
from networks import images

from diip_jax import operators


def test_identity_has_no_parameters_and_returns_the_image():
    operator = operators.identity()
    x = images(1)[0]
    eta = operator.init(jax.random.key(0))
    assert jax.tree.leaves(eta) == []
    np.testing.assert_array_equal(operator.apply(eta, x), x)
