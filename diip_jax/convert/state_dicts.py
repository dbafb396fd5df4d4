"""Which of what a training script has saved is the network to sample with: the averaged weights where there are some.

Scripts put a state dict under a key, into a list, under a prefix of its names, or several of these; and beside the
weights that the optimiser moves, an average of them, which the papers sample with. Needs no torch.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Beginnings of names that a network has, all of them; one tuple for each family.
Signs = Sequence[tuple[str, ...]]

_AVERAGED = {"ema", "emas", "average", "averaged", "avg", "polyak", "shadow", "swa"}
# What stands beside an average, under a key that names the average.
_NOT_AVERAGED = {"collected", "online", "raw"}
# Deeper, there are the optimiser's tensors.
_DEPTH = 4


class StateDictError(ValueError):
    """There is no network, or more than one; the message is one line without the file's name."""


@dataclass(frozen=True)
class Choice:
    """A network's weights.

    Attributes:
        tensors: by torch's names, without prefixes.
        place: where they were, such as "ema/module"; "" if they are all there is.
        said: in words what was chosen and what was not; "" if there was no choice.
        beside: the tensors of the module that the network is a part of, such as the buffers of its diffusion.
    """

    tensors: Mapping[str, Any]
    place: str
    said: str
    beside: Mapping[str, Any]


def choose(content: Any, signs: Signs, is_tensor: Callable[[Any], bool], wanted: str | None = None) -> Choice:
    """The weights to convert, out of what a file holds.

    Args:
        content: mappings, lists and tensors, in each other.
        wanted: a place, or the beginning of one up to a "/" or ".". None: the averaged weights; without them the only
            network there is.

    Raises:
        StateDictError: no network, several, or none at the wanted place.
    """
    found = _networks(content, signs, is_tensor)
    if not found:
        whole = [(place, state) for place, state in _mappings(content) if state and all(map(is_tensor, state.values()))]
        if len(whole) != 1:
            raise StateDictError(f"holds {_described(content)}: expected a state dict")
        found = dict(whole)
    place = _place(found, wanted)
    others = [repr(other) for other in found if other != place]
    said = f"weights of {place!r}" if place else ""
    if others:
        other = next(iter(other for other in found if other != place))
        said = f"weights of {place!r} (not of {', '.join(others)}; --weights={other} takes those)"
    return Choice(found[place], place, said, _beside(content, signs, is_tensor, place))


def _place(found: Mapping[str, Any], wanted: str | None) -> str:
    listed = ", ".join(f"--weights={place}" for place in found)
    if wanted is not None:
        fitting = [place for place in found if re.match(re.escape(wanted) + r"($|[./])", place)]
        fitting = [place for place in fitting if place == wanted] or fitting
        if len(fitting) != 1:
            raise StateDictError(f"--weights={wanted}: expected one of {listed}")
        return fitting[0]
    averaged = [place for place in found if is_averaged(place)]
    if {*found} == {"entry 0", "entry 4"}:  # ermongroup/ddim: [model, optimizer, epoch, step, averaged model]
        averaged = ["entry 4"]
    candidates = averaged or [*found]
    if len(candidates) > 1:
        what = "several averages" if averaged else "several networks"
        raise StateDictError(f"holds the weights of {what}: add one of {listed}")
    return candidates[0]


def is_averaged(place: str) -> bool:
    """Whether a place's name says that its weights are averages; what is said last counts."""
    for part in reversed(re.split(r"[/.]", place)):
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", part)}
        if words & (_AVERAGED | _NOT_AVERAGED):
            return not words & _NOT_AVERAGED
    return False


def _networks(content: Any, signs: Signs, is_tensor: Callable[[Any], bool]) -> dict[str, Mapping[str, Any]]:
    """The weights of all networks there are, by their places."""
    found: dict[str, Mapping[str, Any]] = {}
    for place, tensors in _states(content, is_tensor):
        if any(name.startswith("first_stage_model.") for name in tensors):
            raise StateDictError(
                "weights of a latent diffusion model, whose network sees an autoencoder's codes: no prior of images"
            )
        for prefix in _prefixes(tensors, signs):
            where = _place_of(place, prefix)
            found[where] = _under(prefix, tensors)
            for key, average in _without_dots(tensors, prefix, found[where]).items():
                found["/".join(filter(None, (place, key)))] = average
    for place, values in _lists(content):
        if is_averaged(place) and values and all(map(is_tensor, values)):
            found[place] = _named(place, values, {name: state for name, state in found.items() if name != place})
    return found


