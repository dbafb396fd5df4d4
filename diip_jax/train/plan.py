"""What a training is: everything that its weights depend on, and what is written down of it."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from diip_jax import models
from diip_jax.card import Card, HeldOut
from diip_jax.prior import Prior, Provenance
from diip_jax.train.cuts import Cut
from diip_jax.train.objective import Objective
from diip_jax.train.pictures import Pictures
from diip_jax.train.step import Optimisation


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training.

    Attributes:
        output: folder of the prior; the rest lies beside it in `training_folder`.
        start: the prior that it begins with; network, schedule, prediction and dtype stay as they are there.
        began_from: what the weights of `start` are, "" for random ones.
        pictures: to train on.
        cut: how images are cut out of them.
        heldout: uint8 `[N, H, W, C]`, to judge by.
        remat_blocks: the backward pass computes the inside of every residual block again, to save memory.
        stored_dtype: of the prior on disk.
        data, terms: for the card.
        log_every, save_every, heldout_every, samples_every: steps between them.
    """

    output: Path
    start: Prior
    began_from: str
    pictures: Pictures
    cut: Cut
    heldout: np.ndarray
    objective: Objective
    optimisation: Optimisation
    seed: int = 0
    remat_blocks: bool = False
    stored_dtype: str = "float32"
    data: str = ""
    terms: str = ""
    log_every: int = 50
    save_every: int = 500
    heldout_every: int = 2000
    samples_every: int = 5000

    @property
    def training_folder(self) -> Path:
        """Where the state, the progress and the samples are."""
        return self.output.with_name(f"{self.output.name}.training")

    @property
    def template(self) -> Prior:
        """The prior without its parameters."""
        return dataclasses.replace(self.start, params=None, provenance=Provenance("python -m diip_jax.train"))

    def settings(self) -> dict[str, Any]:
        """All that the weights depend on by name, as JSON has it."""
        names = "\n".join(Path(name).name for name in self.pictures.names)
        settings = {
            "images": f"{len(self.pictures.names)}, names {hashlib.sha256(names.encode()).hexdigest()[:12]}",
            **dataclasses.asdict(self.cut),
            "init_from": self.began_from,
            "architecture": models.architecture(self.start.model),
            **dataclasses.asdict(self.start.model),
            **dataclasses.asdict(self.start.schedule),
            "prediction": self.start.prediction,
            "dtype": self.start.dtype,
            **dataclasses.asdict(self.objective),
            **dataclasses.asdict(self.optimisation),
            "seed": self.seed,
        }
        return json.loads(json.dumps(settings))

    def card(self, step: int, heldout: HeldOut | None) -> Card:
        """Of the prior after so many steps, with the held-out errors that were taken last."""
        return Card(
            data=self.data,
            terms=self.terms,
            images_seen=step * self.optimisation.batch_size,
            began_from=self.began_from,
            settings=self.settings(),
            heldout=heldout,
        )
