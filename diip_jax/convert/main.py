"""Converts torch weights of a diffusion model into a diip_jax checkpoint.

    python -m diip_jax.convert --source=PATH --output=DIR [--preset=NAME] [--stored_dtype=bfloat16] [--verify]
    python -m diip_jax.convert --inspect=DIR

PATH is a diffusers folder (a model, a pipeline or a training's checkpoint), which describes itself, or a file of torch
or safetensors with a state dict in the names of DDPM, diffusers, guided-diffusion or denoising-diffusion-pytorch. A
file needs --preset where several published networks have its shapes, and --config=FILE.json where none has: a JSON
object in the words of the project, which are guided-diffusion's flags ({"image_size": 64, "num_channels": 128, ...}),
the sections model, data and diffusion of a DDPM configuration, the config.json of diffusers, or the arguments of
denoising-diffusion-pytorch's Unet and GaussianDiffusion, whose Trainer's files need --image_size alone. Of several
weights the averaged ones are taken, and what was not taken is said; --weights=NAME takes others. Weights are read and
written piece by piece, so that a file may be larger than the memory; --verify needs room for both networks. Exit
status: 0 converted, 1 --verify found a difference, 2 wrong usage or input.
"""

import dataclasses
import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from diip_jax import models
from diip_jax.command import UsageError, check_devices, expanded
from diip_jax.configuration import configure_as_usual
from diip_jax.convert.conversion import Identified, identify, in_memory, refuse_existing, unread_prior, write
from diip_jax.convert.families import PRESETS
from diip_jax.convert.torch_parity import TOLERANCE, check_reference, reference_of, verify
from diip_jax.convert.weight_files import ConversionError, first_line
from diip_jax.prior import CheckpointError, Prior, load_prior, read_metadata
from diip_jax.schedule import Sampler, Schedule
from diip_jax.terminal import printable, say


def describe(path: str | os.PathLike[str]) -> str:
    """What a converted checkpoint is, as aligned lines; its parameters are checked against their sha256.

    Raises:
        CheckpointError: the folder is missing, damaged, or no diip_jax checkpoint.
    """
    path = Path(path)
    metadata, prior = read_metadata(path), load_prior(path)
    rows = {
        "checkpoint": path,
        "architecture": models.architecture(prior.model),
        "parameters": f"{metadata['num_params']:,} as {metadata['stored_dtype']}, intact",
        "image size": " x ".join(map(str, prior.image_shape)),
        "size multiple": prior.model.size_multiple,
        "predicts": prior.prediction,
        "schedule": _described_schedule(prior.schedule),
        "sampled": _described_sampler(prior.sampler),
        "source": prior.provenance.source,
        "source sha256": prior.provenance.source_sha256,
        "params sha256": prior.provenance.params_sha256,
        "size on disk": f"{sum(file.stat().st_size for file in path.rglob('*') if file.is_file()) / 1e6:.1f} MB",
    }
    rows |= {field.name: getattr(prior.model, field.name) for field in dataclasses.fields(prior.model)[1:]}
    return "\n".join(f"{name:<22}{value}" for name, value in rows.items())


def _described_schedule(schedule: Schedule) -> str:
    if schedule.trained_betas is not None:
        betas = f"trained betas, beta {schedule.trained_betas[0]:g} to {schedule.trained_betas[-1]:g}"
    elif schedule.beta_schedule == "cosine":
        betas = "cosine"
    else:
        betas = f"{schedule.beta_schedule}, beta {schedule.beta_start:g} to {schedule.beta_end:g}"
    end = ", rescaled to no signal at the end" if schedule.rescale_betas_zero_snr else ""
    return f"{betas}, {schedule.num_timesteps} timesteps{end}"


def _described_sampler(sampler: Sampler) -> str:
    offset = f" from {sampler.steps_offset}" if sampler.steps_offset and sampler.timestep_spacing == "leading" else ""
    bounds = "not clipped"
    if sampler.thresholding:
        bounds = f"thresholded at quantile {sampler.dynamic_thresholding_ratio:g}, at most {sampler.sample_max_value:g}"
    elif sampler.clip_sample:
        bounds = f"clipped to {sampler.clip_sample_range:g}"
    end = "" if sampler.set_alpha_to_one else ", ends with the noise of timestep 0"
    return f"timesteps {sampler.timestep_spacing}{offset}, x0 {bounds}{end}"


