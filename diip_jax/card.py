"""The card of a prior: what it was trained on, for how long, how well it does, and on what terms it may be used.

A card is stored in the checkpoint's metadata, and for people as README.md in its folder.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

README = "README.md"


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Errors of the predicted noise on images that the prior was not trained on.

    Attributes:
        step: of the training, at which they were taken.
        images: how many there were.
        t: timesteps.
        errors: at each of them, mean squared error of the noise, over pixels and images.
    """

    step: int
    images: int
    t: tuple[int, ...]
    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the timesteps."""
        return sum(self.errors) / len(self.errors)

    def stored(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_stored(content: Mapping[str, Any]) -> "HeldOut":
        """What `stored` was called of; raises TypeError or KeyError where it is nothing of this kind."""
        return HeldOut(**{**content, "t": tuple(content["t"]), "errors": tuple(content["errors"])})


@dataclasses.dataclass(frozen=True)
class Card:
    """What a checkpoint says of where it comes from.

    Attributes:
        data: what it was trained on, in words.
        terms: on what terms the weights, and what they were trained on, may be used; "" where nobody said.
        images_seen: by the training, each time that an image was shown counted.
        began_from: what the training began from; "" for random weights.
        settings: of the training, by name.
        heldout: None where they were not taken.
    """

    data: str = ""
    terms: str = ""
    images_seen: int = 0
    began_from: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    heldout: HeldOut | None = None

    def stored(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_stored(content: Mapping[str, Any]) -> "Card":
        """What `stored` was called of; raises TypeError or KeyError where it is nothing of this kind."""
        heldout = content["heldout"]
        return Card(**{**content, "heldout": None if heldout is None else HeldOut.from_stored(heldout)})


def terms_in_words(card: Card | None) -> str:
    """The terms, or that there are none."""
    return card.terms if card and card.terms else "none are recorded; ask whoever made the checkpoint"


def in_words(card: Card | None) -> str:
    """What a card says of the data, the training and the terms, a line each."""
    terms = f"terms: {' '.join(terms_in_words(card).split())}"
    if card is None:
        return terms
    lines = [f"data: {' '.join(card.data.split())}", f"seen: {card.images_seen:,} images"]
    if card.heldout is not None:
        lines.append(f"held-out error of the noise: {card.heldout.mean:.5f}")
    return "\n".join([*lines, terms])


def markdown(name: str, card: Card, facts: Mapping[str, Any]) -> str:
    """The card for people.

    Args:
        name: of the checkpoint.
        facts: of the network, by name; they come first.
    """
    rows = {
        **facts,
        "trained on": card.data or "not recorded",
        "began from": card.began_from or "random weights",
        "images seen": f"{card.images_seen:,}",
    }
    lines = [f"# {name}", "", "A diffusion prior of diip_jax. Restore pictures with it:", ""]
    lines += [f"    python -m diip_jax.launch --image=PICTURE --checkpoint={name}", ""]
    lines += ["**Terms.** " + _one_line(terms_in_words(card)) + ".", ""]
    lines += ["| | |", "|---|---|", *(f"| {row} | {_one_line(value)} |" for row, value in rows.items()), ""]
    if card.heldout is not None:
        held = card.heldout
        lines += [f"Mean squared error of the predicted noise on {held.images} held-out images, step {held.step}:", ""]
        lines += ["| t | " + " | ".join(map(str, held.t)) + " | mean |", "|---" * (len(held.t) + 2) + "|"]
        lines += ["| error | " + " | ".join(f"{error:.6f}" for error in (*held.errors, held.mean)) + " |", ""]
    if card.settings:
        lines += ["Settings of the training:", "", "| setting | value |", "|---|---|"]
        lines += [*(f"| {setting} | {_one_line(value)} |" for setting, value in card.settings.items()), ""]
    return "\n".join(lines)


def _one_line(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").rstrip(".")
