"""The flags of `diip_jax.launch`: one table, from which parsing and `--help` both come."""

import math
import textwrap
from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

from absl import flags

from diip_jax.command import without_none
from diip_jax.commands.settings import METHODS, Settings, settings_named

_HELP: dict[str, dict[str, str]] = {
    "Images": {
        "image": "file, folder or glob to restore; repeatable, and --image= itself may be left out",
        "reference": "clean image, or folder that holds one of each input's name: adds PSNR and SSIM",
        "mask": "picture of the input's size, or folder that holds one of each input's name: white where the input is "
        "known, black or transparent where it is to be filled in (--degradation=mask)",
        "kernel": "the blur kernel, where it is known: .npy, or a picture; square, of odd size, black is 0",
        "resize": "images of another size than the prior's: keep it, fit inside, crop to the centre, or refuse "
        "(default: keep with a prior of photographs, else fit)",
    },
    "Results": {
        "output_dir": "folder for STEM.png and STEM.json of every input",
        "faces": "also restore the faces of a photograph, each in its frame, with the bundled prior of faces: those "
        "that a detector finds, or that of these eyes, left and right as seen, in pixels; repeatable",
        "compare": "also STEM_compare.png: input, restored, (reference), and the curves",
        "blend": "weight of the restored image in the output, between 0 and 1; the rest is the input",
        "quality": "best: the mean of eight restorations of each image, nearer to what was there, less sharp, in eight "
        "times the time; as --samples=8",
        "samples": "restorations of each image from other noise; STEM.png is their mean, STEM_sample{i}.png each one, "
        "STEM_spread.png their standard deviation",
        "save_every": "also STEM_k{iterations}.png after every so many iterations until it stops: STEM_k00010.png "
        "after 10, which is iterate k = 9; 0 for never",
        "strip_metadata": "leave EXIF, XMP (date, camera, place) and the profile out of the outputs; they are sRGB",
        "animate": "also STEM_animation.webp: how the picture forms, of the snapshots of --save_every",
        "watch": "also index.html: before and after, curves and failures of the whole run, written while it runs",
        "skip_existing": "leave out images that are already restored with these settings",
        "dry_run": "check everything and say what would be done; write nothing",
    },
    "Prior and computation": {
        "checkpoint": "the prior: faces64, photos, or a folder that python -m diip_jax.convert or diip_jax.train "
        "wrote; without it photos where an image has more than 128 pixels a side, else faces64",
        "card": "say what the prior was trained on and on what terms it may be used; restore nothing",
        "dtype": "of the arithmetic",
        "fsdp": "split the prior's weights over the devices, for one that is too large for each of them: they then "
        "go in step",
        "class_label": "number of the class that a class-conditional prior is told; without it none",
        "batch_size": "restorations at once, split over the devices; without it auto: 1 for each CPU core, for an "
        "accelerator what its memory takes and its clock finds fastest",
        "seed": "of the random noise",
    },
    "Large runs": {
        "manifest": "in place of --image: CSV, JSON lines or Parquet with the columns path, seed and any flags of the "
        "method, a row for each image",
        "shard": "only part I of N, from 0, by a hash of the images' names; the parts run side by side into one "
        "folder, or one after the other",
        "engine": "local: this process, on its devices; ray: an actor for each chip of a Ray cluster, started on this "
        "machine where RAY_ADDRESS names none; finished images are then always left out",
        "ray_actors": "how many of them, at most; without it as many as there are chips",
        "share_output": "several runs with the same settings share the images: each leaves out what any has finished; "
        "without it, and without --shard, a second run into the folder is refused",
        "tolerate_failures": "exit code 0 once the run is through, although images failed: a cluster then does not "
        "start it again",
        "run_log": "file for the run's counts as JSON lines, one every 10 seconds and one at the end: images, images "
        "an hour, slot use, network evaluations, bytes, failures by cause",
    },
    "Several processes": {
        "distributed": "this is one of several processes that share the images, see launch/README.md; on TPU pods, in "
        "Slurm, Open MPI and Kubernetes JAX finds out which one",
        "coordinator": "elsewhere: where process 0 is, the same in all of them",
        "num_processes": "elsewhere: how many there are",
        "process_id": "elsewhere: which one this is, counted from 0",
    },
    "Method": {
        "method": "blind: whatever is wrong with the image: noise, blur, JPEG, low resolution, dead pixels; diip: the "
        "paper's method for that; bird: the kind of degradation is known; dip: as diip, with an untrained network "
        "in the prior's place. The flags below are its settings",
        "preset": "published settings for what is not given: paper (diip, bird), or code (bird, dip), the released one",
    },
}

