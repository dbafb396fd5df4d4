import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import scipy.ndimage
from networks import TINY, tiny_prior, uint8_images
from PIL import Image

from diip_jax.commands.settings import BIRDSettings, BlindSettings, DIIPSettings
from diip_jax.evaluate import baselines, restorers
from diip_jax.evaluate.restorers import Classical, Loop, Sampled, Samples
from diip_jax.evaluate.task import corrupted
from diip_jax.methods import Blind, DreamClean
from diip_jax.pixels import from_uint8
from diip_jax.plugs.rules import LossSlope
from diip_jax.restore import restore
from diip_jax.solve import cost

METHOD = DIIPSettings(stride=500, max_iterations=5, k_min=1)
CLEAN = uint8_images(2)


@pytest.fixture(scope="module")
def noise():
    return corrupted("noise", CLEAN)


def test_iterate_k_is_what_a_run_of_k_plus_1_iterations_returns(prior, noise):
    run = Loop(prior, METHOD)(noise, 0)
    assert run.images.shape == (2, 5, 16, 16, 3) and run.loss.shape == run.laplacian_variance.shape == (2, 5)
    for k in (0, 3):
        method = DIIPSettings(stride=500, max_iterations=k + 1, stopping="budget").method(prior)
        np.testing.assert_array_equal(run.images[:, k], restore(method, noise.y).images)


def test_network_evaluations_are_the_loops_own_count(prior, noise):
    kept = Loop(prior, DIIPSettings(stride=250, refresh=1, max_iterations=3))
    # Four before the first iterate, and one in each.
    assert kept(noise, 0).evaluations.tolist() == [[5, 6, 7]] * 2 and kept.evaluations == 7
    # Three to find the damage, and none where that settles it.
    blind = Loop(prior, BlindSettings(max_iterations=3))
    assert blind(noise, 0).evaluations.tolist() == [[3, 3, 3]] * 2 and blind.evaluations == 6
    diip = Loop(prior, METHOD)
    assert diip(noise, 0).evaluations.tolist() == [[2, 4, 6, 8, 10]] * 2 and diip.evaluations == 10


def test_what_a_method_ends_by_itself_stays_as_it_was():
    """An enlarged picture, beside one that takes the whole budget."""
    prior = tiny_prior(model=dataclasses.replace(TINY, image_size=32))
    small = np.random.default_rng(3).integers(70, 190, (2, 8, 8, 3), np.uint8)
    large = [np.asarray(Image.fromarray(each).resize((32, 32), Image.Resampling.BICUBIC)) for each in small]
    large[1] = scipy.ndimage.gaussian_filter(large[1].astype(float), (1.5, 1.5, 0)).round().astype(np.uint8)
    y = np.stack(large)
    y[1, ::3, ::5] = 255  # dead pixels
    task = dataclasses.replace(corrupted("noise", y), y=y)
    run, solution = Loop(prior, BlindSettings())(task, 0), restore(Blind(prior), y)
    assert solution.reasons == [["enlarged"], ["budget"]]
    np.testing.assert_array_equal(run.images[:, -1], solution.images)
    last = int(solution.selected[0, 0])
    assert last < 17 and (run.loss[0, last:] == run.loss[0, last]).all() and np.isfinite(run.loss).all()
    assert run.evaluations[:, -1].tolist() == solution.stats["evaluations"][:, 0].tolist() == [3 + last + 1, 3 + 18]


