"""A frozen diffusion prior = configuration + parameters, saved and loaded as an Orbax checkpoint."""

import dataclasses
import hashlib
import math
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diip_jax import card as cards
from diip_jax import fsdp, models
from diip_jax.array_types import Array, Float, Images, Params, Timesteps
from diip_jax.card import Card
from diip_jax.checkpoint_files import (
    METADATA_FILE,
    CheckpointError,
    named_leaves,
    params_sha256,
    read_custom_metadata,
    read_params,
    write_checkpoint,
)
from diip_jax.configuration import usual_configuration, usual_rules
from diip_jax.models.arithmetic import Arithmetic, Convolutions, Precision, arithmetic, check_arithmetic
from diip_jax.prediction import Denoised, Prediction, check_prediction, denoised, network_input
from diip_jax.priors.function_prior import FunctionPrior
from diip_jax.schedule import Sampler, Schedule

_FORMAT = "diip_jax-prior-1"
_DTYPES = ("float32", "bfloat16")
# What earlier versions wrote for it.
_FORMER_PREDICTIONS: dict[str, Prediction] = {"eps": "epsilon"}

__all__ = [
    "BUNDLED",
    "Card",
    "CheckpointError",
    "Prior",
    "Provenance",
    "activation_bytes",
    "bundled_checkpoint",
    "check_image_shape",
    "identity_of",
    "load_prior",
    "param_shapes",
    "params_sha256",
    "random_prior",
    "read_card",
    "read_metadata",
    "save_prior",
]


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
    meta_fields=[
        "model",
        "schedule",
        "provenance",
        "dtype",
        "prediction",
        "class_label",
        "precision",
        "convolutions",
        "sampler",
        "mesh",
    ],
)
@dataclasses.dataclass(frozen=True)
class Prior:
    """A pretrained denoiser that stays as it is. A pytree: the parameters are its leaves, the rest is static.

    A checkpoint that says the wrong thing of itself is put right with `dataclasses.replace`, such as
    `replace(load_prior(path), prediction="v_prediction")` for one whose output is v although it says "epsilon".

    Attributes:
        params: the Flax parameters, float32.
        model: the network's configuration.
        schedule: the noise schedule it was trained with.
        dtype: dtype of its arithmetic, "float32" or "bfloat16".
        prediction: what its network's output is, see `diip_jax.prediction`.
        class_label: the class that a class-conditional network is told; None: no class.
        precision: of float32 products on accelerators, "highest", "high" or "default", see
            `diip_jax.models.arithmetic`; it changes nothing on a CPU.
        convolutions: "plain" where forward mode is needed on a CPU (`jax.jvp`, Hessian-vector products); "fast" is made
            for reverse mode.
        sampler: how it is sampled, for `diip_jax.reverse` in its variant "code".
        mesh: the devices that its parameters are split over, see `sharded`; None: each has all of them.
    """

    params: Any  # `Params`, except that JAX puts objects of its own here while it takes pytrees apart
    model: models.ModelConfig
    schedule: Schedule = Schedule()
    provenance: Provenance = Provenance()
    dtype: str = "float32"
    prediction: Prediction = "epsilon"
    class_label: int | None = None
    precision: Precision = "highest"
    convolutions: Convolutions = "fast"
    sampler: Sampler = Sampler()
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        check_prediction(self.prediction, zero_terminal_snr=self.schedule.zero_terminal_snr)
        check_arithmetic(self.precision, self.convolutions)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images that the prior was trained on."""
        return (*models.image_sides(self.model), self.model.in_channels)

    @property
    def size_multiple(self) -> int:
        """Height and width of images are multiples of this."""
        return self.model.size_multiple

    @property
    def local(self) -> bool:
        """Whether its network sees what is near each pixel alone: such a prior takes pictures of any size alike."""
        return isinstance(self.model, models.DDPMUNetConfig) and self.model.local

    @staticmethod
    def of(eps: Callable[..., Any], params: Any, image_shape: tuple[int, int, int], **settings: Any) -> FunctionPrior:
        """A prior from any function `eps(params, x_t, t)` that predicts noise, see `diip_jax.priors.FunctionPrior`.

        Args:
            settings: `schedule`, `size_multiple`, and `prediction` where the function predicts something else.
        """
        return FunctionPrior(eps, params, image_shape, **settings)

    @staticmethod
    def of_denoiser(
        denoiser: Callable[..., Any], params: Any, image_shape: tuple[int, int, int], **settings: Any
    ) -> FunctionPrior:
        """A prior from a denoiser D(params, x, sigma) of x = x_0 + sigma n: EDM's and k-diffusion's convention."""
        return FunctionPrior(denoiser, params, image_shape, prediction="denoiser", **settings)

    @staticmethod
    def of_blind_denoiser(
        denoiser: Callable[..., Any], params: Any, image_shape: tuple[int, int, int], **settings: Any
    ) -> FunctionPrior:
        """A prior from a denoiser D(params, x) of x = x_0 + sigma n that is not told sigma.

        One that was trained up to some sigma needs a `schedule` that ends there: `Schedule(500, beta_end=0.01)` has
        sigma = 2.0 (of the [-1, 1] range) at t = 400, where a stride of 100 begins.
        """
        return FunctionPrior(denoiser, params, image_shape, prediction="blind_denoiser", **settings)

    @usual_rules()
    def denoise(self, x_t: Images, t: Timesteps, *, hold_eps: bool = False, remat_blocks: bool = False) -> Denoised:
        """The noise eps_theta(x_t, t) and the image x0_hat that the network finds in x_t, whatever its output is.

        Args:
            x_t: noisy images sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) n, float32.
            t: timesteps 0 .. T-1.
            hold_eps: derivatives are those at constant eps, see `diip_jax.prediction.denoised`: they never reach the
                network.
            remat_blocks: the backward pass computes the inside of every residual block again, to save memory.

        Raises:
            ValueError: a height or width that the network's levels do not divide, or a wrong number of channels.
        """
        # Stopped before the network, not behind it: differentiation then never traces the network at all.
        output = self.output(jax.lax.stop_gradient(x_t) if hold_eps else x_t, t, remat_blocks=remat_blocks)
        return denoised(self.prediction, output, x_t, self._alpha_bar(x_t, t), hold_eps=hold_eps)

    def eps(self, x_t: Images, t: Timesteps, *, remat_blocks: bool = False) -> Images:
        """The noise of `denoise`."""
        return self.denoise(x_t, t, remat_blocks=remat_blocks).eps

    @usual_rules()
    def output(self, x_t: Images, t: Timesteps, *, remat_blocks: bool = False) -> Images:
        """What the network itself says of x_t at t, without a learned variance; arguments and errors as of `denoise`.

        Its training brings it near `diip_jax.prediction.target`.
        """
        if x_t.ndim != 4:
            raise ValueError(f"x_t has shape {x_t.shape}: expected [B, H, W, C]")
        check_image_shape(self, x_t.shape[1:])
        inputs, told = network_input(self.prediction, x_t, t, self._alpha_bar(x_t, t))
        products = Arithmetic(self.precision, self.convolutions, self.mesh)
        evaluate = partial(_apply, self.model, self.dtype, remat_blocks, self.class_label, products)
        return (evaluate if self.mesh is None else fsdp.forgetful(evaluate))(self.params, inputs, told)

    def _alpha_bar(self, x_t: Images, t: Timesteps) -> Float[Array, " B"]:
        # float32 first, as the steps of DDIM have it, whatever x_t is.
        return jnp.asarray(self.schedule.alpha_bar.astype(np.float32), x_t.dtype)[t.astype(jnp.int32)]

    def with_dtype(self, dtype: str) -> "Prior":
        """The same prior computing in "float32" or "bfloat16" (parameters stay float32).

        Raises:
            ValueError: another dtype.
        """
        if dtype not in _DTYPES:
            raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(_DTYPES)}")
        return dataclasses.replace(self, dtype=dtype)

    def sharded(self, devices: Sequence[jax.Device] | None = None) -> "Prior":
        """The same prior with its parameters split over devices (FSDP): for one that is too large for a single device.

        A restoration with it runs on these devices, which go through its iterations in step, each with its own images.
        Where the prior fits a device, one that has all of it is faster. Results are the same to rounding.

        Args:
            devices: of this process; None: all of them. A prior too large for one of them is loaded into the host's
                memory, `with jax.default_device(jax.devices("cpu")[0]): prior = load_prior(path)`.
        """
        mesh = fsdp.device_mesh(jax.local_devices() if devices is None else devices)
        return dataclasses.replace(self, params=fsdp.split(self.params, mesh), mesh=mesh)

    def with_class_label(self, class_label: int | None) -> "Prior":
        """The same prior told a class, 0 .. `models.num_classes(model) - 1`, or with None no class.

        The published conditional networks were trained with a class at all times.

        Raises:
            ValueError: an unconditional prior was given a class, or there is no such class.
        """
        classes = models.num_classes(self.model)
        if class_label is not None and classes is None:
            raise ValueError(f"class_label={class_label}: this prior is not class-conditional; leave it out")
        if class_label is not None and classes is not None and not 0 <= class_label < classes:
            raise ValueError(f"class_label={class_label}: this prior has classes 0 to {classes - 1}")
        return dataclasses.replace(self, class_label=class_label)


@partial(jax.jit, static_argnames=("model", "dtype", "remat_blocks", "class_label", "products"))
def _apply(
    model: models.ModelConfig,
    dtype: str,
    remat_blocks: bool,
    class_label: int | None,
    products: Arithmetic,
    params: Params,
    x_t: Array,
    t: Array,
) -> Array:
    network = models.network(model, dtype, remat_blocks=remat_blocks, class_label=class_label)
    with arithmetic(*products):
        output = network.apply({"params": params}, x_t, t)
    # A learned variance follows the noise; DDIM has no use for it.
    return jnp.asarray(output)[..., : model.in_channels]


def identity_of(prior: Prior) -> str:
    """What tells a prior from others: a digest of its parameters, and one of how they are read if not as usual.

    dtype and class label are left out. A prior that was never saved has its parameters hashed here.
    """
    usual = Prior(None, prior.model)
    unusual = [
        f"{name}={getattr(prior, name)}"
        for name in ("prediction", "schedule", "sampler")
        if getattr(prior, name) != getattr(usual, name)
    ]
    identity = prior.provenance.params_sha256 or params_sha256(prior.params)
    return f"{identity}, read as {hashlib.sha256(repr(unusual).encode()).hexdigest()[:16]}" if unusual else identity


def check_image_shape(prior: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless (H, W, C) is something that a prior's network can take; one that does not say passes."""
    if not isinstance(prior, Prior | FunctionPrior):
        return
    height, width, channels = shape
    multiple, taken = prior.size_multiple, prior.image_shape[-1]
    if channels != taken:
        raise ValueError(f"images have {channels} channels: this prior takes {taken}")
    if height % multiple or width % multiple or not height or not width:
        raise ValueError(f"images are {height}x{width}: this prior takes sides that are multiples of {multiple}")


