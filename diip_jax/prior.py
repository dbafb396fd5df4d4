"""A frozen diffusion prior = configuration + parameters, saved and loaded as an Orbax checkpoint."""

import dataclasses
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax import models
from diip_jax.array_types import Array, Float, Num, Params
from diip_jax.schedule import Schedule

_FORMAT = "diip_jax-prior-1"
_DTYPES = ("float32", "bfloat16")


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or not one of ours; the message is one line and names the path."""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where the weights come from.

    Attributes:
        source: name of the file that was converted.
        source_sha256: its sha256, hexadecimal.
        params_sha256: sha256 over the stored parameters (names, shapes, bytes); checked at every load.
    """

    source: str = ""
    source_sha256: str = ""
    params_sha256: str = ""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["params"],
    meta_fields=["model", "schedule", "provenance", "dtype"],
)
@dataclasses.dataclass(frozen=True)
class Prior:
    """A pretrained noise predictor that stays as it is. A pytree: the parameters are its leaves, the rest is static.

    Attributes:
        params: the Flax parameters, float32.
        model: the network's configuration.
        schedule: the noise schedule it was trained with.
        dtype: dtype of its arithmetic, "float32" or "bfloat16".
    """

    params: Any  # `Params`, except that JAX puts objects of its own here while it takes pytrees apart
    model: models.ModelConfig
    schedule: Schedule = Schedule()
    provenance: Provenance = Provenance()
    dtype: str = "float32"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images that the prior was trained on."""
        return (self.model.image_size, self.model.image_size, self.model.in_channels)

    def eps(
        self, x_t: Float[Array, "B H W C"], t: Num[Array, " B"], *, remat_blocks: bool = False
    ) -> Float[Array, "B H W C"]:
        """The predicted noise eps_theta(x_t, t).

        Args:
            x_t: noisy images, float32 of unit variance at the largest t.
            t: timesteps 0 .. T-1.
            remat_blocks: the backward pass computes the inside of every residual block again, to save memory.

        Raises:
            ValueError: a height or width that the network's levels do not divide, or a wrong number of channels.
        """
        if x_t.ndim != 4:
            raise ValueError(f"x_t has shape {x_t.shape}: expected [B, H, W, C]")
        check_image_shape(self, x_t.shape[1:])
        return _apply(self.model, self.dtype, remat_blocks, self.params, x_t, t)

    def with_dtype(self, dtype: str) -> "Prior":
        """The same prior computing in "float32" or "bfloat16" (parameters stay float32).

        Raises:
            ValueError: another dtype.
        """
        if dtype not in _DTYPES:
            raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(_DTYPES)}")
        return dataclasses.replace(self, dtype=dtype)


@partial(jax.jit, static_argnames=("model", "dtype", "remat_blocks"))
def _apply(model: models.ModelConfig, dtype: str, remat_blocks: bool, params: Params, x_t: Array, t: Array) -> Array:
    return jnp.asarray(models.network(model, dtype, remat_blocks=remat_blocks).apply({"params": params}, x_t, t))


def check_image_shape(prior: Prior, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless (H, W, C) is something that the prior's network can take."""
    height, width, channels = shape
    multiple = prior.model.size_multiple
    if channels != prior.model.in_channels:
        raise ValueError(f"images have {channels} channels: this prior takes {prior.model.in_channels}")
    if height % multiple or width % multiple or not height or not width:
        raise ValueError(f"images are {height}x{width}: this prior takes sides that are multiples of {multiple}")


def param_shapes(model: models.ModelConfig) -> Params:
    """The parameter tree of a network as `jax.ShapeDtypeStruct` leaves; takes neither memory nor time."""
    network = models.network(model)
    side = model.size_multiple
    x = jax.ShapeDtypeStruct((1, side, side, model.in_channels), jnp.float32)
    t = jax.ShapeDtypeStruct((1,), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), x, t)["params"]


