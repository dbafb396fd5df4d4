"""Torch weights to a checkpoint: what a file holds, read bit by bit into a prior, written bit by bit."""

import dataclasses
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.configuration import usual_configuration
from diip_jax.convert.families import FAMILIES, OTHERS, PRESETS, ConfigError, Preset, WeightError, family_of
from diip_jax.convert.recognition import recognise
from diip_jax.convert.scheduler_configs import Diffusion, diffusion_from_diffusers
from diip_jax.convert.sources import Source, find_source
from diip_jax.convert.state_dicts import is_averaged
from diip_jax.convert.weight_files import (
    ConversionError,
    StoredState,
    StoredWeight,
    first_line,
    read_state,
    read_weights,
)
from diip_jax.convert.weight_mapping import map_weights
from diip_jax.prior import Prior, Provenance, load_prior, save_prior

_log = logging.getLogger(__name__)


class Identified(NamedTuple):
    """Weights and what they are of.

    Attributes:
        source: where they are.
        weights: by torch's names, not yet read.
        preset: the network.
    """

    source: Source
    weights: Mapping[str, StoredWeight]
    preset: Preset


@usual_configuration()
def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    preset: str | Preset | None = None,
    config: str | os.PathLike[str] | None = None,
    weights: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    stored_dtype: str = "float32",
) -> Prior:
    """Converts torch weights into a checkpoint folder and returns it as `load_prior(output)` does.

    Args:
        source: a diffusers folder, or a file with a state dict.
        output: the folder to write; it must not exist, and appears only when it is complete.
        preset: for a file, which published network it holds: a name of `diip_jax.convert.PRESETS`, or a `Preset` for
            another network. None: the one whose names and shapes it has.
        config: for a file, a JSON file that says what the network is, in the words of the project that wrote it:
            guided-diffusion's flags, the sections `model`, `data` and `diffusion` of a DDPM configuration, or a
            config.json of diffusers.
        weights: which ones, where the source holds several, such as "model" beside "ema". None: the averaged ones.
        image_size: side of the images in pixels, or (height, width), where the source does not say it or says another.
        stored_dtype: "float32", or "bfloat16" to halve the size (parameters lose mantissa bits).

    Raises:
        ConversionError: the source cannot be read, does not fit its configuration, or the output cannot be written.
        FileExistsError: the output exists.
    """
    refuse_existing(Path(output))
    identified = identify(source, preset, config=config, weights=weights, image_size=image_size)
    write(unread_prior(identified), output, stored_dtype)
    return load_prior(output)


def read_torch_prior(source: str | os.PathLike[str], preset: str | Preset | None = None, **options: Any) -> Prior:
    """Reads torch weights into a prior with float32 parameters; every weight is mapped exactly once.

    torch is imported only for files that need it, and only to read plain tensors (`weights_only=True`).

    Args:
        options: `config`, `weights` and `image_size` of `convert`.

    Raises:
        ConversionError: as for `convert`.
    """
    return in_memory(unread_prior(identify(source, preset, **options)))


