"""What a training leaves on disk: its state, to go on from, and the prior that it has made so far.

The state is kept by Orbax's CheckpointManager, two steps of it, each complete or absent. The prior is the folder that
the other commands take; it is exchanged as a whole.
"""

import dataclasses
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from diip_jax import distribute, startup
from diip_jax.card import Card
from diip_jax.checkpoint_files import CheckpointError
from diip_jax.prior import Prior, read_card, save_prior
from diip_jax.train.step import State

_KEPT = 2


class TrainingError(ValueError):
    """A training that cannot begin or go on; one line that says why, and what is kept."""


class States:
    """The states of a training in a folder. All processes of a run make one and call it alike."""

    def __init__(self, folder: Path):
        """
        Raises:
            TrainingError: the folder cannot be written to.
        """
        self.folder = folder
        options = ocp.CheckpointManagerOptions(
            max_to_keep=_KEPT, cleanup_tmp_directories=True, enable_async_checkpointing=False
        )
        try:
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        except Exception as error:  # Orbax raises many types
            raise TrainingError(f"{folder}: cannot be written to ({_first_line(error)})") from error

    @property
    def latest(self) -> int | None:
        """The step of the last complete state; None where there is none."""
        return self._manager.latest_step()

    @property
    def notes(self) -> dict[str, Any]:
        """What was kept beside the last complete state."""
        with startup.at_once():
            return self._manager.restore(self.latest, args=ocp.args.Composite(notes=ocp.args.JsonRestore())).notes

    def save(self, state: State, iterator: grain.DatasetIterator, notes: dict[str, Any]) -> None:
        """Keeps a state, the position in the data, and notes, as JSON has them.

        Raises:
            TrainingError: there is no room, or it cannot be written; the state before it is still there.
        """
        step = int(state.step)
        if step == self.latest:
            return
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            # Looked at before, because the libraries that write tell of a full disk in many lines.
            raise self._not_written(step, OSError(f"{free / 1e6:.0f} MB are free of {needed / 1e6:.0f} MB"))
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state._asdict()),
            data=grain.checkpoint.CheckpointSave(iterator),
            notes=ocp.args.JsonSave(notes),
        )
        try:
            self._manager.save(step, args=args, force=True)
        except Exception as error:  # Orbax and TensorStore raise many types for a full disk
            raise self._not_written(step, error) from error

    def restore(self, like: State, iterator: grain.DatasetIterator, mesh: Mesh) -> State:
        """The last complete state, whole on all devices; sets the iterator to its position.

        Raises:
            TrainingError: it is damaged, or of another network.
        """
        whole = distribute.whole_sharding(mesh)
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), like._asdict()
        )
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), data=grain.checkpoint.CheckpointRestore(iterator)
        )
        try:
            with startup.at_once():
                restored = self._manager.restore(self.latest, args=args)
        except Exception as error:
            raise TrainingError(
                f"{self.folder / str(self.latest)}: damaged, or of another network ({_first_line(error)}); remove it "
                "to go on from the one before it"
            ) from error
        return State(**restored.state)

    def close(self) -> None:
        """Lets go of the folder."""
        self._manager.close()

    def _not_written(self, step: int, error: Exception) -> TrainingError:
        kept = "none was written before it" if self.latest is None else f"that of step {self.latest} is kept"
        return TrainingError(
            f"{self.folder}: the state of step {step} cannot be written ({_first_line(error)}); {kept}; make room, and "
            "run the same command to go on"
        )


def averaged_prior(template: Prior, state: State) -> Prior:
    """The prior with the averaged weights, on this process's first device."""
    # Copied: the next step takes the state's memory over.
    params = jax.tree.map(lambda leaf: jax.numpy.array(np.array(leaf.addressable_data(0))), state.averaged)
    return dataclasses.replace(template, params=params)


def write_prior(path: Path, prior: Prior, card: Card, stored_dtype: str) -> None:
    """Puts a prior in the place of the one that is there, if any.

    Raises:
        TrainingError: it cannot be written; what was there is still there.
    """
    scratch, old = (path.with_name(f".{path.name}.{which}") for which in ("new", "old"))
    for left_behind in (scratch, old):
        shutil.rmtree(left_behind, ignore_errors=True)
    try:
        _save_alone(scratch / path.name, prior, stored_dtype, card)
        if path.exists():
            os.rename(path, old)
        os.rename(scratch / path.name, path)
    except Exception as error:  # as in `States.save`
        raise TrainingError(
            f"{path}: the prior cannot be written ({_first_line(error)}); the state of the training is kept: make "
            "room, and run the same command to go on"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _save_alone(path: Path, prior: Prior, stored_dtype: str, card: Card) -> None:
    """`save_prior` by this process, whether or not it is connected to others."""
    if jax.process_count() == 1:
        save_prior(path, prior, stored_dtype=stored_dtype, card=card)
        return
    # Of connected processes Orbax waits for all, and the others have nothing to write: one that knows of no other does.
    on_host = dataclasses.replace(prior, params=jax.tree.map(np.asarray, prior.params))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(_save_on_cpu, path, on_host, stored_dtype, card).result()


def _save_on_cpu(path: Path, prior: Prior, stored_dtype: str, card: Card) -> None:
    jax.config.update("jax_platforms", "cpu")  # the accelerator is the training's
    save_prior(path, prior, stored_dtype=stored_dtype, card=card)


def images_seen(path: Path) -> int | None:
    """By the prior in a folder, according to its card; None where there is no such prior."""
    try:
        card = read_card(path)
    except CheckpointError:
        return None
    return None if card is None else card.images_seen


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
