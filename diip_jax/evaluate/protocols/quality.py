"""The default method and DIIP, as a user gets them: docs/quality.md.

    python -m diip_jax.evaluate --images=faces64_val.npz --first=64

A quarter of an hour. PSNR in dB of the faces 64 .. 79; with version 0.1's prior:

    noise 20.57, DIIP by the robust rules 26.80; blur 23.66, 23.31; jpeg 24.49, 25.08; x4 22.53, 22.38
"""

from diip_jax.evaluate.protocols.protocol import BLIND, DIIP, Protocol

QUALITY = Protocol(entries=(BLIND, DIIP), tasks=("noise", "blur", "jpeg", "x4"))
