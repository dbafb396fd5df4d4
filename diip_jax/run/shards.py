"""Which images a part of a run restores: by a hash of their names, so that all parts agree without talking."""

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 0."""

    index: int
    count: int

    def holds(self, name: str) -> bool:
        """Whether the image of this name is in the part; the same on every machine and in every run."""
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.index


def shard_named(text: str) -> Shard:
    """The part that "I/N" names, as in 0/8.

    Raises:
        ValueError: something else.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise ValueError(f"shard={text}: expected I/N with I from 0 to N - 1, as in 0/8")
    return Shard(int(found[1]), int(found[2]))
