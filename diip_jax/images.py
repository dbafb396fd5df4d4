"""From image files to float arrays of the prior's size, and back to files, written whole or not at all.

In: `find_images`, `read_image` (both live in image_reading.py), `fit_to_size`, `placed`. Out: `unfit`, `write_image`,
`write_json`, `write_text`.
"""

import io
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, PngImagePlugin

from diip_jax.image_reading import EXTENSIONS, ImageError, LoadedImage, find_images, read_image, reason, to_uint8

__all__ = [
    "EXTENSIONS",
    "Fitted",
    "ImageError",
    "LoadedImage",
    "check_png",
    "check_writable",
    "find_images",
    "fit_to_size",
    "json_text",
    "placed",
    "read_image",
    "to_uint8",
    "unfit",
    "write_image",
    "write_json",
    "write_text",
]


@dataclass(frozen=True)
class Fitted:
    """An image at the size of the prior: rgb float32 [height, width, 3] in [-1, 1], alpha [height, width] or None.

    content: (top, left, height, width) of the picture inside it; the rest is padding, which `unfit` cuts off.
    """

    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32] | None
    content: tuple[int, int, int, int]


def fit_to_size(image: LoadedImage, height: int, width: int, policy: str) -> Fitted:
    """Bring an image to [height, width]; one that has this size passes through bit-exactly under every policy.

    - "fit": the whole image, aspect kept, scaled to fit inside; the missing margin is filled by reflection (by the edge
      where the margin is wider than the picture). `unfit` removes the margin again.
    - "crop": the largest centred region of the target's aspect, scaled.
    - "error": ImageError.

    Scaling is an antialiased Lanczos filter in float, clipped to [-1, 1]; alpha is scaled alike and on its own, so
    colours hidden under transparent pixels can shine through at the rim.
    Raises ValueError for an unknown policy or size.
    """
    if policy not in ("fit", "crop", "error"):
        raise ValueError(f"resize policy is {policy!r}, expected 'fit', 'crop' or 'error'; choose one of them")
    if height < 1 or width < 1:
        raise ValueError(f"target size is {height}x{width}, expected at least 1x1; pass the size of the prior")
    h, w = image.size
    if (h, w) == (height, width):
        return Fitted(image.rgb, image.alpha, (0, 0, height, width))
    if policy == "error":
        raise ImageError(
            image.path,
            f"is {h}x{w} (height x width), expected {height}x{width}; use --resize=fit or --resize=crop, or resize it",
        )
    box, (new_h, new_w) = (0.0, 0.0, float(w), float(h)), (height, width)
    if policy == "fit":
        scale = min(height / h, width / w)
        new_h, new_w = max(1, min(height, round(h * scale))), max(1, min(width, round(w * scale)))
    else:
        scale = max(height / h, width / w)
        margin_x, margin_y = max(0.0, (w - width / scale) / 2), max(0.0, (h - height / scale) / 2)
        box = (margin_x, margin_y, w - margin_x, h - margin_y)
    top, left = (height - new_h) // 2, (width - new_w) // 2

    def plane(values: NDArray[np.float32], low: float) -> NDArray[np.float32]:
        source = Image.fromarray(np.ascontiguousarray(values, np.float32))
        scaled = np.asarray(source.resize((new_w, new_h), Image.Resampling.LANCZOS, box=box)).clip(low, 1.0)
        return _pad(scaled, (top, height - new_h - top), (left, width - new_w - left))

    rgb = np.stack([plane(image.rgb[..., c], -1.0) for c in range(3)], axis=-1)
    alpha = None if image.alpha is None else plane(image.alpha, 0.0)
    return Fitted(rgb, alpha, (top, left, new_h, new_w))


def _pad(values: NDArray[np.float32], *margins: tuple[int, int]) -> NDArray[np.float32]:
    """Reflect as far as there are pixels to reflect, then repeat the last one."""
    reflected = [tuple(min(m, n - 1) for m in margin) for margin, n in zip(margins, values.shape, strict=True)]
    rest = [(a - c, b - d) for (a, b), (c, d) in zip(margins, reflected, strict=True)]
    return np.pad(np.pad(values, reflected, mode="reflect"), rest, mode="edge")


def unfit(values: NDArray[Any], fitted: Fitted) -> NDArray[Any]:
    """Cut the padding of `fit_to_size` off [height, width] or [height, width, C] values; the scale stays the prior's.

    Raises ValueError if the values do not have the fitted size.
    """
    if values.shape[:2] != fitted.rgb.shape[:2]:
        raise ValueError(
            f"values have shape {values.shape}, expected {fitted.rgb.shape[:2]} or that with channels; "
            "pass an image of the fitted size"
        )
    top, left, height, width = fitted.content
    return values[top : top + height, left : left + width]


