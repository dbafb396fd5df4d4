"""Reads files of weights: torch's and safetensors. torch is imported only where a file needs it.

A weight is read when it is asked for, so that a file may be larger than the memory. What a file is, its first bytes
tell, not its name.
"""

import contextlib
import logging
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import ml_dtypes  # noqa: F401 - teaches NumPy the name "bfloat16", which safetensors asks it for
import numpy as np

from diip_jax.convert.state_dicts import Choice, Signs, StateDictError, choose

_log = logging.getLogger(__name__)

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_SAFETENSORS_FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
# Bytes read of a mapped file before it is mapped anew: until then they count as the process's memory.
_MAPPED = 2**27


class ConversionError(ValueError):
    """Weights that cannot be converted; the message is one line that says why and names the file."""


# Tensors of an open file, by name.
_Tensors = Mapping[str, Any]


class _WeightFile:
    """A file whose weights are read one by one.

    Args:
        tensors: those of the open file.
        to_numpy: a float32 array of its own memory from the tensors and a name.
        reopen: opens a mapped file again; None for a file that is in memory.
    """

    def __init__(
        self,
        tensors: _Tensors,
        to_numpy: Callable[[_Tensors, str], np.ndarray],
        reopen: Callable[[], _Tensors] | None,
    ):
        self._tensors, self._to_numpy, self._reopen = tensors, to_numpy, reopen
        self._bytes_read = 0

    def read(self, name: str) -> np.ndarray:
        """A tensor as float32. Raises ConversionError if the file has changed."""
        if self._reopen is not None and self._bytes_read > _MAPPED:
            self._tensors = {}  # the mapping ends before the next begins
            self._tensors = self._reopen()
            self._bytes_read = 0
        array = self._to_numpy(self._tensors, name)
        self._bytes_read += array.nbytes
        return array


@dataclass(frozen=True)
class StoredWeight:
    """A weight of a file; `np.asarray(weight)` reads it, as float32, and keeps nothing."""

    shape: tuple[int, ...]
    file: _WeightFile
    key: str

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.file.read(self.key), dtype)


class StoredState(NamedTuple):
    """What a file holds of a network.

    Attributes:
        weights: by torch's names, without a prefix.
        beside: the tensors of the module that the network is a part of.
    """

    weights: dict[str, StoredWeight]
    beside: dict[str, StoredWeight]


_Weights = tuple[StoredState, dict[str, str]]  # and the dtypes of the weights


def read_weights(path: Path, signs: Signs = (), wanted: str | None = None) -> dict[str, StoredWeight]:
    """The weights of `read_state`; arguments and errors are its."""
    return read_state(path, signs, wanted).weights


def read_state(path: Path, signs: Signs = (), wanted: str | None = None) -> StoredState:
    """The weights of a file's network, and what is beside them.

    Args:
        signs, wanted: which part of the file they are, see `diip_jax.convert.state_dicts.choose`.

    Raises:
        ConversionError: the file is damaged, no file of weights, holds other things than tensors, or a needed package
            is missing.
    """
    kind = file_kind(path)
    state, dtypes = (_safetensors_weights if kind == "safetensors" else _torch_weights)(path, signs, wanted)
    for name, dtype in dtypes.items():
        if dtype not in _FLOATS:
            raise ConversionError(f"{path}: weight {name} is {dtype}: expected one of {', '.join(_FLOATS)}")
    others = sorted({*dtypes.values()} - {"float32"})
    if others:
        _log.info("%s: weights in %s are converted to float32", path.name, ", ".join(others))
    return state


# What people have for weights that is none: beginning -> what it is, and what to do.
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for; run: git lfs pull"),
    (b"\x89HDF", "an HDF5 file, as Keras writes; expected torch's or safetensors"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"GGUF", "a GGUF file; expected torch's or safetensors"),
    (b"\x93NUMPY", "a NumPy array; expected torch's or safetensors"),
)


def file_kind(path: Path) -> Literal["torch", "safetensors"]:
    """What the first bytes of a file say that it is.

    Raises:
        ConversionError: it is neither; what it is, where that shows.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise ConversionError(f"{path}: damaged, or no file of weights: it is empty")
    for beginning, what in _OTHERS:
        if head.startswith(beginning):
            raise ConversionError(f"{path}: {what}")
    if head.startswith(b"PK"):
        _check_archive(path)
        return "torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40:
        return "safetensors"
    if head[0] == 0x80:  # a pickle, as torch wrote before its version 1.6
        return "torch"
    if re.match(rb"\s*<(!doctype|html|head|\?xml)", head, re.IGNORECASE):
        raise ConversionError(f"{path}: a web page, such as a login or a warning; download the file itself again")
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        raise ConversionError(f"{path}: a text file, no weights")
    if tarfile.is_tarfile(path):
        raise ConversionError(f"{path}: a tar archive; unpack it first")
    raise ConversionError(f"{path}: damaged, or no file of weights: expected torch's or safetensors")


def _check_archive(path: Path) -> None:
    """Raises ConversionError for a zip archive that is whole, but not torch's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return  # a damaged one, says the reader
    if any(name.endswith("constants.pkl") for name in names):
        raise ConversionError(f"{path}: a TorchScript program; save its state_dict() with torch.save, and convert that")
    if not any(name.endswith("data.pkl") for name in names):
        kind = "NumPy arrays" if any(name.endswith(".npy") for name in names) else "a zip archive; unpack it first"
        raise ConversionError(f"{path}: {kind}: expected torch's or safetensors, with {', '.join(names[:3])} in it")


