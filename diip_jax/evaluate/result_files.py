"""Files of results, each named by a digest of everything that decides its content.

An interrupted run goes on where it stopped, and other settings never mix in.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diip_jax.images import write_bytes
from diip_jax.prior import Prior, params_sha256


def identity_of(prior: Prior) -> str:
    """What tells a prior from others in a digest; one that was never saved has its parameters hashed here."""
    sha = prior.provenance.params_sha256 or params_sha256(prior.params)
    return sha if prior.class_label is None else f"{sha}, class {prior.class_label}"


def sha256(array: np.ndarray) -> str:
    """Of an array's bytes."""
    return hashlib.sha256(array.tobytes()).hexdigest()


def result_path(folder: Path, name: str, decides: Mapping[str, Any], suffix: str = ".npz") -> Path:
    """Where a result is kept.

    Args:
        name: what the file's name begins with, for people.
        decides: all that decides the result; values that JSON has.
    """
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"{name}-{digest}{suffix}"


def write_arrays(path: Path, arrays: Mapping[str, Any], decides: Mapping[str, Any]) -> None:
    """Writes a compressed .npz, whole or not at all, with `decides` as "settings"; what is None is left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    present = {name: value for name, value in arrays.items() if value is not None}
    np.savez_compressed(buffer, settings=json.dumps(decides), **present)
    write_bytes(path, buffer.getvalue())
