"""What each setting of DIIP does: docs/ablations.md.

    python -m diip_jax.evaluate --protocol=ablations --images=faces64_val.npz

An hour. DIIP's paper ablates k_min and eps, BIRD's the stride; other rules are replayed on the same iterates. At the
printed rate the iterates travel 0.15 times as far, and so get more iterations. PSNR in dB of the faces 0 .. 7 by the
robust rules; with version 0.1's prior: noise 20.33, DIIP 27.71; jpeg 25.11, DIIP 25.52.
"""

from diip_jax.commands.settings import DIIPSettings, settings_named
from diip_jax.evaluate.protocols.protocol import Entry, Protocol, always, stopping

_BOTH = stopping("robust", "paper")
_PAPER = {
    f"paper, {setting} {value}": {"stopping": "paper", setting: value}
    for setting, value in (("k_min", 50), ("k_min", 150), ("eps", 0.005), ("eps", 0.0005))
}
_RATE = settings_named("diip", {"stride": 200, "max_iterations": 500}, "paper")

ABLATIONS = Protocol(
    entries=(
        Entry("DIIP", always(DIIPSettings(stride=200)), {**_BOTH, **_PAPER}, 8),
        Entry("stride 100", always(DIIPSettings(stride=100)), _BOTH, 8),
        Entry("stride 50", always(DIIPSettings(stride=50)), _BOTH, 8),
        Entry("not projected", always(DIIPSettings(stride=200, project=False)), _BOTH, 8),
        Entry("rate 0.0015", always(_RATE), stopping("paper"), 8),
        Entry("full gradient", always(DIIPSettings(stride=200, gradient="full")), _BOTH, 8),
    ),
    tasks=("noise", "blur", "jpeg"),
)
