"""What a run leaves to look at: the record of an image, the picture with its curves, grids of images."""

import importlib.metadata
import platform
import warnings
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from diip_jax.image_reading import LoadedImage
from diip_jax.pixels import to_uint8
from diip_jax.plots import INK, drawing, set_axes
from diip_jax.plugs.operators.damage import BLOCKS

Picture = NDArray[np.uint8]

_SHOWN_HEIGHT = 256  # pixels below which `comparison` enlarges its images
_FAINT, _BLUE, _RED, _GREEN = "#8c959f", "#3b6ea8", "#c4482f", "#3f8f5b"
PANELS = {
    "loss": ("Loss", True),
    "laplacian_variance": ("Laplacian variance", False),
    "psnr": ("PSNR (dB)", False),
    "kernel_change": ("Change of the kernel", True),
}  # title, log scale


def damage_in_words(found: Mapping[str, ArrayLike]) -> str:
    """What `diip_jax.Blind` found in an image, as in "blur of 1.4 px, noise of 3.1 levels".

    Args:
        found: its part of `Solution.operator`: by name, of one image and sample.
    """
    values = {name: np.asarray(value) for name, value in found.items()}
    narrow, wide = np.sqrt(np.linalg.eigvalsh(values["covariance"]).clip(0))
    words = []
    if wide > 0:
        even = wide < 1.3 * narrow
        words.append(f"blur of {(wide + narrow) / 2:.1f} px" if even else f"blur of {wide:.1f} by {narrow:.1f} px")
    if values["jpeg_quality"] > 0:
        words.append(f"JPEG (quality about {values['jpeg_quality']:.0f})")
    elif values["blocks"] > BLOCKS:
        words.append("JPEG")
    elif values["noise"] > 0:
        words.append(f"noise of {127.5 * values['noise']:.1f} levels")
    if values["hidden_share"] > 0:
        words.append(f"dead pixels ({100 * values['hidden_share']:.1f} %)")
    if values["enlarged"] > 1:
        words.append(f"enlargement ({float(values['enlarged']):.3g} times)")
    return ", ".join(words) or "no damage"