def placed(fitted: Fitted, scale: int, margin: int) -> Fitted:
    """A fitted image on the grid of one that is `scale` times as large and has `margin` more pixels on every side.

    Enlarged by Pillow's bicubic filter, clipped to its range; the margin mirrors it. `unfit` cuts the margin off, too.
    """
    top, left, height, width = fitted.content

    def plane(values: NDArray[np.float32], low: float) -> NDArray[np.float32]:
        size = (values.shape[1] * scale, values.shape[0] * scale)
        enlarged = Image.fromarray(np.ascontiguousarray(values, np.float32)).resize(size, Image.Resampling.BICUBIC)
        return _pad(np.asarray(enlarged).clip(low, 1.0), (margin, margin), (margin, margin))

    rgb = np.stack([plane(fitted.rgb[..., c], -1.0) for c in range(3)], axis=-1)
    alpha = None if fitted.alpha is None else plane(fitted.alpha, 0.0)
    return Fitted(rgb, alpha, (margin + scale * top, margin + scale * left, scale * height, scale * width))


def write_image(path: str | os.PathLike[str], rgb: ArrayLike, alpha: ArrayLike | None = None) -> None:
    """Write a PNG marked as sRGB, atomically.

    rgb: [H, W, 3] or grey [H, W], float in [-1, 1] or uint8. alpha: [H, W], float in [0, 1] or uint8, or None.
    Raises ValueError for other shapes, dtypes or extensions, ImageError if the file cannot be written.
    """
    check_png(path)
    pixels = to_uint8(rgb)
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or 0 in pixels.shape:
        raise ValueError(f"image has shape {pixels.shape}, expected [H, W, 3] or [H, W]; write one image at a time")
    image = Image.fromarray(pixels)
    if alpha is not None:
        opacity = np.asarray(alpha)
        opacity = opacity if opacity.dtype == np.uint8 else to_uint8(opacity * 2.0 - 1.0)
        if opacity.shape != pixels.shape[:2]:
            raise ValueError(f"alpha has shape {opacity.shape}, expected {pixels.shape[:2]}; give it the image's size")
        image.putalpha(Image.fromarray(opacity))
    srgb = PngImagePlugin.PngInfo()
    srgb.add(b"sRGB", b"\0")  # rendering intent: perceptual
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=srgb)
    write_bytes(path, buffer.getvalue())


def check_png(path: str | os.PathLike[str]) -> None:
    """Raises ImageError unless the name ends in .png: something else would be called what it is not."""
    if Path(path).suffix.lower() != ".png":
        raise ImageError(path, "outputs are PNG; end the name in .png")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically. Raises ImageError if the file cannot be written."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write strict JSON atomically: NaN and infinity become null, arrays become lists, float32 keeps its own digits.

    Dictionaries are spread over lines, each list stays on one (a trace is one line). Raises TypeError for values that
    JSON does not have, ImageError if the file cannot be written.
    """
    write_bytes(path, json_text(value).encode())


def json_text(value: Any) -> str:
    """What `write_json` writes. Raises TypeError for values that JSON does not have."""
    return _layout(_plain(value), "") + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not isinstance(value, np.generic):
        return value if np.isfinite(value) else None
    if hasattr(value, "__array__"):  # NumPy and JAX arrays and scalars
        array = np.asarray(value)
        if array.ndim:
            return [_plain(item) for item in array]
        # str() of a NumPy float is the shortest text that reads back as the same float32: 0.1, not 0.10000000149011612
        return _plain(float(str(array[()]))) if array.dtype.kind == "f" else array.item()
    return value


def _layout(value: Any, indent: str) -> str:
    if not (isinstance(value, dict) and value):
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    inner = indent + "  "
    items = (f"{inner}{json.dumps(key, ensure_ascii=False)}: {_layout(item, inner)}" for key, item in value.items())
    return "{\n" + ",\n".join(items) + f"\n{indent}}}"


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """The whole of `data` under `path`, or what was there before; no temporary file stays behind."""
    path = Path(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"  # same folder: a rename across file systems is not atomic
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ImageError(path, f"cannot be written ({reason(error)}); check the folder, rights and space") from error


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Create the folder if it is missing and write to it once. Raises ImageError if either fails."""
    probe = Path(folder) / f".{secrets.token_hex(8)}.tmp"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        try:
            probe.touch(exist_ok=False)  # os.access() is wrong for root and on network file systems
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise ImageError(folder, f"outputs cannot be written here ({reason(error)}); choose another folder") from error
