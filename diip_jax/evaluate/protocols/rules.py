"""Every stopping rule with its defaults, and what was tried beside them, one setting for all: docs/stopping.md.

    python -m diip_jax.evaluate --protocol=rules --images=faces64_val.npz --first=64

An hour. dB of PSNR below the best iterate, faces 64 .. 79; with version 0.1's prior: noise, robust 0.18, paper 1.25,
emv 0.05, budget 0.00; blur, robust 0.26, combined 4.20.
"""

from diip_jax.commands.settings import DIIPSettings
from diip_jax.degradations import CORRUPTIONS
from diip_jax.evaluate.protocols.protocol import Entry, Protocol, always, stopping

_RULES = {
    **stopping("paper", "robust", "wmv", "emv", "discrepancy", "averaged", "combined", "budget"),
    "robust, robust_eps 0.001": {"stopping": "robust", "robust_eps": 1e-3},
    "wmv, patience 5": {"stopping": "wmv", "patience": 5},
    "wmv, window 20, patience 20": {"stopping": "wmv", "window": 20, "patience": 20},
    "combined, explained 0.8": {"stopping": "combined", "explained": 0.8},
    "combined, explained 0.92": {"stopping": "combined", "explained": 0.92},
    "combined, sharpness_ratio 1": {"stopping": "combined", "sharpness_ratio": 1.0},
    "combined, fully_explained 0.98": {"stopping": "combined", "fully_explained": 0.98},
}

RULES = Protocol(entries=(Entry("DIIP", always(DIIPSettings(stride=200)), _RULES),), tasks=tuple(CORRUPTIONS))
