"""The fixed protocols: what each table compares; one file a table, with its command, hours and expected numbers.

Hours are those of two CPU cores and the 64x64 face prior, with 16 images where an entry does not say less.
"""

from diip_jax.evaluate.protocols.ablations import ABLATIONS
from diip_jax.evaluate.protocols.bird import BIRD, advised
from diip_jax.evaluate.protocols.dreamclean import DREAMCLEAN
from diip_jax.evaluate.protocols.methods import METHODS
from diip_jax.evaluate.protocols.protocol import Entry, Protocol
from diip_jax.evaluate.protocols.quality import QUALITY
from diip_jax.evaluate.protocols.rules import RULES
from diip_jax.evaluate.protocols.two_phase import TWO_PHASE

PROTOCOLS: dict[str, Protocol] = {
    "quality": QUALITY,
    "bird": BIRD,
    "methods": METHODS,
    "dreamclean": DREAMCLEAN,
    "ablations": ABLATIONS,
    "rules": RULES,
    "two_phase": TWO_PHASE,
}

__all__ = ["PROTOCOLS", "Entry", "Protocol", "advised"]
