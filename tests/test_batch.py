"""A batch on its devices: how it is filled up. What comes of it is tested with `restore` and the slots."""

import jax
import numpy as np

import diip_jax as dj
from diip_jax import distribute
from diip_jax.solve import batch, slots


def test_a_batch_is_filled_up_with_its_last_image():
    given = {"y": np.arange(6.0).reshape(3, 2), "args": np.array([True, False, True])}
    placed, padding = batch.place(given, 3, 5, distribute.device_mesh(5))
    np.testing.assert_array_equal(placed["y"], given["y"][[0, 1, 2, 2, 2]])
    np.testing.assert_array_equal(placed["args"], given["args"][[0, 1, 2, 2, 2]])
    assert padding.tolist() == [False, False, False, True, True]
    whole, padding = batch.place(given, 3, 3, distribute.device_mesh(3))
    np.testing.assert_array_equal(whole["y"], given["y"])
    assert not padding.any()


def test_a_large_image_has_no_place_beside_it(prior):
    problem = dj.Blind(prior).problem()
    for side, rows in ((16, 2), (1024, 1)):
        layout, _, slots_of_batch = batch.layout_of(problem, (side, side, 3), 1, jax.devices()[:1])
        assert slots_of_batch == rows and layout.one_by_one
        assert slots.of_layout(layout, 1, rows).large == (side == 1024)
