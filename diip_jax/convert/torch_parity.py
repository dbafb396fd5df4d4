"""Compares a converted prior with the torch network it came from. Needs torch and the package that has it."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax import models
from diip_jax.array_types import Array, Params
from diip_jax.convert.conversion import Identified
from diip_jax.convert.diffusers_network import diffusers_network
from diip_jax.convert.families import family_of
from diip_jax.convert.weight_files import ConversionError, first_line
from diip_jax.models.adm_unet import ADMUNetConfig
from diip_jax.models.ddpm_unet import DDPMUNetConfig
from diip_jax.prior import Prior

# What diffusers reads by itself.
_DIFFUSERS_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
# The largest relative error between two float32 programs of one network; rounding alone gives about 1e-6.
TOLERANCE = 1e-5
# The class of each reference, which such packages import when it is asked for.
_NETWORKS = {"diffusers": "UNet2DModel", "denoising_diffusion_pytorch": "Unet"}


# The parameters are an argument: as constants XLA would try to fold them.
@partial(jax.jit, static_argnames="model")
def _output(model: models.ModelConfig, params: Params, x: Array, t: Array) -> Array:
    return jnp.asarray(models.network(model, class_label=_class_label(model)).apply({"params": params}, x, t))


class Parity(NamedTuple):
    """How far our network is from torch's at timestep t: max|a-b|/max|b| and |a-b|/|b|, b being torch's output."""

    t: int
    maximum: float
    norm: float


def verify(identified: Identified, prior: Prior) -> list[Parity]:
    """Runs the family's reference with the source's weights and `prior` on the same noise, in float32 on the CPU.

    All outputs count, the learned variance as well; a class-conditional network is told class 0. A diffusers folder is
    read by diffusers itself. A file's weights are renamed apart from our own name tables, so that an error there shows.

    Raises:
        ConversionError: torch or the reference is missing or does not import, has no such network, or does not take the
            weights.
    """
    check_reference(identified)
    import torch

    model = prior.model
    network = _torch_network(identified)
    x = np.random.default_rng(0).standard_normal((1, *prior.image_shape), dtype=np.float32)
    total = prior.schedule.num_timesteps
    parities = []
    with jax.default_device(jax.devices("cpu")[0]), torch.inference_mode():
        params = jax.device_put(prior.params, jax.devices("cpu")[0])
        for t in (0, total // 10, total // 2, 9 * total // 10, total - 1):
            a = np.asarray(_output(model, params, x, np.array([t], np.float32)))
            given = torch.from_numpy(x.transpose(0, 3, 1, 2)), torch.tensor([t], dtype=torch.float32)
            b = network(*given).numpy().transpose(0, 2, 3, 1)
            maximum, norm = np.abs(a - b).max() / np.abs(b).max(), np.linalg.norm(a - b) / np.linalg.norm(b)
            parities.append(Parity(t, float(maximum), float(norm)))
    return parities


def reference_of(identified: Identified) -> str:
    """The package that the source's network is compared with."""
    return family_of(identified.weights.keys()).reference.replace("_", "-")


def check_reference(identified: Identified) -> None:
    """Raises ConversionError unless there is something to compare with: it takes time, and is known before."""
    family = family_of(identified.weights.keys())
    if family.in_diffusers is None and family.torch_network is None:
        raise ConversionError(f"{identified.source.path}: --verify has no such network to compare with; leave it out")
    package = reference_of(identified)
    try:
        importlib.import_module("torch")
        getattr(importlib.import_module(family.reference), _NETWORKS[family.reference])
    except ModuleNotFoundError as error:
        install = '"diip_jax[convert]"' if package == "diffusers" else package
        raise ConversionError(f"--verify needs torch and {package}: pip install {install}") from error
    except Exception as error:  # a torch or torchvision that does not go with the rest: OSError, RuntimeError, others
        raise ConversionError(
            f"--verify needs torch and {package}, which do not import here ({first_line(error)}); "
            "install versions of torch and torchvision that go together, or leave it out"
        ) from error


def _class_label(model: models.ModelConfig) -> int | None:
    return None if models.num_classes(model) is None else 0


def _torch_network(identified: Identified) -> Callable[[Any, Any], Any]:
    """The reference with the source's weights: its output, of x `[1, C, H, W]` and t `[1]`. Raises ConversionError."""
    source, weights, preset = identified
    of_family = family_of(weights.keys()).torch_network
    try:
        if of_family is not None:
            network: Callable[[Any, Any], Any] = of_family(weights, preset)
            return network
        return _diffusers_output(identified)
    except ConversionError:
        raise
    except Exception as error:  # diffusers and torch raise many types for what they do not take
        raise ConversionError(
            f"{source.folder or source.path}: {reference_of(identified)} does not take it for --verify "
            f"({first_line(error)})"
        ) from error


def _diffusers_output(identified: Identified) -> Callable[[Any, Any], Any]:
    import torch

    model = identified.preset.model
    network = _diffusers_network(identified).eval()
    label = _class_label(model)
    labels = None if label is None else torch.tensor([label])
    scale = model.timestep_scale if isinstance(model, ADMUNetConfig) else 1.0
    return lambda x, t: network(x, t * scale, class_labels=labels).sample


def _diffusers_network(identified: Identified) -> Any:
    import torch
    from diffusers import UNet2DModel

    source, weights, preset = identified
    if source.folder is not None and source.path.name in _DIFFUSERS_FILES:
        return UNet2DModel.from_pretrained(
            source.folder,
            local_files_only=True,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
            use_safetensors=source.path.suffix == ".safetensors",
        )
    assert isinstance(preset.model, DDPMUNetConfig | ADMUNetConfig)
    network = diffusers_network(preset.model)
    in_diffusers = family_of(weights.keys()).in_diffusers
    assert in_diffusers is not None
    renamed = in_diffusers(weights, preset, network)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    network.load_state_dict({name: torch.from_numpy(w).reshape(shapes[name]) for name, w in renamed.items()})
    return network
