"""What the command line asks for: images by the settings that they are restored with, from flags or a list."""

import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from diip_jax.command import UsageError, expanded
from diip_jax.commands.settings import Settings
from diip_jax.images import ImageError
from diip_jax.launch.console import PROGRAM
from diip_jax.launch.files import Files
from diip_jax.launch.flag_table import define_flags, method_from
from diip_jax.launch.manifest import Row, read_manifest
from diip_jax.launch.plan import Job, KernelFile, Run
from diip_jax.prior import Prior, identity_of


@dataclasses.dataclass(frozen=True)
class Kind:
    """Images of a run that are restored with the same settings.

    Attributes:
        arguments: the command line that would have these settings; values, method: what it says.
        errors: what was given and is no image.
        seeds: of images that have their own.
    """

    arguments: list[str]
    values: flags.FlagValues
    method: Settings
    paths: list[Path]
    errors: list[ImageError]
    seeds: dict[Path, int]

    def of(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of the jobs that are of this kind."""
        paths = set(self.paths)
        return [job for job in jobs if job.path in paths]


def kinds_of(
    values: flags.FlagValues,
    positional: list[str],
    arguments: Sequence[str],
    kernel: KernelFile | None,
    files: Files,
) -> list[Kind]:
    """What is to be restored, by its settings.

    Raises:
        UsageError: it is not said, or settings that do not go together.
    """
    if values.manifest is None:
        return [
            Kind(list(arguments), values, method_of(values, kernel), *_inputs([*values.image, *positional], files), {})
        ]
    if values.image or positional:
        raise UsageError("--manifest names the images; leave --image out")
    by_settings: dict[tuple[str, ...], list[Row]] = {}
    for row in read_manifest(existing("manifest", values.manifest)):
        by_settings.setdefault(row.settings, []).append(row)
    kinds = []
    for settings, rows in by_settings.items():
        of_rows = define_flags()
        try:
            of_rows([PROGRAM, *arguments, *settings])
            method = method_of(of_rows, kernel)
        except (flags.Error, UsageError) as error:
            raise UsageError(f"--manifest: {rows[0].where}: {error}") from error
        seeds = {row.path: row.seed for row in rows if row.seed is not None}
        kinds.append(Kind([*arguments, *settings], of_rows, method, [row.path for row in rows], [], seeds))
    return kinds


def method_of(values: flags.FlagValues, kernel: KernelFile | None) -> Settings:
    """The method that parsed flags name. Raises UsageError for settings that it does not take."""
    if values.compare and importlib.util.find_spec("matplotlib") is None:
        raise UsageError('--compare needs matplotlib; run: pip install "diip_jax[plots]"')
    if values.animate and not values.save_every:
        raise UsageError("--animate shows snapshots; add --save_every=5, or another number of iterations between two")
    try:
        return method_from(values, None if kernel is None else len(kernel.values))
    except ValueError as error:
        raise UsageError(str(error)) from error


def _inputs(patterns: list[str], files: Files) -> tuple[list[Path], list[ImageError]]:
    if not patterns:
        raise UsageError("no image was given; add --image=PATH, a file, folder or glob (see --help)")
    if "" in patterns:
        raise UsageError("--image is empty; give a file, folder or glob")
    return files.find(patterns)


def existing(flag: str, given: str) -> Path:
    """The path that a flag gives. Raises UsageError where there is nothing."""
    path = expanded(flag, given)
    if not given or not path.exists():
        raise UsageError(f"--{flag}={given}: no such file or folder; check the path")
    if path.is_dir():
        next(path.iterdir(), None)  # one that may not be read is said once here, not for every image
    return path


def identity(kinds: Sequence[Kind], runs: Sequence[Run], prior: Prior) -> str:
    """What runs that may write into one folder at the same time have in common."""
    facts: list[Any] = [identity_of(prior)]
    for kind, run in zip(kinds, runs, strict=True):
        facts.append({**run.settings(prior), "seed": run.seed, "resize": run.resize, "compare": run.compare})
        facts.append(sorted((str(path), seed) for path, seed in kind.seeds.items()))
    text = json.dumps(facts, sort_keys=True, default=str)
    return f"{runs[0].method_name} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