def _report_parity(identified: Identified, prior: Prior, stored_dtype: str) -> bool:
    """Prints the relative errors; True if the conversion holds."""
    compare = partial(verify, identified)
    exact = compare(prior)
    columns = {"converted": exact}
    if stored_dtype != "float32":
        rounded = jax.tree.map(lambda leaf: leaf.astype(stored_dtype).astype(jnp.float32), prior.params)
        columns[f"stored as {stored_dtype}"] = compare(dataclasses.replace(prior, params=rounded))
    size = " x ".join(map(str, prior.image_shape))
    lines = [f"relative error against {reference_of(identified)}, noise of {size}, float32"]
    lines.append("   t  " + "".join(f"{name:<26}" for name in columns).rstrip())
    for rows in zip(*columns.values(), strict=True):
        cells = (f"max {row.maximum:.1e}  norm {row.norm:.1e}" for row in rows)
        lines.append(f"{rows[0].t:>4}  " + "".join(f"{cell:<26}" for cell in cells).rstrip())
    say("\n".join(lines), sys.stdout)
    return all(row.maximum <= TOLERANCE for row in exact)  # not max(): a NaN must fail


def _flag_values() -> flags.FlagValues:
    # Not absl's global flags: several command lines of the package may be imported into one process.
    values = flags.FlagValues()
    flags.DEFINE_string("source", None, "diffusers folder, or file with a state dict", flag_values=values)
    flags.DEFINE_string("output", None, "folder of the checkpoint to write; it must not exist", flag_values=values)
    flags.DEFINE_string(
        "preset", None, f"network of a file, where its shapes do not tell: {', '.join(PRESETS)}", flag_values=values
    )
    flags.DEFINE_string("config", None, "JSON file with what a file's network is", flag_values=values)
    flags.DEFINE_string("weights", None, "which weights, where there are several", flag_values=values)
    flags.DEFINE_string("image_size", None, "SIDE or HEIGHTxWIDTH, where the source has none", flag_values=values)
    flags.DEFINE_enum("stored_dtype", "float32", ["float32", "bfloat16"], "dtype on disk", flag_values=values)
    flags.DEFINE_bool(
        "verify",
        False,
        "compare with the project's or diffusers' network; if they differ, write nothing",
        flag_values=values,
    )
    flags.DEFINE_string("inspect", None, "print what this checkpoint is", flag_values=values)
    flags.DEFINE_bool("help", False, "print this", short_name="h", flag_values=values)
    return values


class _Notes(logging.Handler):
    """What the conversion notes, as lines for people."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"diip_jax.convert: {printable(record.getMessage())}", sys.stderr)


def _say_error(text: str) -> None:
    say(f"diip_jax.convert: error: {printable(text)}", sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    values = _flag_values()
    handler = _Notes()
    logger = logging.getLogger("diip_jax")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        extra = values(list(sys.argv if argv is None else ["diip_jax.convert", *argv]))[1:]
        if values.help:
            say(f"{__doc__}\n{values.get_help()}", sys.stdout)
            return 0
        if extra:
            raise ConversionError(f"unexpected argument {extra[0]!r}: everything is given by flags, see --help")
        return _run(values)
    except flags.Error as error:
        _say_error(f"{first_line(error)}; see --help")
    except (ConversionError, CheckpointError, UsageError, OSError) as error:
        _say_error(str(error))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return 2


def _run(values: Any) -> int:
    configure_as_usual()
    if values.inspect is not None:
        if values.source or values.output:
            raise ConversionError("--inspect goes without --source and --output")
        check_devices()
        say(describe(expanded("inspect", values.inspect)), sys.stdout)
        return 0
    if not values.source or not values.output:
        raise ConversionError("--source and --output are needed, or --inspect; see --help")
    source, output = expanded("source", values.source), expanded("output", values.output)
    refuse_existing(output)
    began = time.monotonic()
    config = None if values.config is None else expanded("config", values.config)
    image_size = None if values.image_size is None else _image_size(values.image_size)
    identified = identify(source, values.preset, config=config, weights=values.weights, image_size=image_size)
    prior = unread_prior(identified)
    if values.verify:
        check_devices()
        check_reference(identified)
    if values.verify and not _report_parity(identified, in_memory(prior), values.stored_dtype):
        _say_error(f"relative error above {TOLERANCE:g}: nothing was written")
        return 1
    write(prior, output, values.stored_dtype)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(prior.params))
    size = sum(file.stat().st_size for file in identified.source.files) / 1e9
    say(
        f"{printable(str(output))}: {count:,} parameters, from a file of {size:.3g} GB in "
        f"{time.monotonic() - began:.1f} s{_peak_memory()}",
        sys.stdout,
    )
    return 0


def _image_size(text: str) -> int | tuple[int, int]:
    """Of "64" or "48x64"."""
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ConversionError(f"--image_size={text}: expected SIDE or HEIGHTxWIDTH in pixels, such as 64 or 48x64")
    height, width = int(sides[0]), int(sides[-1])
    return height if height == width else (height, width)


def _peak_memory() -> str:
    """The most memory that the process ever had, in words; "" where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    return f", peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.2f} GB"
