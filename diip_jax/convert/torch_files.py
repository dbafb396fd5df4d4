"""Reads torch files: a diffusers folder, or a file with a state dict. torch is imported only where a file needs it."""

import logging
import os
import pickle
import re
import warnings
from collections.abc import Mapping
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


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Reads a file's state dict as float32 arrays, out of its wrapper and without a `module.` prefix.

    Raises:
        ConversionError: the file is damaged, holds other things than tensors, or a needed package is missing.
    """
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif path.suffix in _TORCH_SUFFIXES:
        tensors = _read_torch(path)
    else:
        raise ConversionError(f"{path}: expected a name in {', '.join(_TORCH_SUFFIXES)} or .safetensors")
    for name, (dtype, _) in tensors.items():
        if dtype not in _FLOATS:
            raise ConversionError(f"{path}: weight {name} is {dtype}: expected one of {', '.join(_FLOATS)}")
    others = sorted({dtype for dtype, _ in tensors.values()} - {"float32"})
    if others:
        _log.info("%s: weights in %s are converted to float32", path.name, ", ".join(others))
    weights = {name: array for name, (_, array) in tensors.items()}
    if weights and all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): array for name, array in weights.items()}
    return weights


# Tensors as read: name -> (dtype in the file, float32 array).
_Tensors = dict[str, tuple[str, np.ndarray]]


def _read_safetensors(path: Path) -> _Tensors:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise _missing(path, "safetensors") from error
    tensors: _Tensors = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():
                array = file.get_tensor(name)
                tensors[name] = (array.dtype.name, array.astype(np.float32))
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ConversionError(f"{path}: damaged, or no safetensors file ({first_line(error)})") from error
    return tensors


def _read_torch(path: Path) -> _Tensors:
    try:
        import torch
    except ImportError as error:
        raise _missing(path, "torch") from error
    try:
        with warnings.catch_warnings():
            # Of pickle protocols that torch may not know: what follows reads the file or refuses it.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
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
    state = _unwrap(content, path, torch.Tensor)
    return {
        name: (str(tensor.dtype).removeprefix("torch."), tensor.detach().to(torch.float32).numpy())
        for name, tensor in state.items()
    }


def _unwrap(content: Any, path: Path, tensor: type) -> Mapping[str, Any]:
    """The state dict in what a training script saved."""

    def is_state(value: Any) -> bool:
        return isinstance(value, Mapping) and bool(value) and all(isinstance(v, tensor) for v in value.values())

    if is_state(content):
        return content
    if isinstance(content, Mapping):
        found = [key for key in _WRAPPERS if is_state(content.get(key))]
        if found:
            _log.info("%s: weights of %r%s", path.name, found[0], f" (not of {found[1:]})" if found[1:] else "")
            return content[found[0]]
        held = "a dict of " + ", ".join(f"{key!r} ({type(value).__name__})" for key, value in list(content.items())[:6])
    elif isinstance(content, list | tuple):
        # ermongroup/ddim: [model, optimizer, epoch, step] and, if it averaged, the averaged model.
        places = [place for place, value in enumerate(content) if is_state(value)]
        if places == [0] or (places == [0, 4] and content[0].keys() - content[4].keys() == set()):
            _log.info("%s: weights of entry %d of a list of %d", path.name, places[-1], len(content))
            return content[places[-1]]
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
