"""Converts torch weights of a DDPM network into a diip_jax checkpoint.

    python -m diip_jax.convert --source=PATH --output=DIR [--preset=NAME] [--stored_dtype=bfloat16] [--verify]
    python -m diip_jax.convert --inspect=DIR

PATH is a diffusers folder (a model or a pipeline), which describes itself, or a file with a state dict in DDPM or
diffusers names (.ckpt, .pt, .pth, .bin, .safetensors), which needs --preset. Exit status: 0 converted, 1 --verify found
a difference, 2 wrong usage or input.
"""

import dataclasses
import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from diip_jax import models
from diip_jax.command import UsageError, expanded
from diip_jax.convert.torch_configs import PRESETS, ConfigError, model_from_diffusers, schedule_from_diffusers
from diip_jax.convert.torch_files import ConversionError, find_source, first_line, read_weights
from diip_jax.convert.torch_names import WeightError, detect_family, map_weights
from diip_jax.convert.torch_parity import TOLERANCE, verify
from diip_jax.prior import (
    CheckpointError,
    Prior,
    Provenance,
    load_prior,
    param_shapes,
    read_metadata,
    save_prior,
)
from diip_jax.schedule import Schedule

_log = logging.getLogger("diip_jax.convert")  # not __name__, which is "__main__" for python -m


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    preset: str | None = None,
    stored_dtype: str = "float32",
) -> Prior:
    """Converts torch weights into a checkpoint folder and returns it as `load_prior(output)` does.

    Args:
        source: a diffusers folder, or a file with a state dict.
        output: the folder to write; it must not exist, and appears only when it is complete.
        preset: for a file, which published network it holds: a name of `diip_jax.convert.torch_configs.PRESETS`.
        stored_dtype: "float32", or "bfloat16" to halve the size (parameters lose mantissa bits).

    Raises:
        ConversionError: the source cannot be read, does not fit its configuration, or the output cannot be written.
        FileExistsError: the output exists.
    """
    _refuse_existing(Path(output))
    write(read_torch_prior(source, preset), output, stored_dtype)
    return load_prior(output)


def read_torch_prior(source: str | os.PathLike[str], preset: str | None = None) -> Prior:
    """Reads torch weights into a prior with float32 parameters; every weight is mapped exactly once.

    torch is imported only for files that need it, and only to read plain tensors (`weights_only=True`).

    Raises:
        ConversionError: as for `convert`.
    """
    found = find_source(source)
    if found.folder is not None:
        if preset is not None:
            raise ConversionError(f"{found.folder}: has a config.json, which says what the network is: drop --preset")
        model = _from_json(found.folder / "config.json", model_from_diffusers)
        schedule = _folder_schedule(found.folder)
    elif preset is None:
        raise ConversionError(
            f"{found.weights}: a file does not say what network it holds: add --preset (one of {', '.join(PRESETS)}); "
            "for a diffusers model give its folder"
        )
    elif preset not in PRESETS:
        raise ConversionError(f"preset {preset!r} is unknown: expected one of {', '.join(PRESETS)}")
    else:
        model, schedule = PRESETS[preset].model, PRESETS[preset].schedule
    weights = read_weights(found.weights)
    try:
        family = detect_family(set(weights))
        params = map_weights(weights, param_shapes(model), family, len(model.block_channels))
    except WeightError as error:
        raise ConversionError(f"{found.weights}: {error}") from error
    with found.weights.open("rb") as file:
        provenance = Provenance(found.weights.name, hashlib.file_digest(file, "sha256").hexdigest())
    return Prior(jax.tree.map(jnp.asarray, params), model, schedule, provenance)


def write(prior: Prior, output: str | os.PathLike[str], stored_dtype: str = "float32") -> None:
    """Saves a prior so that the folder `output` is either complete or absent.

    Raises:
        FileExistsError: it exists.
        ConversionError: it cannot be written.
    """
    output = Path(output)
    _refuse_existing(output)
    try:
        save_prior(output, prior, stored_dtype=stored_dtype)
    except Exception as error:  # Orbax and TensorStore raise many types for a full disk or a folder without permission
        raise ConversionError(f"{output}: cannot be written ({first_line(error)})") from error


def describe(path: str | os.PathLike[str]) -> str:
    """What a converted checkpoint is, as aligned lines; its parameters are checked against their sha256.

    Raises:
        CheckpointError: the folder is missing, damaged, or no diip_jax checkpoint.
    """
    path = Path(path)
    metadata, prior = read_metadata(path), load_prior(path)
    schedule = prior.schedule
    betas = "" if schedule.beta_schedule == "cosine" else f" beta {schedule.beta_start:g} to {schedule.beta_end:g},"
    rows = {
        "checkpoint": path,
        "architecture": models.architecture(prior.model),
        "parameters": f"{metadata['num_params']:,} as {metadata['stored_dtype']}, intact",
        "image size": " x ".join(map(str, prior.image_shape)),
        "size multiple": prior.model.size_multiple,
        "schedule": f"{schedule.beta_schedule},{betas} {schedule.num_timesteps} timesteps",
        "source": prior.provenance.source,
        "source sha256": prior.provenance.source_sha256,
        "params sha256": prior.provenance.params_sha256,
        "size on disk": f"{sum(file.stat().st_size for file in path.rglob('*') if file.is_file()) / 1e6:.1f} MB",
    }
    rows |= {field.name: getattr(prior.model, field.name) for field in dataclasses.fields(prior.model)[1:]}
    return "\n".join(f"{name:<22}{value}" for name, value in rows.items())


