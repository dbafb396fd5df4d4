"""Time that went into compiling."""

import time

import jax
import jax.numpy as jnp
import pytest

from diip_jax.run import compile_time


def test_what_overlaps_is_not_counted_twice():
    assert compile_time.covered([(5.0, 6.0), (0.0, 3.0), (1.0, 2.0), (2.5, 4.0)]) == 5.0
    assert compile_time.covered([]) == 0.0


def test_it_is_what_jax_took_between_two_times():
    compile_time.began()
    before = time.monotonic()
    jax.block_until_ready(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3))))
    after = time.monotonic()
    took = compile_time.within(before, after)
    assert 0 < took <= after - before
    assert compile_time.within(after, after + 1) == 0
    half = compile_time.within(before, (before + after) / 2)
    assert half + compile_time.within((before + after) / 2, after) == pytest.approx(took)
    compile_time.began()
    assert compile_time.within(before, after) == 0
