"""The fixed protocols: what each table compares; one file a table, with its command, hours and expected numbers.

Hours are those of two CPU cores and the 64x64 face prior, with 16 images where an entry does not say less.
"""

from diip_jax.evaluate.protocols import ablations, bird, dreamclean, methods, quality, rules, two_phase
from diip_jax.evaluate.protocols.bird import advised
from diip_jax.evaluate.protocols.protocol import Entry, Protocol

PROTOCOLS: dict[str, Protocol] = {
    "quality": quality.QUALITY,
    "bird": bird.BIRD,
    "methods": methods.METHODS,
    "dreamclean": dreamclean.DREAMCLEAN,
    "ablations": ablations.ABLATIONS,
    "rules": rules.RULES,
    "two_phase": two_phase.TWO_PHASE,
}

__all__ = ["PROTOCOLS", "Entry", "Protocol", "advised"]
