"""Compares a converted prior with the torch network it came from. Needs torch and diffusers."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax import models
from diip_jax.array_types import Array, Params
from diip_jax.convert.torch_configs import to_diffusers
from diip_jax.convert.torch_files import ConversionError, find_source, first_line, read_weights
from diip_jax.models.adm_unet import ADMUNetConfig
from diip_jax.prior import Prior

# The largest relative error between two float32 programs of one network; rounding alone gives about 1e-6.
TOLERANCE = 1e-5


# The parameters are an argument: as constants XLA would try to fold them.
@partial(jax.jit, static_argnames="model")
def _output(model: models.ModelConfig, params: Params, x: Array, t: Array) -> Array:
    return jnp.asarray(models.network(model, class_label=_class_label(model)).apply({"params": params}, x, t))


class Parity(NamedTuple):
    """How far our network is from torch's at timestep t: max|a-b|/max|b| and |a-b|/|b|, b being torch's output."""

    t: int
    maximum: float
    norm: float


def verify(source: str | os.PathLike[str], prior: Prior, *, new_attention_order: bool = False) -> list[Parity]:
    """Runs diffusers' network with the weights of `source` and `prior`'s on the same noise, in float32 on the CPU.

    All outputs count, the learned variance as well; a class-conditional network is told class 0. A diffusers folder is
    read by diffusers itself. A file's weights are renamed apart from our own name tables, so that an error there shows.

    Args:
        new_attention_order: as for `diip_jax.convert.weight_mapping.map_weights`.

    Raises:
        ConversionError: torch or diffusers is missing, or diffusers does not take the weights.
    """
    try:
        import torch
    except ImportError as error:
        raise _missing() from error
    model = prior.model
    network = _torch_network(source, model, new_attention_order)
    network.eval()
    label = _class_label(model)
    labels = None if label is None else torch.tensor([label])
    scale = model.timestep_scale if isinstance(model, ADMUNetConfig) else 1.0
    x = np.random.default_rng(0).standard_normal((1, *prior.image_shape), dtype=np.float32)
    total = prior.schedule.num_timesteps
    parities = []
    with jax.default_device(jax.devices("cpu")[0]), torch.inference_mode():
        params = jax.device_put(prior.params, jax.devices("cpu")[0])
        for t in (0, total // 10, total // 2, 9 * total // 10, total - 1):
            a = np.asarray(_output(model, params, x, np.array([t], np.float32)))
            given = torch.from_numpy(x.transpose(0, 3, 1, 2)), torch.tensor([t * scale])
            b = network(*given, class_labels=labels).sample.numpy().transpose(0, 2, 3, 1)
            maximum, norm = np.abs(a - b).max() / np.abs(b).max(), np.linalg.norm(a - b) / np.linalg.norm(b)
            parities.append(Parity(t, float(maximum), float(norm)))
    return parities


def _class_label(model: models.ModelConfig) -> int | None:
    return None if models.num_classes(model) is None else 0


def _missing() -> ConversionError:
    return ConversionError('--verify needs torch and diffusers: pip install "diip_jax[convert]"')


def diffusers_network(model: models.ModelConfig) -> Any:
    """diffusers' `UNet2DModel` that is this network, with the weights that torch initialises it with."""
    from diffusers import UNet2DModel
    from diffusers.models.attention_processor import Attention
    from diffusers.models.embeddings import TimestepEmbedding, Timesteps

    network: Any = UNet2DModel(**to_diffusers(model))
    if isinstance(model, ADMUNetConfig):
        # What UNet2DModel's own arguments cannot say.
        network.time_proj = Timesteps(model.model_channels, flip_sin_to_cos=True, downscale_freq_shift=0)
        network.time_embedding = TimestepEmbedding(model.model_channels, 4 * model.model_channels)
        for module in network.modules():
            if isinstance(module, Attention):
                module.heads = model.num_heads(module.inner_dim)
    return network


def _torch_network(source: str | os.PathLike[str], model: models.ModelConfig, new_attention_order: bool) -> Any:
    """diffusers' network with the weights of `source`. Raises ConversionError."""
    try:
        import torch
        from diffusers import UNet2DModel
    except ImportError as error:
        raise _missing() from error
    found = find_source(source)
    try:
        if found.folder is not None:
            return UNet2DModel.from_pretrained(
                found.folder,
                local_files_only=True,
                low_cpu_mem_usage=False,
                torch_dtype=torch.float32,
                use_safetensors=found.weights.suffix == ".safetensors",
            )
        network = diffusers_network(model)
        weights = read_weights(found.weights)
        if isinstance(model, ADMUNetConfig):
            renamed = _from_adm(weights, network, model, new_attention_order)
        else:
            levels = len(model.block_channels)
            renamed = {_from_ddpm(name, levels): np.asarray(weight) for name, weight in weights.items()}
        shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
        network.load_state_dict({name: torch.from_numpy(w).reshape(shapes[name]) for name, w in renamed.items()})
        return network
    except ConversionError:
        raise
    except Exception as error:  # diffusers and torch raise many types for what they do not take
        raise ConversionError(f"{source}: diffusers does not take it for --verify ({first_line(error)})") from error