def test_seconds_are_those_of_an_image_without_the_compiler(prior, noise, monkeypatch):
    # The first iteration takes 100 s, the next ones 3, 1 and 1; looking at them takes 1000.
    clock = iter([0.0, 100.0, 1100.0, 1103.0, 2103.0, 2104.0, 3104.0, 3105.0, 4105.0, 4106.0, 5106.0])
    monkeypatch.setattr(restorers, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(restorers, "compile_loop", lambda *given: cost.CompiledLoop(lambda: None, 2, 0.0, 11))
    run = Loop(prior, METHOD)(noise, 0)
    np.testing.assert_allclose(run.seconds, [[0.5, 1.0, 1.5, 2.0, 2.5]] * 2)
    assert run.memory_bytes.tolist() == [22, 22]


def test_memory_is_planned_without_compiling_again(prior, noise, monkeypatch):
    told = []
    monkeypatch.setattr(restorers, "compile_loop", lambda *given: told.append(cost.compile_loop(*given)) or told[0])
    run = Loop(prior, METHOD)(noise, 0)
    assert run.memory_bytes.min() > sum(leaf.nbytes for leaf in jax.tree.leaves(prior.params))
    assert told[0].compile_seconds < 0.2


def test_a_run_in_which_all_images_diverge_is_as_long_as_any(noise):
    wild = dataclasses.replace(tiny_prior(), params=jax.tree.map(lambda leaf: leaf * np.nan, tiny_prior().params))
    run = Loop(wild, METHOD)(noise, 0)
    assert run.images.shape == (2, 5, 16, 16, 3) and run.evaluations.shape == (2, 5)
    assert not np.isfinite(run.loss).any()


def test_a_method_is_given_what_it_asks_for(prior):
    down = BIRDSettings(degradation="downsample", scale=4, kernel_size=1, stride=500, max_iterations=3)
    task = corrupted("x4", CLEAN)
    run = Loop(prior, down)(task, 0)
    np.testing.assert_array_equal(run.images[:, -1], restore(down.method(prior), task.observed).images)
    np.testing.assert_array_equal(run.kernels, np.ones((2, 3, 1, 1)))
    hole = BIRDSettings(degradation="mask", stride=500, max_iterations=3)
    with pytest.raises(ValueError, match="task 'x4' has no mask, which the method needs to know"):
        Loop(prior, hole)(task, 0)
    task = corrupted("hole", CLEAN)
    run = Loop(prior, hole)(task, 0)
    np.testing.assert_array_equal(
        run.images[:, -1], restore(hole.method(prior), task.y, {"mask": task.known["mask"]}).images
    )
    assert run.kernels is None
    seen = Loop(prior, hole).seen(task)
    np.testing.assert_array_equal(np.isnan(seen[..., 0]), ~task.known["mask"])
    np.testing.assert_array_equal(Loop(prior, METHOD).seen(task), from_uint8(task.y))


def test_kernels_are_followed_to_the_end_whatever_the_loss(prior):
    blind = BIRDSettings(kernel_size=3, stride=500, max_iterations=3, loss_threshold=10.0)
    run = Loop(prior, blind)(corrupted("motion_blur", CLEAN), 0)
    assert run.kernels.shape == (2, 3, 3, 3)
    np.testing.assert_allclose(run.kernels.sum((2, 3)), 1, rtol=1e-5)


def test_what_decides_a_run_are_neither_rules_nor_memory_but_all_else(prior):
    first = Loop(prior, METHOD).decides
    of_rules = {"stopping": "paper", "eps": 0.1, "robust_eps": 0.1, "patience": 3, "window": 3, "explained": 0.8}
    of_rules |= {"sharpness_ratio": 3.0, "fully_explained": 0.5, "tau": 2.0, "k_min": 7, "smoothing": 0.5}
    assert Loop(prior, dataclasses.replace(METHOD, **of_rules, remat="block")).decides == first
    for name, value in {"learning_rate": 0.02, "stride": 250, "max_iterations": 6, "gradient": "full"}.items():
        assert Loop(prior, dataclasses.replace(METHOD, **{name: value})).decides != first
    others = [tiny_prior(1), prior.with_dtype("bfloat16")]
    assert all(Loop(other, METHOD).decides != first for other in others)
    assert Samples(prior, METHOD, 2).decides != Samples(prior, METHOD, 3).decides != first
    assert Sampled(DreamClean(prior)).decides != Sampled(DreamClean(prior, gamma=0.1)).decides


def test_rules_are_those_of_the_changed_settings(prior):
    rules = Loop(prior, METHOD).rules({"a": {"stopping": "loss_slope", "eps": 0.5}, "b": {"stopping": "robust"}})
    assert rules == {"a": LossSlope(0.5), "b": dataclasses.replace(METHOD, stopping="robust").rule()}
    assert rules["a"] is Loop(prior, METHOD).rules({"c": {"stopping": "loss_slope", "eps": 0.5}})["c"]


def test_samples_are_those_of_restore_stopped_by_the_own_rule(prior):
    task, method = corrupted("hole", CLEAN[:1]), BIRDSettings(degradation="mask", stride=500, max_iterations=3)
    run = Samples(prior, method, 2)(task, 1)
    expected = restore(method.method(prior), task.y, {"mask": task.known["mask"]}, samples=2, seed=1)
    np.testing.assert_array_equal(run.images, expected.samples)
    assert run.evaluations.tolist() == expected.stats["evaluations"].tolist()


@pytest.mark.parametrize(
    "function", [baselines.non_local_means, baselines.total_variation, baselines.unsupervised_wiener]
)
def test_a_classical_restorer_is_its_function(function):
    task = corrupted("noise", uint8_images(2, side=24))
    restorer = Classical(function)
    run = restorer(task, 0)
    np.testing.assert_array_equal(run.images[:, 0], function(task.y))
    assert run.evaluations.tolist() == [[0], [0]] and run.memory_bytes is None and (run.seconds > 0).all()
    assert restorer.decides == {"method": function.__name__} and restorer.evaluations == 0


def test_dreamclean_is_what_it_is_by_itself(prior, noise):
    method = DreamClean(prior, gamma=0.3, tau=400, stride=200, corrections=3)
    run = Sampled(method)(noise, 1)
    np.testing.assert_array_equal(run.images[:, 0], restore(method, noise.y, seed=1).images)
    # Two timesteps of an inversion, three corrections and a step.
    assert run.evaluations.tolist() == [[2 * 5]] * 2 and Sampled(method).evaluations == 2 * 5
    assert run.memory_bytes.min() > sum(leaf.nbytes for leaf in jax.tree.leaves(prior.params))
    settings = {"gamma": 0.3, "tau": 400, "corrections": 3, "stride": 200}
    assert Sampled(method).decides.items() >= {"method": "DreamClean", "settings": settings}.items()
