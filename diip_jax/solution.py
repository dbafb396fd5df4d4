"""What `restore` returns, and how it is put together from the states in which the runs ended."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.pixels import to_uint8
from diip_jax.plugs.operators import PictureOperator
from diip_jax.solve.loop import State, is_key
from diip_jax.solve.problem import Problem, Result


@dataclasses.dataclass(frozen=True)
class Solution:
    """What `restore` returns, on the host. N images of S samples each.

    Attributes:
        images: `[N, H, W, C]`, the mean of the samples; of y's dtype and range where y is a picture, else float32 in
            [-1, 1]. H and W are what `operator.image_shape` makes of y's. torch tensors and Pillow's pictures come back
            as they came.
        samples: `[N, S, H, W, C]` likewise, where more than one was asked for; else None.
        selected: `[N, S]` index k of the iterate that is returned, counted from 0; -1 where none was finite.
        result: `[N, S]` int32, how each ended: a `Result`, whose `advice` says in words what it means.
        reasons: N lists of S names: of the rule that fired, or "budget", "diverged", "stopped", "settled".
        u: the generator's variable where each run ended (one step after the last iterate); leaves `[N, S, ...]`.
        eta: the operator's parameters of the returned iterate; leaves `[N, S, ...]`.
        operator: by name `[N, S, ...]`: what eta stands for, such as "kernel".
        state: everything that it takes to go on: `restore(problem, y, args, u0=solution.state)`.
        stats: "iterations" `[N, S]`, iterates evaluated; "evaluations" `[N, S]`, of networks, forwards, in them;
            "seconds", wall time of the call.
        traces: by name `[N, S, max_iterations, ...]` float32, NaN where there was no iterate: what `save` asked for.
    """

    images: Any
    samples: Any
    selected: np.ndarray
    result: np.ndarray
    reasons: list[list[str]]
    u: Any
    eta: Any
    operator: dict[str, np.ndarray]
    state: Any
    stats: dict[str, Any]
    traces: dict[str, np.ndarray]


def on_host(tree: Any, count: int) -> Any:
    """The first elements, as NumPy arrays; what is behind them is padding."""
    return jax.tree.map(lambda leaf: leaf[:count] if is_key(leaf) else np.asarray(leaf)[:count], tree)


def joined(parts: Sequence[Any]) -> Any:
    """Pytrees of several images on the host, one behind the other along the first axis; of one, that itself."""
    if len(parts) == 1:
        return parts[0]

    def one_behind_the_other(*leaves: Any) -> Any:
        if not is_key(leaves[0]):
            return np.concatenate(leaves)
        # On the host as well: JAX would compile a program for each number of them.
        data = np.concatenate([np.asarray(jax.random.key_data(leaf)) for leaf in leaves])
        return jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(leaves[0]))

    return jax.tree.map(one_behind_the_other, *parts)


def solution_of(
    problem: Problem, done: State, learned: dict[str, np.ndarray], samples: int, given: np.dtype, seconds: float
) -> Solution:
    """The solution of images whose samples' states follow one another, `[N * S, ...]`.

    Args:
        learned: what their operator's parameters stand for.
        given: dtype of the observations.
    """

    def by_image(leaf: Any) -> Any:
        return leaf.reshape(-1, samples, *leaf.shape[1:])

    restored = by_image(np.clip(done.chosen.image, -1, 1))
    picture = given if isinstance(problem.operator, PictureOperator) else np.dtype(np.float32)
    names, result = problem.rule.names, by_image(done.result)
    reasons = [
        [names[reason] if code == Result.RULE else Result(code).name.lower() for code, reason in zip(*row, strict=True)]
        for row in zip(result, by_image(done.reason), strict=True)
    ]
    return Solution(
        images=as_given(restored.mean(axis=1), picture),
        samples=as_given(restored, picture) if samples > 1 else None,
        selected=by_image(done.chosen.k),
        result=result,
        reasons=reasons,
        u=jax.tree.map(by_image, done.u),
        eta=jax.tree.map(by_image, done.chosen.eta),
        operator={name: by_image(values) for name, values in learned.items()},
        state=done._replace(traces={}),
        stats={"iterations": by_image(done.k), "evaluations": by_image(done.evaluations), "seconds": seconds},
        traces={name: by_image(trace) for name, trace in done.traces.items()},
    )


def as_given(images: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Images in [-1, 1] in the range that goes with the dtype."""
    return to_uint8(images) if dtype == np.uint8 else images.astype(dtype)