def random_prior(model: models.ModelConfig, seed: int = 0) -> Prior:
    """An untrained prior, kernels N(0, 1 / fan_in): for tests, timing and shape checks."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        if path[-1].key == "kernel":
            return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) / np.prod(leaf.shape[:-1]) ** 0.5)
        return jnp.full(leaf.shape, float(path[-1].key == "scale"))

    return Prior(jax.tree_util.tree_map_with_path(draw, param_shapes(model)), model)


def bundled_checkpoint() -> Path:
    """The folder of the face prior that comes with the package."""
    installed = Path(str(resources.files("diip_jax"))) / "checkpoints" / "faces64"
    return installed if installed.is_dir() else Path(__file__).resolve().parent.parent / "checkpoints" / "faces64"


def load_prior(path: str | os.PathLike[str] | None = None, *, dtype: str = "float32") -> Prior:
    """Loads a converted checkpoint; None loads the bundled 64x64 face prior.

    Args:
        path: folder that `python -m diip_jax.convert` wrote.
        dtype: dtype of the arithmetic, "float32" or "bfloat16". Parameters are float32 in memory either way.

    Raises:
        CheckpointError: the folder is missing, damaged, or no diip_jax checkpoint.
    """
    from orbax.checkpoint import v1 as ocp  # Orbax is only needed here: importing the package stays quick

    path = bundled_checkpoint() if path is None else Path(path).absolute()
    metadata = read_metadata(path)
    try:
        model = models.CONFIGS[metadata["architecture"]](**_tuples(metadata["model"]))
        schedule = Schedule(**metadata["schedule"])
        provenance = Provenance(**metadata["provenance"])
        stored = jnp.dtype(metadata["stored_dtype"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged metadata or another version's ({error}); convert again") from error
    shapes = param_shapes(model)
    # Read into NumPy and cast there: on the device every shape would compile a program of its own.
    abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, stored), shapes)
    earlier_hook = sys.unraisablehook
    # It stays after a failure, because reads in flight come in late; but only once.
    if getattr(earlier_hook, "func", None) is not _without_late_reads:
        sys.unraisablehook = partial(_without_late_reads, earlier_hook)
    try:
        params = ocp.load(path, abstract)
        sys.unraisablehook = earlier_hook
    except Exception as error:  # Orbax and TensorStore raise many types for a damaged file; to a user all mean the same
        raise CheckpointError(f"{path}: damaged checkpoint ({_first_line(error)}); convert again") from error
    # Orbax does not compare shapes when it reads into NumPy.
    if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, abstract):
        raise CheckpointError(f"{path}: damaged checkpoint (parameters do not fit the network); convert again")
    if params_sha256(params) != provenance.params_sha256:
        raise CheckpointError(f"{path}: damaged checkpoint (parameters do not match their sha256); convert again")
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf.astype(np.float32)), params)
    return Prior(params, model, schedule, provenance).with_dtype(dtype)


def save_prior(path: str | os.PathLike[str], prior: Prior, *, stored_dtype: str = "float32") -> None:
    """Writes a prior as an Orbax checkpoint whose metadata holds everything that `load_prior` needs.

    Args:
        path: folder to write; it must not exist yet. It appears only once it is complete.
        stored_dtype: "float32", or "bfloat16" to halve the size (parameters are rounded to 8 bits of mantissa).

    Raises:
        FileExistsError: the folder exists.
        ValueError: another dtype.
    """
    from orbax.checkpoint import v1 as ocp

    path = Path(path).absolute()
    if stored_dtype not in _DTYPES:
        raise ValueError(f"stored_dtype={stored_dtype!r}: expected one of {', '.join(_DTYPES)}")
    if path.exists():
        raise FileExistsError(f"{path}: exists already; give another folder or remove it")
    params = jax.tree.map(lambda leaf: np.asarray(leaf).astype(jnp.dtype(stored_dtype)), prior.params)
    provenance = dataclasses.replace(prior.provenance, params_sha256=params_sha256(params))
    metadata = {
        "format": _FORMAT,
        "architecture": models.architecture(prior.model),
        "model": dataclasses.asdict(prior.model),
        "schedule": dataclasses.asdict(prior.schedule),
        "provenance": dataclasses.asdict(provenance),
        "stored_dtype": stored_dtype,
        "num_params": sum(leaf.size for leaf in jax.tree.leaves(params)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        ocp.save(Path(scratch) / "prior", params, custom_metadata=metadata)
        # Orbax notes the folder it wrote to; a checkpoint that is passed on should not tell it.
        (Path(scratch) / "prior" / "commit_success.txt").write_text("Checkpoint commit was successful\n")
        os.rename(Path(scratch) / "prior", path)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint says of itself: architecture, model, schedule, provenance, stored_dtype, num_params.

    Raises:
        CheckpointError: the folder is missing, damaged, or no diip_jax checkpoint.
    """
    from orbax.checkpoint import v1 as ocp

    path = Path(path).absolute()
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such checkpoint folder; make one with python -m diip_jax.convert")
    try:
        metadata = ocp.metadata(path).custom_metadata
    except Exception as error:  # as in load_prior
        raise CheckpointError(f"{path}: not an Orbax checkpoint, or damaged ({_first_line(error)})") from error
    if not isinstance(metadata, Mapping) or metadata.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: not a diip_jax prior; make one with python -m diip_jax.convert")
    return dict(metadata)


def params_sha256(params: Params) -> str:
    """sha256 over every parameter's name, dtype, shape and bytes, in the order of their names."""
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for name, leaf in sorted((jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves):
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _without_late_reads(hook: Callable[[Any], Any], unraisable: Any) -> None:
    """A `sys.unraisablehook` without what reads in flight say when Orbax ends its event loop at a failed one."""
    if str(unraisable.exc_value) != "Event loop is closed":
        hook(unraisable)


def _tuples(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
