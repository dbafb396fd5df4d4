"""A frozen prior as an Orbax checkpoint: saved, loaded, found by its name, and what it says of itself."""

import dataclasses
import math
import os
import shlex
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax import card as cards
from diip_jax import models
from diip_jax.card import Card
from diip_jax.checkpoint_files import (
    METADATA_FILE,
    CheckpointError,
    named_leaves,
    params_sha256,
    read_custom_metadata,
    read_params,
    write_checkpoint,
)
from diip_jax.configuration import usual_configuration
from diip_jax.prediction import Prediction, check_prediction
from diip_jax.priors.network_prior import (
    DTYPES,
    Prior,
    Provenance,
    activation_bytes,
    check_image_shape,
    identity_of,
    param_shapes,
    random_prior,
)
from diip_jax.schedule import Sampler, Schedule

_FORMAT = "diip_jax-prior-1"
# What earlier versions wrote for it.
_FORMER_PREDICTIONS: dict[str, Prediction] = {"eps": "epsilon"}

__all__ = [
    "BUNDLED",
    "Card",
    "CheckpointError",
    "Prior",
    "Provenance",
    "activation_bytes",
    "bundled_checkpoint",
    "check_image_shape",
    "identity_of",
    "load_prior",
    "param_shapes",
    "params_sha256",
    "random_prior",
    "read_card",
    "read_metadata",
    "save_prior",
]


# The priors that come with the package, see checkpoints/README.md.
BUNDLED = ("faces64", "photos")


def bundled_checkpoint(name: str = "faces64") -> Path:
    """The folder of a prior that comes with the package, one of `BUNDLED`.

    Raises:
        CheckpointError: this installation has the code alone.
    """
    installed = Path(str(resources.files("diip_jax"))) / "checkpoints" / name
    folder = installed if installed.is_dir() else Path(__file__).resolve().parent.parent / "checkpoints" / name
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: this installation of diip_jax has no weights; give a checkpoint (convert or train one), or "
            "install diip_jax from its source tree, whose folder checkpoints/ holds the bundled priors"
        )
    return folder


def _folder_of(path: str | os.PathLike[str] | None) -> Path:
    """The folder that is meant; a checkpoint that is there goes before a bundled prior of its name.

    Not any folder: one of pictures is often called photos.
    """
    if path is None:
        return bundled_checkpoint()
    bundled = os.fspath(path) in BUNDLED and not (Path(path) / METADATA_FILE).exists()
    return bundled_checkpoint(os.fspath(path)) if bundled else Path(path).absolute()


@usual_configuration()
def load_prior(
    path: str | os.PathLike[str] | None = None, *, dtype: str = "float32", class_label: int | None = None
) -> Prior:
    """Loads a converted checkpoint; None loads the bundled 64x64 face prior.

    Args:
        path: folder that `python -m diip_jax.convert` wrote, or the name of a bundled prior: "faces64" or "photos".
        dtype: dtype of the arithmetic, "float32" or "bfloat16". Parameters are float32 in memory either way.
        class_label: the class that a class-conditional network is told, see `Prior.with_class_label`.

    Raises:
        CheckpointError: the folder is missing, damaged, or no diip_jax checkpoint; None where no prior is bundled.
        ValueError: another dtype, or a class that the prior does not have.
    """
    path = _folder_of(path)
    metadata = read_metadata(path)
    try:
        model = models.CONFIGS[metadata["architecture"]](**_tuples(metadata["model"]))
        schedule = Schedule(**_tuples(metadata["schedule"]))
        sampler = Sampler(**metadata.get("sampler", {}))
        provenance = Provenance(**metadata["provenance"])
        stored_dtype = jnp.dtype(metadata["stored_dtype"]).name
        prediction = metadata.get("prediction", "epsilon")
        prediction = _FORMER_PREDICTIONS.get(prediction, prediction)
        check_prediction(prediction)
        prior = Prior(None, model, schedule, provenance, prediction=prediction, sampler=sampler)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged metadata or another version's ({error}); convert again") from error
    prior = prior.with_dtype(dtype).with_class_label(class_label)  # a mistake there shows before the long part
    params = read_params(path, param_shapes(model), stored_dtype, provenance.params_sha256)
    leaves, structure = jax.tree.flatten(params)
    del params
    for n, leaf in enumerate(leaves):  # one by one, so that they are never all there twice
        leaves[n] = jnp.asarray(leaf.astype(np.float32, copy=False))
    return dataclasses.replace(prior, params=jax.tree.unflatten(structure, leaves))


