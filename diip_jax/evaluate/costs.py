"""What restorations cost on this machine: seconds, network evaluations and memory, measured once and kept in files."""

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diip_jax.commands.settings import NoiseSettings, Settings
from diip_jax.evaluate.one_shot import Restorer
from diip_jax.evaluate.result_files import result_path, told_class
from diip_jax.evaluate.trajectories import settings_but_rules
from diip_jax.images import write_json
from diip_jax.prior import Prior
from diip_jax.solve.cost import compile_loop

_TIMED = 5  # iterations


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one iteration of one image costs where a batch is restored at once; without iterates, the whole of it.

    Attributes:
        seconds: wall time without compilation, the batch's divided by its images.
        evaluations: of the prior's network, forwards; of a method that has its own network, of that.
        memory_bytes: arguments (the network's parameters among them), results and temporaries of the batch's program on
            all devices, as XLA plans them. None where it is not one program of XLA.
    """

    seconds: float
    evaluations: int
    memory_bytes: int | None


def method_cost(folder: Path, prior: Prior, method: Settings, given: Mapping[str, np.ndarray]) -> Cost:
    """The cost of an iteration of a method, from its file if it was measured before.

    Measured without the stopping rule, the median of five iterations; compiling takes longer than these.

    Args:
        folder: where the files are.
        given: what the method is given of the batch, see `diip_jax.evaluate.trajectories.given_to`.
    """
    remat = method.remat if isinstance(method, NoiseSettings) else None
    path = _path(folder, prior, {**settings_but_rules(method), "remat": remat}, given["y"])
    if path.exists():
        return _read(path)
    lasting = dataclasses.replace(method, stopping="budget", max_iterations=max(method.max_iterations, _TIMED + 1))
    known = {name: value for name, value in given.items() if name != "y"}
    program = compile_loop(lasting.method(prior).problem(), given["y"] / np.float32(127.5) - np.float32(1), known)
    program.iterate()
    seconds = np.median([_seconds(program.iterate) for _ in range(_TIMED)]) / len(given["y"])
    cost = Cost(float(seconds), _evaluations(method, prior), program.devices * program.memory_bytes)
    return _written(path, cost)


def restorer_cost(folder: Path, prior: Prior, restorer: Restorer, y: np.ndarray, seed: int) -> Cost:
    """The cost of restoring an image without iterates, from its file if it was measured before; a second call is timed.

    Args:
        folder: where the files are.
        y: degraded images of one batch `[n, H, W, C]` uint8.
    """
    settings = {"restorer": type(restorer).__name__, **dataclasses.asdict(restorer)}  # type: ignore[call-overload]
    path = _path(folder, prior, settings, y)
    if path.exists():
        return _read(path)
    restorer.restore(prior, y, seed)
    seconds = _seconds(lambda: restorer.restore(prior, y, seed)) / len(y)
    return _written(path, Cost(seconds, restorer.evaluations(prior), restorer.memory_bytes(prior, y)))


def _evaluations(method: Settings, prior: Prior) -> int:
    return method.method(prior).problem().generator.evaluations


def _seconds(function: Any) -> float:
    began = time.monotonic()
    function()
    return time.monotonic() - began


def _path(folder: Path, prior: Prior, settings: Mapping[str, Any], y: np.ndarray) -> Path:
    devices = jax.local_devices()
    decides = {
        "settings": settings,
        "y": y.shape,
        "prior": told_class(prior),
        "dtype": prior.dtype,
        "devices": [len(devices), devices[0].device_kind, os.cpu_count()],
        "jax": jax.__version__,
    }
    return result_path(folder, "cost", decides, ".json")


def _read(path: Path) -> Cost:
    return Cost(**json.loads(path.read_text()))


def _written(path: Path, cost: Cost) -> Cost:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dataclasses.asdict(cost))
    return cost
