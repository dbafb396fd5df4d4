"""Which published network a state dict may belong to, from its names and shapes alone. Needs no torch."""

from typing import Any

from diip_jax import models
from diip_jax.convert.families import PRESETS, Preset, WeightError, family_of
from diip_jax.convert.families.family import Shapes


def recognise(shapes: Shapes) -> tuple[list[str], Preset]:
    """The presets whose network has these weights, all of one network, and what they say of it.

    Args:
        shapes: torch name to shape.

    Raises:
        WeightError: the weights are of no known network, or shapes do not tell between several.
    """
    architecture, layout = _layout(shapes)
    fitting = [
        name
        for name, preset in PRESETS.items()
        if models.architecture(preset.model) == architecture
        and all(getattr(preset.model, field) == value for field, value in layout.items())
    ]
    if not fitting:
        found = ", ".join(f"{field}={value}" for field, value in layout.items())
        raise WeightError(
            f"no preset has this network: {architecture} with {found}; describe it with --config=FILE.json, see --help"
        )
    if len({PRESETS[name] for name in fitting}) > 1:
        raise WeightError(f"shapes do not tell which preset it is: add --preset, one of {', '.join(fitting)}")
    return fitting, PRESETS[fitting[0]]


def _layout(shapes: Shapes) -> tuple[str, dict[str, Any]]:
    """The architecture and those fields of its configuration that show in the weights."""
    family = family_of(shapes.keys())
    try:
        return next(name for name, cls in models.CONFIGS.items() if cls is family.architecture), family.layout(shapes)
    except (KeyError, IndexError) as error:
        raise WeightError(
            f"{family.name} names, but a weight is missing or has too few dimensions ({error})"
        ) from error
