"""A page beside the results that shows a run while it runs: before and after, curves, failures, all in one file.

It is made from what the run has written, so that images that were skipped because they are finished are on it, too.
"""

import html
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from diip_jax.images import fit_to_size, read_image, write_text
from diip_jax.launch.plan import Job
from diip_jax.web_parts import STYLE, curve, slider

_SIDE = 256  # pixels that a picture is shown with; larger ones are reduced to it
_PATIENCE = 20  # the page is written again after so many times as long as it took to write it

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">{refresh}<title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body{{font:14px system-ui,sans-serif;margin:20px;color:#24292f;background:#fff}}
@media (prefers-color-scheme:dark){{body{{color:#e6edf3;background:#0d1117}}}}
main{{display:flex;flex-wrap:wrap;gap:20px}} article{{width:{side}px}}
h2{{font-size:14px;margin:4px 0;word-break:break-all}}
.failed{{border-left:4px solid #c4482f;padding-left:10px}} form{{display:flex;flex-wrap:wrap;gap:12px;margin:12px 0}}
[hidden]{{display:none}}{style}</style>
<h1>{title}</h1><p id="state">{state}</p>
<form onsubmit="return false"><label>name <input id="name" type="search"></label>
<label>ended by <select id="ended"><option value="">anything</option>{reasons}</select></label>
<label>order <select id="order"><option value="">as given</option><option value="seconds">slowest first</option>
<option value="loss">largest loss first</option><option value="gain">least gain in PSNR first</option></select></label>
<span id="count"></span></form>
<main>{cards}</main>
<script>
const main = document.querySelector("main"), all = [...main.children];
const field = id => document.getElementById(id);
function show() {{
  const name = field("name").value.toLowerCase(), ended = field("ended").value, order = field("order").value;
  let shown = 0;
  for (const one of all) {{
    one.hidden = !(one.dataset.name.toLowerCase().includes(name) && (!ended || one.dataset.ended === ended));
    shown += !one.hidden;
  }}
  const number = one => parseFloat(one.dataset[order]), sign = order === "gain" ? 1 : -1;
  const rank = one => isNaN(number(one)) ? Infinity : sign * number(one);
  main.append(...(order ? [...all].sort((a, b) => rank(a) - rank(b) || 0) : all));
  field("count").textContent = shown + " of " + all.length;
  history.replaceState(null, "", "#" + new URLSearchParams({{name: field("name").value, ended, order}}));
}}
for (const [id, value] of new URLSearchParams(location.hash.slice(1))) if (field(id)) field(id).value = value;
field("name").oninput = field("ended").onchange = field("order").onchange = show;
show();
</script></html>
"""


class _Card(NamedTuple):
    """An image on the page, and what its record had in it when it was drawn."""

    stamp: int
    ended: str
    text: str


class ContactSheet:
    """The page of a run. `update` as often as something has happened: it writes no more often than is cheap."""

    def __init__(self, jobs: Sequence[Job], path: Path, resize: str) -> None:
        self._jobs, self._path, self._resize = jobs, path, resize
        self._cards: dict[Path, _Card] = {}
        self._due = float("-inf")

    def update(self, failures: Sequence[str], finished: bool = False) -> None:
        """Writes the page, if it is time or the run has ended. Raises ImageError where it cannot be written."""
        if not finished and time.monotonic() < self._due:
            return
        began = time.monotonic()
        for job in self._jobs:
            self._draw(job)
        write_text(self._path, self._text(failures, finished))
        self._due = time.monotonic() + max(1.0, _PATIENCE * (time.monotonic() - began))

    def _draw(self, job: Job) -> None:
        """The card of an image whose record is there, unless it is drawn already."""
        path = job.output(".json")
        try:
            stamp = path.stat().st_mtime_ns
            known = self._cards.get(path)
            if known is None or known.stamp != stamp:
                record = json.loads(path.read_text(encoding="utf-8"))
                ended, text = _card(job, record, self._path.parent, self._resize)
                self._cards[path] = _Card(stamp, ended, text)
        except FileNotFoundError:
            pass  # the record is the last thing that is written: the image is not finished

    def _text(self, failures: Sequence[str], finished: bool) -> str:
        cards = [self._cards[path] for job in self._jobs if (path := job.output(".json")) in self._cards]
        ends = sorted({card.ended for card in cards} | ({"failed"} if failures else set()))
        failed = (
            f'<article class="failed" data-name="{html.escape(line)}" data-ended="failed">'
            f"<h2>failed</h2><p>{html.escape(line)}</p></article>"
            for line in failures
        )
        state = f"{len(cards)} of {len(self._jobs)} restored, {len(failures)} failed"
        return _PAGE.format(
            title=html.escape(f"diip_jax: {self._path.parent.name}"),
            refresh="" if finished else '<meta http-equiv="refresh" content="5">',
            side=_SIDE,
            style=STYLE,
            state=state + ("." if finished else "; running, this page looks again every five seconds."),
            reasons="".join(f"<option>{html.escape(end)}</option>" for end in ends),
            cards="".join([*failed, *(card.text for card in cards)]),
        )


def _card(job: Job, record: dict[str, Any], folder: Path, resize: str) -> tuple[str, str]:
    """(what ended it, the HTML) of a finished image."""
    output = job.output(".png")
    with Image.open(output) as opened:
        after = np.asarray(opened.convert("RGB").copy())
    height, width = after.shape[:2]
    before = fit_to_size(read_image(job.path), height, width, "crop" if resize == "crop" else "fit").rgb
    first = record["stop_reason"][0] if isinstance(record["stop_reason"], list) else record["stop_reason"]
    traces = {name: _first(values) for name, values in record["traces"].items()}
    loss = [value for value in traces["loss"] if value is not None]
    facts = {"name": job.path.name, "ended": first, "seconds": record["seconds"], "loss": loss[-1] if loss else ""}
    lines = [f"{_first_of(record['iterations'])} iterations, {first}, {record['seconds']:.1f} s"]
    # Without a reference there are none; of two equal pictures a PSNR is infinite, which JSON does not have.
    quality = record["metrics"] or {}
    given, made = quality.get("psnr_input"), quality.get("psnr_output")
    if given is not None and made is not None:
        facts["gain"] = made - given
        lines.append(f"PSNR {given:.2f} → {made:.2f} dB")
    data = " ".join(f'data-{name}="{html.escape(str(value))}"' for name, value in facts.items())
    link = html.escape(output.relative_to(folder).as_posix())
    curves = "".join(curve([np.nan if v is None else v for v in values], name) for name, values in traces.items())
    return first, (
        f"<article {data}>{slider(_reduced(before), _reduced(after), job.path.name, _SIDE)}"
        f'<h2><a href="{link}">{html.escape(job.path.name)}</a></h2><p>{"<br>".join(lines)}</p>{curves}</article>'
    )


def _first(values: list[Any]) -> list[Any]:
    """A trace; of several samples the first one's."""
    return values[0] if values and isinstance(values[0], list) else values


def _first_of(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _reduced(pixels: np.ndarray) -> np.ndarray:
    """uint8, and no larger than it is shown."""
    picture = Image.fromarray(pixels if pixels.dtype == np.uint8 else np.rint((pixels + 1) * 127.5).astype(np.uint8))
    picture.thumbnail((_SIDE, _SIDE))
    return np.asarray(picture)