# In this order; written from diffusers' module tree, not from diip_jax.convert.level_names.
_FROM_DDPM = (
    (r"^temb\.dense\.0", "time_embedding.linear_1"),
    (r"^temb\.dense\.1", "time_embedding.linear_2"),
    (r"^norm_out", "conv_norm_out"),
    (r"^mid\.block_1", "mid_block.resnets.0"),
    (r"^mid\.block_2", "mid_block.resnets.1"),
    (r"^mid\.attn_1", "mid_block.attentions.0"),
    (r"^down\.", "down_blocks."),
    (r"\.block\.", ".resnets."),
    (r"\.attn\.", ".attentions."),
    (r"\.downsample\.", ".downsamplers.0."),
    (r"\.upsample\.", ".upsamplers.0."),
    (r"\.Conv2d_0\.", ".conv."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.(q|query)\.", r"\1.to_q."),
    (r"(attentions\.\d+)\.(k|key)\.", r"\1.to_k."),
    (r"(attentions\.\d+)\.(v|value)\.", r"\1.to_v."),
    (r"(attentions\.\d+)\.(proj_out|proj_attn)\.", r"\1.to_out.0."),
    (r"\.temb_proj\.", ".time_emb_proj."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
)
# The modules of ADM's blocks by their place in them; the same for diip_jax.convert.adm_names.
_FROM_ADM = (
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
    (r"\.op\.", ".conv."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _from_ddpm(name: str, levels: int) -> str:
    name = _renamed(name, _FROM_DDPM)
    return re.sub(r"^up\.(\d+)\.", lambda match: f"up_blocks.{levels - 1 - int(match[1])}.", name)


def _from_adm(
    weights: Mapping[str, Any], network: Any, model: ADMUNetConfig, new_attention_order: bool
) -> dict[str, np.ndarray]:
    """diffusers' state dict out of ADM's; `network` tells which block holds what."""
    places = dict(_adm_places(network))
    renamed = {}
    for name, weight in weights.items():
        theirs = re.match(r"(input_blocks|output_blocks)\.\d+\.\d+|middle_block\.\d+|[^.]+\.\d+|label_emb", name)
        if theirs is None:
            raise KeyError(name)
        name = _renamed(places[theirs[0]] + name.removeprefix(theirs[0]), _FROM_ADM)
        array = np.asarray(weight)
        if ".qkv." not in name:
            renamed[name] = array
        elif new_attention_order:
            for letter, third in zip("qkv", np.split(array, 3), strict=True):
                renamed[name.replace(".qkv.", f".to_{letter}.")] = third
        else:
            heads = np.split(array, model.num_heads(len(array) // 3))
            for n, letter in enumerate("qkv"):
                thirds = [np.split(head, 3)[n] for head in heads]
                renamed[name.replace(".qkv.", f".to_{letter}.")] = np.concatenate(thirds)
    return renamed


def _adm_places(network: Any) -> Iterator[tuple[str, str]]:
    """(ADM's module, diffusers' module) pairs, in the order in which diffusers' network runs them."""
    yield from {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "label_emb": "class_embedding",
        "input_blocks.0.0": "conv_in",
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "mid_block.resnets.1",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }.items()
    for theirs, ours, start in (("input_blocks", "down_blocks", 1), ("output_blocks", "up_blocks", 0)):
        n = start
        for i, block in enumerate(getattr(network, ours)):
            attentions = getattr(block, "attentions", [])
            for j in range(len(block.resnets)):
                yield f"{theirs}.{n}.0", f"{ours}.{i}.resnets.{j}"
                if len(attentions):
                    yield f"{theirs}.{n}.1", f"{ours}.{i}.attentions.{j}"
                n += 1
            if getattr(block, "downsamplers", None):
                yield f"{theirs}.{n}.0", f"{ours}.{i}.downsamplers.0"
                n += 1
            if getattr(block, "upsamplers", None):
                yield f"{theirs}.{n - 1}.{2 if len(attentions) else 1}", f"{ours}.{i}.upsamplers.0"
