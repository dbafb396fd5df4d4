"""A frozen prior = a network's configuration + its parameters, and what is asked of one without a file."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diip_jax import fsdp, models
from diip_jax.array_types import Array, Float, Images, Params, Timesteps
from diip_jax.checkpoint_files import params_sha256
from diip_jax.configuration import usual_configuration, usual_rules
from diip_jax.models.arithmetic import Arithmetic, Convolutions, Precision, arithmetic, check_arithmetic
from diip_jax.prediction import Denoised, Prediction, check_prediction, denoised, network_input
from diip_jax.priors.function_prior import FunctionPrior
from diip_jax.schedule import Sampler, Schedule

DTYPES = ("float32", "bfloat16")


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
        if dtype not in DTYPES:
            raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}")
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
