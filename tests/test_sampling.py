import numpy as np
import pytest
from skimage.measure import block_reduce

from diip_jax.degradations.sampling import BlockMean


@pytest.mark.parametrize("s", [2, 8])
def test_block_mean_equals_scikit_image(s):
    x = np.random.default_rng(0).uniform(-1, 1, (24, 16, 3))
    degraded = BlockMean(s)(x, np.random.default_rng(0))
    np.testing.assert_allclose(degraded.y, block_reduce(x, (s, s, 1), np.mean))
    assert degraded.scale == s


def test_sides_that_are_no_multiples_are_refused():
    with pytest.raises(ValueError, match="image is 30x20: down-sampling by 4 needs sides that are multiples of 4"):
        BlockMean(4)(np.zeros((30, 20, 3)), np.random.default_rng(0))
