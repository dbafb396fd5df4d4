"""Files of results, each named by a digest of everything that decides its content.

An interrupted run goes on where it stopped, and other settings never mix in.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diip_jax.images import write_bytes
from diip_jax.prior import Prior, identity_of


@dataclass(frozen=True)
class Batch:
    """Corrupted images that are restored together and share a file; what restores them, a subclass adds.

    Attributes:
        prior: the prior.
        task: name of a corruption. severity: of it, None for its standard one; it decides through the pixels.
        clean: `[n, H, W, C]` uint8.
        seed: of the corruption and the restoration.
    """

    prior: Prior
    task: str
    clean: np.ndarray
    seed: int
    severity: int | None

    @property
    def decides(self) -> dict[str, Any]:
        """All that decides the result."""
        return {
            "task": self.task,
            "prior": told_class(self.prior),
            "dtype": self.prior.dtype,
            "seed": self.seed,
        }

    def path(self, folder: Path) -> Path:
        """Its file."""
        return result_path(folder, self.task, self.decides)


def parts_of(clean: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """The images batch by batch; the last one may be smaller."""
    return [clean[i : i + batch_size] for i in range(0, len(clean), batch_size)]


def missing_files(folder: Path, batches: Sequence[Batch]) -> dict[Path, int]:
    """The batches' files that are not there yet, and the number of images of each."""
    files = {batch.path(folder): len(batch.clean) for batch in batches}
    return {path: images for path, images in files.items() if not path.exists()}


def told_class(prior: Prior) -> str:
    """What tells a prior from others in a digest, the class that it is told included."""
    identity = identity_of(prior)
    return identity if prior.class_label is None else f"{identity}, class {prior.class_label}"


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
