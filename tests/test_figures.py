import numpy as np
import pytest
from networks import tiny_prior, uint8_images
from PIL import Image
from restorers import Brighter

from diip_jax.commands.settings import DIIPSettings
from diip_jax.evaluate import __main__ as evaluate
from diip_jax.evaluate import figures
from diip_jax.evaluate.entries import Entry, OneShotEntry
from diip_jax.evaluate.protocol import PROTOCOLS, Protocol
from diip_jax.prior import save_prior

TWO_PHASE = Protocol(
    (
        Entry("detached", lambda task: DIIPSettings(stride=500, max_iterations=4), ("budget",), 2),
        Entry("faster", lambda task: DIIPSettings(stride=500, max_iterations=3, learning_rate=0.1), ("budget",), 1),
        OneShotEntry("brighter", lambda task: Brighter(5), 2),
    ),
    tasks=("noise", "jpeg"),
    possible=("noise", "jpeg"),
    curves=True,
)


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "two_phase", TWO_PHASE)
    save_prior(tmp_path / "prior", tiny_prior())
    np.savez(tmp_path / "clean.npz", images=uint8_images(3))
    return [
        f"--checkpoint={tmp_path / 'prior'}",
        f"--output_dir={tmp_path / 'out'}",
        f"--images={tmp_path / 'clean.npz'}",
        "--protocol=two_phase",
    ]


def test_the_figures_of_a_table_are_drawn_without_computing_again(arguments, tmp_path, capsys):
    assert evaluate.main(arguments) == 0
    computed = sorted((tmp_path / "out").rglob("*-*.npz"))
    capsys.readouterr()
    assert figures.main([*arguments, "--cell=32"]) == 0
    captured = capsys.readouterr()
    names = ["two_phase-picture1", "two_phase-picture2", "two_phase-curves", "two_phase-iterates"]
    assert captured.out.splitlines() == [str(tmp_path / "out" / f"{name}.png") for name in names]
    assert captured.err == ""
    assert sorted((tmp_path / "out").rglob("*-*.npz")) == computed
    shapes = {name: np.asarray(Image.open(tmp_path / "out" / f"{name}.png")).shape for name in names}
    assert shapes["two_phase-curves"] == (750, 640, 3)
    # Five rows and two columns of 32 pixels, with labels beside them.
    height, width, _ = shapes["two_phase-picture1"]
    assert height > 5 * 32 and width > 2 * 32 and shapes["two_phase-picture2"] == (height, width, 3)


def test_what_is_missing_is_computed_first(arguments, tmp_path, capsys):
    assert figures.main([*arguments, "--pictures=0", "--entry=detached", "--tasks=noise"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("1 runs to compute; measuring what their iterations cost\nthis will take about ")
    names = ["two_phase-detached-curves", "two_phase-detached-iterates"]
    assert captured.out.splitlines() == [str(tmp_path / "out" / f"{name}.png") for name in names]


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--images=", "--images is missing"),
        ("--cell=8", "--cell=8: expected at least 16, the side of the images"),
        ("--tasks=rain", "--tasks=rain: expected of noise, jpeg"),
        ("--prior", "Unknown command line flag 'prior'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, argument, message, capsys):
    assert figures.main([*arguments, argument]) == 2
    error = capsys.readouterr().err
    assert error.startswith("diip_jax.evaluate.figures: error: ") and message in error and error.count("\n") == 1
