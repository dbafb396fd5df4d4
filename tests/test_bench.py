import dataclasses
import re
from pathlib import Path

import pytest
from networks import tiny_prior

from diip_jax.bench import folder, slots
from diip_jax.bench.__main__ import main
from diip_jax.bench.ceiling import measure_ceiling
from diip_jax.bench.measure import evaluation_flops, iteration_flops
from diip_jax.bench.torch_reference import torch_iteration, torch_training_step
from diip_jax.bench.training import step_flops
from diip_jax.command import UsageError
from diip_jax.methods import DIIP
from diip_jax.prior import save_prior
from diip_jax.train.step import Optimisation


def test_flops_count_the_networks_work():
    prior = tiny_prior()

    def flops(**settings):
        return iteration_flops(prior, DIIP(prior, **settings))

    four = flops(stride=250)
    # One convolution of the 16x16 image with 8 channels alone: 2 * 9 * 16 * 16 * 8 * 8, four times.
    assert four > 4 * 294_912
    assert flops(stride=500) == pytest.approx(four / 2)
    assert flops(stride=250, gradient="full") == pytest.approx(3 * four)
    assert flops(stride=250, gradient="full", remat="none") == pytest.approx(2 * four)


def test_ceiling_is_measured():
    ceiling = measure_ceiling(1, repeats=1)
    assert 1e9 < ceiling.matrix_product < 1e15 and 1e8 < ceiling.convolution < 1e15


@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_torch_iterates(gradient):
    torch_iteration(tiny_prior(), DIIP(tiny_prior(), stride=500, gradient=gradient), 1)()


def test_torch_refuses_what_it_does_not_have():
    with pytest.raises(ValueError, match="the variant code and remat step only"):
        torch_iteration(tiny_prior(), DIIP(tiny_prior(), variant="paper"), 1)


def test_the_command_prints_a_row_for_every_combination(tmp_path, capsys):
    save_prior(tmp_path / "prior", tiny_prior())
    arguments = [f"--checkpoint={tmp_path / 'prior'}", "--batch_size=1,2", "--gradient=detached", "--stride=500"]
    assert main([*arguments, "--repeats=1", "--torch", "--overhead"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    rows = [line.split("|") for line in lines[::3]]
    assert [(row[1].strip(), row[3].strip()) for row in rows] == [("detached", "1"), ("detached", "2")]
    overhead = r"  the loop without the network: [\d.]+ ms, [\d.]+% of it"
    assert all(re.fullmatch(overhead, line) for line in lines[1::3])
    ratio = r"  ours / torch's \([\d.]+ s\): median [\d.]+ of [\d.]+"
    assert all(re.fullmatch(ratio, line) for line in lines[2::3])


def test_a_step_of_the_training_is_three_times_the_network():
    prior = tiny_prior()
    assert step_flops(prior, 4) == pytest.approx(12 * evaluation_flops(prior))


def test_torch_trains():
    prior = dataclasses.replace(tiny_prior(), prediction="v_prediction")
    torch_training_step(prior, Optimisation(batch_size=2))()
    with pytest.raises(ValueError, match="--torch trains a prior of v only"):
        torch_training_step(tiny_prior(), Optimisation(batch_size=2))


def test_the_command_measures_the_training(tmp_path, capsys):
    save_prior(tmp_path / "prior", tiny_prior())
    given = [f"--checkpoint={tmp_path / 'prior'}", "--train", "--batch_size=2", "--repeats=2"]
    assert main([*given, "--torch"]) == 0
    row, ratio = capsys.readouterr().out.splitlines()[2:]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[1] == "2" and float(cells[6]) > 0 and cells[9].endswith("%")
    assert re.fullmatch(r"  ours / torch's \([\d.]+ s, [\d.]+ images/s\): median [\d.]+ of [\d.]+ [\d.]+", ratio)
    assert main([*given, "--stride=100"]) == 2
    assert "--stride: no effect with --train" in capsys.readouterr().err


def test_refilled_slots_use_more_of_what_is_computed(capsys, monkeypatch):
    monkeypatch.setattr(slots, "random_prior", lambda network: tiny_prior())
    assert main(["--slots=2", "--images=4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:-1]]
    assert [(row[0], row[2]) for row in rows] == [
        ("4", "fixed batches"),
        ("4", "refilled slots"),
        ("40", "refilled slots"),
    ]
    share, evaluations = ([float(row[n]) for row in rows] for n in (3, 5))
    assert share[0] < share[1] < share[2] <= 1 and share[2] > 0.95 and evaluations[1] < evaluations[0]
    assert lines[-1].startswith(f"  evaluations, refilled / fixed: {evaluations[1] / evaluations[0]:.3f}; time of")


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--batch_size=x", "invalid literal"),
        ("--gradient=both", "value should be one of"),
        ("--checkpoint=/nowhere/prior", "no such checkpoint folder"),
        ("--stride=300", "expected a divisor of"),
        ("--strides=300", "Unknown command line flag"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(argument, message, capsys):
    assert main([argument, "--repeats=1", "--batch_size=1"] if "batch" not in argument else [argument]) == 2
    error = capsys.readouterr().err
    assert error.startswith("diip_jax.bench: error: ") and message in error and error.count("\n") == 1


def test_a_folder_is_restored_by_the_command_and_another_version_of_it(capsys, monkeypatch):
    monkeypatch.setattr(folder, "random_prior", lambda network: tiny_prior())
    # "Another version" is this one.
    tree = Path(folder.__file__).resolve().parents[2]
    given = ["--folder=4", "--tiny", f"--against={tree}", "--flags=--method=diip --stride=500 --max_iterations=2"]
    assert main(given) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    for line, name in zip(lines, ["this one", str(tree)], strict=False):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert cells[0] == "4" and cells[2] == name and cells[-1] == "4 restored, 0 skipped, 0 failed"
        assert 0 < float(cells[4]) and 50 < float(cells[6]) < 5000
    assert re.fullmatch(r"  images an hour, this one / the other: [\d.]+", lines[2])


def test_a_finished_folder_is_skipped(capsys, tmp_path):
    save_prior(tmp_path / "prior", tiny_prior())
    flags = [f"--checkpoint={tmp_path / 'prior'}", "--method=diip", "--stride=500", "--max_iterations=2"]
    pictures = folder.make_pictures(tmp_path / "pictures", 1, folder.TINY_SIDE)
    folder.finish(pictures, tmp_path / "out", 3, flags)
    assert len(list((tmp_path / "out").iterdir())) == 6
    told = folder.run(pictures, tmp_path / "out", [*flags, "--skip_existing"])
    assert told.told == "0 restored, 3 skipped, 0 failed"
    assert main(["--folder=x"]) == 2 and "--folder=x: expected numbers of pictures" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"ended with exit code 2: .*unknown"):
        folder.run(pictures, tmp_path / "out", ["--unknown"])