def _safetensors_weights(path: Path, signs: Signs, wanted: str | None) -> _Weights:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise _missing(path, "safetensors", error) from error

    def opened() -> Choice:
        try:
            file = safe_open(path, framework="numpy")
            tensors = {name: file.get_slice(name) for name in file.keys()}
        except (SafetensorError, OSError, TypeError, ValueError) as error:
            raise ConversionError(f"{path}: damaged, or no safetensors file ({first_line(error)})") from error
        return _chosen(path, tensors, signs, lambda value: hasattr(value, "get_shape"), wanted)

    def to_numpy(tensors: _Tensors, name: str) -> np.ndarray:
        return np.array(tensors[name][...], np.float32)

    choice = _said(path, opened())
    state = _stored(choice, to_numpy, lambda tensor: tensor.get_shape(), lambda: opened().tensors)
    dtypes = {name: tensor.get_dtype() for name, tensor in choice.tensors.items()}
    return state, {name: _SAFETENSORS_FLOATS.get(dtype, dtype) for name, dtype in dtypes.items()}


def _torch_weights(path: Path, signs: Signs, wanted: str | None) -> _Weights:
    try:
        import torch
    except Exception as error:  # one that is there but broken raises OSError, RuntimeError and others
        raise _missing(path, "torch", error) from error
    # torch's files are archives since its version 1.6; older ones cannot be mapped. By its name, which it asks for to
    # map a file, torch would read one as safetensors.
    mapped = zipfile.is_zipfile(path) and path.suffix != ".safetensors"

    def opened() -> Choice:
        content = _load_torch(path, mapped)
        return _chosen(path, content, signs, lambda value: isinstance(value, torch.Tensor), wanted)

    def to_numpy(tensors: _Tensors, name: str) -> np.ndarray:
        return np.array(tensors[name].detach().to(torch.float32).numpy())

    choice = _said(path, opened())
    state = _stored(choice, to_numpy, lambda tensor: tensor.shape, (lambda: opened().tensors) if mapped else None)
    return state, {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in choice.tensors.items()}


def _stored(
    choice: Choice,
    to_numpy: Callable[[_Tensors, str], np.ndarray],
    shape: Callable[[Any], Any],
    reopen: Callable[[], _Tensors] | None,
) -> StoredState:
    """What was chosen, to be read when it is asked for; what is beside it is small, and is not opened again."""
    of_network, of_the_rest = _WeightFile(choice.tensors, to_numpy, reopen), _WeightFile(choice.beside, to_numpy, None)
    weights = {name: StoredWeight(tuple(shape(one)), of_network, name) for name, one in choice.tensors.items()}
    beside = {name: StoredWeight(tuple(shape(one)), of_the_rest, name) for name, one in choice.beside.items()}
    return StoredState(weights, beside)


def _chosen(path: Path, content: Any, signs: Signs, is_tensor: Callable[[Any], bool], wanted: str | None) -> Choice:
    try:
        return choose(content, signs, is_tensor, wanted)
    except StateDictError as error:
        raise ConversionError(f"{path}: {error}") from error


def _said(path: Path, choice: Choice) -> Choice:
    if choice.said:
        _log.info("%s: %s", path.name, choice.said)
    return choice


class _Beside:
    """Stands, empty, for an object that a training script keeps beside the weights: nothing of it is made or run."""

    def __init__(self, *given: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# Flags and figures. Names of what NumPy's scalars and arrays are pickled with, in its versions 1 and 2.
_BESIDE_WEIGHTS = (
    "argparse.Namespace", "_codecs.encode", "numpy.dtype", "numpy.ndarray",
    *(f"{module}.multiarray.{name}" for module in ("numpy.core", "numpy._core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.dtypes.{kind}DType" for kind in ("Bool", "Float32", "Float64", "Int32", "Int64")),
)  # fmt: skip


def _load_torch(path: Path, mapped: bool) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            # Of pickle protocols that torch may not know: what follows reads the file or refuses it.
            warnings.simplefilter("ignore", UserWarning)
            beside = torch.serialization.safe_globals([(_Beside, name) for name in _BESIDE_WEIGHTS])
            with beside, contextlib.nullcontext(path) if mapped else path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        # torch's own message advises to load without weights_only, which is what a hostile file wants.
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        if unsafe:
            raise ConversionError(
                f"{path}: refused: it holds {unsafe[1]}, which loading would run; expected tensors alone"
            ) from error
        reason = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
        said = f" ({reason[1].strip()[:200]})" if reason else ""
        raise ConversionError(f"{path}: damaged, or no torch file of plain tensors{said}") from error
    except Exception as error:  # torch raises many types for a damaged file
        raise ConversionError(f"{path}: damaged, or no torch file ({first_line(error)})") from error


def _missing(path: Path, package: str, error: Exception) -> ConversionError:
    """For a package that is not there, or is and does not import."""
    broken = "" if isinstance(error, ModuleNotFoundError) else f", which does not import here ({first_line(error)})"
    return ConversionError(f'{path}: reading it needs {package}{broken}: pip install "diip_jax[convert]"')


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type: many libraries print several lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
