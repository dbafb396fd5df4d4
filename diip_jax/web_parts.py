"""Pieces of self-contained web pages: pictures as data URLs, a slider between two of them, curves as SVG."""

import base64
import html
import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from diip_jax.pixels import to_uint8

# Of every page that uses `slider`, `picture` and `curve`: one small block, nothing is fetched from anywhere.
STYLE = """
.dj-pair{position:relative;display:inline-block;line-height:0;max-width:100%;--cut:50%}
.dj-pair img{width:var(--side);max-width:100%;image-rendering:pixelated;border-radius:4px}
.dj-pair .dj-after{position:absolute;inset:0;clip-path:inset(0 0 0 var(--cut))}
.dj-pair .dj-line{position:absolute;top:0;bottom:0;left:var(--cut);width:2px;background:#fff;box-shadow:0 0 3px #000}
.dj-pair input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;cursor:ew-resize}
.dj-pair input:focus-visible ~ .dj-line{background:#ffd400;width:4px}
.dj-one{image-rendering:pixelated;border-radius:4px}
.dj-curve{font:11px system-ui,sans-serif}
"""


def data_url(pixels: ArrayLike) -> str:
    """A picture `[H, W, 3]`, `[H, W, 1]` or `[H, W]`, float in [-1, 1] or uint8, as a PNG in a URL."""
    values = to_uint8(pixels)
    buffer = io.BytesIO()
    Image.fromarray(values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def picture(pixels: ArrayLike, alt: str, side: int) -> str:
    """An `<img>` of so many pixels' width, enlarged without smoothing."""
    return f'<img class="dj-one" width="{side}" alt="{html.escape(alt)}" src="{data_url(pixels)}">'


def slider(before: ArrayLike, after: ArrayLike, name: str, side: int) -> str:
    """Two pictures on each other and a line between them that the mouse, a finger or the arrow keys move."""
    of = html.escape(name)
    return (
        f'<div class="dj-pair" style="--side:{side}px"><img alt="{of}, before" src="{data_url(before)}">'
        f'<img class="dj-after" alt="{of}, after" src="{data_url(after)}">'
        f'<input type="range" min="0" max="100" value="50" aria-label="{of}: before and after" '
        "oninput=\"this.parentNode.style.setProperty('--cut',this.value+'%')\"><span class=\"dj-line\"></span></div>"
    )


def curve(values: ArrayLike, title: str, budget: int | None = None, width: int = 260, height: int = 90) -> str:
    """A curve over iterations as SVG, on a logarithmic scale where every value is above 0; NaN is left out.

    Args:
        values: `[K]`, the value of iterate k.
        budget: iterations that the axis is for; None: as many as there are values.
    """
    given: NDArray[Any] = np.asarray(values, np.float64).ravel()
    known = np.flatnonzero(np.isfinite(given))
    last = max((budget or given.size) - 1, 1)
    head, foot, label = 16, 14, html.escape(title)
    if not known.size:
        return f'<svg class="dj-curve" width="{width}" height="{height}"><text x="2" y="11">{label}</text></svg>'
    shown = given[known]
    scaled = np.log(shown) if shown.min() > 0 else shown
    low, high = scaled.min(), scaled.max()
    x = 2 + known / last * (width - 4)
    y = height - foot - (scaled - low) / (high - low or 1) * (height - head - foot)
    points = " ".join(f"{one:.1f},{other:.1f}" for one, other in zip(x, y, strict=True))
    return (
        f'<svg class="dj-curve" width="{width}" height="{height}" role="img" aria-label="{label}">'
        f'<text x="2" y="11" fill="currentColor">{label}: {shown[0]:.4g} → {shown[-1]:.4g}</text>'
        f'<text x="{width - 2}" y="{height - 2}" text-anchor="end" fill="currentColor">iteration {last + 1}</text>'
        f'<polyline fill="none" stroke="#3b6ea8" stroke-width="1.6" points="{points}"/></svg>'
    )
