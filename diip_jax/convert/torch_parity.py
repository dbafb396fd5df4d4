"""Compares a converted prior with the torch network it came from. Needs torch and diffusers."""

import dataclasses
import os
import re
from typing import Any, NamedTuple

import jax
import numpy as np

from diip_jax.convert.torch_configs import to_diffusers
from diip_jax.convert.torch_files import ConversionError, find_source, first_line, read_weights
from diip_jax.prior import Prior, Provenance

# The largest relative error between two float32 programs of one network; rounding alone gives about 1e-6.
TOLERANCE = 1e-5

# The prior is an argument: as constants XLA would try to fold its parameters. Its provenance is left out of it, so that
# one program serves all weights of a network.
_eps = jax.jit(Prior.eps)


class Parity(NamedTuple):
    """How far our network is from torch's at timestep t: max|a-b|/max|b| and |a-b|/|b|, b being torch's output."""

    t: int
    maximum: float
    norm: float


def verify(source: str | os.PathLike[str], prior: Prior) -> list[Parity]:
    """Runs diffusers' network with the weights of `source` and `prior` on the same noise, in float32 on the CPU.

    A diffusers folder is read by diffusers itself. A file's weights are renamed apart from `torch_names`, so that an
    error there shows.

    Raises:
        ConversionError: torch or diffusers is missing, or diffusers does not take the weights.
    """
    try:
        import torch
    except ImportError as error:
        raise _missing() from error
    network = _torch_network(source, prior)
    network.eval()
    x = np.random.default_rng(0).standard_normal((1, *prior.image_shape), dtype=np.float32)
    total = prior.schedule.num_timesteps
    parities = []
    with jax.default_device(jax.devices("cpu")[0]), torch.inference_mode():
        params = jax.device_put(prior.params, jax.devices("cpu")[0])
        ours = dataclasses.replace(prior, params=params, provenance=Provenance(), dtype="float32")
        for t in (0, total // 10, total // 2, 9 * total // 10, total - 1):
            a = np.asarray(_eps(ours, x, np.array([t], np.float32)))
            b = network(torch.from_numpy(x.transpose(0, 3, 1, 2)), t).sample.numpy().transpose(0, 2, 3, 1)
            maximum, norm = np.abs(a - b).max() / np.abs(b).max(), np.linalg.norm(a - b) / np.linalg.norm(b)
            parities.append(Parity(t, float(maximum), float(norm)))
    return parities


def _missing() -> ConversionError:
    return ConversionError('--verify needs torch and diffusers: pip install "diip_jax[convert]"')


def _torch_network(source: str | os.PathLike[str], prior: Prior) -> Any:
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
        network: Any = UNet2DModel(**to_diffusers(prior.model))
        shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
        renamed = {
            _diffusers_name(name, len(prior.model.block_channels)): torch.from_numpy(weight)
            for name, weight in read_weights(found.weights).items()
        }
        network.load_state_dict({name: weight.reshape(shapes[name]) for name, weight in renamed.items()})
        return network
    except ConversionError:
        raise
    except Exception as error:  # diffusers and torch raise many types for what they do not take
        raise ConversionError(f"{source}: diffusers does not take it for --verify ({first_line(error)})") from error


# In this order; written from diffusers' module tree, not from diip_jax.convert.torch_names.
_RENAMES = (
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


def _diffusers_name(name: str, levels: int) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"^up\.(\d+)\.", lambda match: f"up_blocks.{levels - 1 - int(match[1])}.", name)
