"""One run of the command in several processes: how they find each other, and what they must agree on."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

from diip_jax import distribute
from diip_jax.command import UsageError
from diip_jax.images import ImageError
from diip_jax.launch.console import Console


def meeting(values: flags.FlagValues, console: Console) -> contextlib.AbstractContextManager[None]:
    """The `distribute.meeting` that the flags ask for, or none; it begins with the `with`.

    Raises UsageError if the flags do not name it completely.
    """
    told = {name: values[name].value for name in ("coordinator", "num_processes", "process_id")}
    missing = [f"--{name}" for name, value in told.items() if value is None]
    if len(missing) == len(told):
        return _meeting("on this cluster", console) if values.distributed else contextlib.nullcontext()
    if missing:
        raise UsageError(f"{', '.join(missing)} is missing; with --distributed alone JAX finds all three out")
    host, _, port = values.coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"--coordinator={values.coordinator}: expected HOST:PORT of process 0")
    if values.process_id >= values.num_processes:
        raise UsageError(f"--process_id={values.process_id}: expected below --num_processes={values.num_processes}")
    return _meeting(f"at {values.coordinator}", console, **told)


@contextlib.contextmanager
def _meeting(where: str, console: Console, **told: Any) -> Iterator[None]:
    # Where one of them does not come, JAX ends the process, and its message is not one that a user understands.
    console.line(f"waiting for the other processes {where}, 5 minutes at most")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(distribute.meeting(**told))
        except (RuntimeError, ValueError) as error:
            advice = "give --coordinator, --num_processes and --process_id" if not told else "try another port"
            raise UsageError(f"the processes cannot meet {where} ({str(error).splitlines()[0]}); {advice}") from error
        yield


def check_same_inputs(paths: Sequence[Path], errors: Sequence[ImageError]) -> None:
    """Raises UsageError in every process of a `meeting` unless all have found the same images.

    Each restores its share of what it found: where the lists differ, images would be left out.
    """
    if jax.process_count() == 1:
        return
    names = "\n".join([*map(str, paths), *map(str, errors)])
    if not distribute.same_everywhere(hashlib.sha256(names.encode(errors="surrogateescape")).digest()):
        raise UsageError(
            f"the processes do not find the same images: process {jax.process_index()} of {jax.process_count()} finds "
            f"{len(paths)}; give all the same --image, on storage that all of them see"
        )
