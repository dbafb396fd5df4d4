"""Networks of denoising-diffusion-pytorch that the tests share, and random state dicts for them."""

from collections.abc import Mapping

import numpy as np
from adm_network import random_state

TIMESTEPS = (0, 500, 999)
# Between them every option takes every kind of value: (arguments of Unet, height and width).
CASES: dict[str, tuple[dict, tuple[int, int]]] = {
    "as it comes": ({"dim": 8, "dim_mults": (1, 2, 4)}, (16, 12)),
    "other widths, heads and attention; grey": (
        {"dim": 8, "init_dim": 12, "dim_mults": (1, 3), "channels": 1, "full_attn": (True, False)}
        | {"attn_heads": (2, 3), "attn_dim_head": (8, 16)},
        (6, 10),
    ),
    "one level, with a variance": ({"dim": 12, "dim_mults": (2,), "learned_variance": True}, (5, 7)),
    "group norms (before 2.0)": ({"dim": 8, "dim_mults": (1, 2), "resnet_block_groups": 4}, (8, 8)),
}
# Of what GaussianDiffusion registers.
SCHEDULES = [("linear", 200), ("cosine", 50), ("sigmoid", 1000)]
OBJECTIVES = ["pred_noise", "pred_x0", "pred_v"]


def random_unet(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """`random_state`, with gains around 1 and memory of the size of keys and values."""
    state = random_state(shapes, seed)
    rng = np.random.default_rng(seed + 1)
    for name, shape in shapes.items():
        if name.endswith(".g"):
            state[name] = (1 + 0.3 * rng.standard_normal(shape)).astype(np.float32)
        elif name.endswith("mem_kv"):
            state[name] = rng.standard_normal(shape, np.float32)
    return state


def noise(channels: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((len(TIMESTEPS), *size, channels), np.float32)
