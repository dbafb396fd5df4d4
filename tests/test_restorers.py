import dataclasses
from typing import get_args

import jax
import numpy as np
import pytest
from networks import tiny_prior, uint8_images, unchecked

from diip_jax.evaluate.baselines import classical
from diip_jax.evaluate.one_shot import Restorer
from diip_jax.evaluate.restorers import Classical, Name, Sampled
from diip_jax.methods import DreamClean
from diip_jax.restore import restore


@pytest.mark.parametrize("name", get_args(Name))
def test_a_classical_restorer_is_the_function_of_its_name(name):
    y = uint8_images(2, side=24)
    restorer, prior = Classical(name), tiny_prior()
    assert isinstance(restorer, Restorer) and dataclasses.asdict(restorer) == {"name": name}
    np.testing.assert_array_equal(restorer.restore(prior, y, 0), getattr(classical, name)(y))
    assert restorer.evaluations(prior) == 0 and restorer.memory_bytes(prior, y) is None


def test_dreamclean_is_what_it_is_by_itself():
    y = uint8_images(2)
    settings = {"gamma": 0.3, "tau": 400, "stride": 200, "corrections": 3}
    restorer, prior = Sampled(**settings), tiny_prior()
    assert isinstance(restorer, Restorer)
    restored = restorer.restore(prior, y, 1)
    np.testing.assert_array_equal(restored, restore(DreamClean(prior, **settings), y, seed=1).images)
    # Two timesteps of an inversion, three corrections and a step.
    assert restorer.evaluations(prior) == 2 * 5
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(prior.params))
    assert restorer.memory_bytes(prior, y) > parameters


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="name='median': expected one of non_local_means, total_variation"):
        unchecked(Classical, name="median")
