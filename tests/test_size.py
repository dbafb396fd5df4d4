"""How many images at once: the decision by itself, and what it is based on."""

import jax
import numpy as np
import pytest
from networks import images, tiny_prior

import diip_jax as dj
from diip_jax.solve import size
from diip_jax.stream import Given, restore_each

NEVER = float("inf")


@pytest.mark.parametrize(
    ("room", "seconds", "most", "count"),
    [
        (100, {}, 8, 8),  # too few images to look at the clock
        (5, {}, 100, 4),
        (0, {}, 100, 1),  # whatever comes of it
        (100, {8: 1.0, 16: 0.9, 32: 0.6, 64: 0.58}, 100, 32),
        (100, {8: 1.0, 16: 0.9, 32: 0.6, 64: 0.2}, 63, 32),
        (20, {8: 1.0, 16: 0.5}, 100, 16),
        (100, {8: 1.0, 16: 1.1}, 100, 8),
        (100, {8: 1.0, 16: NEVER}, 100, 8),  # memory ran out after all
    ],
)
def test_memory_first_then_the_clock(room, seconds, most, count):
    asked = []
    assert size.chosen(lambda n: n <= room, lambda n: asked.append(n) or seconds[n], 8, most) == count
    assert asked == sorted(set(asked))  # nothing is measured twice


def inputs(prior_images):
    return np.asarray(prior_images), None, jax.random.split(jax.random.key(0), 1), None


def problem(**settings):
    return dj.DIIP(tiny_prior(), dj.Never(), stride=500, max_iterations=10, **settings).problem()


def test_a_trial_runs_the_program_of_the_slots():
    trial = size.Trial(problem(), inputs(images(1)), jax.devices()[0], ("loss",), vmapped=True)
    two, eight = trial.memory_bytes(2), trial.memory_bytes(8)
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(tiny_prior().params))
    state = 6 * 16 * 16 * 3 * 4  # z, its moments and what is kept of the image, at least
    assert two > parameters and eight - two > 5 * state
    assert 0 < trial.seconds(2) < 10 and trial.fits(2)


def test_an_image_that_stops_at_once_is_timed_all_the_same():
    clean = inputs(np.zeros((1, 16, 16, 3), np.float32))
    trial = size.Trial(dj.Blind(tiny_prior(), max_iterations=9).problem(), clean, jax.devices()[0], vmapped=True)
    assert trial.seconds(1) > 1e-5


def test_what_the_device_refuses_does_not_fit(monkeypatch):
    def refused(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(size.Trial, "_filled", refused)
    trial = size.Trial(problem(), inputs(images(1)), jax.devices()[0])
    assert not trial.fits(8) and trial.seconds(8) == NEVER
    monkeypatch.setattr(size.Trial, "_filled", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trial.fits(8)


def test_a_cpu_has_one_for_each_device_as_far_as_the_prior_has_room(monkeypatch):
    given = problem(), inputs(images(1))
    cores = jax.devices() * 4
    assert [size.usual_size(*given, count, devices=cores) for count in (1, 3, 400)] == [1, 3, 4]
    bytes_of_prior = sum(leaf.nbytes for leaf in jax.tree.leaves(tiny_prior().params))
    monkeypatch.setattr(size, "usable_memory", lambda: 9 * bytes_of_prior)
    assert size.usual_size(*given, 400, devices=cores) == 2
    large = problem(), (np.zeros((1, 1024, 1024, 3), np.float32), *inputs(images(1))[1:])
    monkeypatch.setattr(size, "usable_memory", lambda: 2 * 10**9)
    assert size.usual_size(*given, 400, devices=cores) == 4 and size.usual_size(*large, 400, devices=cores) == 3
    monkeypatch.setattr(size, "usable_memory", lambda: None)
    assert size.usual_size(*given, 400, devices=cores) == 4


class Chip:
    platform = "gpu"


def test_an_accelerator_is_measured_once_for_each_kind_of_program(monkeypatch):
    made = []

    class Measured:
        fits, seconds = staticmethod(lambda n: True), staticmethod(lambda n: 1 / n)

        def __init__(self, *given):
            made.append(given)

    monkeypatch.setattr(size, "Trial", Measured)
    chips = [Chip(), Chip()]
    monkeypatch.setattr(jax, "local_devices", lambda: chips)
    assert size.usual_size(problem(), inputs(images(1)), 400) == 2 * 32  # of 200 each a fourth is 50
    assert size.usual_size(problem(learning_rate=0.1), inputs(images(1, seed=2)), 401) == 2 * 32
    assert len(made) == 1
    assert size.usual_size(problem(), inputs(images(1)), 5) == 5
    assert size.usual_size(problem(), inputs(images(1, side=32)), 400) == 2 * 32
    assert len(made) == 3


def test_the_first_observation_decides_for_those_like_it():
    asked, y = [], np.asarray(images(3))

    def decide(problem, pair):
        asked.append((type(problem).__name__, pair[0].shape, pair[2].shape, pair[3]))
        return 2

    given = (Given(n, y[n]) for n in range(3))
    restored = {one.name: one.solution for one in restore_each(problem(), given, samples=2, batch_size=decide)}
    assert asked == [("Problem", (1, 16, 16, 3), (1,), None)]
    whole = dj.restore(problem(), y, samples=2)
    for n in range(3):
        np.testing.assert_array_equal(restored[n].images[0], whole.images[n])
