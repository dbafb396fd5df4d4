"""DIIP, Diffusion Image Prior (ICCV 2025): fully blind restoration.

A frozen diffusion model is inverted by optimising its input noise, and stopped before it fits the degradation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diip_jax.methods.inversion import NoiseInversion


@dataclass(frozen=True)
class DIIP(NoiseInversion):
    """Settings of DIIP: those of `NoiseInversion`. H is the identity, whatever happened to the image.

    The defaults are chosen for the bundled prior, see the README; the preset "paper" has the printed ones. 200
    iterations at 0.01 go as far as the paper's 1500 (the length of its study) at 0.0015, and the printed k_min = 100
    falls where the picture is formed rather than long before.
    """

    @classmethod
    def presets(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        return {"paper": {"learning_rate": 0.0015, "max_iterations": 1500, "stopping": "paper"}}


PAPER = DIIP(**DIIP.presets({})["paper"])