def _beside(content: Any, signs: Signs, is_tensor: Callable[[Any], bool], where: str) -> dict[str, Any]:
    """What is next to the network at a place: under "ema_model." next to "ema_model.model."."""
    for place, tensors in _states(content, is_tensor):
        for prefix in _prefixes(tensors, signs):
            if prefix and _place_of(place, prefix) == where:
                outer = prefix.rstrip(".").rpartition(".")[0]
                inside = _under(f"{outer}." if outer else "", tensors)
                return {name: value for name, value in inside.items() if "." not in name}
    return {}


def _states(content: Any, is_tensor: Callable[[Any], bool]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tensors with names in each mapping, with its place."""
    for place, mapping in _mappings(content):
        yield place, {name: value for name, value in mapping.items() if isinstance(name, str) and is_tensor(value)}


def _place_of(place: str, prefix: str) -> str:
    return "/".join(filter(None, (place, prefix.rstrip("."))))


def _under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _prefixes(tensors: Mapping[str, Any], signs: Signs) -> list[str]:
    """What stands before the names of networks, in the order of the names."""
    prefixes: dict[str, None] = {}
    for of_family in signs:
        first, *more = of_family
        for name in tensors:
            starts = [match.start() for match in re.finditer(rf"(?:^|(?<=\.)){re.escape(first)}", name)]
            for prefix in (name[:start] for start in starts):
                if prefix not in prefixes and all(any(n.startswith(prefix + sign) for n in tensors) for sign in more):
                    prefixes[prefix] = None
    return [*prefixes]


def _without_dots(tensors: Mapping[str, Any], prefix: str, state: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Averages under names without dots, as latent-diffusion's LitEma keeps them of the weights under a prefix."""
    averages: dict[str, Mapping[str, Any]] = {}
    for key in {name.partition(".")[0] for name in tensors}:
        if not is_averaged(key):
            continue
        parts = prefix.rstrip(".").split(".") if prefix else []
        for n in range(len(parts) + 1):
            names = {name: f"{key}.{''.join(parts[n:])}{name.replace('.', '')}" for name in state}
            if all(name in tensors for name in names.values()):
                averages[key] = {name: tensors[flat] for name, flat in names.items()}
                break
    return averages


def _named(place: str, values: Sequence[Any], networks: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """A list of averages (torch_ema, score_sde, diffusers' EMAModel) with the names of the network they are of.

    Such a list has the parameters in the network's order, without its buffers.
    """
    for state in networks.values():
        names = [name for name in state if name.endswith((".weight", ".bias"))]
        if [tuple(state[name].shape) for name in names] == [tuple(value.shape) for value in values]:
            return dict(zip(names, values, strict=True))
    raise StateDictError(
        f"holds a list of {len(values)} averaged weights in {place!r}, without names, and no network that they fit; "
        + ("" if not networks else f"--weights={next(iter(networks))} takes the weights that are not averaged")
    )


def _mappings(content: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The mappings in a content, with their places."""
    return ((place, value) for place, value in _nodes(content) if isinstance(value, Mapping))


def _lists(content: Any) -> Iterator[tuple[str, Sequence[Any]]]:
    return ((place, value) for place, value in _nodes(content) if isinstance(value, list | tuple))


def _nodes(value: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping | list | tuple) or depth > _DEPTH:
        return
    yield place, value
    inner = value.items() if isinstance(value, Mapping) else ((f"entry {n}", inside) for n, inside in enumerate(value))
    for key, inside in inner:
        yield from _nodes(inside, f"{place}/{key}" if place else str(key), depth + 1)


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        return "a dict of " + ", ".join(f"{key!r} ({type(v).__name__})" for key, v in list(content.items())[:6])
    if isinstance(content, list | tuple):
        return f"a list of {len(content)}: " + ", ".join(type(value).__name__ for value in content[:6])
    return type(content).__name__
