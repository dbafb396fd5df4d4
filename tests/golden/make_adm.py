"""Writes adm.npz: what deepinv's DiffUNet, which is guided-diffusion's network, makes of random weights.

    pip install deepinv && python tests/golden/make_adm.py

deepinv fixes the options of its constructor; here they are set in the text of its source, so that the network is built
and run by deepinv's code alone. Needs diip_jax for the configurations and the random weights.
"""

import inspect
import json
import sys
import textwrap
from pathlib import Path

import numpy as np
import torch
from deepinv.models import diffunet

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adm_cases import GOLDEN, TIMESTEPS
from adm_network import random_state

from diip_jax.convert.families import Preset


def deepinv_network(preset: Preset) -> torch.nn.Module:
    """deepinv's network of a preset's options, uninitialised."""
    model = preset.model
    options = {
        "model_channels": model.model_channels,
        "num_res_blocks": model.blocks_per_level,
        "attention_resolutions": tuple(2**n for n, attention in enumerate(model.attention_levels) if attention),
        "channel_mult": tuple(width / model.model_channels for width in model.block_channels),
        "num_classes": model.num_classes,
        "num_heads": model.heads or 1,
        "num_head_channels": model.head_channels or -1,
        "use_scale_shift_norm": model.scale_shift,
        "resblock_updown": model.resblock_updown,
        "use_new_attention_order": preset.new_attention_order,
        "out_channels": model.out_channels,
    }
    source = textwrap.dedent(inspect.getsource(diffunet.DiffUNet.__init__)).replace("super().__init__()", "")
    chosen = "".join(f"    {name} = {value!r}\n" for name, value in options.items())
    marker = "    if num_heads_upsample == -1:"
    head, rest = source.split(marker)
    namespace = dict(vars(diffunet))
    exec(f"{head}{chosen}{marker}{rest}", namespace)
    with torch.device("meta"):
        network = object.__new__(diffunet.DiffUNet)
        super(diffunet.DiffUNet, network).__init__()
        namespace["__init__"](network, model.in_channels, model.out_channels, pretrained=None)
    for buffer in ("sqrt_1m_alphas_cumprod", "sqrt_alphas_cumprod"):  # of its own denoising, not in files
        delattr(network, buffer)
    return network


def main() -> None:
    arrays = {}
    for name, (preset, size, label) in GOLDEN.items():
        network = deepinv_network(preset)
        shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        state = {key: torch.from_numpy(array) for key, array in random_state(shapes).items()}
        network.load_state_dict(state, assign=True)
        network.eval()
        x = np.random.default_rng(1).standard_normal((len(TIMESTEPS), *size, preset.model.in_channels), np.float32)
        labels = None if label is None else torch.full((len(x),), label)
        t = preset.model.timestep_scale * torch.tensor(TIMESTEPS, dtype=torch.float32)
        with torch.inference_mode():
            output = network.forward_diffusion(torch.from_numpy(x.transpose(0, 3, 1, 2)), t, y=labels)
        arrays[f"{name}/output"] = output.numpy().transpose(0, 2, 3, 1)
        arrays[f"{name}/shapes"] = np.array(json.dumps({key: shapes[key] for key in sorted(shapes)}))
        print(name, output.shape, f"{sum(tensor.numel() for tensor in state.values()):,}")
    np.savez_compressed(Path(__file__).with_name("adm.npz"), **arrays)


if __name__ == "__main__":
    main()
