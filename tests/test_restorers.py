import dataclasses
from typing import get_args

import numpy as np
import pytest
from networks import images, tiny_prior, unchecked

from diip_jax.evaluate.baselines import classical
from diip_jax.evaluate.one_shot import Restorer
from diip_jax.evaluate.restorers import Classical, Name


@pytest.mark.parametrize("name", get_args(Name))
def test_a_classical_restorer_is_the_function_of_its_name(name):
    y = np.rint((np.asarray(images(2, side=24)) + 1) * 127.5).astype(np.uint8)
    restorer, prior = Classical(name), tiny_prior()
    assert isinstance(restorer, Restorer) and dataclasses.asdict(restorer) == {"name": name}
    np.testing.assert_array_equal(restorer.restore(prior, y, 0), getattr(classical, name)(y))
    assert restorer.evaluations(prior) == 0 and restorer.memory_bytes(prior, y) is None


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="name='median': expected one of non_local_means, total_variation"):
        unchecked(Classical, name="median")
