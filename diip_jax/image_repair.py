"""A JPEG that lacks its end, as a broken transfer leaves it: all that arrived can be decoded."""

import io

import numpy as np
from PIL import Image

_MOST = 0.1  # share of the picture that may be missing
_END = b"\xff\xd9"


def completed_jpeg(data: bytes) -> tuple[bytes | None, float]:
    """The file with an end, and the share of the picture that is not in it; None where it is more than a tenth.

    What is missing is what differs between two decodings, in which different data stand in its place.
    """
    if not data.startswith(b"\xff\xd8"):
        return None, 1.0
    given = data.rstrip(b"\xff")
    try:
        ended, filled = (_decoded(given + filler + _END) for filler in (b"", b"\x5a" * 4096))
    except Exception:  # nothing of the picture is there
        return None, 1.0
    differs = (ended != filled).reshape(len(ended), -1)
    rows = np.flatnonzero(differs.any(1))
    # All below the first row of blocks that differs is lost; where the filler ends, both may agree again.
    below = max(0, len(ended) - rows[0] - 16) / len(ended) if len(rows) else 0.0
    lost = max(float(differs.mean()), below)
    return (given + _END, lost) if lost <= _MOST else (None, lost)


def _decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.asarray(image)
