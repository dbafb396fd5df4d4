"""Reads torch files: a diffusers folder, or a file with a state dict. torch is imported only where a file needs it.

A weight is read when it is asked for, so that a file may be larger than the memory.
"""

import logging
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - teaches NumPy the name "bfloat16", which safetensors asks it for
import numpy as np

_log = logging.getLogger(__name__)

# In the order of preference; all that diffusers writes for a model that is not sharded.
_DIFFUSERS_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
_TORCH_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
# Training scripts wrap the state dict; of several, the averaged weights are the ones to sample with.
_WRAPPERS = ("ema", "state_dict", "model")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_SAFETENSORS_FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
# Bytes read of a mapped file before it is mapped anew: until then they count as the process's memory.
_MAPPED = 2**27


class ConversionError(ValueError):
    """Weights that cannot be converted; the message is one line that says why and names the file."""


@dataclass(frozen=True)
class Source:
    """What `--source` points at: the file of weights, and the folder of a diffusers model (None for a plain file)."""

    weights: Path
    folder: Path | None


def find_source(source: str | os.PathLike[str]) -> Source:
    """Finds the weights that a path stands for.

    Raises:
        ConversionError: there are none.
    """
    path = Path(source)
    if path.is_file():
        return Source(path, None)
    if not path.is_dir():
        raise ConversionError(f"{path}: no such file or folder")
    folder = path / "unet" if not (path / "config.json").exists() and (path / "unet").is_dir() else path
    if not (folder / "config.json").is_file():
        raise ConversionError(f"{path}: no config.json there or in unet/: expected a diffusers folder or a file")
    for name in _DIFFUSERS_FILES:
        if (folder / name).is_file():
            return Source(folder / name, folder)
    raise ConversionError(f"{folder}: holds neither {' nor '.join(_DIFFUSERS_FILES)}")


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


def read_weights(path: Path) -> dict[str, StoredWeight]:
    """The weights of a file's state dict, out of its wrapper and without a `module.` prefix.

    Raises:
        ConversionError: the file is damaged, holds other things than tensors, or a needed package is missing.
    """
    if path.suffix == ".safetensors":
        weights, dtypes = _safetensors_weights(path)
    elif path.suffix in _TORCH_SUFFIXES:
        weights, dtypes = _torch_weights(path)
    else:
        raise ConversionError(f"{path}: expected a name in {', '.join(_TORCH_SUFFIXES)} or .safetensors")
    for name, dtype in dtypes.items():
        if dtype not in _FLOATS:
            raise ConversionError(f"{path}: weight {name} is {dtype}: expected one of {', '.join(_FLOATS)}")
    others = sorted({*dtypes.values()} - {"float32"})
    if others:
        _log.info("%s: weights in %s are converted to float32", path.name, ", ".join(others))
    if weights and all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): weight for name, weight in weights.items()}
    return weights


def _safetensors_weights(path: Path) -> tuple[dict[str, StoredWeight], dict[str, str]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise _missing(path, "safetensors") from error

    def opened() -> _Tensors:
        try:
            file = safe_open(path, framework="numpy")
            return {name: file.get_slice(name) for name in file.keys()}
        except (SafetensorError, OSError, TypeError, ValueError) as error:
            raise ConversionError(f"{path}: damaged, or no safetensors file ({first_line(error)})") from error

    tensors = opened()
    file = _WeightFile(tensors, lambda tensors, name: np.array(tensors[name][...], np.float32), opened)
    weights = {name: StoredWeight(tuple(tensor.get_shape()), file, name) for name, tensor in tensors.items()}
    return weights, {name: _SAFETENSORS_FLOATS.get(t.get_dtype(), t.get_dtype()) for name, t in tensors.items()}


def _torch_weights(path: Path) -> tuple[dict[str, StoredWeight], dict[str, str]]:
    try:
        import torch
    except ImportError as error:
        raise _missing(path, "torch") from error
    mapped = zipfile.is_zipfile(path)  # torch's files are since its version 1.6; older ones cannot be mapped

    def opened() -> _Tensors:
        return _unwrap(_load_torch(path, mapped), path, torch.Tensor)[0]

    def to_numpy(tensors: _Tensors, name: str) -> np.ndarray:
        return np.array(tensors[name].detach().to(torch.float32).numpy())

    state, found = _unwrap(_load_torch(path, mapped), path, torch.Tensor)
    if found:
        _log.info("%s: %s", path.name, found)
    file = _WeightFile(state, to_numpy, opened if mapped else None)
    weights = {name: StoredWeight(tuple(tensor.shape), file, name) for name, tensor in state.items()}
    return weights, {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in state.items()}


def _load_torch(path: Path, mapped: bool) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            # Of pickle protocols that torch may not know: what follows reads the file or refuses it.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
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


def _unwrap(content: Any, path: Path, tensor: type) -> tuple[Mapping[str, Any], str]:
    """The state dict in what a training script saved, and in words where it was ("" if it was all there is)."""

    def is_state(value: Any) -> bool:
        return isinstance(value, Mapping) and bool(value) and all(isinstance(v, tensor) for v in value.values())

    if is_state(content):
        return content, ""
    if isinstance(content, Mapping):
        found = [key for key in _WRAPPERS if is_state(content.get(key))]
        if found:
            return content[found[0]], f"weights of {found[0]!r}{f' (not of {found[1:]})' if found[1:] else ''}"
        held = "a dict of " + ", ".join(f"{key!r} ({type(value).__name__})" for key, value in list(content.items())[:6])
    elif isinstance(content, list | tuple):
        # ermongroup/ddim: [model, optimizer, epoch, step] and, if it averaged, the averaged model.
        places = [place for place, value in enumerate(content) if is_state(value)]
        if places == [0] or (places == [0, 4] and content[0].keys() - content[4].keys() == set()):
            return content[places[-1]], f"weights of entry {places[-1]} of a list of {len(content)}"
        held = f"a list of {len(content)}: " + ", ".join(type(value).__name__ for value in content[:6])
    else:
        held = type(content).__name__
    wrappers = ", ".join(map(repr, _WRAPPERS))
    raise ConversionError(f"{path}: holds {held}: expected a state dict, alone or under {wrappers}")


def _missing(path: Path, package: str) -> ConversionError:
    return ConversionError(f'{path}: reading it needs {package}: pip install "diip_jax[convert]"')


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type: many libraries print several lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