# Flags that are fields of a method: no default here, the method's dataclass has it.
METHOD_HELP = {
    "max_iterations": "stop after this many iterations at the latest; blind: so many levels of noise there are, with a "
    "prior of photographs 12 at most",
    "degradation": "what happened to the image: noise or JPEG alone (identity), blur, a blur that changes over the "
    "image, blur and means of blocks, a part is hidden, blur with a gain and a slowly varying offset",
    "kernel_size": "side of the unknown blur kernel in pixels of the restored image, odd; 1 for no blur",
    "scale": "the result has so many times the input's sides; blind: 2 or 4, and other damage is found all the same; "
    "bird: side of the blocks of --degradation=downsample",
    "blur": "blind: what the input has of it, where it is known, or should be taken out otherwise than it is found: "
    "standard deviation of a Gaussian in pixels, 0 for none",
    "noise": "blind: likewise, its standard deviation in grey levels of 255; of a JPEG how strongly it is smoothed",
    "learning_rate": "of Adam on the noise, or (dip) on the network's weights; blind: share of every correction that "
    "is made",
    "stride": "timesteps that one DDIM step takes: a larger one is faster and coarser",
    "gradient": "around the network (detached), or through it (full), which takes several times as long",
    "remat": "what the full gradient computes again to save memory: nothing (none), every DDIM step, within it every "
    "block too; auto: the first that fits into a quarter of the device's memory",
    "variant": "DDIM as the checkpoint says, mostly as in the released code of BIRD; or as in BIRD's paper",
    "refresh": "visited timesteps at which an iteration evaluates the network, by turns; 0: all of them",
    "final_rate": "share of the learning rate that is left at the end of the budget, along a cosine",
    "ridge": "blind: noise to signal of the inverse of the blur that is found",
    "first_level": "blind: standard deviation of the noise that sampling begins with, of the range [-1, 1]; 0: as the "
    "prior has it best",
    "last_level": "blind: and of that it ends with",
    "project": "keep the noise on its sphere",
    "stopping": "rule that ends the iteration (paper, robust, combined: the first of two; averaged: the mean of the "
    "last iterates of robust)",
    "k_min": "iterations before the Laplacian-variance rule may fire (robust: either rule; emv, combined: emv)",
    "eps": "the printed loss rule fires below this relative change of the loss in an iteration",
    "robust_eps": "robust, averaged: likewise",
    "smoothing": "robust rules, emv, combined, averaged: weight of the past in the moving average",
    "patience": "robust rules, wmv, emv, combined: iterations in a row that must agree",
    "window": "wmv: number of iterates whose variance is watched",
    "explained": "combined: share of the variance of the image that a picture has to explain to be returned as "
    "the sharpest",
    "sharpness_ratio": "combined: how many times the Laplacian variance of the image a picture must have for that",
    "fully_explained": "combined: share of the variance of the image that ends the iteration once it is explained",
    "tau": "discrepancy: stop at a loss of tau^2 times the variance of the noise seen in the image",
    "loss_threshold": "stop at a loss that is not above it",
    "kernel_model": "how the kernel is written: by a network, by logits, or not at all (known: give --kernel)",
    "centre_kernel": "keep the centre of mass of an unknown kernel at its centre, and so the picture in its place",
    "boundary": "what lies beyond the image: nothing, its mirror image, or (valid) what the input does not show",
    "operator_learning_rate": "of Adam on the parameters of the degradation",
    "updates": "noise and degradation step together, or in alternation",
    "levels": "of the network: how often it halves the image, whose sides are multiples of 2 to the power of that",
    "channels": "of the network's 3x3 convolutions",
    "skip_channels": "of its skip connections",
    "upsampling": "how it doubles a size",
    "input_channels": "of the fixed noise that it is shown",
    "input_noise": "standard deviation of what is added to that anew in every iteration",
}

_BLURS = ("blur", "varying_blur", "downsample", "gain_offset")
_OF_BLURS = ("degradation", _BLURS)
_UNKNOWN = ("kernel_model", ("network", "logits"))
# A setting on the left does something only where each of the settings behind it has one of the values beside it.
_ONLY_WITH: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "k_min": (("stopping", ("paper", "robust", "laplacian_variance", "emv", "averaged", "combined")),),
    "eps": (("stopping", ("paper", "loss_slope")),),
    "robust_eps": (("stopping", ("robust", "averaged")),),
    "smoothing": (("stopping", ("robust", "emv", "averaged", "combined")),),
    "patience": (("stopping", ("robust", "wmv", "emv", "averaged", "combined")),),
    "window": (("stopping", ("wmv",)),),
    "explained": (("stopping", ("combined",)),),
    "sharpness_ratio": (("stopping", ("combined",)),),
    "fully_explained": (("stopping", ("combined",)),),
    "tau": (("stopping", ("discrepancy",)),),
    "remat": (("gradient", ("full",)),),
    "kernel_size": (_OF_BLURS,),
    "kernel_model": (_OF_BLURS,),
    "centre_kernel": (_OF_BLURS, _UNKNOWN),
    "boundary": (_OF_BLURS,),
    "operator_learning_rate": (_OF_BLURS,),
    "updates": (_OF_BLURS,),
    "scale": (("degradation", ("downsample",)),),
}

