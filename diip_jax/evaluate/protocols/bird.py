"""BIRD beside DIIP, where the kind of degradation is known: docs/bird.md.

    python -m diip_jax.evaluate --protocol=bird --images=faces64_val.npz --first=64 --count=16

Two hours. PSNR in dB of the faces 64 .. 79; with version 0.1's prior:

    motion_blur 18.44, DIIP 19.17, BIRD 20.96, told the kernel 22.70; hole 20.72, DIIP 21.72, BIRD 26.29
"""

from collections.abc import Callable, Mapping
from typing import Any

from diip_jax.commands.settings import BIRDSettings, DIIPSettings, settings_named
from diip_jax.evaluate.protocols.protocol import DIIP, Entry, Maker, Protocol, stopping
from diip_jax.evaluate.restorers import Loop
from diip_jax.evaluate.run import Restorer

# What BIRD is told of tasks in their standard severity. Kernels have the true one's size. No operator fits raindrops
# and deformation: BIRD takes no part there.
_OPERATORS: Mapping[str, Mapping[str, Any]] = {
    "motion_blur": {"degradation": "blur", "kernel_size": 15},
    "anisotropic_blur": {"degradation": "blur", "kernel_size": 17},
    "x4_blur": {"degradation": "downsample", "scale": 4, "kernel_size": 17},
    "x8_blur": {"degradation": "downsample", "scale": 8, "kernel_size": 17},
    "jpeg_noise": {"degradation": "identity"},
    **{task: {"degradation": "mask"} for task in ("hole", "holes")},
    **{task: {"degradation": "identity"} for task in ("noise", "mixed_noise", "salt_and_pepper", "jpeg")},
    "blur": {"degradation": "blur", "kernel_size": 13},
    "blur_noise_jpeg": {"degradation": "blur", "kernel_size": 9},
    "x4": {"degradation": "downsample", "scale": 4, "kernel_size": 1},
    "x8": {"degradation": "downsample", "scale": 8, "kernel_size": 1},
    "x4_noise_jpeg": {"degradation": "downsample", "scale": 4, "kernel_size": 1},
}


def told(
    preset: str | None = None, leave_out: str = "", where: Callable[[Mapping[str, Any]], bool] = bool, **settings: Any
) -> Maker:
    """BIRD told what happened, with stride 200; it takes no part in tasks of which it cannot be told, or not enough."""

    def restorer(task: str, prior: Any) -> Restorer | None:
        operator = _OPERATORS.get(task, {})
        known = {setting: value for setting, value in operator.items() if setting != leave_out}
        given = {**known, "stride": 200, **settings}
        return Loop(prior, settings_named("bird", given, preset)) if where(operator) else None

    return restorer


def advised(task: str) -> BIRDSettings | DIIPSettings:
    """The method that the README advises for a task: BIRD where its operator has something to learn or to know."""
    known = _OPERATORS.get(task, {"degradation": "identity"})
    return DIIPSettings(stride=200) if known["degradation"] == "identity" else BIRDSettings(**known, stride=200)


# BIRD where it is advised: with the identity it is DIIP, but for the rule.
WHERE_ADVISED = told(where=lambda operator: operator.get("degradation", "identity") != "identity")
_TRUE_KERNEL = told(where=lambda operator: operator.get("kernel_size", 1) > 1, kernel_model="known")

# BIRD's own rule, the papers' (the last iterate), and DIIP's.
OF_BIRD = stopping("discrepancy", "budget", "robust")

# Stride 200 as above, also of the presets. The gradient through the network takes three times as long.
BIRD = Protocol(
    entries=(
        DIIP,
        Entry("BIRD", told(), OF_BIRD),
        Entry("BIRD, true kernel", _TRUE_KERNEL, OF_BIRD),
        # The kernel's size is the release's.
        Entry("BIRD, code preset", told("code", leave_out="kernel_size"), stopping("budget")),
        Entry("BIRD, paper preset", told("paper"), stopping("budget", "discrepancy"), 8),
    ),
    tasks=("motion_blur", "anisotropic_blur", "x4_blur", "x8_blur", "jpeg_noise", "hole"),
    possible=tuple(_OPERATORS),
)