@usual_configuration()
def save_prior(
    path: str | os.PathLike[str], prior: Prior, *, stored_dtype: str = "float32", card: Card | None = None
) -> None:
    """Writes a prior as an Orbax checkpoint whose metadata holds everything that `load_prior` needs.

    dtype and class label are chosen at loading and not stored.

    Args:
        path: folder to write; it must not exist yet. It appears only once it is complete.
        stored_dtype: "float32", or "bfloat16" to halve the size (parameters are rounded to 8 bits of mantissa).
        card: what to say of where it comes from; also written as README.md into the folder.

    Raises:
        FileExistsError: the folder exists.
        ValueError: another dtype.
    """
    path = Path(path).absolute()
    if stored_dtype not in DTYPES:
        raise ValueError(f"stored_dtype={stored_dtype!r}: expected one of {', '.join(DTYPES)}")
    if path.exists():
        raise FileExistsError(f"{path}: exists already; give another folder or remove it")

    num_params = sum(math.prod(leaf.shape) for leaf in named_leaves(prior.params).values())

    def metadata(sha256: str) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "architecture": models.architecture(prior.model),
            "model": dataclasses.asdict(prior.model),
            "schedule": dataclasses.asdict(prior.schedule),
            "sampler": dataclasses.asdict(prior.sampler),
            "prediction": prior.prediction,
            "provenance": dataclasses.asdict(dataclasses.replace(prior.provenance, params_sha256=sha256)),
            "stored_dtype": stored_dtype,
            "num_params": num_params,
            "card": None if card is None else card.stored(),
        }

    facts = {
        "network": f"{models.architecture(prior.model)}, {num_params:,} parameters",
        "images": " x ".join(map(str, prior.image_shape)),
        "predicts": prior.prediction,
        "schedule": f"{prior.schedule.beta_schedule}, {prior.schedule.num_timesteps} timesteps",
        "stored as": stored_dtype,
    }
    texts = {} if card is None else {cards.README: cards.markdown(path.name, card, facts)}
    write_checkpoint(path, prior.params, metadata, stored_dtype, texts)


def read_card(path: str | os.PathLike[str] | None = None) -> Card | None:
    """The card of a checkpoint, None where it has none; of the bundled prior where path is None.

    Raises:
        CheckpointError: the folder is missing, damaged, or no diip_jax checkpoint.
    """
    path = _folder_of(path)
    content = read_metadata(path).get("card")
    try:
        return None if content is None else Card.from_stored(content)
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged card or another version's ({error})") from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint says of itself: architecture, model, schedule, sampler, prediction, provenance, dtype, card.

    Raises:
        CheckpointError: the folder is missing, damaged, or no diip_jax checkpoint.
    """
    path = Path(path).absolute()
    _refuse_unconverted(path)
    metadata = read_custom_metadata(path)
    if not isinstance(metadata, Mapping) or metadata.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: not a diip_jax prior; make one with python -m diip_jax.convert")
    return dict(metadata)


def _refuse_unconverted(path: Path) -> None:
    """Raises CheckpointError for a file, or a folder of diffusers: what to type to make a checkpoint of it."""
    of_diffusers = ("config.json", "model_index.json", "unet/config.json", "unet_ema/config.json")
    what = "a file" if path.is_file() else "a diffusers folder"
    if path.is_file() or any((path / name).is_file() for name in of_diffusers):
        command = f"python -m diip_jax.convert --source={shlex.quote(str(path))} --output=FOLDER"
        raise CheckpointError(f"{path}: {what}, which is not converted yet; run: {command}, and give that FOLDER")


def _tuples(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
