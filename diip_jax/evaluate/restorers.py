"""Restorers: methods of the loop, whose every iterate is kept, and what they are compared with."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from diip_jax.commands.settings import Settings
from diip_jax.evaluate.run import Restorer, Run
from diip_jax.evaluate.task import Task
from diip_jax.methods import DreamClean
from diip_jax.pixels import from_uint8, to_uint8
from diip_jax.plugs.rules import Never, Rule
from diip_jax.prior import Prior, identity_of
from diip_jax.restore import View, every, restore
from diip_jax.solve.cost import compile_loop, sampler_memory
from diip_jax.solve.inputs import estimated
from diip_jax.solve.problem import Problem, Result

# Settings that change no iterate: of stopping rules, and of memory.
_OF_RULES = (
    "stopping k_min eps robust_eps smoothing patience window explained sharpness_ratio fully_explained tau "
    "loss_threshold remat"
).split()


@dataclasses.dataclass(frozen=True)
class Loop(Restorer):
    """Every iterate of a method of the loop, `max_iterations` of them: any stopping rule can be judged on them.

    A method whose operator down-samples is given the observations at their own size; one that needs a mask or a kernel,
    the true one, and without one its run raises a ValueError.
    """

    prior: Prior
    settings: Settings

    def __call__(self, task: Task, seed: int) -> Run:
        problem, (y, known) = self._problem, self._given(task)
        kernel = [name for name in estimated(problem.operator, self.prior.image_shape) if name == "kernel"]
        save = ("loss", "laplacian_variance", *kernel)
        kept: list[tuple[float, np.ndarray, np.ndarray]] = []  # seconds, iterates, evaluations
        looked = [time.monotonic()]

        def keep(seen: View) -> None:
            seconds = time.monotonic() - looked[-1]
            kept.append((seconds, to_uint8(seen.current()), seen.evaluations))
            looked.append(time.monotonic())

        run = functools.partial(restore, problem, y, known, seed=seed, save=save, callback=every(1, keep))
        solution = run()
        program = compile_loop(problem, from_uint8(y), known, save)
        if not kept:  # all were settled before the first; again, for the time without compiling
            kept = [(run().stats["seconds"], to_uint8(solution.images), solution.stats["evaluations"][:, 0])]
        # The first iteration waits for the compiler. Where all images have diverged there are no more.
        usual = np.median([seconds for seconds, *_ in kept[1:] or kept]) / len(task)
        length = problem.max_iterations
        kept += (length - len(kept)) * kept[-1:]
        # What is settled has no iterates: it is the same at all of them, with nothing left to fit.
        settled = solution.result[:, 0] == Result.SETTLED
        traces = {name: trace[:, 0].copy() for name, trace in solution.traces.items()}
        for name, trace in traces.items():
            trace[settled] = solution.operator[name][settled] if name in kernel else 0
            for n in np.flatnonzero(solution.result[:, 0] == Result.RULE):  # the last one stays
                trace[n] = trace[n, np.minimum(np.arange(length), solution.stats["iterations"][n, 0] - 1)]
        return Run(
            images=np.stack([iterates for _, iterates, _ in kept], axis=1),
            evaluations=np.stack([evaluations for *_, evaluations in kept], axis=1),
            seconds=usual * np.where(settled[:, None], 1, 1 + np.arange(length)),
            memory_bytes=np.full(len(task), program.devices * program.memory_bytes),
            kernels=traces.pop("kernel", None),
            **traces,
        )

    @property
    def decides(self) -> Mapping[str, Any]:
        settings = {name: value for name, value in dataclasses.asdict(self.settings).items() if name not in _OF_RULES}
        name = type(self.settings).__name__.removesuffix("Settings")
        return {"method": name, "settings": settings, **_told(self.prior)}

    @property
    def evaluations(self) -> int:
        generator, operator = self._problem.generator, self._problem.operator
        first = operator.first_evaluations(operator.init(jax.random.key(0), self.prior.image_shape))
        return int(first) + generator.first_evaluations + self._problem.max_iterations * generator.evaluations

    def rules(self, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Rule]:
        return {name: _rule(dataclasses.replace(self.settings, **change)) for name, change in changes.items()}

    def seen(self, task: Task) -> np.ndarray:
        y, known = self._given(task)
        return np.asarray(jax.vmap(self._problem.operator.visible)(from_uint8(y), known))

    @property
    def _problem(self) -> Problem:
        # Rules of the settings are judged on the iterates; one that is the method's own ends them.
        method: Any = self.settings.method(self.prior)
        return dataclasses.replace(method, rule=Never()).problem()

    def _given(self, task: Task) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(y, args) of the method."""
        for name in self.settings.needs:
            if name not in task.known:
                raise ValueError(f"task {task.name!r} has no {name}, which the method needs to know")
        y = task.observed if self.settings.operator().scale > 1 else task.y
        return y, {name: task.known[name] for name in self.settings.needs}


# The same object every time: what is compiled for a rule is compiled once.
_rule = functools.lru_cache(lambda settings: settings.rule())


@dataclasses.dataclass(frozen=True)
class Samples(Loop):
    """Several restorations of each image, from different random numbers, each stopped by the method's own rule."""

    count: int

    def __call__(self, task: Task, seed: int) -> Run:
        y, known = self._given(task)
        return Run.of(restore(self.settings.method(self.prior), y, known, seed=seed, samples=self.count))

    @property
    def decides(self) -> Mapping[str, Any]:
        return {**super().decides, "settings": dataclasses.asdict(self.settings), "samples": self.count}


@dataclasses.dataclass(frozen=True)
class Sampled(Restorer):
    """A method without iterates."""

    method: DreamClean

    def __call__(self, task: Task, seed: int) -> Run:
        restore(self.method, task.y, seed=seed)  # to compile it
        run = Run.of(restore(self.method, task.y, seed=seed))
        memory = sampler_memory(self.method, from_uint8(task.y))
        return dataclasses.replace(run, memory_bytes=np.full(len(task), memory))

    @property
    def decides(self) -> Mapping[str, Any]:
        settings = {**vars(self.method)}
        return {"method": type(self.method).__name__, "settings": settings, **_told(settings.pop("prior"))}

    @property
    def evaluations(self) -> int:
        return self.method.evaluations


@dataclasses.dataclass(frozen=True)
class Classical(Restorer):
    """A function of degraded images `[n, H, W, C]` uint8 alone, as in `diip_jax.evaluate.baselines`; no network."""

    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, task: Task, seed: int) -> Run:
        began = time.monotonic()
        restored = self.function(task.y)
        return Run.of(restored, time.monotonic() - began)

    @property
    def decides(self) -> Mapping[str, Any]:
        return {"method": self.function.__name__}


def _told(prior: Prior) -> dict[str, Any]:
    """What tells a prior from others."""
    return {"prior": identity_of(prior), "class": prior.class_label, "dtype": prior.dtype}
