"""The public call: `restore(prior, images, method="diip", ...)`."""

import dataclasses
import warnings
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diip_jax import distribute, loop
from diip_jax.array_types import Array, Image, Scalar
from diip_jax.compiled_loop import fit_to_devices
from diip_jax.methods import METHODS, Method, method_named
from diip_jax.operators import check_known
from diip_jax.prior import Prior, check_image_shape


@dataclasses.dataclass(frozen=True)
class Restored:
    """What `restore` returns, on the host.

    Attributes:
        images: `[N, H, W, C]`, dtype and range of the input; with several samples their mean. H and W are the input's,
            or larger where the operator takes something off (BIRD: "downsample", boundary "valid").
        iterations: `[N, S]` iterates evaluated until the stop, S the number of samples.
        stop_reasons: N lists of S names of the rule that fired: "laplacian_variance", "loss_slope", "loss_threshold",
            "budget", or "diverged" where the loss was no longer finite (the image is then the last finite iterate;
            grey, and `selected` -1, where there was none).
        selected: `[N, S]` index k of the iterate that was returned, counted from 0.
        traces: by name `[N, S, max_iterations]` float32, NaN after the stop: "loss" (of the [-1, 1] range),
            "laplacian_variance", and "psnr" in dB where references were given.
        samples: `[N, S, H, W, C]` like images, where more than one sample was asked for; else None.
        operator_traces: by name `[N, S, max_iterations, ...]` float32: what was learned of the degradation at every
            iterate, NaN after the stop. BIRD: "kernel" of sum 1 where one is estimated (`[K, K]`, or a grid of them),
            "gain" and "offset" where there are some. Empty where nothing is unknown.
    """

    images: np.ndarray
    iterations: np.ndarray
    stop_reasons: list[list[str]]
    selected: np.ndarray
    traces: dict[str, np.ndarray]
    samples: np.ndarray | None = None
    operator_traces: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def operator(self) -> dict[str, np.ndarray]:
        """By name `[N, S, ...]`: what was learned of the degradation, at the iterate that was returned."""
        at = np.maximum(self.selected, 0)
        n, sample = np.indices(at.shape)
        return {name: trace[n, sample, at] for name, trace in self.operator_traces.items()}


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a running `restore` is; what its `progress` callback gets.

    Attributes:
        jobs: total number of (image, sample) pairs; pair j is sample j % S of image j // S.
        running: indices of the pairs in the current batch.
        iterations: `[len(running)]` iterates evaluated so far.
        stopped: `[len(running)]` whether each has stopped.
        current: call it for `[len(running), H, W, C]` float32 in [-1, 1]: what would be returned now. Only inside the
            callback: afterwards the loop takes the buffers back.
    """

    jobs: int
    running: range
    iterations: np.ndarray
    stopped: np.ndarray
    current: Callable[[], np.ndarray]


def restore(
    prior: Prior,
    images: np.ndarray | Array,
    method: str | Method = "diip",
    *,
    seed: int = 0,
    samples: int = 1,
    batch_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    references: np.ndarray | Array | None = None,
    masks: np.ndarray | Array | None = None,
    kernels: np.ndarray | Array | None = None,
    progress: Callable[[Progress], None] | None = None,
    report_every: int = 10,
    **settings: Any,
) -> Restored:
    """Restores degraded images with a frozen diffusion prior.

    Every batch is one XLA program, split over the devices; a second call with the same method, settings, batch shape
    and devices compiles nothing. An image's result depends on the image, the seed and the settings, neither on the
    other images of the call nor on the number of devices: its random key is derived from the seed and its own pixels.
    On a CPU this holds to the last bit; on an accelerator to rounding, which a long optimisation can amplify, because
    convolutions round differently where a device has another number of images.

    Args:
        prior: from `load_prior`. DIP does without: of it only the sizes and channels that it takes count.
        images: `[N, h, w, C]`, uint8, or float in [-1, 1] (noise may exceed it a little). Height and width of what
            they are restored to, mostly their own, are multiples of the prior's `model.size_multiple`.
        method: a name from `diip_jax.METHODS`, or an instance of your own `Method`.
        seed: of the initial noise.
        samples: restorations per image from different initial noise; `.images` is their mean.
        batch_size: (image, sample) pairs restored at once; None for all. A smaller last batch is padded with pairs that
            count as stopped, so that it runs in the same program; so is one that the devices do not divide.
        devices: those that share a batch; None for all of this process. The parameters are copied to each.
        references: clean images, of the restored images' size; adds the trace "psnr". They influence nothing else.
        masks: `[N, h, w]` bool, true where an image shows what it should; BIRD's degradation "mask" needs them.
        kernels: `[N, K, K]` float of sum 1, K the method's `kernel_size`; BIRD's kernel_model "known" needs them.
        progress: called every `report_every` iterations, and after the last of a batch.
        settings: fields of the named method, such as `stride=200` or `max_iterations=300` (see `DIIP`, `BIRD` and `DIP`
            in `diip_jax.methods`), and `preset`, such as "paper", for published values of those that are not given.

    Raises:
        ValueError: anything above that does not fit, in one line.

    Warns:
        UserWarning: float images without a value below 0 (they are expected in [-1, 1], not [0, 1]).
    """
    chosen = _method(method, settings)
    y = _as_float(images, "images")
    problem = _problem(prior, chosen, y.shape[1:])
    shape = _image_shape(prior, chosen, y.shape[1:])
    check_image_shape(prior, shape)
    known = check_known(problem.operator.needs, y.shape[:3], masks, kernels)
    if known.mask is not None:
        y = np.where(known.mask[..., None], y, np.float32(0))  # the random key depends on what is shown alone
    if samples < 1:
        raise ValueError(f"samples={samples}: expected at least 1")
    jobs = len(y) * samples
    batch_size = jobs if batch_size is None else batch_size
    if batch_size < 1 or report_every < 1:
        raise ValueError(f"batch_size={batch_size}, report_every={report_every}: expected at least 1")
    clean = None
    if references is not None:
        clean = _as_float(references, "references")
        expected = (len(y), *shape)
        if clean.shape != expected:
            raise ValueError(f"references have shape {clean.shape}, restored images {expected}: expected equal shapes")

    mesh = distribute.device_mesh(batch_size, devices)
    slots = distribute.padded_size(batch_size, mesh)
    chosen = fit_to_devices(chosen, prior, shape, mesh, slots)
    prior = distribute.replicate(prior, mesh)
    keys = image_keys(y, seed, samples)
    batches = []
    for first in range(0, jobs, batch_size):
        running = range(first, min(first + batch_size, jobs))
        pairs = np.array([*running] + [first] * (slots - len(running)))
        who = pairs // samples
        stopped = np.arange(slots) >= len(running)
        given = jax.tree.map(lambda leaf, who=who: leaf[who], (y, clean, known))
        report = _reporter(progress, running, jobs)
        inputs = distribute.split((given, keys[pairs], stopped), mesh)
        state = _run(mesh, prior, chosen, inputs, report, report_every)
        batches.append(jax.tree.map(lambda leaf: np.asarray(leaf)[: len(running)], state))  # noqa: B023
    return _collect(batches, images, samples, problem.rule.names)


def _method(method: str | Method, settings: dict[str, Any]) -> Method:
    if not isinstance(method, str):
        if settings:
            names = ", ".join(settings)
            raise ValueError(f"settings {names} were given beside a method object: put them into the object")
        return method
    if method not in METHODS:
        raise ValueError(f"method={method!r}: expected one of {', '.join(METHODS)}")
    fields = [field.name for field in dataclasses.fields(METHODS[method])]
    preset, settings = settings.get("preset"), {name: settings[name] for name in settings if name != "preset"}
    unknown = [name for name in settings if name not in fields]
    if unknown:
        raise ValueError(f"method {method!r} has no setting {', '.join(unknown)}: it has {', '.join(fields)}")
    return method_named(method, settings, preset)


def _as_float(images: np.ndarray | Array, name: str) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or not images.size:
        raise ValueError(f"{name} have shape {images.shape}: expected [N, H, W, C] with at least one image")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(127.5) - np.float32(1)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"{name} have dtype {images.dtype}: expected uint8, or float in [-1, 1]")
    images = images.astype(np.float32)
    largest = np.abs(images).max()
    if not largest <= 4:
        raise ValueError(f"{name} hold values up to {largest:g}: expected float in [-1, 1] (or uint8 for 0..255)")
    if images.min() >= 0 and images.max() > 0:
        warnings.warn(f"{name} hold no value below 0: float images are expected in [-1, 1], not [0, 1]", stacklevel=3)
    return images


def image_keys(y: np.ndarray, seed: int, samples: int = 1) -> Array:
    """One key per (image, sample) pair, from the seed and the image's own bytes."""
    digests = jnp.array([zlib.crc32(image.tobytes()) for image in y], jnp.uint32)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    return fold(jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), digests), jnp.arange(samples)).reshape(-1)