def comparison(
    columns: Sequence[tuple[str, ArrayLike]],
    traces: Mapping[str, ArrayLike],
    *,
    stop_k: int | None,
    selected_k: int | None,
    title: str,
) -> Picture:
    """One picture of a restoration: labelled images in a row, below them one panel per trace.

    columns: (label, image) with images [h, w, 3] or [h, w], float in [-1, 1] or uint8, of any sizes; small ones are
    enlarged by a whole factor, nearest neighbour, to the height of the tallest and at least 256 pixels.
    traces: name -> [K]; entry k belongs to iteration k, counted from 0; NaN is not drawn. `loss` has a log scale.
    stop_k, selected_k: the iteration at which the image stopped and the one that was returned; None draws no mark.
    Returns uint8 [H, W, 3]. Raises ValueError for no columns or misshapen ones, ImportError if matplotlib is missing.
    """
    if not columns:
        raise ValueError("comparison was given no columns, expected at least one (label, image); pass an image")
    images = [_as_rgb(image) for _, image in columns]
    row_height = max(_SHOWN_HEIGHT, *(image.shape[0] for image in images))
    # Up to the next whole factor, unless a tenth of the image is all that is missing.
    images = [_enlarge(image, max(1, ceil(row_height / image.shape[0] - 0.1))) for image in images]
    row_height = max(image.shape[0] for image in images)

    gap, edge, foot, panel = 24, 32, 52, 250
    head = 66 + 18 * max(label.count("\n") + 1 for label, _ in columns)
    least = len(traces) * 420 + 2 * edge
    width = max(least, sum(image.shape[1] for image in images) + gap * (len(images) - 1) + 2 * edge)
    height = head + row_height + edge + (28 + panel + foot + 32 if traces else 0)
    drawn = drawing(width, height, "comparison pictures")
    figure = drawn.figure

    def text(x: float | int, y: float | int, words: str, **style: Any) -> None:  # pixels from the top left
        # A file name may hold a dollar sign: not mathematics.
        figure.text(x / width, 1 - y / height, words, parse_math=False, color=INK, **style)

    room = (width - 2 * edge) // 13  # characters of a wide script
    title = title if len(title) <= room else f"{title[: room // 2]}…{title[-room // 2 + 1 :]}"
    text(edge, 30, title, fontsize=13, fontweight="bold", ha="left", va="center")
    x = (width - sum(image.shape[1] for image in images) - gap * (len(images) - 1)) / 2
    for (label, _), image in zip(columns, images, strict=True):
        top = head + (row_height - image.shape[0]) // 2
        # figimage draws one image pixel on one figure pixel: nothing is resampled.
        figure.figimage(image, round(x), height - top - image.shape[0], origin="upper")
        text(round(x) + image.shape[1] / 2, head - 9, label, fontsize=11, ha="center", va="bottom")
        x += image.shape[1] + gap
    panel_width = (width - 2 * edge) / max(1, len(traces))
    for n, (name, values) in enumerate(traces.items()):
        left = edge + n * panel_width + 52
        axes = figure.add_axes((left / width, (foot + 32) / height, (panel_width - 68) / width, panel / height))
        _draw_trace(axes, name, np.asarray(values, np.float64), stop_k, selected_k)
        if n == 0 and (stop_k is not None or selected_k is not None):
            handles, labels = axes.get_legend_handles_labels()
            figure.legend(
                handles,
                labels,
                loc="lower center",
                ncols=len(handles),
                frameon=False,
                fontsize=10,
                labelcolor=INK,
                bbox_to_anchor=(0.5, 4 / height),
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a file name in a script the font lacks: boxes will do
        return drawn.picture()


def _draw_trace(axes: Any, name: str, values: NDArray[np.float64], stop_k: int | None, selected_k: int | None) -> None:
    """One curve on matplotlib axes with the marks of the stop and of the returned iterate."""
    title, log = PANELS.get(name, (name.replace("_", " "), False))
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.plot(np.arange(values.size), values, color=_BLUE, linewidth=1.6)
    if log and (values > 0).any():
        axes.set_yscale("log", nonpositive="mask")
    if selected_k is not None:
        axes.axvline(selected_k, color=_GREEN, linewidth=1.4)
        height = values[selected_k] if 0 <= selected_k < values.size else np.nan
        axes.plot(
            selected_k,
            height,
            "o",
            color=_GREEN,
            markersize=7,
            markeredgecolor="white",
            linestyle="-",
            label=f"returned, k = {selected_k}",
        )
    if stop_k is not None:  # last, so that its dashes show over the other line where the two coincide
        axes.axvline(stop_k, color=_RED, linewidth=1.4, linestyle=(0, (4, 3)), label=f"stopped at k = {stop_k}")
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=_FAINT)
    axes.set_xlabel("iteration k", fontsize=10, color=INK)
    set_axes(axes, 9, color=_FAINT)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_FAINT)


