"""What a run works with: the prior, and what is asked of it, checked against each other."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from diip_jax.command import UsageError, expanded
from diip_jax.commands.settings import Settings
from diip_jax.image_reading import longest_side
from diip_jax.launch.flag_table import METHOD_HELP
from diip_jax.launch.plan import KernelFile, Run
from diip_jax.plugs.operators import PictureOperator
from diip_jax.prior import CheckpointError, Prior, load_prior
from diip_jax.solve.inputs import estimated

SMALL = 128  # pixels a side: larger pictures are more than the face that the prior of faces would make of them
FACE = 64  # pixels a side of what the prior of faces makes
# What --quality=best takes the mean of.
_BEST_SAMPLES = 8

_NEEDED = {
    "mask": "--mask is missing: give the picture, or the folder of pictures, that shows what is hidden",
    "kernel": "--kernel is missing: --kernel_model=known needs the kernel; give its file",
}
_NOT_NEEDED = {
    "mask": "--mask has no effect here; leave it out, or use --method=bird --degradation=mask",
    "kernel": "--kernel has no effect here; leave it out, or use a --degradation that blurs",
}


def run_of(
    values: flags.FlagValues, method: Settings, prior: Prior, kernel: KernelFile | None, output_dir: Path
) -> Run:
    operator = _operator(method, prior, {"mask": values.mask, "kernel": kernel and kernel.values})
    return Run(
        method_name=values.method,
        method=method,
        max_iterations=method.max_iterations,
        operator=operator,
        estimates=estimated(operator, prior.image_shape),
        kernel=kernel,
        output_dir=output_dir,
        seed=values.seed,
        samples=_samples(values),
        batch_size=values.batch_size,
        resize=values.resize or ("keep" if prior.local else "fit"),
        blend=values.blend,
        compare=values.compare,
        save_every=values.save_every,
        animate=values.animate,
        skip_existing=values.skip_existing,
        strip_metadata=values.strip_metadata,
        faces=tuple(values.faces),
    )


def _samples(values: flags.FlagValues) -> int:
    if values.quality == "default":
        return values.samples
    if values["samples"].present:
        raise UsageError(f"--quality=best: it is --samples={_BEST_SAMPLES}; give one of the two")
    return _BEST_SAMPLES


def suited(paths: Sequence[Path], scale: int = 1) -> str:
    """The bundled prior for these pictures: of faces where all are as small as its own, else of photographs.

    Args:
        scale: what the pictures are enlarged by: a face that had to be reduced before is no larger in the end.
    """
    most = SMALL if scale == 1 else FACE // scale
    return "photos" if any(longest_side(path) > most for path in paths) else "faces64"


def prior_of(values: flags.FlagValues) -> Prior:
    """The prior that the flags name.

    Raises:
        CheckpointError: as `load_prior`. UsageError: one that restores no pictures, or cannot be split.
    """
    if values.fsdp and values.engine == "ray":
        raise UsageError(
            "--fsdp has no effect with --engine=ray, whose actors have one chip each; leave one of them out"
        )
    path = None if values.checkpoint is None else expanded("checkpoint", values.checkpoint)
    try:
        with _in_memory_of_the_host() if values.fsdp else contextlib.nullcontext():
            prior = load_prior(path, dtype=values.dtype, class_label=values.class_label)
    except CheckpointError:
        raise
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    if prior.model.in_channels not in (1, 3):
        raise UsageError(f"the prior has {prior.model.in_channels} channels; give one of grey (1) or RGB (3) images")
    return prior.sharded() if values.fsdp else prior


def _in_memory_of_the_host() -> contextlib.AbstractContextManager[Any]:
    """Inside, arrays are made there: a device may have no room for a whole prior."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError as error:
        advice = "let JAX have its CPU, too, as in JAX_PLATFORMS=cuda,cpu"
        raise UsageError(f"--fsdp loads the prior into the host's memory ({error}); {advice}") from error


def _operator(method: Settings, prior: Prior, known: dict[str, Any]) -> PictureOperator:
    """What the method takes for what happened, for images of the prior's size; tried out as far as computes nothing.

    Settings that do not go with this prior show here: a stride that its schedule does not have where the generator is
    made, a size that the network does not take, a kernel larger than the images where the operator is traced.

    Args:
        known: "mask" and "kernel", None where the user gave none.
    """
    try:
        problem = method.method(prior).problem()
        operator, shape = problem.operator, prior.image_shape
        for name in known:
            if (known[name] is not None) != (name in method.needs):
                raise ValueError(_NEEDED[name] if name in method.needs else _NOT_NEEDED[name])
        y_shape = operator.y_shape(shape)
        args = {
            "mask": None if known["mask"] is None else jnp.ones(y_shape[:2], bool),
            "kernel": None if known["kernel"] is None else jnp.asarray(known["kernel"]),
        }
        key, image = jax.random.key(0), jnp.zeros(shape)
        jax.eval_shape(lambda: problem.generator.init(key, shape))
        jax.eval_shape(lambda: operator(operator.init(key, shape), image, args))
    except ValueError as error:
        flag = "--" if str(error).partition("=")[0] in METHOD_HELP else ""
        raise UsageError(f"{flag}{error}") from error
    return operator
