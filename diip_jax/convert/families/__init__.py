"""The families of files that can be converted: a new one is a file beside these and a line in `FAMILIES`."""

from collections.abc import Collection

from diip_jax.convert.families.adm import ADM
from diip_jax.convert.families.ddpm import DDPM
from diip_jax.convert.families.diffusers import DIFFUSERS
from diip_jax.convert.families.family import ConfigError, Family, Preset
from diip_jax.convert.families.layouts import WeightError
from diip_jax.convert.families.lucidrains import LUCIDRAINS

FAMILIES: tuple[Family, ...] = (
    DIFFUSERS,
    DDPM,
    ADM,
    LUCIDRAINS,
)
# The published networks. Several names for one, so that everybody finds the name of his file; checkpoints/README.md
# says where each is published.
PRESETS: dict[str, Preset] = {name: preset for family in FAMILIES for name, preset in family.presets.items()}

__all__ = ["FAMILIES", "OTHERS", "PRESETS", "ConfigError", "Family", "Preset", "WeightError", "family_of"]


# Networks of other projects, by beginnings of names as in `Family.signs`: found in a file to say what it is.
OTHERS: dict[tuple[str, ...], str] = {
    ("all_modules.",): "a network of score_sde",
    ("model.enc.", "model.dec.", "model.map_noise."): "a network of EDM, with its preconditioning",
}


def family_of(names: Collection[str]) -> Family:
    """The family that names its weights so.

    Raises:
        WeightError: none does, or it is no noise predictor's.
    """
    for family in FAMILIES:
        if any(name.startswith(family.signs[0]) for name in names):
            family.check(names)
            return family
    few = ", ".join(sorted(names)[:3])
    for signs, what in OTHERS.items():
        if all(any(name.startswith(sign) for name in names) for sign in signs):
            raise WeightError(f"weights of {what} ({few}, ...), which this version does not have: expected {_listed()}")
    raise WeightError(f"unknown weights ({few}, ...): expected the names of {_listed()}")


def _listed() -> str:
    *most, last = (family.projects for family in FAMILIES)
    return f"{', '.join(most)} or {last}"
