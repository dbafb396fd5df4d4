"""The page: drop a picture, watch it form, slide between before and after, take it home."""

import base64
import html
import logging
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from diip_jax.demo.restoration import Frame, Known, Limits, Upload, opened, restoration
from diip_jax.heatmaps import kernel_picture
from diip_jax.image_reading import ImageError
from diip_jax.images import json_text
from diip_jax.pixels import to_uint8
from diip_jax.prior import Prior
from diip_jax.web_parts import curve, data_url, picture, slider

_SIDE = 280  # pixels that a small picture is shown with
_FORMING, _DONE = 400, 768  # that a large one is shown with at most, while it forms and at the end
_ABOUT = """# diip_jax
Drop a damaged picture: noise, blur, JPEG, too few pixels. Nothing needs to be chosen.

It knows **{kind}**; on anything else it does nothing sensible. What the picture does not hold is made up: a
result is no evidence. {terms} Pictures stay in this computer's memory, and only while the page works on them.
"""

Shown = tuple[str, dict[str, Any], Any]


class Visits:
    """What each visitor's running restoration is stopped by."""

    def __init__(self) -> None:
        self._stops: dict[str, threading.Event] = {}

    def begin(self, visitor: str) -> threading.Event:
        """A new one; the visitor's earlier restoration, if any, is stopped."""
        self.stop(visitor)
        self._stops[visitor] = threading.Event()
        return self._stops[visitor]

    def stop(self, visitor: str) -> None:
        """Stops what runs for the visitor, if anything does."""
        if visitor in self._stops:
            self._stops[visitor].set()

    def leave(self, visitor: str) -> None:
        """The visitor has gone."""
        self.stop(visitor)
        self._stops.pop(visitor, None)


def page(priors: Sequence[Prior], limits: Limits, kind: str, terms: str, waiting: int, at_once: int) -> gr.Blocks:
    """The page, ready to be launched.

    Args:
        priors: see `opened`.
        kind: what pictures they know, for the visitor.
        terms: of their weights.
        waiting: visitors that may wait; others are told to come back.
        at_once: restorations that run at the same time.
    """
    visits = Visits()

    def restore(path: str, blur: str | None, noise: str | None, request: gr.Request) -> Iterator[Shown]:
        stop = visits.begin(str(request.session_hash))
        yield from _shown(Path(path), priors, limits, {"blur": blur, "noise": noise}, stop)

    def stop(request: gr.Request) -> None:
        visits.stop(str(request.session_hash))

    def leave(request: gr.Request) -> None:
        visits.leave(str(request.session_hash))

    with gr.Blocks(title="diip_jax", analytics_enabled=False, fill_width=True, delete_cache=(60, 600)) as blocks:
        gr.Markdown(_ABOUT.format(kind=kind, terms=terms))
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                dropped = gr.File(label="Picture", type="filepath", elem_id="drop")
                button = gr.Button("Stop", interactive=False, elem_id="stop")
                with gr.Accordion("If it finds too little, or too much", open=False, elem_id="known"):
                    gr.Markdown("Say it here, and drop the picture again. What is left empty is found.")
                    # No gr.Number: an empty one comes as 0.
                    blur = gr.Textbox(label="Blur (standard deviation in pixels, 0 for none)", max_length=20)
                    noise = gr.Textbox(label="Noise (grey levels of 255, 0 for none)", max_length=20)
            with gr.Column(scale=3):
                shown = gr.HTML(elem_id="shown")
        dropped.upload(
            restore,
            [dropped, blur, noise],
            [shown, button, dropped],
            concurrency_limit=at_once,
            concurrency_id="restorations",
            show_progress="minimal",
        )
        # Outside the queue: it has to be heard while a restoration runs.
        button.click(stop, queue=False)
        blocks.unload(leave)
    blocks.queue(max_size=waiting)
    return blocks


