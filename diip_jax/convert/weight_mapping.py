"""Turns a torch state dict into our parameter tree, every weight mapped exactly once. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diip_jax import models
from diip_jax.checkpoint_files import named_leaves, nested
from diip_jax.convert.families import WeightError, family_of
from diip_jax.convert.families.layouts import Target, to_ours, torch_shapes
from diip_jax.prior import param_shapes


@dataclass(frozen=True)
class MappedWeight:
    """One of our parameters; `np.asarray` makes it of its torch weight, as float32.

    Attributes:
        shape: of our parameter.
        sources: torch's name, weight and layout; more than one where a file holds it under several names.
    """

    shape: tuple[int, ...]
    sources: tuple[tuple[str, Any, Target], ...]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        name, weight, target = self.sources[0]
        array = to_ours(np.asarray(weight, np.float32), target)
        if not np.isfinite(array).all():
            raise WeightError(f"weight {name} (our {target.name}) holds values that are not finite")
        for other, other_weight, other_target in self.sources[1:]:
            if not np.array_equal(array, to_ours(np.asarray(other_weight, np.float32), other_target)):
                raise WeightError(f"weights {name} and {other} differ, but both are our {target.name}")
        return np.asarray(array, dtype)


def map_weights(
    weights: Mapping[str, Any], model: models.ModelConfig, *, new_attention_order: bool = False
) -> dict[str, Any]:
    """Our parameter tree, whose leaves are made of the torch weights when NumPy asks for them.

    Args:
        weights: torch name to array, or to something with a `shape` that NumPy can make one of.
        model: the network they are for.
        new_attention_order: the layout of the fused attention weights of guided-diffusion's names.

    Returns:
        A tree of `MappedWeight`; every weight is used and every parameter filled exactly once. (Two torch names of one
        parameter are accepted if their values are equal.)

    Raises:
        WeightError: a weight is missing, surplus or misshapen. A leaf raises it where it is asked for if its weight is
            not finite, or is given twice with different values.
    """
    family = family_of(weights.keys())
    find = family.targets(model, new_attention_order)
    if find is None:
        raise WeightError(
            f"the names are those of {family.name}, the configuration is one of {models.architecture(model)}: "
            "the weights do not belong to this configuration"
        )
    expected = {name: tuple(leaf.shape) for name, leaf in named_leaves(param_shapes(model)).items()}
    filled: dict[str, MappedWeight] = {}
    for name, weight in weights.items():
        targets = find(name)
        if not targets or any(target.name not in expected for target in targets):
            raise WeightError(f"surplus weight {name} {list(weight.shape)}: this network has no such parameter")
        for target in targets:
            shape = expected[target.name]
            allowed = torch_shapes(target, shape)
            if tuple(weight.shape) not in allowed:
                raise WeightError(
                    f"weight {name} has shape {list(weight.shape)}, expected {list(allowed[0])} "
                    f"(our {target.name} {list(shape)}): the weights do not belong to this configuration"
                )
            others = filled[target.name].sources if target.name in filled else ()
            filled[target.name] = MappedWeight(shape, (*others, (name, weight, target)))
    missing = [name for name in expected if name not in filled]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WeightError(f"missing weight for our {missing[0]} {list(expected[missing[0]])}{more}")
    return nested(filled)
