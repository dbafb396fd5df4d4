"""DreamClean's settings, which its paper does not print: to be chosen on other images than are reported.

    python -m diip_jax.evaluate --protocol=dreamclean --images=faces64_val.npz

Ten minutes. The best mean PSNR of the faces 0 .. 7 is that of gamma 0.8, tau 50.
"""

from diip_jax.evaluate.protocols.protocol import Entry, Protocol
from diip_jax.evaluate.restorers import Sampled
from diip_jax.methods import DreamClean


def _entry(gamma: float, tau: int) -> Entry:
    name = f"gamma {gamma}, tau {tau}"
    return Entry(name, lambda task, prior: Sampled(DreamClean(prior, gamma, tau)), images=8)


DREAMCLEAN = Protocol(
    entries=tuple(_entry(gamma, tau) for tau in (50, 100, 200, 300) for gamma in (0.05, 0.2, 0.4, 0.6, 0.8)),
    tasks=("noise", "blur", "jpeg", "x4"),
)