@usual_configuration()
def activation_bytes(prior: Any, shape: tuple[int, int, int]) -> int:
    """Bytes that one evaluation of the prior keeps of one image (H, W, C) for its gradient; nothing is computed."""
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    def residuals(params: Params, x: Array) -> Any:
        frozen = dataclasses.replace(prior, params=params)
        return jax.vjp(lambda x: frozen.denoise(x, jnp.zeros(1)).eps, x)[1]

    kept = jax.tree.leaves(jax.eval_shape(residuals, prior.params, x))
    # The parameters are among them, and are there anyway.
    return max(0, _bytes(kept) - _bytes(prior.params))


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@usual_configuration()
def param_shapes(model: models.ModelConfig) -> Params:
    """The parameter tree of a network as `jax.ShapeDtypeStruct` leaves; takes neither memory nor time."""
    network = models.network(model)
    side = model.size_multiple
    x = jax.ShapeDtypeStruct((1, side, side, model.in_channels), jnp.float32)
    t = jax.ShapeDtypeStruct((1,), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), x, t)["params"]


@usual_configuration()
def random_prior(model: models.ModelConfig, seed: int = 0) -> Prior:
    """An untrained prior, kernels N(0, 1 / fan_in): for tests, timing and shape checks."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        if path[-1].key == "kernel":
            return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) / np.prod(leaf.shape[:-1]) ** 0.5)
        return jnp.full(leaf.shape, float(path[-1].key == "scale"))

    return Prior(jax.tree_util.tree_map_with_path(draw, param_shapes(model)), model)


# The priors that come with the package, see checkpoints/README.md.
BUNDLED = ("faces64", "photos")


def bundled_checkpoint(name: str = "faces64") -> Path:
    """The folder of a prior that comes with the package, one of `BUNDLED`.

    Raises:
        CheckpointError: this installation has the code alone.
    """
    installed = Path(str(resources.files("diip_jax"))) / "checkpoints" / name
    folder = installed if installed.is_dir() else Path(__file__).resolve().parent.parent / "checkpoints" / name
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: this installation of diip_jax has no weights; give a checkpoint (convert or train one), or "
            "install diip_jax from its source tree, whose folder checkpoints/ holds the bundled priors"
        )
    return folder


def _folder_of(path: str | os.PathLike[str] | None) -> Path:
    """The folder that is meant; a checkpoint that is there goes before a bundled prior of its name.

    Not any folder: one of pictures is often called photos.
    """
    if path is None:
        return bundled_checkpoint()
    bundled = os.fspath(path) in BUNDLED and not (Path(path) / METADATA_FILE).exists()
    return bundled_checkpoint(os.fspath(path)) if bundled else Path(path).absolute()


@usual_configuration()
def load_prior(
    path: str | os.PathLike[str] | None = None, *, dtype: str = "float32", class_label: int | None = None
) -> Prior:
    """Loads a converted checkpoint; None loads the bundled 64x64 face prior.

    Args:
        path: folder that `python -m diip_jax.convert` wrote, or the name of a bundled prior: "faces64" or "photos".
        dtype: dtype of the arithmetic, "float32" or "bfloat16". Parameters are float32 in memory either way.
        class_label: the class that a class-conditional network is told, see `Prior.with_class_label`.

    Raises:
        CheckpointError: the folder is missing, damaged, or no diip_jax checkpoint; None where no prior is bundled.
        ValueError: another dtype, or a class that the prior does not have.
    """
    path = _folder_of(path)
    metadata = read_metadata(path)
    try:
        model = models.CONFIGS[metadata["architecture"]](**_tuples(metadata["model"]))
        schedule = Schedule(**_tuples(metadata["schedule"]))
        sampler = Sampler(**metadata.get("sampler", {}))
        provenance = Provenance(**metadata["provenance"])
        stored_dtype = jnp.dtype(metadata["stored_dtype"]).name
        prediction = metadata.get("prediction", "epsilon")
        prediction = _FORMER_PREDICTIONS.get(prediction, prediction)
        check_prediction(prediction)
        prior = Prior(None, model, schedule, provenance, prediction=prediction, sampler=sampler)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged metadata or another version's ({error}); convert again") from error
    prior = prior.with_dtype(dtype).with_class_label(class_label)  # a mistake there shows before the long part
    params = read_params(path, param_shapes(model), stored_dtype, provenance.params_sha256)
    leaves, structure = jax.tree.flatten(params)
    del params
    for n, leaf in enumerate(leaves):  # one by one, so that they are never all there twice
        leaves[n] = jnp.asarray(leaf.astype(np.float32, copy=False))
    return dataclasses.replace(prior, params=jax.tree.unflatten(structure, leaves))


@usual_configuration()
def save_prior(
    path: str | os.PathLike[str], prior: Prior, *, stored_dtype: str = "float32", card: Card | None = None
) -> None:
    """Writes a prior as an Orbax checkpoint whose metadata holds everything that `load_prior` needs.

    dtype and class label are chosen at loading and not stored.

    Args:
        path: folder to write; it must not exist yet. It appears only once it is complete.
        stored_dtype: "float32", or "bfloat16" to halve the size (parameters are rounded to 8 bits of mantissa).
        card: what to say of where it comes from; also written as README.md into the folder.

    Raises:
        FileExistsError: the folder exists.
        ValueError: another dtype.
    """
    path = Path(path).absolute()
    if stored_dtype not in _DTYPES:
        raise ValueError(f"stored_dtype={stored_dtype!r}: expected one of {', '.join(_DTYPES)}")
    if path.exists():
        raise FileExistsError(f"{path}: exists already; give another folder or remove it")

    num_params = sum(math.prod(leaf.shape) for leaf in named_leaves(prior.params).values())

    def metadata(sha256: str) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "architecture": models.architecture(prior.model),
            "model": dataclasses.asdict(prior.model),
            "schedule": dataclasses.asdict(prior.schedule),
            "sampler": dataclasses.asdict(prior.sampler),
            "prediction": prior.prediction,
            "provenance": dataclasses.asdict(dataclasses.replace(prior.provenance, params_sha256=sha256)),
            "stored_dtype": stored_dtype,
            "num_params": num_params,
            "card": None if card is None else card.stored(),
        }

    facts = {
        "network": f"{models.architecture(prior.model)}, {num_params:,} parameters",
        "images": " x ".join(map(str, prior.image_shape)),
        "predicts": prior.prediction,
        "schedule": f"{prior.schedule.beta_schedule}, {prior.schedule.num_timesteps} timesteps",
        "stored as": stored_dtype,
    }
    texts = {} if card is None else {cards.README: cards.markdown(path.name, card, facts)}
    write_checkpoint(path, prior.params, metadata, stored_dtype, texts)


def read_card(path: str | os.PathLike[str] | None = None) -> Card | None:
    """The card of a checkpoint, None where it has none; of the bundled prior where path is None.

    Raises:
        CheckpointError: the folder is missing, damaged, or no diip_jax checkpoint.
    """
    path = _folder_of(path)
    content = read_metadata(path).get("card")
    try:
        return None if content is None else Card.from_stored(content)
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged card or another version's ({error})") from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint says of itself: architecture, model, schedule, sampler, prediction, provenance, dtype, card.

    Raises:
        CheckpointError: the folder is missing, damaged, or no diip_jax checkpoint.
    """
    path = Path(path).absolute()
    _refuse_unconverted(path)
    metadata = read_custom_metadata(path)
    if not isinstance(metadata, Mapping) or metadata.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: not a diip_jax prior; make one with python -m diip_jax.convert")
    return dict(metadata)


def _refuse_unconverted(path: Path) -> None:
    """Raises CheckpointError for a file, or a folder of diffusers: what to type to make a checkpoint of it."""
    of_diffusers = ("config.json", "model_index.json", "unet/config.json", "unet_ema/config.json")
    what = "a file" if path.is_file() else "a diffusers folder"
    if path.is_file() or any((path / name).is_file() for name in of_diffusers):
        command = f"python -m diip_jax.convert --source={shlex.quote(str(path))} --output=FOLDER"
        raise CheckpointError(f"{path}: {what}, which is not converted yet; run: {command}, and give that FOLDER")


def _tuples(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
