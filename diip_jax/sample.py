"""A grid of pictures that a prior makes from noise: `python -m diip_jax.sample --output=samples.png`.

Reads from left to right, then down. Sample i depends on the seed, i and the settings of DDIM, not on the size of the
grid. So a larger grid begins with the samples of a smaller one, and two priors can be compared picture by picture.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import get_args

import jax
import numpy as np
from absl import flags

from diip_jax import command, startup
from diip_jax.array_types import Image, PRNGKey
from diip_jax.images import check_png, check_writable, write_image
from diip_jax.plugs.generators import DDIM
from diip_jax.prior import Prior
from diip_jax.report import montage
from diip_jax.schedule import Variant
from diip_jax.terminal import printable, say

PROGRAM = "diip_jax.sample"


def draw(
    prior: Prior, count: int, *, seed: int = 0, stride: int = 100, variant: Variant = "code"
) -> Iterator[np.ndarray]:
    """Samples of a prior, `[H, W, C]` float32: DDIM from standard normal noise, as a restoration begins.

    Args:
        seed: sample i has the key `fold_in(key(seed), i)`.
        stride, variant: see `diip_jax.reverse`.

    Raises:
        ValueError: stride is no divisor of the schedule's T.
    """
    key = jax.random.key(seed)
    # One at a time: in a batch the last bits of a sample would depend on the size of the batch.
    one = jax.jit(_sample, static_argnames=("stride", "variant"))
    return (np.asarray(one(prior, jax.random.fold_in(key, i), stride=stride, variant=variant)) for i in range(count))


def _sample(prior: Prior, key: PRNGKey, *, stride: int, variant: Variant) -> Image:
    generator = DDIM(prior, stride, variant)
    return generator(generator.init(key, prior.image_shape), key)


def _flag_values() -> flags.FlagValues:
    values = command.prior_flags()
    flags.DEFINE_string("output", "samples.png", "picture to write", flag_values=values)
    flags.DEFINE_integer("rows", 4, "of the grid", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("columns", 8, "of the grid", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("seed", 0, "of the noise", lower_bound=0, upper_bound=2**32 - 1, flag_values=values)
    flags.DEFINE_integer("stride", 100, "timesteps that a DDIM step takes", flag_values=values)
    flags.DEFINE_enum("variant", "code", list(get_args(Variant)), "of DDIM, see diip_jax.reverse", flag_values=values)
    return values


def _write_grid(values: flags.FlagValues) -> None:
    output = command.expanded("output", values.output)
    check_png(output)
    check_writable(output.parent)
    prior = command.prior_of(values)
    if prior.model.in_channels not in (1, 3):
        raise command.UsageError(f"the prior has {prior.model.in_channels} channels; give one of grey (1) or RGB (3)")
    count = values.rows * values.columns
    samples = draw(prior, count, seed=values.seed, stride=values.stride, variant=values.variant)
    cells = [image if image.shape[-1] == 3 else image[..., 0] for image in samples]
    write_image(output, montage([cells[i : i + values.columns] for i in range(0, count, values.columns)]))
    steps = prior.schedule.num_timesteps // values.stride
    say(f"{printable(str(output))}: {count} samples in {steps} DDIM steps, seed {values.seed}", sys.stdout)


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    return command.run(PROGRAM, str(__doc__), _flag_values(), _write_grid, arguments)


if __name__ == "__main__":
    startup.run(main)
