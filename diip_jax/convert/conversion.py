"""Torch weights to a checkpoint: what a file holds, read bit by bit into a prior, written bit by bit."""

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.convert.presets import PRESETS, Preset
from diip_jax.convert.recognition import recognise
from diip_jax.convert.scheduler_configs import Diffusion, diffusion_from_diffusers
from diip_jax.convert.torch_configs import ConfigError, model_from_diffusers
from diip_jax.convert.torch_files import ConversionError, StoredWeight, find_source, first_line, read_weights
from diip_jax.convert.torch_layouts import WeightError
from diip_jax.convert.weight_mapping import map_weights
from diip_jax.prior import Prior, Provenance, load_prior, save_prior

_log = logging.getLogger(__name__)


class Identified(NamedTuple):
    """A file of weights and what it holds.

    Attributes:
        path: the file.
        weights: what is in it, not yet read.
        preset: the network they are of.
    """

    path: Path
    weights: Mapping[str, StoredWeight]
    preset: Preset


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    preset: str | Preset | None = None,
    stored_dtype: str = "float32",
) -> Prior:
    """Converts torch weights into a checkpoint folder and returns it as `load_prior(output)` does.

    Args:
        source: a diffusers folder, or a file with a state dict.
        output: the folder to write; it must not exist, and appears only when it is complete.
        preset: for a file, which published network it holds: a name of `diip_jax.convert.presets.PRESETS`, or a
            `Preset` for another network. None: the one whose names and shapes it has.
        stored_dtype: "float32", or "bfloat16" to halve the size (parameters lose mantissa bits).

    Raises:
        ConversionError: the source cannot be read, does not fit its configuration, or the output cannot be written.
        FileExistsError: the output exists.
    """
    refuse_existing(Path(output))
    write(unread_prior(identify(source, preset)), output, stored_dtype)
    return load_prior(output)


def read_torch_prior(source: str | os.PathLike[str], preset: str | Preset | None = None) -> Prior:
    """Reads torch weights into a prior with float32 parameters; every weight is mapped exactly once.

    torch is imported only for files that need it, and only to read plain tensors (`weights_only=True`).

    Raises:
        ConversionError: as for `convert`.
    """
    return in_memory(unread_prior(identify(source, preset)))


def identify(source: str | os.PathLike[str], preset: str | Preset | None = None) -> Identified:
    """Finds the weights and tells what network they are of. Arguments and errors as for `convert`."""
    found = find_source(source)
    if found.folder is not None:
        if preset is not None:
            raise ConversionError(f"{found.folder}: has a config.json, which says what the network is: drop --preset")
        model = _from_json(found.folder / "config.json", model_from_diffusers)
        diffusion = _folder_diffusion(found.folder)
        preset = Preset(model, diffusion.schedule, diffusion.prediction, sampler=diffusion.sampler)
    elif isinstance(preset, str):
        if preset not in PRESETS:
            raise ConversionError(f"preset {preset!r} is unknown: expected one of {', '.join(PRESETS)}")
        preset = PRESETS[preset]
    weights = read_weights(found.weights)
    if preset is None:
        try:
            names, preset = recognise({name: weight.shape for name, weight in weights.items()})
        except WeightError as error:
            raise ConversionError(f"{found.weights}: {error}") from error
        _log.info("%s: recognised as the network of %s", found.weights.name, ", ".join(names))
    return Identified(found.weights, weights, preset)


def unread_prior(identified: Identified) -> Prior:
    """The prior, its parameters read where NumPy asks for them, which may raise WeightError or ConversionError.

    Raises:
        ConversionError: the weights are not those of the network.
    """
    path, weights, preset = identified
    try:
        params = map_weights(weights, preset.model, new_attention_order=preset.new_attention_order)
    except WeightError as error:
        raise ConversionError(f"{path}: {error}") from error
    with path.open("rb") as file:
        provenance = Provenance(path.name, hashlib.file_digest(file, "sha256").hexdigest())
    prediction, sampler = preset.prediction, preset.sampler
    return Prior(params, preset.model, preset.schedule, provenance, prediction=prediction, sampler=sampler)


def in_memory(prior: Prior) -> Prior:
    """An unread prior with its parameters on the device, float32.

    Raises:
        ConversionError: a weight is not finite, or is in the file twice with different values.
    """
    try:
        params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), prior.params)
    except WeightError as error:
        raise ConversionError(f"{prior.provenance.source}: {error}") from error
    return dataclasses.replace(prior, params=params)


def write(prior: Prior, output: str | os.PathLike[str], stored_dtype: str = "float32") -> None:
    """Saves a prior so that the folder `output` is either complete or absent.

    Raises:
        FileExistsError: it exists.
        ConversionError: it cannot be written, or a parameter of an unread prior cannot be read.
    """
    output = Path(output)
    refuse_existing(output)
    try:
        save_prior(output, prior, stored_dtype=stored_dtype)
    except ConversionError:
        raise
    except WeightError as error:
        raise ConversionError(f"{prior.provenance.source}: {error}") from error
    except Exception as error:  # Orbax and TensorStore raise many types for a full disk or a folder without permission
        raise ConversionError(f"{output}: cannot be written ({first_line(error)})") from error


def refuse_existing(output: Path) -> None:
    """Raises FileExistsError if there is a file or folder of this name."""
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


def _folder_diffusion(folder: Path) -> Diffusion:
    candidates = [folder / "scheduler_config.json", folder / "scheduler" / "scheduler_config.json"]
    if folder.name == "unet":  # of a pipeline
        candidates.append(folder.parent / "scheduler" / "scheduler_config.json")
    for path in candidates:
        if path.is_file():
            diffusion: Diffusion = _from_json(path, diffusion_from_diffusers)
            if diffusion.other_sampler:
                _log.info(
                    "%s: noise schedule, prediction type and timestep spacing are taken; the steps are DDIM's, not "
                    "those of %s", path, diffusion.other_sampler,
                )  # fmt: skip
            return diffusion
    schedule = Diffusion().schedule
    _log.info(
        "%s: no scheduler_config.json: DDPM's schedule is assumed (%s, beta %g to %g, %d timesteps), and that noise "
        "is predicted",
        folder, schedule.beta_schedule, schedule.beta_start, schedule.beta_end, schedule.num_timesteps,
    )  # fmt: skip
    return Diffusion()
