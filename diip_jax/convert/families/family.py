"""What a family is: projects whose files name the weights of their networks alike."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diip_jax.convert.families.layouts import Target
from diip_jax.models import ModelConfig
from diip_jax.prediction import Prediction
from diip_jax.schedule import Sampler, Schedule

Shapes = Mapping[str, tuple[int, ...]]
Targets = Callable[[str], list[Target]]


class ConfigError(ValueError):
    """A configuration that this package cannot reproduce; the message names the key and its value."""


@dataclass(frozen=True)
class Preset:
    """What has to be known of a state dict.

    Attributes:
        model: the network.
        schedule: its noise schedule.
        prediction: what its output is.
        new_attention_order: how the fused attention weights of an ADM file are laid out (guided-diffusion's flag
            `use_new_attention_order`); shapes do not tell.
        sampler: how it is sampled.
    """

    model: ModelConfig
    schedule: Schedule = Schedule()
    prediction: Prediction = "epsilon"
    new_attention_order: bool = False
    sampler: Sampler = Sampler()


@dataclass(frozen=True)
class Family:
    """Names, recognition and configuration of one family. A new one is a file like its neighbours and a line in
    `diip_jax.convert.families.FAMILIES`.

    Attributes:
        name: for messages.
        projects: whose files these are, for messages.
        signs: beginnings of names. A state dict is of the family if one of its names begins with the first; a part of a
            larger one is found by names with all of them.
        architecture: the configuration whose fields `layout` gives.
        layout: from torch's names and shapes, the fields of the configuration that show in them. May raise KeyError or
            IndexError for weights that are missing, and WeightError.
        targets: from the network and `Preset.new_attention_order`, a function of torch's name: our parameters, an empty
            list for a name that the network does not have; None for a network that no file of the family holds.
        preset_of: what a JSON object in the projects' own words says (`--config`). Raises ConfigError.
        in_diffusers: for `--verify`, from the weights, the preset and diffusers' network of it, diffusers' state dict.
            Written apart from `targets`, so that an error there shows. None: diffusers has no such network.
        torch_network: for `--verify` where it is not diffusers', from the weights and the preset: the projects' own
            network, a function of x `[B, C, H, W]` and t `[B]`.
        reference: the package that has the network of `--verify`, by the name that it is imported by.
        of_file: for files that say themselves what their network is: from torch's names and shapes, the tensors beside
            the network's weights, and the size of the images if it was given. Raises WeightError for what is missing.
            None: the presets are tried.
        presets: the published networks, by name.
        check: raises WeightError for names that are the family's, but of another kind of network.
    """

    name: str
    projects: str
    signs: tuple[str, ...]
    architecture: type[ModelConfig]
    layout: Callable[[Shapes], dict[str, Any]]
    targets: Callable[[ModelConfig, bool], Targets | None]
    preset_of: Callable[[Mapping[str, Any]], Preset]
    in_diffusers: Callable[[Mapping[str, Any], Preset, Any], dict[str, np.ndarray]] | None = None
    torch_network: Callable[[Mapping[str, Any], Preset], Any] | None = None
    reference: str = "diffusers"
    of_file: Callable[[Shapes, Mapping[str, Any], int | tuple[int, int] | None], Preset] | None = None
    presets: Mapping[str, Preset] = field(default_factory=dict)
    check: Callable[[Collection[str]], None] = lambda names: None
