"""The study in DIIP's paper, 1500 iterations at a rate of 0.0015: docs/two_phase.md.

    python -m diip_jax.evaluate --protocol=two_phase --images=faces64_val.npz --first=64
    python -m diip_jax.evaluate --protocol=two_phase --images=faces64_val.npz --first=64 --figures --pictures=0

An hour. One image: the full gradient takes minutes for it. Its best PSNR in dB; with version 0.1's prior: noise 25.89
(detached), 25.66 (full), 25.62 (DIP).
"""

from diip_jax.commands.settings import DIPSettings, settings_named
from diip_jax.evaluate.protocols.protocol import Entry, Protocol, always, stopping

TWO_PHASE = Protocol(
    entries=(
        Entry("DIIP, detached", always(settings_named("diip", {"stride": 200}, "paper")), stopping("paper"), 1),
        Entry(
            "DIIP, full",
            always(settings_named("diip", {"stride": 200, "gradient": "full"}, "paper")),
            stopping("paper"),
            1,
        ),
        Entry("DIP", always(DIPSettings(max_iterations=1500)), stopping("budget"), 1),
    ),
    tasks=("noise", "blur", "jpeg", "blur_noise_jpeg"),
    curves=True,
)
