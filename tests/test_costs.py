from types import SimpleNamespace

import numpy as np
import pytest
from networks import uint8_images
from restorers import Brighter

from diip_jax.commands.settings import BIRDSettings, DIIPSettings
from diip_jax.evaluate import costs
from diip_jax.evaluate.costs import Cost, method_cost, restorer_cost


@pytest.fixture(scope="module")
def y():
    return uint8_images(2)


def test_a_cost_is_measured_once_for_the_same_settings(prior, y, tmp_path, monkeypatch):
    method = DIIPSettings(stride=250, max_iterations=3)
    first = method_cost(tmp_path, prior, method, {"y": y})
    assert first.evaluations == 4 and 0 < first.seconds < 60 and first.memory_bytes > 1e4
    compiled = []
    original = costs.compile_loop
    monkeypatch.setattr(costs, "compile_loop", lambda *a: compiled.append(a) or original(*a))
    assert method_cost(tmp_path, prior, method, {"y": y}) == first
    # Which rule stops it does not matter, nor which images they are.
    assert (
        method_cost(tmp_path, prior, DIIPSettings(stride=250, max_iterations=3, stopping="paper"), {"y": 255 - y})
        == first
    )
    assert not compiled
    half = method_cost(tmp_path, prior, DIIPSettings(stride=500, max_iterations=3), {"y": y})
    assert half.evaluations == 2 and len(compiled) == 1
    method_cost(tmp_path, prior, method, {"y": y[:1]})
    assert len(compiled) == 2


def test_a_method_is_given_what_it_needs(prior, y, tmp_path):
    hole = BIRDSettings(degradation="mask", stride=500, max_iterations=2)
    cost = method_cost(tmp_path, prior, hole, {"y": y, "mask": np.ones((2, 16, 16), bool)})
    assert cost.evaluations == 2
    small = BIRDSettings(degradation="downsample", scale=4, kernel_size=1, stride=500, max_iterations=2)
    assert method_cost(tmp_path, prior, small, {"y": y[:, ::4, ::4]}).evaluations == 2


def test_the_seconds_of_a_restorer_are_those_of_a_second_call(prior, y, tmp_path, monkeypatch):
    clock = iter([0.0, 3.0])
    monkeypatch.setattr(costs, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(Brighter, "calls", [])
    first = restorer_cost(tmp_path, prior, Brighter(1), y, 0)
    assert first == Cost(seconds=1.5, evaluations=7, memory_bytes=None) and len(Brighter.calls) == 2
    assert restorer_cost(tmp_path, prior, Brighter(1), y, 0) == first and len(Brighter.calls) == 2
