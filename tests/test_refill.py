"""Slots that are refilled: who is where changes no result, and little is computed in vain."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images

import diip_jax as dj
from diip_jax.plugs.rules.rule import Verdict, current
from diip_jax.solve import batch, refill, slots


@dj.plug()
class StopsAt(dj.Rule):
    """Stops at the iteration that the first number of y tells: k = 100 * y."""

    @property
    def names(self):
        return ("told",)

    def start(self, nothing, y):
        return jnp.round(100 * y.ravel()[0]).astype(jnp.int32)

    def judge(self, state, seen):
        return state, Verdict(seen.k >= state, jnp.int32(0), current(seen))


def with_stops(ends):
    y = np.array(images(len(ends)))
    y[:, 0, 0, 0] = np.array(ends) / 100
    return y


def diip(prior, **settings):
    return dj.DIIP(prior, **({"rule": StopsAt(), "stride": 500, "max_iterations": 100} | settings))


def refilled(problem, y, count, *, vmapped, piece=100, look=None, faults=False):
    """(what has ended, the use of the slots) on one device."""
    keys = jax.random.split(jax.random.key(3), len(y))
    use = refill.Use()
    source = (refill.Item(n, (y[n : n + 1], None, keys[n : n + 1], None)) for n in range(len(y)))
    layout, problem, rows = batch.layout_of(problem, y.shape[1:], count, jax.devices()[:1])
    kind = dataclasses.replace(slots.of_layout(layout, count, rows), one_by_one=not vmapped)
    ended = refill.refill(
        kind, problem, jax.devices()[:1], source, piece=lambda: piece, look=look, faults=faults, use=use
    )
    return list(ended), use


@pytest.mark.parametrize("vmapped", [True, False])
def test_every_image_comes_once_and_ends_where_it_would_alone(prior, vmapped):
    ends = [7, 2, 9, 4, 1, 6, 3]
    y, problem = with_stops(ends), diip(prior).problem()
    ended, _ = refilled(problem, y, 3, vmapped=vmapped)
    assert sorted(one.who for one in ended) == list(range(7))
    keys = jax.random.split(jax.random.key(3), 7)
    for one in ended:
        n = one.who
        assert one.state.k.tolist() == [ends[n] + 1] and one.state.chosen.k.tolist() == [ends[n]]
        assert jnp.array_equal(
            jax.random.key_data(one.state.key), jax.random.key_data(jax.random.split(keys[n], 3)[2:])
        )
        if n == 0:  # whose key is the same alone
            alone, _ = refilled(problem, y[:1], 1, vmapped=False)
            np.testing.assert_allclose(
                one.state.chosen.image, alone[0].state.chosen.image, atol=0 if not vmapped else 2e-4
            )


def test_every_piece_is_the_same_program(prior):
    before = slots.advance._cache_size()
    refilled(diip(prior, stride=250).problem(), with_stops([3, 4]), 1, vmapped=False, piece=2)
    assert slots.advance._cache_size() == before + 1


def test_the_order_is_that_of_the_stops(prior):
    ended, _ = refilled(diip(prior).problem(), with_stops([30, 2, 2, 2, 2]), 2, vmapped=True)
    assert [one.who for one in ended] == [1, 2, 3, 4, 0]


def test_a_vmapped_piece_ends_with_the_first_image_that_stops(prior):
    _, use = refilled(diip(prior).problem(), with_stops([5, 19]), 2, vmapped=True)
    assert (use.pieces, use.iterations, use.capacity) == (2, 26, 40)
    _, use = refilled(diip(prior).problem(), with_stops([5, 19]), 2, vmapped=True, piece=4)
    assert (use.pieces, use.iterations, use.capacity) == (6, 26, 40)


def test_slots_are_used_better_than_batches(prior):
    ends = np.random.default_rng(0).integers(2, 30, 40)
    problem = diip(prior, stride=1000).problem()
    _, use = refilled(problem, with_stops(ends), 4, vmapped=True)
    fixed = 4 * (ends.reshape(10, 4).max(axis=1) + 1).sum()
    assert use.iterations == (ends + 1).sum()
    assert use.share > 0.9 and use.capacity < 0.75 * fixed


def test_one_by_one_computes_nothing_in_vain(prior):
    _, use = refilled(diip(prior).problem(), with_stops([9, 2, 5]), 2, vmapped=False)
    assert use.iterations == use.capacity == 19 and use.share == 1


def test_looks_come_after_so_many_iterations_of_each_image(prior):
    seen = []

    def look(state, where, who):
        seen.extend(zip(who, np.asarray(state.k)[where].tolist(), strict=True))

    refilled(diip(prior).problem(), with_stops([6, 9, 4, 3]), 2, vmapped=True, piece=4, look=look)
    for n, end in enumerate([6, 9, 4, 3]):
        assert {k for who, k in seen if who == n} >= {*range(4, end + 1, 4), end + 1}


def test_a_source_may_have_nothing_ready(prior):
    y, keys = with_stops([1, 2, 3]), jax.random.split(jax.random.key(3), 3)

    def hesitant():
        for n in range(3):
            yield None
            yield refill.Item(n, (y[n : n + 1], None, keys[n : n + 1], None))
            yield None

    kind = slots.Slots(2, 2, y.shape[1:], one_by_one=True)
    ended = refill.refill(kind, diip(prior).problem(), jax.devices()[:1], hesitant(), piece=lambda: 5)
    assert sorted(one.who for one in ended) == [0, 1, 2]
    assert list(refill.refill(kind, diip(prior).problem(), jax.devices()[:1], iter(()), piece=lambda: 5)) == []


def test_a_fault_costs_the_images_on_the_device(prior, monkeypatch):
    usual, calls = slots.advance, []

    def faulty(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")
        return usual(*arguments)

    monkeypatch.setattr(slots, "advance", faulty)
    y, problem = with_stops([3, 8, 2, 2]), diip(prior).problem()
    ended, _ = refilled(problem, y, 2, vmapped=True, faults=True)
    lost = [one.who for one in ended if one.fault is not None]
    assert lost == [2, 1] and sorted(one.who for one in ended) == [0, 1, 2, 3]
    assert all(one.state is None for one in ended if one.fault is not None)
    calls.clear()
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        refilled(problem, y, 2, vmapped=True)


@pytest.mark.parametrize("vmapped", [True, False])
def test_more_images_than_slots_are_restored_as_in_one_batch(prior, monkeypatch, vmapped):
    monkeypatch.setattr(batch.distribute, "on_cpu", lambda mesh: not vmapped)
    y = with_stops([5, 2, 8, 3, 6])
    mask = np.random.default_rng(0).random((5, 16, 16)) < 0.9
    mask[:, 0, 0] = True
    method = dj.BIRD(prior, dj.Mask(), StopsAt(), stride=500, max_iterations=20)
    given = {"mask": mask, "clean": np.asarray(images(5, seed=7))}
    one, several = (
        dj.restore(method, y, given, samples=2, save=("loss", dj.psnr), batch_size=size) for size in (None, 3)
    )
    np.testing.assert_array_equal(several.stats["iterations"], one.stats["iterations"])
    np.testing.assert_array_equal(several.selected, one.selected)
    tolerance = 2e-4 if vmapped else 0
    np.testing.assert_allclose(several.samples, one.samples, atol=tolerance)
    for name in ("loss", "psnr"):
        np.testing.assert_allclose(several.traces[name], one.traces[name], rtol=50 * tolerance)
    assert jnp.array_equal(several.state.key, one.state.key)


def test_runs_that_go_on_do_so_in_slots_as_well(prior):
    y = with_stops([5, 12, 8, 3, 9])
    half = dj.restore(diip(prior, max_iterations=6), y, batch_size=2)
    again = dj.restore(diip(prior), y, batch_size=2, u0=half.state)
    whole = dj.restore(diip(prior), y)
    np.testing.assert_array_equal(again.images, whole.images)
    np.testing.assert_array_equal(again.stats["iterations"], whole.stats["iterations"])
    assert again.stats["iterations"].ravel().tolist() == [6, 13, 9, 4, 10]