def _image_shape(prior: Prior, method: Method, y_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Of the restored image."""
    height, width, channels = y_shape
    return method.problem(prior, (height, width, channels)).operator.geometry.image_shape((height, width, channels))


def _problem(prior: Prior, method: Method, y_shape: tuple[int, ...], monitored: bool = False) -> loop.Problem:
    problem = method.problem(prior, _image_shape(prior, method, y_shape))
    return problem._replace(monitors=(*problem.monitors, ("psnr", _psnr))) if monitored else problem


def _psnr(image: Image, reference: Image) -> Scalar:
    return 10 * jnp.log10(4 / jnp.mean((jnp.clip(image, -1, 1) - reference) ** 2))


@partial(jax.jit, static_argnames=("mesh", "method", "monitored"))
def _start(mesh, prior, method, monitored, y, keys, stopped, known):
    def start(prior, part):
        problem = _problem(prior, method, y.shape[1:], monitored)
        return loop.start(problem, *part)

    return distribute.on_each_device(start, mesh)(prior, (y, keys, stopped, known))


@partial(jax.jit, static_argnames=("mesh", "method", "one_by_one"), donate_argnames=("state",))
def _advance(mesh, prior, method, given, state, until, one_by_one):
    def advance(whole, part):
        (prior, until), ((y, references, known), state) = whole, part
        problem = _problem(prior, method, y.shape[1:], references is not None)
        return loop.advance(problem, y, state, until, references, known, one_by_one=one_by_one)

    return distribute.on_each_device(advance, mesh)((prior, until), (given, state))


def _run(mesh: Mesh, prior: Prior, method: Method, inputs: tuple, report: Any, report_every: int) -> loop.State:
    """One batch to its end; of the final state what the result needs."""
    given, keys, stopped = inputs
    y, references, known = given
    state = _start(mesh, prior, method, references is not None, y, keys, stopped, known)
    one_by_one = distribute.on_cpu(mesh)
    limit = next(iter(state.traces.values())).shape[-1]
    until = 0
    while until < limit and not np.asarray(state.verdict.stop).all():
        until = limit if report is None else min(until + report_every, limit)
        state = _advance(mesh, prior, method, given, state, jnp.int32(until), one_by_one)
        if report is not None:
            report(state)
    return state._replace(key=None, u=None, u_moments=None, eta=None, eta_moments=None, rule=None)


def _reporter(progress: Callable[[Progress], None] | None, running: range, jobs: int):
    if progress is None:
        return None

    def report(state: loop.State) -> None:
        count = len(running)
        progress(
            Progress(
                jobs=jobs,
                running=running,
                iterations=np.asarray(state.k)[:count],
                stopped=np.asarray(state.verdict.stop)[:count],
                current=lambda: np.clip(np.asarray(state.verdict.image)[:count], -1, 1),
            )
        )

    return report


def _collect(batches: list[loop.State], images: np.ndarray | Array, samples: int, names: tuple[str, ...]) -> Restored:
    done = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
    by_image = lambda leaf: leaf.reshape(-1, samples, *leaf.shape[1:])  # noqa: E731
    restored = by_image(np.clip(done.verdict.image, -1, 1))
    given = np.asarray(images).dtype
    return Restored(
        images=_as_given(restored.mean(axis=1), given),
        iterations=by_image(done.k),
        stop_reasons=[[names[reason] for reason in row] for row in by_image(done.verdict.reason)],
        selected=by_image(done.verdict.selected),
        traces={name: by_image(trace) for name, trace in done.traces.items()},
        samples=_as_given(restored, given) if samples > 1 else None,
        operator_traces={name: by_image(trace) for name, trace in done.estimates.items()},
    )


def _as_given(images: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint((images + 1) * 127.5).astype(np.uint8) if dtype == np.uint8 else images.astype(dtype)