def montage(
    rows: Sequence[Sequence[ArrayLike]],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    cell: int | None = None,
) -> Picture:
    """A grid of images on white: row labels at the left, column labels on top.

    rows: images [h, w, 3] or [h, w], float in [-1, 1] or uint8, of any sizes; a short row leaves its last cells blank.
    cell: side of a cell in pixels, by default the longest side of all images; every image is enlarged by the largest
    whole factor that fits, nearest neighbour. Labels are set in Pillow's own font, which has no Greek: write "sigma".
    Returns uint8 [H, W, 3].
    Raises ValueError for an empty grid, labels that do not match it, or an image larger than `cell`.
    """
    grid = [[_as_rgb(image) for image in row] for row in rows]
    across = max(map(len, grid), default=0)
    if across == 0:
        raise ValueError("montage was given no images, expected at least one row with one; pass images")
    for name, labels, count in (("row", row_labels, len(grid)), ("column", column_labels, across)):
        if labels is not None and len(labels) != count:
            raise ValueError(f"montage was given {len(labels)} {name} labels, expected {count}; give one per {name}")
    longest = max(max(image.shape[:2]) for row in grid for image in row)
    cell = longest if cell is None else cell
    if cell < longest:
        raise ValueError(f"montage cell is {cell} pixels, expected at least {longest}, the longest side; raise `cell`")
    grid = [[_enlarge(image, cell // max(image.shape[:2])) for image in row] for row in grid]

    font = ImageFont.load_default(size=max(13, min(24, cell // 9)))
    gap = max(4, cell // 24)
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))

    def measure(label: str) -> tuple[int, int]:
        _, _, right, bottom = ruler.multiline_textbbox((0, 0), label, font=font)
        return int(np.ceil(right)), int(np.ceil(bottom))

    row_sizes, column_sizes = ([measure(label) for label in labels or ()] for labels in (row_labels, column_labels))
    heights = [
        max([image.shape[0] for image in row] + [h for _, h in row_sizes[n : n + 1]]) for n, row in enumerate(grid)
    ]
    widths = [
        max([row[n].shape[1] for row in grid if n < len(row)] + [w for w, _ in column_sizes[n : n + 1]])
        for n in range(across)
    ]
    left = gap + max((w + gap for w, _ in row_sizes), default=0)
    top = gap + max((h + gap for _, h in column_sizes), default=0)
    tops, lefts = top + _starts(heights, gap), left + _starts(widths, gap)

    sheet = Image.new("RGB", (int(lefts[-1]), int(tops[-1])), "white")
    draw = ImageDraw.Draw(sheet)
    for n, label in enumerate(column_labels or ()):
        draw.multiline_text((lefts[n] + widths[n] / 2, top - gap), label, INK, font, anchor="md", align="center")
    for y, row_height, row in zip(tops, heights, grid, strict=False):
        for x, column_width, image in zip(lefts, widths, row, strict=False):
            h, w = image.shape[:2]
            sheet.paste(Image.fromarray(image), (int(x) + (column_width - w) // 2, int(y) + (row_height - h) // 2))
    for n, label in enumerate(row_labels or ()):
        draw.multiline_text((left - gap, tops[n] + heights[n] / 2), label, INK, font, anchor="rm", align="right")
    return np.asarray(sheet)


def _starts(sizes: Sequence[int], gap: int) -> NDArray[np.int64]:
    """Where each cell begins, and at the end where the next one would."""
    return np.cumsum([0, *(size + gap for size in sizes)])


def _as_rgb(image: ArrayLike) -> Picture:
    pixels = to_uint8(image)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"image has shape {pixels.shape}, expected [h, w, 3] or [h, w]; pass one image per cell")
    return np.ascontiguousarray(pixels)


def _enlarge(image: Picture, factor: int) -> Picture:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def image_record(
    *,
    image: LoadedImage,
    resize_policy: str,
    settings: Mapping[str, Any],
    seed: int,
    prior: Mapping[str, Any],
    iterations: int,
    stop_reason: str,
    selected_k: int,
    traces: Mapping[str, ArrayLike],
    seconds: float,
    metrics: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Everything needed to tell how an output was made, for `write_json`. Its keys, in this order:

    - input: file (name without folder), height, width (upright), mode (Pillow's), notes, resize_policy
    - settings: as given; seed; prior: as given, must hold `sha256`
    - iterations: how many were run; stop_reason: the rule that fired; selected_k: the iteration that was returned
    - seconds: wall clock of the image
    - metrics: as given (PSNR in dB and SSIM of input and output, where there is a reference), else null
    - versions: diip_jax, jax, jaxlib, numpy, python, platform; a package that is not installed (source tree) is null
    - traces: name -> list of `iterations` numbers, entry k of iteration k, counted from 0

    Raises ValueError if the prior has no sha256 or a trace is shorter than `iterations`.
    """
    if "sha256" not in prior:
        raise ValueError(f"prior has the keys {sorted(prior)}, expected `sha256` among them; pass the prior's facts")
    cut = {name: np.asarray(values)[:iterations] for name, values in traces.items()}
    for name, values in cut.items():
        if values.shape != (iterations,):
            raise ValueError(f"trace {name!r} has shape {values.shape}, expected [{iterations}]; pass one image's")
    height, width = image.size
    return {
        "input": {
            "file": image.path.name,
            "height": height,
            "width": width,
            "mode": image.mode,
            "notes": list(image.notes),
            "resize_policy": resize_policy,
        },
        "settings": dict(settings),
        "seed": seed,
        "prior": dict(prior),
        "iterations": iterations,
        "stop_reason": stop_reason,
        "selected_k": selected_k,
        "seconds": seconds,
        "metrics": None if metrics is None else dict(metrics),
        "versions": {name: version_of(name) for name in ("diip_jax", "jax", "jaxlib", "numpy")}
        | {"python": platform.python_version(), "platform": platform.platform()},
        "traces": cut,
    }


def version_of(package: str) -> str | None:
    """The version that is installed; None where none is (a source tree)."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
