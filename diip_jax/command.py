"""What the commands share: flags of the prior, paths with `~`, help, and one line on stderr for a user's mistake."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args

import jax
from absl import flags

from diip_jax import distribute
from diip_jax.configuration import configure_as_usual
from diip_jax.prior import CheckpointError, Prior, load_prior
from diip_jax.terminal import printable, say


class UsageError(ValueError):
    """The command cannot start; one line that says why."""


def prior_flags() -> flags.FlagValues:
    """The flags of every command that works on a prior: `--checkpoint`, `--dtype`, `--class_label` and `--help`."""
    # Not absl's global flags: several commands of the package may be imported into one process.
    values = flags.FlagValues()
    flags.DEFINE_string("checkpoint", None, "prior; without it the bundled one", flag_values=values)
    flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "of the arithmetic", flag_values=values)
    flags.DEFINE_integer("class_label", None, "class that a class-conditional prior is told", flag_values=values)
    flags.DEFINE_boolean("help", False, "show this", short_name="h", flag_values=values)
    return values


def prior_of(values: flags.FlagValues) -> Prior:
    """The prior that `prior_flags` name.

    Raises:
        CheckpointError: as `load_prior`.
        UsageError: as `expanded` and `check_devices`.
    """
    check_devices()
    checkpoint = None if values.checkpoint is None else expanded("checkpoint", values.checkpoint)
    try:
        return load_prior(checkpoint, dtype=values.dtype, class_label=values.class_label)
    except CheckpointError:
        raise
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def check_devices() -> None:
    """Raises UsageError where JAX has no device to compute on, as with JAX_PLATFORMS=cuda without a GPU."""
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # the former where the platform's plugin is not installed
        asked = cast(Any, jax.config).jax_platforms
        said = (str(error).splitlines() or [f"JAX_PLATFORMS={asked}, which is not installed"])[0]
        raise UsageError(f"JAX finds no device to compute on ({said}); with JAX_PLATFORMS=cpu it is the CPU") from error


def tell(text: str) -> None:
    """To stdout, where results go, at once: a row may be minutes of work. The last line may end or not."""
    say(text.removesuffix("\n"), sys.stdout)


def report(line: str) -> None:
    """To stderr, where the course of a run is told."""
    say(line, sys.stderr)


def refuse_given(values: flags.FlagValues, names: Iterable[str], why: str) -> None:
    """Raises UsageError where flags of these names are given: which ones, and why not."""
    given = [f"--{name}" for name in names if values[name].present]
    if given:
        raise UsageError(f"{', '.join(given)}: {why}")


def without_none(hint: Any) -> Any:
    """X of the hint X | None; another hint as it is."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(hint) else hint


def expanded(flag: str, path: str) -> Path:
    """The path with `~` and `~name` replaced; shells leave them alone behind `--flag=`.

    Raises:
        UsageError: there is no such home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"--{flag}={path}: there is no such home directory; give the whole path") from error


def run(
    program: str,
    description: str,
    values: flags.FlagValues,
    command: Callable[[flags.FlagValues], None],
    arguments: Sequence[str],
) -> int:
    """Parses the arguments, and shows the help or runs the command; returns the exit code.

    Args:
        program: name that errors begin with.
        description: what stands above the flags in `--help`.
        values: the flags, not yet parsed, with `help` among them.
        command: gets the parsed flags. Its ValueErrors are taken for the user's mistakes, as those of the flags are.
        arguments: `sys.argv[1:]`; everything is given by flags, other arguments are refused.

    Returns:
        0, or 2 after a mistake, of which the first line of its message is on stderr.
    """
    try:
        surplus = values([program, *arguments])[1:]
        if values.help:
            say(f"{description}\n{values.get_help()}", sys.stdout)
            return 0
        if surplus:
            raise UsageError(f"unexpected argument {surplus[0]!r}: everything is given by flags, see --help")
        configure_as_usual()
        distribute.use_every_core()
        command(values)
    except (flags.Error, ValueError) as error:
        say(f"{program}: error: {printable(str(error).splitlines()[0])}", sys.stderr)
        return 2
    return 0