# What a value looks like, where its kind does not tell.
_WANTED = {
    **dict.fromkeys(("image", "reference", "mask", "kernel", "output_dir", "run_log", "manifest"), "PATH"),
    "preset": "paper|code",
    "faces": "find|X,Y,X,Y",
    "shard": "I/N",
    "coordinator": "HOST:PORT",
    "checkpoint": "NAME|PATH",
}


def define_flags() -> flags.FlagValues:
    """The flags, not yet parsed; call the result with the program's name and the arguments."""
    values = flags.FlagValues()
    values.set_gnu_getopt(True)  # flags may follow images
    text = {name: line for group in _HELP.values() for name, line in group.items()}

    def define(kind: Callable[..., Any], name: str, default: Any, *choices: list[str], **bounds: Any) -> None:
        kind(name, default, *choices, text[name], flag_values=values, **bounds)

    define(flags.DEFINE_multi_string, "image", [])
    define(flags.DEFINE_string, "reference", None)
    define(flags.DEFINE_string, "mask", None)
    define(flags.DEFINE_string, "kernel", None)
    define(flags.DEFINE_enum, "resize", None, ["keep", "fit", "crop", "error"])
    define(flags.DEFINE_string, "output_dir", "restored")
    define(flags.DEFINE_multi_string, "faces", [])
    define(flags.DEFINE_boolean, "compare", False)
    define(flags.DEFINE_float, "blend", 1.0, lower_bound=0.0, upper_bound=1.0)
    define(flags.DEFINE_enum, "quality", "default", ["default", "best"])
    define(flags.DEFINE_integer, "samples", 1, lower_bound=1)
    define(flags.DEFINE_integer, "save_every", 0, lower_bound=0)
    define(flags.DEFINE_boolean, "strip_metadata", False)
    define(flags.DEFINE_boolean, "animate", False)
    define(flags.DEFINE_boolean, "watch", False)
    define(flags.DEFINE_boolean, "skip_existing", False)
    define(flags.DEFINE_boolean, "dry_run", False)
    define(flags.DEFINE_string, "checkpoint", None)
    define(flags.DEFINE_enum, "dtype", "float32", ["float32", "bfloat16"])
    define(flags.DEFINE_boolean, "fsdp", False)
    define(flags.DEFINE_integer, "class_label", None)
    flags.DEFINE(_CountOrAuto(), "batch_size", "auto", text["batch_size"], values)
    define(flags.DEFINE_string, "manifest", None)
    define(flags.DEFINE_string, "shard", "0/1")
    define(flags.DEFINE_enum, "engine", "local", ["local", "ray"])
    define(flags.DEFINE_integer, "ray_actors", None, lower_bound=1)
    define(flags.DEFINE_boolean, "share_output", False)
    define(flags.DEFINE_boolean, "tolerate_failures", False)
    define(flags.DEFINE_string, "run_log", None)
    define(flags.DEFINE_integer, "seed", 0, lower_bound=0, upper_bound=2**32 - 1)
    define(flags.DEFINE_boolean, "distributed", False)
    define(flags.DEFINE_string, "coordinator", None)
    define(flags.DEFINE_integer, "num_processes", None, lower_bound=1)
    define(flags.DEFINE_integer, "process_id", None, lower_bound=0)
    define(flags.DEFINE_enum, "method", "blind", list(METHODS))
    define(flags.DEFINE_string, "preset", None)
    for name, line in METHOD_HELP.items():
        _define_setting(name, line, values)
    define(flags.DEFINE_boolean, "card", False)
    flags.DEFINE_boolean("help", False, "show this", short_name="h", flag_values=values)
    return values


class _CountOrAuto(flags.ArgumentParser[int | None]):
    """A number of at least 1, or "auto", which is None."""

    def parse(self, argument: str) -> int | None:
        if argument == "auto":
            return None
        if not str(argument).isdecimal() or int(argument) < 1:
            raise ValueError("expected a whole number of at least 1, or auto")
        return int(argument)

    def flag_type(self) -> str:
        return "N|auto"


