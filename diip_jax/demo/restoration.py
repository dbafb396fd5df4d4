"""One restoration for one visitor: runs beside the page, shows where it is, and can be stopped."""

import dataclasses
import io
import queue
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from diip_jax.image_reading import ImageError, LoadedImage, decode_image
from diip_jax.images import Fitted, fit_to_size, unfit
from diip_jax.launch.loading import bucket, in_channels_of
from diip_jax.launch.plan import prior_facts
from diip_jax.launch.setup import SMALL
from diip_jax.methods import Blind
from diip_jax.prior import Prior
from diip_jax.report import damage_in_words, image_record
from diip_jax.restore import Solution, View, every, restore
from diip_jax.solve.problem import Result


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    Attributes:
        megapixels: of a picture, found before it is decoded.
        side: pixels along the longer side of a photograph that keeps its size; a larger one is reduced.
        seconds: of a restoration; it is then stopped and what there is is shown.
        iterations: the budget of the method.
    """

    megapixels: float = 50.0
    side: int = 768
    seconds: float = 300.0
    iterations: int = Blind.max_iterations


@dataclass(frozen=True)
class Known:
    """What the visitor says of the damage; None: it is to be found.

    Attributes:
        blur: standard deviation of a Gaussian in pixels of the picture as it is restored.
        noise: standard deviation in grey levels of 255.
    """

    blur: float | None = None
    noise: float | None = None


@dataclass(frozen=True)
class Frame:
    """Where a restoration is.

    Attributes:
        image: `[h, w, C]` float32 in [-1, 1]: what would be returned now, without the margin of fitting.
        losses: `[K]` of the iterates so far.
        kernel: `[k, k]` the blur that was found, None before it is known.
        record: at the end: what `diip_jax.launch` writes beside a picture; None before.
        note: what there is to say, such as why it ended early.
    """

    image: np.ndarray
    losses: np.ndarray
    kernel: np.ndarray | None
    iterations: int
    record: dict[str, Any] | None = None
    note: str = ""


@dataclass(frozen=True)
class Upload:
    """A visitor's picture: as it was read, and as it is restored.

    Attributes:
        prior: that suits it.
        policy: how it came to its size, "keep" or "fit".
        notes: what was done to it.
    """

    prior: Prior
    policy: str
    notes: tuple[str, ...]
    image: LoadedImage
    fitted: Fitted
    y: np.ndarray

    @property
    def before(self) -> np.ndarray:
        """`[h, w, C]`: the input at the size of the result."""
        return unfit(self.y, self.fitted)


def opened(data: bytes, name: str, priors: Sequence[Prior], limits: Limits) -> Upload:
    """Reads an uploaded picture.

    Args:
        priors: the one for small pictures, and the one for photographs; or one for all.

    Raises:
        ImageError: no picture, a damaged one, or one that is larger than the limit; a line for the visitor.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            width, height = Image.open(io.BytesIO(data)).size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        width = height = 0  # what is wrong with it is said by the decoder, in words of the package
    if width * height > limits.megapixels * 1e6:
        raise ImageError(
            name, f"is {width}x{height}, expected at most {limits.megapixels:g} megapixels; make it smaller"
        )
    loaded = decode_image(io.BytesIO(data), name)
    prior = priors[-1] if max(loaded.size) > SMALL else priors[0]
    height, width, _ = prior.image_shape
    given, notes, policy = loaded, loaded.notes, "fit"
    if prior.local:
        given, policy = _at_most(loaded, limits.side), "keep"
        if given is not loaded:
            notes += (f"reduced to {given.size[1]}x{given.size[0]} pixels",)
        height, width = (bucket(side, 1, 0, prior) for side in given.size)
    fitted = fit_to_size(given, height, width, policy)
    return Upload(prior, policy, notes, loaded, fitted, in_channels_of(prior, fitted.rgb))


def _at_most(image: LoadedImage, side: int) -> LoadedImage:
    """The picture, reduced where a side is longer."""
    factor = side / max(image.size)
    if factor >= 1:
        return image
    height, width = (max(1, round(factor * one)) for one in image.size)
    fitted = fit_to_size(image, height, width, "fit")
    alpha = None if fitted.alpha is None else unfit(fitted.alpha, fitted)
    return dataclasses.replace(image, rgb=unfit(fitted.rgb, fitted), alpha=alpha, scale=1, full_size=None)


def restoration(upload: Upload, limits: Limits, known: Known, stop: threading.Event) -> Iterator[Frame]:
    """Frames while the picture forms; the last one has the record. Closing the iterator ends the computation.

    Args:
        stop: set by the visitor: ends it, and what there is is the result.
    """
    frames: queue.SimpleQueue[Frame | Solution | BaseException] = queue.SimpleQueue()
    abandoned = threading.Event()
    began = time.monotonic()

    def look(view: View) -> None:
        traces = view.traces()
        k = int(view.iterations[0])
        kernel = traces["kernel"][0, k - 1] if k else None
        frames.put(Frame(unfit(view.current()[0], upload.fitted), traces["loss"][0, :k], kernel, k))
        if stop.is_set() or abandoned.is_set() or time.monotonic() - began > limits.seconds:
            view.stop()

    def work() -> None:
        try:
            noise = None if known.noise is None else known.noise / 127.5
            method = Blind(upload.prior, max_iterations=limits.iterations, blur=known.blur, noise=noise)
            frames.put(restore(method, upload.y[None], save=("loss", "kernel"), callback=every(1, look)))
        except BaseException as error:  # it is the visitor's page that has to say so
            frames.put(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while True:
            latest = frames.get()
            if isinstance(latest, BaseException):
                raise latest
            if isinstance(latest, Solution):
                yield _last(latest, upload, limits, known, time.monotonic() - began, stop.is_set())
                return
            yield latest
    finally:
        abandoned.set()
        worker.join()


def _last(solution: Solution, upload: Upload, limits: Limits, known: Known, seconds: float, stopped: bool) -> Frame:
    k = int(solution.stats["iterations"][0, 0])
    losses = solution.traces["loss"][0, 0, :k]
    record = image_record(
        image=upload.image,
        resize_policy=upload.policy,
        settings={"method": "blind", "max_iterations": limits.iterations}
        | {name: value for name, value in dataclasses.asdict(known).items() if value is not None},
        seed=0,
        prior=prior_facts(upload.prior),
        iterations=k,
        stop_reason=solution.reasons[0][0],
        selected_k=int(solution.selected[0, 0]),
        traces={"loss": losses},
        seconds=round(seconds, 3),
    )
    found = damage_in_words({name: values[0, 0] for name, values in solution.operator.items()})
    record["found"] = found
    note = f"found {found}"
    if solution.result[0, 0] == Result.STOPPED:
        note += "; stopped by you" if stopped else f"; stopped after {limits.seconds:g} s, the limit of this page"
    kernel = solution.operator["kernel"][0, 0]
    return Frame(unfit(solution.images[0], upload.fitted), losses, kernel, k, record, note)
