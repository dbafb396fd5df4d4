"""What a restoration, or a training, costs on this machine: `python -m diip_jax.bench`.

One line per gradient mode, remat and batch size: seconds to compile the loop; seconds of one iteration (median, and per
image); GFLOP of an iteration, convolutions counted as direct ones; the GFLOP/s that makes, and its share of the larger
of this machine's matrix product and convolution, measured first on the same devices; memory that the program holds.

With --torch the same iteration runs in torch in alternation, and the ratio of the times (ours / torch's) is printed
pair by pair. With --overhead the loop runs without the network as well: what optimiser, rules and traces take of it.

With --train it is a step of the training instead (python -m diip_jax.train), of the prior's network as a predictor of
v: images a second, and the share of the machine's convolution alone.

With --slots=8 it is what refilled slots gain over fixed batches of as many: --images whose stops spread from 10 to 150
iterations, on a tiny network, once and in a queue ten times as long.

With --folder=500 it is the command itself on a folder of so many pictures: seconds from its start to its end without
compilation, CPU seconds, images an hour, the most memory that it had. --flags are handed to it, several sets of them in
turns; --against runs another version of the package in turns, too, from its source tree; --tiny takes a prior of 16x16
images with random weights; --finished has everything restored beforehand, so that it is listed and skipped.
"""

import dataclasses
import itertools
import shlex
import time
from collections.abc import Callable, Sequence
from typing import get_args

import jax
import numpy as np
from absl import flags

from diip_jax import command, startup
from diip_jax.bench import folder
from diip_jax.bench.ceiling import measure_ceiling
from diip_jax.bench.measure import iteration_flops, without_network
from diip_jax.bench.slots import fixed_batches, refilled_slots, spread_stops
from diip_jax.bench.torch_reference import torch_iteration, torch_training_step
from diip_jax.bench.training import step_flops, training_step
from diip_jax.command import tell
from diip_jax.ddim_sampling import Gradient, Remat
from diip_jax.methods import DIIP
from diip_jax.plugs.rules import Never
from diip_jax.prior import Prior, bundled_checkpoint, read_metadata
from diip_jax.solve.cost import compile_loop
from diip_jax.train.step import Optimisation

PROGRAM = "diip_jax.bench"