def _shown(
    path: Path, priors: Sequence[Prior], limits: Limits, known: Mapping[str, str | None], stop: threading.Event
) -> Iterator[Shown]:
    """What the page shows, from the upload to the result: (HTML, the button, the drop zone)."""
    running, idle = gr.update(interactive=True), gr.update(interactive=False)
    try:
        try:
            data = path.read_bytes()
        finally:
            path.unlink(missing_ok=True)  # from here on the picture is in memory alone
        said = Known(**{name: _number(name, text) for name, text in known.items()})
        upload = opened(data, path.name, priors, limits)
        yield _waiting(upload), running, None
        for frame in restoration(upload, limits, said, stop):
            if frame.record is None:
                yield _running(frame, upload, limits), running, gr.skip()
            else:
                yield _result(frame, upload, limits), idle, gr.skip()
    except (ImageError, _UnreadableError) as error:
        yield _error(str(error)), idle, None
    except Exception:  # the visitor gets a line, the log the fault
        logging.getLogger(__name__).exception("a restoration failed")
        yield _error("This picture could not be restored; the page's log says why. Try another one."), idle, None


class _UnreadableError(ValueError):
    """A number of the visitor's that is none."""


def _number(name: str, text: str | None) -> float | None:
    """What a visitor has typed; None where it is nothing, or the field was never opened."""
    if text is None or not text.strip():
        return None
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise _UnreadableError(f"{name}: {text!r} is no number of at least 0; leave it empty where it is to be found")
    return value


def _error(text: str) -> str:
    return f'<p role="alert" class="dj-error">{html.escape(text)}</p>'


def _columns(*columns: tuple[str, str]) -> str:
    cells = "".join(f"<figure><figcaption>{title}</figcaption>{content}</figure>" for title, content in columns)
    return f'<div class="dj-row">{cells}</div>'


def _waiting(upload: Upload) -> str:
    note = "<p>Compiling for the first picture, which takes a while; later ones begin at once.</p>"
    return _columns(("before", _picture(upload.before, "before"))) + note


def _picture(pixels: np.ndarray, alt: str) -> str:
    """A small picture enlarged, a large one reduced: it is sent at every iteration."""
    height, width = pixels.shape[:2]
    if width <= _SIDE:
        return picture(pixels, alt, _SIDE)
    shown = min(width, _FORMING)
    size = shown, max(1, round(height * shown / width))
    values = to_uint8(pixels)
    small = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values).resize(size, Image.Resampling.BOX)
    return picture(np.asarray(small), alt, shown)


def _evidence(frame: Frame, limits: Limits) -> str:
    lines = curve(frame.losses, "loss", limits.iterations)
    if frame.kernel is None:
        return lines
    return f"{lines}<br>blur that was found<br>{picture(kernel_picture(frame.kernel), 'blur kernel', 90)}"


def _running(frame: Frame, upload: Upload, limits: Limits) -> str:
    return _columns(
        ("before", _picture(upload.before, "before")),
        (f"iteration {frame.iterations} of {limits.iterations}", _picture(frame.image, "forming")),
        ("", _evidence(frame, limits)),
    )


def _result(frame: Frame, upload: Upload, limits: Limits) -> str:
    stem = Path(upload.image.path).stem
    record = base64.b64encode(json_text(frame.record).encode()).decode()
    notes = [f"{frame.iterations} iterations", *([frame.note] if frame.note else []), *upload.notes]
    saved = {
        "picture": (f"{stem}_restored.png", data_url(frame.image)),
        "record": (f"{stem}_restored.json", f"data:application/json;base64,{record}"),
    }
    links = " · ".join(
        f'<a download="{html.escape(name)}" href="{url}">Save {what}</a>' for what, (name, url) in saved.items()
    )
    name = html.escape(upload.image.path.name)
    width = max(_SIDE, min(upload.before.shape[1], _DONE))
    sides = _columns(
        (f"{name}: before | after", slider(upload.before, frame.image, upload.image.path.name, width)),
        ("", _evidence(frame, limits)),
    )
    return f'{sides}<p id="done">{html.escape("; ".join(notes))}</p><p>{links}</p>'
