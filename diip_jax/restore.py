"""The public call: `restore(problem, y, args, ...)` -> `Solution`."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diip_jax import distribute
from diip_jax.configuration import narrowed, usual_configuration
from diip_jax.containers import unpacked
from diip_jax.methods.method import Method, Sampler
from diip_jax.plugs.operators import Identity
from diip_jax.solution import Solution, as_given, joined, on_host, solution_of
from diip_jax.solve import batch, inputs, refill, slots
from diip_jax.solve.loop import Saved, State
from diip_jax.solve.problem import Problem, Result


class View:
    """Where a running `restore` is; what its callback gets.

    Attributes:
        jobs: total number of (image, sample) pairs; pair j is sample j % S of image j // S.
        running: indices of the pairs that are on a device now; one that has stopped is seen once more.
        iterations: `[len(running)]` iterates evaluated so far.
        evaluations: `[len(running)]` network evaluations so far.
        stopped: `[len(running)]` whether each has stopped.
    """

    def __init__(self, jobs: int, running: Sequence[int], state: State, slots: np.ndarray) -> None:
        self.jobs, self.running = jobs, running
        self._state, self._slots = state, slots
        self.iterations = np.asarray(state.k)[slots]
        self.evaluations = np.asarray(state.evaluations)[slots]
        self.stopped = np.asarray(state.result)[slots] != Result.RUNNING
        self._wanted = np.zeros(len(state.result), bool)

    def current(self) -> np.ndarray:
        """`[len(running), H, W, C]` float32 in [-1, 1]: what would be returned now. Only inside the callback."""
        return np.clip(np.asarray(self._state.chosen.image)[self._slots], -1, 1)

    def traces(self) -> dict[str, np.ndarray]:
        """What is saved so far, by name `[len(running), max_iterations, ...]`. Only inside the callback."""
        return {name: np.asarray(trace)[self._slots] for name, trace in self._state.traces.items()}

    def stop(self, which: Any = slice(None)) -> None:
        """Ends the run of some of the pairs (indices into `running`, or a mask), or of all.

        What is returned of each is what `current` shows.
        """
        self._wanted[self._slots[which]] = True

    def wanted(self) -> np.ndarray | None:
        """Which slots of the batch are to stop; None: none."""
        return self._wanted if self._wanted.any() else None


@dataclasses.dataclass(frozen=True)
class Every:
    """A callback and how many iterations lie between two calls of it; see `every`."""

    iterations: int
    function: Callable[[View], None]


def every(iterations: int, function: Callable[[View], None]) -> Every:
    """A callback of `restore` after every so many iterations of an image, and after its last.

    Raises:
        ValueError: iterations is no whole number of at least 1.
    """
    return Every(inputs.whole("iterations", iterations), function)


@usual_configuration()
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

    Images that fit into one batch are one XLA program from the first iteration to the last stop, split over the devices
    (with a callback, in pieces). Of more images each device has its share of a batch as slots: where one stops, the
    next takes its place, and nobody waits for the slowest. A second call with the same kinds of plugs, settings, shapes
    and devices compiles nothing, whatever arrays, rates, thresholds and budgets the plugs hold (where something is
    saved, the budget is the length of its arrays, and another one compiles). An image's result depends on its y, its
    args, the seed and the problem, neither on the other images of the call nor on slots and devices. The random
    numbers depend on the seed and the number of the sample, and are the same for every image. On a CPU this holds to
    the last bit, for pictures below a megapixel; for larger ones, and on an accelerator, to rounding, which a long
    optimisation can amplify, because convolutions round differently where a device has another number of images. A
    picture whose three channels are equal is restored grey, see `PictureOperator.in_colours_of`.

    Args:
        problem: a method such as `DIIP(prior)`, or a `Problem` of one's own plugs.
        y: the observations `[N, ...]`. Pictures `[N, h, w, C]` are uint8, or float in [-1, 1] (noise may exceed it a
            little); an operator of one's own may take any shape, float or complex. Also a torch tensor
            `[N, C, h, w]`, or Pillow's pictures, RGB or grey, one or a list of one size.
        args: what is known of each image beside y: a pytree of arrays with a leading axis N, mostly a dict, such as
            `{"mask": masks}`. Operators, losses and saved functions read it.
        seed: of the random numbers, 0 to 2**32 - 1.
        u0: where to begin: the `state` of an earlier solution of this problem and y, which goes on bit for bit as if
            it had not ended (images that a rule had stopped stay as they are); or first variables of the generator, a
            pytree whose leaves are `[N, ...]`, or `[N, S, ...]` such as a solution's `u`.
        samples: restorations per image from different random numbers; `.images` is their mean.
        batch_size: (image, sample) pairs restored at once; None for all. What the devices do not divide, or fewer
            pairs, is padded with pairs that count as stopped, so that it runs in the same program.
        devices: those that share a batch; None for all of this process. The arrays of the problem are copied to each,
            unless its prior is split over them (`Prior.sharded`), which then share every batch.
        save: what to trace of every iterate: "loss", "laplacian_variance", what the operator estimates ("kernel"), or
            functions (seen, args) -> array such as `diip_jax.psnr`, called by their names.
        callback: is called with a `View` between pieces of the run, see `every`; a plain function every 10 iterations.
            What it raises ends the call, and carries as `.solution` what was done of the images that were begun.

    Raises:
        ValueError: anything above that does not fit, in one line.

    Warns:
        UserWarning: float pictures without a value below 0 (they are expected in [-1, 1], not [0, 1]).
    """
    began = time.monotonic()
    _check_kind(problem)
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
    problem, args, u0 = narrowed((problem, args, u0))
    given_dtype = inputs.as_array("images", y).dtype
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

    layout, problem, rows = batch.layout_of(problem, image_shape, batch_size, devices, save)
    keys = inputs.image_keys(seen, seed, samples)

    def pairs(which: np.ndarray) -> Any:
        """(y, args, keys, u0) of some of the (image, sample) pairs."""
        given = jax.tree.map(lambda leaf: leaf[which // samples], (seen, args))
        return (*given, keys[which], jax.tree.map(lambda leaf: leaf[which], first))

    looker = None if look is None else _Looker(look, jobs)
    if jobs <= batch_size:
        done, learned = _together(layout, problem, rows, jobs, pairs, looker)
    else:
        kind = slots.of_layout(layout, batch_size, rows)
        done, learned = _by_turns(kind, problem, layout.places, jobs, pairs, looker)
    # Where the callback has raised, the last image that was begun may lack some samples: it is left out.
    count = len(done.k) // samples * samples
    done, learned = jax.tree.map(lambda leaf: leaf[:count], (done, learned))
    solution = solution_of(problem, done, learned, samples, given_dtype, time.monotonic() - began)
    if looker is not None and looker.raised is not None:
        raise _carrying(looker.raised, solution)
    return solution


class _Looker:
    """Calls a callback. Once that has raised, nothing further begins, and what runs is to stop where it is."""

    def __init__(self, look: Every, jobs: int) -> None:
        self.iterations, self._function, self._jobs = look.iterations, look.function, jobs
        self.raised: BaseException | None = None

    def __call__(self, state: State, where: np.ndarray, who: Sequence[int]) -> np.ndarray | None:
        """Which rows of a state are to stop; see `diip_jax.solve.refill.Look`."""
        if self.raised is None:
            view = View(self._jobs, who, state, where)
            try:
                self._function(view)
                return view.wanted()
            except BaseException as error:
                self.raised = error
        return np.ones(len(state.result), bool)


def _carrying(error: BaseException, solution: Solution) -> BaseException:
    """What a callback has raised, with the solution of the images that were begun, as far as they came."""
    error.solution = solution  # type: ignore[attr-defined]
    count = len(solution.images)
    error.add_note(f"in the callback of restore: .solution has what was done of the first {count} images")
    return error


def _together(
    layout: batch.Layout,
    problem: Problem,
    rows: int,
    jobs: int,
    pairs: Callable[[np.ndarray], Any],
    looker: _Looker | None,
) -> tuple[State, dict[str, np.ndarray]]:
    """All pairs as one batch; where they ended and what was learned of each."""
    problem = distribute.replicate(problem, layout.mesh)
    placed, stopped = batch.place(pairs(np.arange(jobs)), jobs, rows, layout.mesh)
    look = None if looker is None else partial(looker, where=np.arange(jobs), who=range(jobs))
    state = batch.run(layout, problem, placed, stopped, look, looker.iterations if looker else 10)
    return on_host((state, batch.estimates(layout, problem, state.chosen.eta)), jobs)


def _by_turns(
    kind: slots.Slots,
    problem: Problem,
    devices: Sequence[jax.Device | Mesh],
    jobs: int,
    pairs: Callable[[np.ndarray], Any],
    looker: _Looker | None,
) -> tuple[State, dict[str, np.ndarray]]:
    """All pairs in slots that are refilled; likewise, in their order, of those that were begun."""

    def items() -> Iterator[refill.Item]:
        for pair in range(jobs):
            if looker is not None and looker.raised is not None:
                return
            yield refill.Item(pair, pairs(np.array([pair])))

    ended = refill.refill(
        kind,
        problem,
        devices,
        items(),
        piece=lambda: looker.iterations if looker else int(problem.max_iterations),
        look=looker,
    )
    by_pair = sorted(ended, key=lambda one: one.who)
    return joined([one.state for one in by_pair]), joined([one.learned for one in by_pair])


def _sizes(count: int, samples: int, batch_size: int | None) -> tuple[int, int]:
    """(pairs of all images and samples, pairs of a batch)."""
    jobs = count * inputs.whole("samples", samples)
    return jobs, jobs if batch_size is None else inputs.whole("batch_size", batch_size)


def _check_kind(problem: Any) -> None:
    if isinstance(problem, type):
        name = problem.__name__
        raise ValueError(f"{name} is a class: expected an instance such as {name}(prior)")
    if not isinstance(problem, Problem | Sampler) and not callable(getattr(problem, "problem", None)):
        what = f"a {type(problem).__name__}"
        raise ValueError(f"the problem is {what}: expected a method such as DIIP(prior), or a Problem")
    inputs.refuse_tracers(problem)


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
    of_pairs = jnp.asarray(np.repeat(given, samples, axis=0))
    seen = jax.vmap(Identity().in_colours_of)(of_pairs, jnp.asarray(np.concatenate(made)))
    restored = np.clip(np.asarray(seen), -1, 1).reshape(len(given), samples, *given.shape[1:])
    each = np.ones((len(given), samples), np.int32)
    return Solution(
        images=as_given(restored.mean(axis=1), picture),
        samples=as_given(restored, picture) if samples > 1 else None,
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
