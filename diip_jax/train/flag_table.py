"""The flags of `diip_jax.train`: those of its own, and one for each field of the dataclasses that a plan is made of."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from absl import flags

from diip_jax.command import UsageError, refuse_given, without_none
from diip_jax.models import DDPMUNetConfig
from diip_jax.prediction import Prediction
from diip_jax.schedule import Schedule
from diip_jax.train.cuts import Cut
from diip_jax.train.network import SIZES
from diip_jax.train.objective import Objective
from diip_jax.train.step import Optimisation

# Fields of the dataclasses. Without a flag they have the dataclass's own default, those of the network its size's.
_FIELDS: dict[type, dict[str, str]] = {
    Cut: {
        "crop": "left,top,right,bottom: this box of every picture alone, in pixels",
        "random_crop": "a square of --image_size anywhere in the picture, not its largest centred square scaled down",
        "scales": "with --random_crop: the picture is first scaled by one of these, such as 1,0.9,0.8,0.7",
        "flips": "mirror at random",
        "turns": "turn by 0, 90, 180 or 270 degrees at random",
    },
    DDPMUNetConfig: {
        "block_channels": "width of each level, full resolution first",
        "attention_levels": "for each level, whether it has attention: true or false",
        "blocks_per_level": "residual blocks a level",
        "in_channels": "of the images: 3, or 1 for grey",
        "out_channels": "like in_channels",
        "norm_groups": "of the group norm",
        "norm_eps": "of the norm",
        "head_channels": "width of an attention head; without it there is one head",
        "cos_first": "layout of the timestep embedding",
        "freq_shift": "of the timestep embedding",
        "symmetric_downsample": "pad on every side before a convolution of stride 2",
        "middle_attention": "attention in the middle",
        "norm": "group, or pixel: each pixel over its channels, for a local prior of pictures of any size",
    },
    Schedule: {
        "num_timesteps": "T of the noise schedule",
        "beta_start": "of the linear schedules",
        "beta_end": "of the linear schedules",
        "beta_schedule": "kind of noise schedule",
    },
    Objective: {
        "weighting": "of the squared error: plain, or min_snr",
        "min_snr_gamma": "gamma of min_snr",
        "timesteps": "distribution that they are drawn from",
        "logit_mean": "of logit_normal",
        "logit_std": "of logit_normal",
    },
    Optimisation: {
        "max_steps": "of the training",
        "batch_size": "images a step, over all devices",
        "images_at_once": "images that a device has in work at once, to save memory: gradients are added up; without "
        "it 2 on a CPU, all on an accelerator",
        "learning_rate": "the highest",
        "warmup_steps": "in which it rises",
        "decay": "how it falls to 0 until the last step",
        "beta1": "of AdamW",
        "beta2": "of AdamW",
        "weight_decay": "of AdamW",
        "clip_norm": "larger gradients are scaled down to this norm",
        "ema_decay": "of the averaged weights",
    },
}


def define_flags() -> flags.FlagValues:
    """The flags, not yet parsed."""
    values = flags.FlagValues()

    def define(kind: Callable[..., Any], name: str, default: Any, *rest: Any, **bounds: Any) -> None:
        kind(name, default, *rest, flag_values=values, **bounds)

    define(flags.DEFINE_string, "images", None, "pictures to train on: a folder (with those in it), a .zip or an .npz")
    define(flags.DEFINE_string, "output_dir", None, "folder of the prior; the state lies beside it in NAME.training")
    define(flags.DEFINE_string, "heldout", None, "pictures to judge by; without it some of --images are left out")
    define(flags.DEFINE_integer, "heldout_count", 128, "at most so many; of --images at most a tenth", lower_bound=1)
    define(flags.DEFINE_string, "data", None, "for the card: what the pictures are, in words")
    define(flags.DEFINE_string, "terms", "", "for the card: on what terms pictures and prior may be used")
    define(flags.DEFINE_integer, "image_size", None, "side of the images in pixels [64]", lower_bound=1)
    define(flags.DEFINE_enum, "model", "small", list(SIZES), "size of the network")
    define(flags.DEFINE_string, "init_from", None, "checkpoint to begin with, in the place of random weights")
    kinds = [kind for kind in get_args(Prediction) if kind != "consistency"]
    define(flags.DEFINE_enum, "prediction", "v_prediction", kinds, "what the network learns to predict")
    for kind, lines in _FIELDS.items():
        for name, line in lines.items():
            _define_field(kind, name, line, values)
    dtypes = ["auto", "float32", "bfloat16"]
    define(flags.DEFINE_enum, "dtype", "auto", dtypes, "of the arithmetic; auto: bfloat16 on accelerators")
    define(flags.DEFINE_boolean, "remat", False, "compute blocks again in the backward pass, to save memory")
    define(flags.DEFINE_integer, "seed", 0, "of everything random", lower_bound=0, upper_bound=2**32 - 1)
    define(flags.DEFINE_enum, "stored_dtype", "float32", ["float32", "bfloat16"], "of the prior on disk")
    for name, default, line in (
        ("log_every", 50, "steps between two lines of progress"),
        ("save_every", 500, "steps between two saves"),
        ("heldout_every", 2000, "steps between two looks at the held-out pictures"),
        ("samples_every", 5000, "steps between two pictures of samples"),
    ):
        define(flags.DEFINE_integer, name, default, line, lower_bound=1)
    define(flags.DEFINE_boolean, "distributed", False, "one of several processes that train together, as of launch")
    define(flags.DEFINE_string, "coordinator", None, "HOST:PORT of process 0")
    define(flags.DEFINE_integer, "num_processes", None, "how many there are", lower_bound=1)
    define(flags.DEFINE_integer, "process_id", None, "which one this is, counted from 0", lower_bound=0)
    define(flags.DEFINE_boolean, "help", False, "show this", short_name="h")
    return values


def _define_field(kind: type, name: str, line: str, values: flags.FlagValues) -> None:
    hint = without_none(get_type_hints(kind)[name])
    field = next(field for field in dataclasses.fields(kind) if field.name == name)
    if field.default not in (dataclasses.MISSING, None) and kind is not DDPMUNetConfig:
        default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        line = f"{line} [{default}]"
    if get_origin(hint) is Literal:
        flags.DEFINE_enum(name, None, list(get_args(hint)), line, flag_values=values)
    elif get_origin(hint) is tuple:
        flags.DEFINE_list(name, None, line, flag_values=values)
    else:
        kinds: dict[type, Callable[..., Any]] = {
            bool: flags.DEFINE_boolean,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
        }
        kinds[hint](name, None, line, flag_values=values)


def given_fields(values: flags.FlagValues, kind: type) -> dict[str, Any]:
    """The fields of one of the dataclasses that flags name.

    Raises:
        UsageError: a list with an entry of another kind.
    """
    hints = get_type_hints(kind)
    given = {name: values[name].value for name in _FIELDS[kind] if values[name].value is not None}
    return {name: _typed(name, without_none(hints[name]), value) for name, value in given.items()}


def made(kind: type, fields: Mapping[str, Any]) -> Any:
    """One of the dataclasses; its ValueErrors begin with the flag.

    Raises:
        UsageError: it refuses a value.
    """
    try:
        return kind(**fields)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def refuse_network_flags(values: flags.FlagValues) -> None:
    """Raises UsageError where flags describe a network although a checkpoint brings one."""
    network = ("model", *_FIELDS[DDPMUNetConfig])
    refuse_given(values, network, "the network is that of --init_from; leave it out")


def _typed(name: str, hint: Any, value: Any) -> Any:
    if get_origin(hint) is not tuple:
        return value
    kind = get_args(hint)[0]
    count = len(get_args(hint)) if Ellipsis not in get_args(hint) else len(value)
    words = {"true": True, "false": False}
    try:
        typed = tuple(words[entry.lower()] if kind is bool else kind(entry) for entry in value)
    except (KeyError, ValueError) as error:
        raise UsageError(f"--{name}={','.join(value)}: expected {kind.__name__}s, separated by commas") from error
    if len(typed) != count or not typed:
        raise UsageError(f"--{name}={','.join(value)}: expected {count or 'some'} {kind.__name__}s")
    return typed