def _define_setting(name: str, line: str, values: flags.FlagValues) -> None:
    kind = without_none(next(hints[name] for hints in map(get_type_hints, METHODS.values()) if name in hints))
    if get_origin(kind) is not None:  # Literal["code", "paper"]
        flags.DEFINE_enum(name, None, list(get_args(kind)), line, flag_values=values)
    else:
        kinds: dict[type, Callable[..., Any]] = {
            bool: flags.DEFINE_boolean,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
        }
        kinds[kind](name, None, line, flag_values=values)


def method_from(values: flags.FlagValues, kernel_size: int | None = None) -> Settings:
    """The method that parsed flags name; what they leave out is the preset's, or has the method's own default.

    Args:
        kernel_size: of the kernel of `--kernel`, None without one.

    Raises:
        ValueError: a setting that the method does not have, or a value that it refuses; the line begins with the flag.
    """
    kind = METHODS[values.method]
    given: dict[str, Any] = {name: values[name].value for name in METHOD_HELP if values[name].value is not None}
    if kernel_size is not None:
        if not hasattr(kind, "kernel_model"):
            raise ValueError(f"--kernel: --method={values.method} takes no kernel")
        of_file: dict[str, Any] = {"kernel_model": "known", "kernel_size": kernel_size}
        for name, value in of_file.items():
            if given.setdefault(name, value) != value:
                raise ValueError(f"--{name}={given[name]} contradicts --kernel, which gives {value}; leave it out")
    for name, value in [*given.items(), ("blend", values.blend)]:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name}={value}: expected a finite number")
    unknown = [f"--{name}" for name in given if name not in get_type_hints(kind)]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: --method={values.method} has no such setting")
    try:
        method = settings_named(values.method, given, values.preset)
    except ValueError as error:
        raise ValueError(f"--{error}") from error
    for name in given:
        for other, effective in _ONLY_WITH.get(name, ()):
            value = getattr(method, other, None)
            if value is not None and value not in effective:
                instead = " or ".join(f"--{other}={one}" for one in effective)
                raise ValueError(f"--{name} has no effect with --{other}={value}; leave it out, or use {instead}")
    if given.keys() & {"operator_learning_rate", "updates"} and not _learns(method):
        name = next(name for name in ("operator_learning_rate", "updates") if name in given)
        raise ValueError(
            f"--{name} has no effect with a known kernel: nothing of the operator is learned; leave it out"
        )
    return method


def _learns(method: Settings) -> bool:
    """Whether the method's operator has something to learn."""
    return "kernel" not in method.needs or getattr(method, "degradation", None) == "gain_offset"


def help_text(values: flags.FlagValues) -> str:
    """What `--help` prints."""
    lines = [
        "Restores degraded images, one or thousands, with a frozen diffusion prior.",
        "",
        "  python -m diip_jax.launch --image=photo.png --output_dir=restored --compare",
        "",
        "Defaults are in brackets.",
    ]
    for title, group in _HELP.items():
        lines += ["", f"{title}:"]
        for name, line in (group | METHOD_HELP if title == "Method" else group).items():
            lines += _help_lines(values[name], name, line)
    lines += [
        "",
        "Compiled programs are kept for later runs, up to 1 GB, in ~/.cache/diip_jax/xla, or in",
        "$XDG_CACHE_HOME/diip_jax/xla where that is set. JAX_COMPILATION_CACHE_DIR names a folder without a limit.",
    ]
    lines += ["", "Exit code: 0 all well, 1 some image failed, 2 wrong usage, 130 interrupted, 143 terminated."]
    return "\n".join(lines)


def _help_lines(flag: flags.Flag, name: str, line: str) -> list[str]:
    choices = getattr(flag.parser, "enum_values", None)
    wanted = "|".join(choices) if choices else _WANTED.get(name, flag.flag_type())
    head = f"  --[no]{name}" if flag.boolean else f"  --{name}={wanted}"
    default = _default(flag, name)
    wrapped = textwrap.wrap(line if default is None else f"{line} [{default}]", 82)
    if len(head) > 27:
        wrapped.insert(0, "")
    return [f"{head:<28}{wrapped[0]}".rstrip(), *(" " * 28 + rest for rest in wrapped[1:])]


def _default(flag: flags.Flag, name: str) -> str | None:
    """The default in words; None where there is nothing to say."""
    if name not in METHOD_HELP:
        return None if flag.boolean or flag.default in (None, []) else str(flag.default)
    by_method = {key: getattr(kind, name) for key, kind in METHODS.items() if hasattr(kind, name)}
    if None in by_method.values():
        return None
    words = {key: {True: "on", False: "off"}[value] if flag.boolean else str(value) for key, value in by_method.items()}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{key}: {word}" for key, word in words.items())