def _refuse_existing(output: Path) -> None:
    if output.exists():
        raise FileExistsError(f"{output}: exists already; give another folder or remove it")


def _from_json(path: Path, parse: Any) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ConfigError("not a JSON object")
        return parse(content)
    except (ConfigError, OSError, ValueError) as error:
        raise ConversionError(f"{path}: {first_line(error)}") from error
    except (TypeError, OverflowError) as error:
        raise ConversionError(f"{path}: a value is not of the type that its key needs ({first_line(error)})") from error


def _folder_schedule(folder: Path) -> Schedule:
    candidates = [folder / "scheduler_config.json", folder / "scheduler" / "scheduler_config.json"]
    if folder.name == "unet":  # of a pipeline
        candidates.append(folder.parent / "scheduler" / "scheduler_config.json")
    for path in candidates:
        if path.is_file():
            return _from_json(path, schedule_from_diffusers)
    schedule = Schedule()
    _log.info(
        "%s: no scheduler_config.json: DDPM's schedule is assumed (%s, beta %g to %g, %d timesteps)",
        folder, schedule.beta_schedule, schedule.beta_start, schedule.beta_end, schedule.num_timesteps,
    )  # fmt: skip
    return schedule


def _report_parity(source: Path, prior: Prior, stored_dtype: str) -> bool:
    """Prints the relative errors; True if the conversion holds."""
    exact = verify(source, prior)
    columns = {"converted": exact}
    if stored_dtype != "float32":
        rounded = jax.tree.map(lambda leaf: leaf.astype(stored_dtype).astype(jnp.float32), prior.params)
        columns[f"stored as {stored_dtype}"] = verify(source, dataclasses.replace(prior, params=rounded))
    print(f"relative error against diffusers, noise of {' x '.join(map(str, prior.image_shape))}, float32")
    print("   t  " + "".join(f"{name:<26}" for name in columns).rstrip())
    for rows in zip(*columns.values(), strict=True):
        cells = (f"max {row.maximum:.1e}  norm {row.norm:.1e}" for row in rows)
        print(f"{rows[0].t:>4}  " + "".join(f"{cell:<26}" for cell in cells).rstrip())
    return all(row.maximum <= TOLERANCE for row in exact)  # not max(): a NaN must fail


def _flag_values() -> flags.FlagValues:
    # Not absl's global flags: several command lines of the package may be imported into one process.
    values = flags.FlagValues()
    flags.DEFINE_string("source", None, "diffusers folder, or file with a state dict", flag_values=values)
    flags.DEFINE_string("output", None, "folder of the checkpoint to write; it must not exist", flag_values=values)
    flags.DEFINE_string("preset", None, f"which network a file holds: {', '.join(PRESETS)}", flag_values=values)
    flags.DEFINE_enum("stored_dtype", "float32", ["float32", "bfloat16"], "dtype on disk", flag_values=values)
    flags.DEFINE_bool(
        "verify", False, "compare with diffusers' network; if they differ, write nothing", flag_values=values
    )
    flags.DEFINE_string("inspect", None, "print what this checkpoint is", flag_values=values)
    flags.DEFINE_bool("help", False, "print this", short_name="h", flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    values = _flag_values()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("diip_jax.convert: %(message)s"))
    logger = logging.getLogger("diip_jax")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        extra = values(list(sys.argv if argv is None else ["diip_jax.convert", *argv]))[1:]
        if values.help:
            print(f"{__doc__}\n{values.get_help()}")
            return 0
        if extra:
            raise ConversionError(f"unexpected argument {extra[0]!r}: everything is given by flags, see --help")
        return _run(values)
    except flags.Error as error:
        print(f"diip_jax.convert: error: {first_line(error)}; see --help", file=sys.stderr)
    except (ConversionError, CheckpointError, UsageError, OSError) as error:
        print(f"diip_jax.convert: error: {error}", file=sys.stderr)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return 2


def _run(values: Any) -> int:
    if values.inspect is not None:
        if values.source or values.output:
            raise ConversionError("--inspect goes without --source and --output")
        print(describe(expanded("inspect", values.inspect)))
        return 0
    if not values.source or not values.output:
        raise ConversionError("--source and --output are needed, or --inspect; see --help")
    source, output = expanded("source", values.source), expanded("output", values.output)
    _refuse_existing(output)
    prior = read_torch_prior(source, values.preset)
    if values.verify and not _report_parity(source, prior, values.stored_dtype):
        print(f"diip_jax.convert: error: relative error above {TOLERANCE:g}: nothing was written", file=sys.stderr)
        return 1
    write(prior, output, values.stored_dtype)
    print(f"{output}: {sum(leaf.size for leaf in jax.tree.leaves(prior.params)):,} parameters")
    return 0