def identify(
    source: str | os.PathLike[str],
    preset: str | Preset | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    weights: str | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> Identified:
    """Finds the weights and tells what network they are of. Arguments and errors as for `convert`."""
    found = find_source(source, weights)
    if found.folder is not None and (preset is not None or config is not None):
        flag = "--config" if preset is None else "--preset"
        raise ConversionError(f"{found.folder}: has a config.json, which says what the network is: drop {flag}")
    if preset is not None and config is not None:
        raise ConversionError(f"{found.path}: --preset and --config both say what the network is: give one")
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ConversionError(f"preset {preset!r} is unknown: expected one of {', '.join(PRESETS)}")
        preset = PRESETS[preset]
    state = _stored(found, weights)
    stored = state.weights
    try:
        if found.folder is not None:
            preset = _configured(stored, found.folder / "config.json", image_size)
        elif config is not None:
            preset = _configured(stored, Path(config), image_size)
        elif preset is None:
            preset = _recognised(state, found.path, image_size)
    except WeightError as error:
        raise ConversionError(f"{found.path}: {error}") from error
    if image_size is not None:
        preset = dataclasses.replace(preset, model=dataclasses.replace(preset.model, image_size=image_size))
    return Identified(found, stored, preset)


def _recognised(state: StoredState, path: Path, image_size: int | tuple[int, int] | None) -> Preset:
    """What the file says itself, or the preset that fits. Raises WeightError."""
    shapes = {name: weight.shape for name, weight in state.weights.items()}
    family = family_of(shapes.keys())
    if family.of_file is None:
        names, preset = recognise(shapes)
        _log.info("%s: recognised as the network of %s", path.name, ", ".join(names))
        return preset
    try:
        preset = family.of_file(shapes, state.beside, image_size)
    except (KeyError, IndexError) as error:
        raise WeightError(
            f"{family.name} names, but a weight is missing or has too few dimensions ({error})"
        ) from error
    _log.info("%s: recognised as a network of %s, which predicts %s", path.name, family.name, preset.prediction)
    return preset


def _stored(found: Source, weights: str | None) -> StoredState:
    if len(found.files) > 1:  # each has a part of the names
        return StoredState({name: part for file in found.files for name, part in read_weights(file).items()}, {})
    # Of a folder, `weights` has been a choice between its parts.
    wanted = weights if found.folder is None else None
    _log_averages_beside(found)
    return read_state(found.files[0], [*(family.signs for family in FAMILIES), *OTHERS], wanted)


def _log_averages_beside(found: Source) -> None:
    """Says so where weights that are not averages are given, and averages of the same network lie beside them."""
    path = found.path if found.folder is None else found.folder
    if is_averaged(path.stem):
        return
    # guided-diffusion's model010000.pt and ema_0.9999_010000.pt; accelerate's unet and unet_ema.
    step = re.search(r"\d+$", path.stem)
    for other in sorted(path.absolute().parent.iterdir()):
        same = other.stem.endswith(step[0]) if step else other.stem in (f"{path.stem}_ema", f"ema_{path.stem}")
        if same and other.suffix == path.suffix and is_averaged(other.stem):
            _log.info("%s: averaged weights lie beside it in %s; they are usually the better prior", path, other.name)


def _configured(stored: Mapping[str, StoredWeight], path: Path, image_size: int | tuple[int, int] | None) -> Preset:
    """The preset that a JSON file of the family's own kind describes."""
    family = family_of(stored.keys())
    if family.name != "diffusers":
        return _from_json(path, family.preset_of)
    size = {} if image_size is None else {"sample_size": image_size}
    preset = _from_json(path, lambda content: family.preset_of(content | size))
    diffusion = _folder_diffusion(path.parent)
    return dataclasses.replace(
        preset, schedule=diffusion.schedule, prediction=diffusion.prediction, sampler=diffusion.sampler
    )


def unread_prior(identified: Identified) -> Prior:
    """The prior, its parameters read where NumPy asks for them, which may raise WeightError or ConversionError.

    Raises:
        ConversionError: the weights are not those of the network.
    """
    source, weights, preset = identified
    try:
        params = map_weights(weights, preset.model, new_attention_order=preset.new_attention_order)
    except WeightError as error:
        raise ConversionError(f"{source.path}: {error}") from error
    provenance = Provenance(source.path.name, _sha256(source.files))
    prediction, sampler = preset.prediction, preset.sampler
    return Prior(params, preset.model, preset.schedule, provenance, prediction=prediction, sampler=sampler)


def _sha256(files: Sequence[Path]) -> str:
    """Of a file; of several, of them one behind the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while piece := file.read(2**22):
                digest.update(piece)
    return digest.hexdigest()


@usual_configuration()
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
    # A network of a pipeline, and one of a training's checkpoint-500/unet_ema/, have it above them.
    above = [folder.parent] if folder.name in ("unet", "unet_ema") else []
    above += [parent.parent for parent in above if parent.name.startswith("checkpoint-")]
    folders = [inside for part in (folder, *above) for inside in (part, part / "scheduler")]
    candidates = [inside / "scheduler_config.json" for inside in folders]
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
