"""Grids of samples: what a sample depends on, and what is refused."""

import jax
import numpy as np
import pytest
from command_line import checkpoint, pixels
from networks import tiny_prior

from diip_jax import reverse, sample


def cells(path, side=16, gap=4):
    """The pictures of a grid, `[rows, columns, side, side(, 3)]`."""
    grid = pixels(path)
    starts = [range(gap, size, side + gap) for size in grid.shape[:2]]
    return np.array([[grid[y : y + side, x : x + side] for x in starts[1]] for y in starts[0]])


def command(*arguments):
    return sample.main([f"--checkpoint={checkpoint()}", "--stride=500", *map(str, arguments)])


def test_sample_i_is_ddim_from_the_noise_of_its_key():
    prior = tiny_prior()
    drawn = list(sample.draw(prior, 3, seed=5, stride=250))
    assert drawn[0].shape == (16, 16, 3) and drawn[0].dtype == np.float32
    for i, image in enumerate(drawn):
        z = jax.random.normal(jax.random.fold_in(jax.random.key(5), i), (1, 16, 16, 3))
        np.testing.assert_allclose(image, reverse(prior, z, 250)[0], atol=1e-5)


def test_only_the_paper_variant_leaves_the_range():
    largest = {v: np.abs(next(sample.draw(tiny_prior(), 1, stride=500, variant=v))).max() for v in ("code", "paper")}
    assert largest["code"] <= 1 < largest["paper"]


def test_a_sample_does_not_depend_on_the_size_of_its_grid(capsys, tmp_path):
    grids = {}
    for rows, columns, seed in ((2, 3, 0), (1, 2, 0), (2, 3, 1)):
        path = tmp_path / "new" / f"{rows}x{columns}-{seed}.png"
        assert command(f"--output={path}", f"--rows={rows}", f"--columns={columns}", f"--seed={seed}") == 0
        grids[path.stem] = cells(path)
        assert grids[path.stem].shape == (rows, columns, 16, 16, 3)
    assert capsys.readouterr().out.splitlines()[0] == f"{tmp_path}/new/2x3-0.png: 6 samples in 2 DDIM steps, seed 0"
    flat = grids["2x3-0"].reshape(6, 16, 16, 3)
    np.testing.assert_array_equal(grids["1x2-0"][0], flat[:2])
    assert len({cell.tobytes() for cell in flat}) == 6
    assert (flat != grids["2x3-1"].reshape(flat.shape)).any(axis=(1, 2, 3)).all()


def test_grey_prior(tmp_path):
    path = tmp_path / "grey.png"
    assert command(f"--checkpoint={checkpoint(1)}", f"--output={path}", "--rows=1", "--columns=1") == 0
    [[cell]] = cells(path)
    np.testing.assert_array_equal(cell, np.broadcast_to(cell[..., :1], (16, 16, 3)))
    assert np.ptp(cell) > 0


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--output={tmp}/x.jpg", "x.jpg: outputs are PNG; end the name in .png"),
        ("--output={tmp}/file/x.png", "outputs cannot be written here"),
        ("--output=~nobody-here/x.png", "--output=~nobody-here/x.png: there is no such home directory"),
        ("--checkpoint={tmp}/nowhere", "no such checkpoint folder"),
        ("--class_label=1", "--class_label=1: this prior is not class-conditional; leave it out"),
        ("--stride=300", "stride=300: expected a divisor"),
        ("--rows=0", "rows"),
        ("--variant=other", "variant"),
    ],
)
def test_wrong_usage_is_one_line_and_2(capsys, tmp_path, monkeypatch, argument, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert command(argument.format(tmp=tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.startswith("diip_jax.sample: error: ") and says in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
