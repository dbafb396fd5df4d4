"""The public call: `restore(problem, y, args, ...)` -> `Solution`."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.containers import unpacked
from diip_jax.methods.method import Method, Sampler
from diip_jax.plugs.operators import Identity, PictureOperator
from diip_jax.solve import batch, inputs
from diip_jax.solve.loop import Saved, State
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
        reasons: N lists of S names: of the rule that fired, or "budget", "diverged", "stopped".
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


class View:
    """Where a running `restore` is; what its callback gets.

    Attributes:
        jobs: total number of (image, sample) pairs; pair j is sample j % S of image j // S.
        running: indices of the pairs in the current batch.
        iterations: `[len(running)]` iterates evaluated so far.
        stopped: `[len(running)]` whether each has stopped.
    """

    def __init__(self, jobs: int, running: range, state: State) -> None:
        self.jobs, self.running = jobs, running
        self._state, self._count = state, len(running)
        self.iterations = np.asarray(state.k)[: self._count]
        self.stopped = np.asarray(state.result)[: self._count] != Result.RUNNING
        self._wanted = np.zeros(len(state.result), bool)

    def current(self) -> np.ndarray:
        """`[len(running), H, W, C]` float32 in [-1, 1]: what would be returned now. Only inside the callback."""
        return np.clip(np.asarray(self._state.chosen.image)[: self._count], -1, 1)

    def traces(self) -> dict[str, np.ndarray]:
        """What is saved so far, by name `[len(running), max_iterations, ...]`. Only inside the callback."""
        return {name: np.asarray(trace)[: self._count] for name, trace in self._state.traces.items()}

    def stop(self, which: Any = slice(None)) -> None:
        """Ends the run of some of the pairs (indices into `running`, or a mask), or of all.

        What is returned of each is what `current` shows.
        """
        self._wanted[: self._count][which] = True

    def wanted(self) -> np.ndarray | None:
        """Which slots of the batch are to stop; None: none."""
        return self._wanted if self._wanted.any() else None


@dataclasses.dataclass(frozen=True)
class Every:
    """A callback and how many iterations lie between two calls of it; see `every`."""

    iterations: int
    function: Callable[[View], None]


def every(iterations: int, function: Callable[[View], None]) -> Every:
    """A callback of `restore` after every so many iterations, and after the last of a batch.

    Raises:
        ValueError: iterations below 1.
    """
    if iterations < 1:
        raise ValueError(f"every({iterations}, ...): expected at least 1 iteration")
    return Every(iterations, function)


def restore(
    problem: Problem | Method | Sampler,
    y: Any,
    args: Any = None,
    *,
    seed: int = 0,
    u0: Any = None,
    samples: int = 1,
    batch_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    save: Saved = (),
    callback: Every | Callable[[View], None] | None = None,
) -> Solution:
    """Restores degraded observations: `restore(DIIP(load_prior()), photos).images`.

    Every batch is one XLA program, split over the devices; a second call with the same kinds of plugs, settings, shapes
    and devices compiles nothing, whatever arrays, rates, thresholds and budgets the plugs hold (where something is
    saved, the budget is the length of its arrays, and another one compiles). An image's result depends on its y, its
    args, the seed and the problem, neither on the other images of the call nor on the number of devices: its random key
    is derived from the seed and its own y. On a CPU this holds to the last bit; on an accelerator to rounding, which a
    long optimisation can amplify, because convolutions round differently where a device has another number of images.

    Args:
        problem: a method such as `DIIP(prior)`, or a `Problem` of one's own plugs.
        y: the observations `[N, ...]`. Pictures `[N, h, w, C]` are uint8, or float in [-1, 1] (noise may exceed it a
            little); an operator of one's own may take any shape, float or complex. Also a torch tensor
            `[N, C, h, w]`, or Pillow's pictures, RGB or grey, one or a list of one size.
        args: what is known of each image beside y: a pytree of arrays with a leading axis N, mostly a dict, such as
            `{"mask": masks}`. Operators, losses and saved functions read it.
        seed: of the random numbers.
        u0: where to begin: the `state` of an earlier solution of this problem and y, which goes on bit for bit as if
            it had not ended (images that a rule had stopped stay as they are); or first variables of the generator, a
            pytree whose leaves are `[N, ...]`, or `[N, S, ...]` such as a solution's `u`.
        samples: restorations per image from different random numbers; `.images` is their mean.
        batch_size: (image, sample) pairs restored at once; None for all. A smaller last batch is padded with pairs that
            count as stopped, so that it runs in the same program; so is one that the devices do not divide.
        devices: those that share a batch; None for all of this process. The arrays of the problem are copied to each.
        save: what to trace of every iterate: "loss", "laplacian_variance", what the operator estimates ("kernel"), or
            functions (seen, args) -> array such as `diip_jax.psnr`, called by their names.
        callback: is called with a `View` between pieces of the run, see `every`; a plain function every 10 iterations.

    Raises:
        ValueError: anything above that does not fit, in one line.

    Warns:
        UserWarning: float pictures without a value below 0 (they are expected in [-1, 1], not [0, 1]).
    """
    began = time.monotonic()
    y, packed = unpacked(y)
    solution = _restored(problem, y, args, seed, u0, samples, batch_size, devices, save, callback, began)
    several = None if solution.samples is None else packed(solution.samples)
    return dataclasses.replace(solution, images=packed(solution.images), samples=several)


def _restored(
    problem: Problem | Method | Sampler,
    y: Any,
    args: Any,
    seed: int,
    u0: Any,
    samples: int,
    batch_size: int | None,
    devices: Sequence[jax.Device] | None,
    save: Saved,
    callback: Every | Callable[[View], None] | None,
    began: float,
) -> Solution:
    """`restore` of an array."""
    given_dtype = np.asarray(y).dtype
    if isinstance(problem, Sampler):
        if args is not None or u0 is not None or save or callback is not None:
            raise ValueError(f"{type(problem).__name__} has no iterates: it takes neither args nor u0, save, callback")
        return _sampled(problem, y, seed, samples, batch_size, devices, began)
    problem = problem if isinstance(problem, Problem) else problem.problem()
    y, args = inputs.observed(problem.operator, y, args)
    image_shape = problem.operator.image_shape(y.shape[1:])
    inputs.try_out(problem, image_shape, y, args, save)
    jobs, batch_size = _sizes(len(y), samples, batch_size)
    look = callback if isinstance(callback, Every) or callback is None else every(10, callback)
    seen = inputs.visible(problem, y, args)
    first = inputs.first_variables(problem, image_shape, u0, (seen, args), samples)

    layout, problem, slots = batch.layout_of(problem, image_shape, batch_size, devices, save)
    keys = inputs.image_keys(seen, seed, samples)
    ended = []
    for begin in range(0, jobs, batch_size):
        running = range(begin, min(begin + batch_size, jobs))
        of_pairs = np.arange(running.start, running.stop)
        given = jax.tree.map(lambda leaf, who=of_pairs // samples: leaf[who], (seen, args))
        begun = jax.tree.map(lambda leaf, who=of_pairs: leaf[who], first)
        placed, stopped = batch.place((*given, keys[of_pairs], begun), len(running), slots, layout.mesh)
        looker = None if look is None else _looker(look.function, jobs, running)
        state = batch.run(layout, problem, placed, stopped, looker, look.iterations if look else 10)
        learned = batch.estimates(layout, problem, state.chosen.eta)
        ended.append(_on_host((state, learned), len(running)))
    done, learned = jax.tree.map(lambda *parts: _joined(parts), *ended)
    return _solution(problem, done, learned, samples, given_dtype, time.monotonic() - began)


def _sizes(count: int, samples: int, batch_size: int | None) -> tuple[int, int]:
    """(pairs of all images and samples, pairs of a batch)."""
    if samples < 1:
        raise ValueError(f"samples={samples}: expected at least 1")
    jobs = count * samples
    batch_size = jobs if batch_size is None else batch_size
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: expected at least 1")
    return jobs, batch_size


def _sampled(
    sampler: Sampler,
    y: Any,
    seed: int,
    samples: int,
    batch_size: int | None,
    devices: Sequence[jax.Device] | None,
    began: float,
) -> Solution:
    """The solution of a method without iterates."""
    given, picture = inputs.observed(Identity(), y, None)[0], np.asarray(y).dtype
    jobs, batch_size = _sizes(len(given), samples, batch_size)
    keys, made = inputs.image_keys(given, seed, samples), []
    for begin in range(0, jobs, batch_size):
        pairs = np.arange(begin, min(begin + batch_size, jobs))
        made.append(batch.sampled(sampler, given[pairs // samples], keys[pairs], batch_size, devices))
    restored = np.clip(np.concatenate(made), -1, 1).reshape(len(given), samples, *given.shape[1:])
    each = np.ones((len(given), samples), np.int32)
    return Solution(
        images=_as_given(restored.mean(axis=1), picture),
        samples=_as_given(restored, picture) if samples > 1 else None,
        selected=0 * each,
        result=each * int(Result.RULE),
        reasons=[["sampled"] * samples for _ in given],
        u=None,
        eta=(),
        operator={},
        state=None,
        stats={"iterations": each, "evaluations": each * sampler.evaluations, "seconds": time.monotonic() - began},
        traces={},
    )


def _looker(function: Callable[[View], None], jobs: int, running: range) -> Callable[[State], np.ndarray | None]:
    def look(state: State) -> np.ndarray | None:
        view = View(jobs, running, state)
        function(view)
        return view.wanted()

    return look


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _on_host(tree: Any, count: int) -> Any:
    """The first elements, as NumPy arrays; what is behind them is padding."""
    return jax.tree.map(lambda leaf: leaf[:count] if _is_key(leaf) else np.asarray(leaf)[:count], tree)


def _joined(parts: Sequence[Any]) -> Any:
    return jnp.concatenate(parts) if _is_key(parts[0]) else np.concatenate(parts)


def _solution(
    problem: Problem, done: State, learned: dict[str, np.ndarray], samples: int, given: np.dtype, seconds: float
) -> Solution:
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
        images=_as_given(restored.mean(axis=1), picture),
        samples=_as_given(restored, picture) if samples > 1 else None,
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


def _as_given(images: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint((images + 1) * 127.5).astype(np.uint8) if dtype == np.uint8 else images.astype(dtype)
