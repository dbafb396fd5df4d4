"""Orbax checkpoints on disk: a tree of parameters and a dict of metadata, written piece by piece, read and checked."""

import contextlib
import gc
import hashlib
import logging
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax import startup
from diip_jax.array_types import Params

# A piece is of so many float32 bytes (or of one larger parameter): a checkpoint may be larger than the memory it is
# made in.
_PIECE = 2**26


# By which a folder of Orbax is known.
METADATA_FILE = "_CHECKPOINT_METADATA"


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or not one of ours; the message is one line and names the path."""


def write_checkpoint(
    path: Path,
    params: Any,
    metadata: Callable[[str], dict[str, Any]],
    stored_dtype: str = "float32",
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes a new folder, which appears only once it is complete.

    Args:
        params: a tree of dicts. Its leaves need a `shape` and NumPy must be able to make arrays of them; each is asked
            for once, in the order of their names, and let go once it is written.
        metadata: what to store beside them, as JSON, given their sha256 (see `params_sha256`) as they are stored.
        stored_dtype: of all parameters on disk.
        texts: files for people beside them, by name.
    """
    from orbax.checkpoint import v1 as ocp  # Orbax is only needed here: importing the package stays quick

    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        folder = Path(scratch) / "checkpoint"
        pieces, dtype = _pieces(named_leaves(params)), jnp.dtype(stored_dtype)
        for piece in pieces:
            arrays = {name: np.asarray(leaf).astype(dtype, copy=False) for name, leaf in piece.items()}
            for name, array in arrays.items():
                _add(digest, name, array)
            custom_metadata = metadata(digest.hexdigest()) if piece is pieces[-1] else None
            ocp.partial.save(folder, nested(arrays), custom_metadata=custom_metadata)
        ocp.partial.finalize(folder)
        _forget_the_folder(folder)
        for name, text in (texts or {}).items():
            (folder / name).write_text(text, encoding="utf-8")
        os.rename(folder, path)


def read_custom_metadata(path: Path) -> Any:
    """What was stored beside the parameters. Raises CheckpointError."""
    from orbax.checkpoint import v1 as ocp

    if not path.is_dir():
        raise CheckpointError(f"{path}: no such checkpoint folder; make one with python -m diip_jax.convert")
    try:
        with startup.at_once():  # Orbax takes an interruption for a file that it cannot read
            return ocp.metadata(path).custom_metadata
    except Exception as error:  # as in read_params
        raise CheckpointError(f"{path}: not an Orbax checkpoint, or damaged ({_first_line(error)})") from error


def read_params(path: Path, shapes: Params, stored_dtype: str, sha256: str) -> dict[str, Any]:
    """The parameters as NumPy arrays of their stored dtype.

    Args:
        shapes: a tree of dicts whose leaves have a `shape`.
        sha256: what `params_sha256` must be of them.

    Raises:
        CheckpointError: they are damaged, or of other names or shapes.
    """
    from orbax.checkpoint import v1 as ocp

    # Read into NumPy: on the device every shape would compile a program of its own.
    abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, jnp.dtype(stored_dtype)), shapes)
    try:
        with startup.at_once(), _failure_said_once():
            params = ocp.load(path, abstract)
    except Exception as error:  # Orbax and TensorStore raise many types for a damaged file; to a user all mean the same
        raise CheckpointError(f"{path}: damaged checkpoint ({_first_line(error)}); convert again") from error
    # Orbax does not compare shapes when it reads into NumPy.
    if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, abstract):
        raise CheckpointError(f"{path}: damaged checkpoint (parameters do not fit the network); convert again")
    if params_sha256(params) != sha256:
        raise CheckpointError(f"{path}: damaged checkpoint (parameters do not match their sha256); convert again")
    return params


def params_sha256(params: Params) -> str:
    """sha256 over every parameter's name, dtype, shape and bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name, leaf in named_leaves(params).items():
        _add(digest, name, np.asarray(leaf))
    return digest.hexdigest()


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree of dicts by their names, such as "conv_in/kernel", in the order of the names."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
    return dict(sorted(named, key=lambda item: item[0]))


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of dicts whose `named_leaves` these are."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *places, last = name.split("/")
        node = tree
        for place in places:
            node = node.setdefault(place, {})
        node[last] = leaf
    return tree


def _pieces(leaves: Mapping[str, Any]) -> list[dict[str, Any]]:
    pieces: list[dict[str, Any]] = [{}]
    size = 0
    for name, leaf in leaves.items():
        leaf_size = 4 * math.prod(leaf.shape)
        if pieces[-1] and size + leaf_size > _PIECE:
            pieces.append({})
            size = 0
        pieces[-1][name] = leaf
        size += leaf_size
    return pieces


def _add(digest: Any, name: str, array: np.ndarray) -> None:
    digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)


def _forget_the_folder(folder: Path) -> None:
    """Takes the folder's path out of Orbax's commit file: a checkpoint that is passed on should not tell it.

    Orbax has no option for what it writes there, and looks for the file itself alone.
    """
    file = folder / "commit_success.txt"
    if file.exists():
        file.write_text("Checkpoint commit was successful\n")


# Reads that are in flight when one fails say so within some hundredths of a second.
_LAST_READS_SECONDS, _LONGEST_WAIT_SECONDS = 0.2, 5.0
_lock = threading.Lock()
_quiet: list["_LateReads"] = []  # one for every load that is under way


class _LateReads(logging.Filter):
    """What keeps the reads in flight quiet: a `sys.unraisablehook` and a filter of asyncio's messages."""

    def __init__(self, hook: Callable[[Any], Any]):
        super().__init__()
        self.hook, self.last = hook, time.monotonic()

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) == "Event loop is closed":
            self.last = time.monotonic()
        else:
            self.hook(unraisable)

    def filter(self, record: logging.LogRecord) -> bool:
        return "exception was never retrieved" not in record.getMessage()


@contextlib.contextmanager
def _failure_said_once() -> Iterator[None]:
    """Inside, Orbax's failure is an exception and nothing else; afterwards the interpreter's hook is what it was.

    At the first read that fails Orbax closes its event loop, under the other reads, and each of them then has an
    exception that nobody can catch. There is no public way to have it wait for them, so this waits: after a failure
    alone, until no more of them come in.
    """
    with _lock:
        if not _quiet:
            _quiet.append(_LateReads(sys.unraisablehook))
            sys.unraisablehook = _quiet[0]
            logging.getLogger("asyncio").addFilter(_quiet[0])
        else:
            _quiet.append(_quiet[0])
    try:
        yield
    except Exception:
        failed = _quiet[0].last = time.monotonic()
        while time.monotonic() < min(_quiet[0].last + _LAST_READS_SECONDS, failed + _LONGEST_WAIT_SECONDS):
            time.sleep(0.02)
        gc.collect()  # forgotten tasks speak when they are collected
        raise
    finally:
        with _lock:
            quiet = _quiet.pop()
            if not _quiet:
                logging.getLogger("asyncio").removeFilter(quiet)
                if sys.unraisablehook is quiet:
                    sys.unraisablehook = quiet.hook


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