def _flag_values() -> flags.FlagValues:
    values = command.prior_flags()
    flags.DEFINE_boolean("train", False, "a step of the training", flag_values=values)
    flags.DEFINE_integer("slots", None, "refilled slots beside fixed batches", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("images", 400, "with --slots: how many", lower_bound=1, flag_values=values)
    flags.DEFINE_list("folder", None, "runs of the command on so many pictures", flag_values=values)
    flags.DEFINE_multi_string("flags", [""], "with --folder: flags of the command; repeatable", flag_values=values)
    flags.DEFINE_string("against", None, "with --folder: source tree of another version", flag_values=values)
    flags.DEFINE_boolean("tiny", False, "with --folder: a tiny prior", flag_values=values)
    flags.DEFINE_boolean("finished", False, "with --folder: all is restored already", flag_values=values)
    flags.DEFINE_list("batch_size", None, "batch sizes [1,8; with --train 16]", flag_values=values)
    modes = list(get_args(Gradient))
    flags.DEFINE_multi_enum("gradient", modes, modes, "gradient modes; repeatable", flag_values=values)
    flags.DEFINE_multi_enum(
        "remat",
        ["step"],
        list(get_args(Remat)),
        "what the full gradient computes again; repeatable",
        flag_values=values,
    )
    flags.DEFINE_integer("stride", 100, "timesteps that a DDIM step takes", flag_values=values)
    flags.DEFINE_integer("repeats", 10, "timed iterations; with --folder runs [1]", lower_bound=1, flag_values=values)
    flags.DEFINE_boolean("torch", False, "run the same in torch, in alternation", flag_values=values)
    flags.DEFINE_boolean("overhead", False, "run the loop without the network, in alternation", flag_values=values)
    return values


def seconds_of(function: Callable[[], None]) -> float:
    """Wall time of a call."""
    began = time.monotonic()
    function()
    return time.monotonic() - began


def _print_tables(values: flags.FlagValues) -> None:
    if values.slots:
        _print_slots(values.slots, values.images)
        return
    if values.folder:
        _print_folders(values)
        return
    given = values.batch_size or (["16"] if values.train else ["1", "8"])
    batch_sizes = [int(size) for size in given]
    if min(batch_sizes) < 1:
        raise command.UsageError(f"--batch_size={','.join(given)}: expected at least 1")
    prior = command.prior_of(values)
    if not values.train:
        _print_iterations(values, prior, batch_sizes)
        return
    command.refuse_given(values, ("gradient", "remat", "stride", "overhead"), "no effect with --train; leave it out")
    _print_steps(values, dataclasses.replace(prior, prediction="v_prediction"), batch_sizes)


def _print_slots(count: int, images: int) -> None:
    tell("| images | slots | | slot use | steps | network evaluations | seconds |")
    tell("|---|---|---|---|---|---|---|")
    rows = []
    for number, name, way in (
        (images, "fixed batches", fixed_batches),
        (images, "refilled slots", refilled_slots),
        (10 * images, "refilled slots", refilled_slots),
    ):
        use = way(spread_stops(number), count)
        rows.append(use)
        tell(f"| {number} | {count} | {name} | {use.share:.3f} | {use.steps} | {use.evaluations} | {use.seconds:.1f} |")
    fixed, refilled, tenfold = rows
    tell(
        f"  evaluations, refilled / fixed: {refilled.evaluations / fixed.evaluations:.3f}; time of the tenfold queue: "
        f"{tenfold.seconds / refilled.seconds:.1f} times, its steps {tenfold.steps / refilled.steps:.1f} times"
    )


def _print_folders(values: flags.FlagValues) -> None:
    if not all(count.isdecimal() and int(count) for count in values.folder):
        raise command.UsageError(f"--folder={','.join(values.folder)}: expected numbers of pictures")
    trees = [None, *([command.expanded("against", values.against)] if values.against else [])]
    rounds = values.repeats if values["repeats"].present else 1
    tell("| pictures | flags | version | seconds | CPU seconds | images an hour | peak memory (MB) | last line |")
    tell("|---|---|---|---|---|---|---|---|")
    for count in map(int, values.folder):
        with folder.scratch() as place:
            given = values.checkpoint and command.expanded("checkpoint", values.checkpoint)
            checkpoint = folder.tiny_checkpoint(place) if values.tiny else given or bundled_checkpoint()
            sets = [[f"--checkpoint={checkpoint}", *shlex.split(flags)] for flags in values.flags]
            pictures = folder.make_pictures(
                place / "pictures", 1 if values.finished else count, read_metadata(checkpoint)["model"]["image_size"]
            )
            for number, usual in enumerate(sets):
                if values.finished:
                    folder.finish(pictures, place / f"out{number}", count, usual)
                    usual.append("--skip_existing")
                else:
                    for tree in trees:
                        folder.warm(pictures, usual, tree)
            ours: dict[int, float] = {}
            for n, number, tree in itertools.product(range(rounds), range(len(sets)), trees):
                out = place / (f"out{number}" if values.finished else f"out{number} {n} {tree is None}")
                run = folder.run(pictures, out, sets[number], tree)
                of_an_hour = 3600 * count / run.seconds
                tell(
                    f"| {count} | {values.flags[number]} | {tree or 'this one'} | {run.seconds:.1f} "
                    f"| {run.cpu_seconds:.1f} | {of_an_hour:.0f} | {run.peak_bytes / 1e6:.0f} | {run.told} |"
                )
                if tree is None:
                    ours[number] = run.seconds
                else:
                    tell(f"  images an hour, this one / the other: {run.seconds / ours[number]:.2f}")


def _print_steps(values: flags.FlagValues, prior: Prior, batch_sizes: Sequence[int]) -> None:
    tell(
        "| batch | devices | rounds | compile (s) | step (s) | images/s | GFLOP | GFLOP/s | of the convolution "
        "| memory (MB) |"
    )
    tell("|---|---|---|---|---|---|---|---|---|---|")
    for batch in batch_sizes:
        step = training_step(prior, batch)
        others = [torch_training_step(prior, Optimisation(batch_size=batch))] if values.torch else []
        ours, *theirs = _alternate([step.run, *others], values.repeats)
        ceiling = measure_ceiling(step.devices, values.dtype).convolution
        median, flops = float(np.median(ours)), step_flops(prior, batch)
        tell(
            f"| {batch} | {step.devices} | {step.rounds} | {step.compile_seconds:.1f} | {median:.3f} "
            f"| {batch / median:.1f} | {flops / 1e9:.0f} | {flops / median / 1e9:.0f} | {flops / median / ceiling:.0%} "
            f"| {step.devices * step.memory_bytes / 1e6:.0f} |"
        )
        for seconds in theirs:
            _print_ratios(ours, seconds, f", {batch / float(np.median(seconds)):.1f} images/s")


def _print_ratios(ours: Sequence[float], theirs: Sequence[float], remark: str = "") -> None:
    ratios = np.divide(ours, theirs)
    pairs = " ".join(f"{ratio:.2f}" for ratio in ratios)
    tell(f"  ours / torch's ({np.median(theirs):.3f} s{remark}): median {np.median(ratios):.2f} of {pairs}")


def _print_iterations(values: flags.FlagValues, prior: Prior, batch_sizes: Sequence[int]) -> None:
    tell(
        "| gradient | remat | batch | devices | compile (s) | iteration (s) | per image (s) | GFLOP | GFLOP/s "
        "| of the ceiling | memory (MB) |"
    )
    tell("|---|---|---|---|---|---|---|---|---|---|---|")
    for gradient, remat, batch in itertools.product(values.gradient, values.remat, batch_sizes):
        if gradient == "detached" and remat != values.remat[0]:
            continue  # it has no backward pass through the network
        # One more iteration than is timed, to warm up.
        method = DIIP(
            prior,
            Never(),
            stride=values.stride,
            gradient=gradient,
            remat=remat,
            max_iterations=values.repeats + 1,
        )
        y = jax.random.uniform(jax.random.key(0), (batch, *prior.image_shape), minval=-1, maxval=1)
        program = compile_loop(method.problem(), y)
        others = [torch_iteration(prior, method, batch)] if values.torch else []
        if values.overhead:
            others.append(compile_loop(without_network(method.problem()), y).iterate)
        ours, *theirs = _alternate([program.iterate, *others], values.repeats)
        ceiling = max(measure_ceiling(program.devices, values.dtype))
        median = float(np.median(ours))
        flops = batch * iteration_flops(prior, method)
        speed = flops / median
        tell(
            f"| {gradient} | {'-' if gradient == 'detached' else remat} | {batch} | {program.devices} "
            f"| {program.compile_seconds:.1f} | {median:.3f} | {median / batch:.3f} | {flops / 1e9:.0f} "
            f"| {speed / 1e9:.0f} | {speed / ceiling:.0%} | {program.devices * program.memory_bytes / 1e6:.0f} |"
        )
        if values.overhead:
            rest = float(np.median(theirs.pop()))
            tell(f"  the loop without the network: {1000 * rest:.2f} ms, {rest / median:.2%} of it")
        for seconds in theirs:
            _print_ratios(ours, seconds)


def _alternate(functions: Sequence[Callable[[], None]], repeats: int) -> list[list[float]]:
    """Seconds of every function, call by call, after one call to warm up; they take turns."""
    rounds = [[seconds_of(function) for function in functions] for _ in range(repeats + 1)]
    return [list(seconds) for seconds in zip(*rounds[1:], strict=True)]


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    return command.run(PROGRAM, str(__doc__), _flag_values(), _print_tables, arguments)


if __name__ == "__main__":
    startup.run(main)
