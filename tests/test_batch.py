"""A batch on its devices: how it is filled up. What comes of it is tested with `restore` and the slots."""

import numpy as np

from diip_jax import distribute
from diip_jax.solve import batch


def test_a_batch_is_filled_up_with_its_last_image():
    given = {"y": np.arange(6.0).reshape(3, 2), "args": np.array([True, False, True])}
    placed, padding = batch.place(given, 3, 5, distribute.device_mesh(5))
    np.testing.assert_array_equal(placed["y"], given["y"][[0, 1, 2, 2, 2]])
    np.testing.assert_array_equal(placed["args"], given["args"][[0, 1, 2, 2, 2]])
    assert padding.tolist() == [False, False, False, True, True]
    whole, padding = batch.place(given, 3, 3, distribute.device_mesh(3))
    np.testing.assert_array_equal(whole["y"], given["y"])
    assert not padding.any()
