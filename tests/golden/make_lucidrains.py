"""Writes lucidrains.npz: what denoising-diffusion-pytorch makes of random weights, its names, its noise.

    pip install denoising-diffusion-pytorch==2.3.4 && python tests/golden/make_lucidrains.py
    pip install denoising-diffusion-pytorch==1.9.3 && python tests/golden/make_lucidrains.py

The second adds the group norms that versions before 2.0 have. Needs diip_jax's tests for the cases.
"""

import inspect
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torchvision_operators import declare

declare()

from denoising_diffusion_pytorch import GaussianDiffusion, Unet  # noqa: E402
from lucidrains_cases import CASES, OBJECTIVES, SCHEDULES, TIMESTEPS, noise, random_unet  # noqa: E402

FILE = Path(__file__).with_name("lucidrains.npz")


def main() -> None:
    arrays = dict(np.load(FILE)) if FILE.exists() else {}
    of_version = inspect.signature(Unet).parameters
    grouped = "resnet_block_groups" in of_version
    for name, (options, size) in CASES.items():
        if ("resnet_block_groups" in options) != grouped:
            continue
        network = Unet(**options).eval()
        shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        network.load_state_dict({key: torch.from_numpy(array) for key, array in random_unet(shapes).items()})
        x = noise(options.get("channels", 3), size)
        with torch.inference_mode():
            output = network(torch.from_numpy(x.transpose(0, 3, 1, 2)), torch.tensor(TIMESTEPS))
        arrays[f"{name}/output"] = output.numpy().transpose(0, 2, 3, 1)
        arrays[f"{name}/shapes"] = np.array(json.dumps(shapes))
        print(name, output.shape, f"{sum(map(np.prod, shapes.values())):,}")
    if not grouped:
        for schedule, total in SCHEDULES:
            for objective in OBJECTIVES:
                given = {"timesteps": total, "beta_schedule": schedule, "objective": objective}
                given["min_snr_loss_weight"] = objective == "pred_x0"
                diffusion = GaussianDiffusion(Unet(8, dim_mults=(1,)), image_size=8, **given)
                for buffer in ("betas", "loss_weight", "alphas_cumprod"):
                    arrays[f"{schedule}/{objective}/{buffer}"] = getattr(diffusion, buffer).numpy()
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
