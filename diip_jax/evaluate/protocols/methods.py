"""All methods on the tasks of both papers, and on what the DIIP note leaves open: docs/methods.md, docs/blind.md.

    python -m diip_jax.evaluate --protocol=methods --images=faces64_val.npz --first=64

Three hours, half of them for DIP, which takes 2000 iterations for an image, the published number for super-resolution
(1800 for noise), and so gets fewer images. PSNR in dB of the faces 64 .. 127, with the bundled prior: noise 20.57,
Blind 30.17; blur 23.53, Blind 27.65; x4 22.36, Blind 23.81.
"""

from diip_jax.commands.settings import DIPSettings
from diip_jax.evaluate import baselines
from diip_jax.evaluate.protocols.bird import OF_BIRD, WHERE_ADVISED
from diip_jax.evaluate.protocols.protocol import BLIND, DIIP, Entry, Protocol, always, stopping
from diip_jax.evaluate.restorers import Classical, Sampled
from diip_jax.methods import DreamClean

# "Early Stopping for Deep Image Prior" (Wang et al., TMLR 2023): windows of 100 iterates, or a weight of 0.1 of the
# newest, and 1000 iterates without a new minimum.
_OF_DIP = {
    **stopping("budget"),
    "ES-WMV": {"stopping": "wmv", "window": 100, "patience": 1000},
    "ES-EMV": {"stopping": "emv", "smoothing": 0.9, "patience": 1000},
}

_TASKS = """noise mixed_noise anisotropic_blur motion_blur x4 x8 jpeg raindrops deformation salt_and_pepper hole
    blur_noise_jpeg"""

METHODS = Protocol(
    entries=(
        BLIND,
        DIIP,
        Entry("BIRD", WHERE_ADVISED, OF_BIRD),
        Entry("DIP", always(DIPSettings(max_iterations=2000)), _OF_DIP, 4),
        Entry("DreamClean", lambda task, prior: Sampled(DreamClean(prior))),
        Entry("non-local means", lambda task, prior: Classical(baselines.non_local_means)),
        Entry("total variation", lambda task, prior: Classical(baselines.total_variation)),
        Entry("unsupervised Wiener", lambda task, prior: Classical(baselines.unsupervised_wiener)),
    ),
    tasks=tuple(_TASKS.split()),
)
