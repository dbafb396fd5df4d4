import jax
import pytest
from networks import TINY, tiny_prior

from diip_jax import bench
from diip_jax.methods import DIIP
from diip_jax.prior import param_shapes, save_prior


def test_measure_counts_the_networks_work():
    prior = tiny_prior()
    one = bench.measure(prior, DIIP(stride=250, stopping="budget"), 1, repeats=2)
    two = bench.measure(prior, DIIP(stride=500, stopping="budget"), 2, repeats=2)
    full = bench.measure(prior, DIIP(stride=250, stopping="budget", gradient="full"), 1, repeats=2)
    assert one.compile_seconds > 0 and one.iteration_seconds > 0
    # Four evaluations of one image are two of two images; the full gradient counts three times.
    assert two.flops == pytest.approx(one.flops) and full.flops == pytest.approx(3 * one.flops)
    params = sum(leaf.size for leaf in jax.tree.leaves(param_shapes(TINY)))
    assert one.memory_bytes > 4 * params


def test_the_command_prints_a_row_for_every_combination(tmp_path, capsys):
    save_prior(tmp_path / "prior", tiny_prior())
    arguments = [f"--checkpoint={tmp_path / 'prior'}", "--batch_size=1,2", "--gradient=detached", "--stride=500"]
    assert bench.main([*arguments, "--repeats=1"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(row[1].strip(), row[2].strip()) for row in rows] == [("detached", "1"), ("detached", "2")]


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
    assert bench.main([argument, "--repeats=1", "--batch_size=1"] if "batch" not in argument else [argument]) == 2
    error = capsys.readouterr().err
    assert error.startswith("diip_jax.bench: error: ") and message in error and error.count("\n") == 1
