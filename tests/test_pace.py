"""Pieces of about a second, whatever an iteration takes."""

import pytest

from diip_jax.run.pace import Pace, divisor
from diip_jax.solve.refill import Use


@pytest.mark.parametrize(
    ("seconds", "devices", "in_turn", "most"),
    [(0.1, 1, 1, 10), (0.1, 2, 1, 10), (0.1, 1, 4, 2), (3, 1, 1, 1), (1e-4, 1, 1, 100)],
)
def test_a_piece_takes_about_a_second(seconds, devices, in_turn, most):
    now, use = [0.0], Use()
    pace = Pace(use, devices, in_turn, lambda: now[0])
    pieces = []
    for _ in range(20):
        pieces.append(pace())
        steps = pieces[-1] * in_turn
        now[0] += steps * seconds / devices
        use.steps += steps
    assert set(pieces[: 2 * devices]) == {1}
    assert pieces[-1] == pytest.approx(most, abs=1)


@pytest.mark.parametrize(("most", "whole", "found"), [(10, 0, 10), (10, 25, 5), (10, 7, 7), (10, 13, 1), (1, 1, 1)])
def test_pieces_meet_every_snapshot(most, whole, found):
    assert divisor(most, whole) == found
