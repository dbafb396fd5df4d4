"""From image files to float arrays of the prior's size, and back to files, written whole or not at all.

In: `find_images`, `read_image` (both live in image_reading.py), `fit_to_size`, `placed`. Out: `unfit`, `write_image`,
`write_json`, `write_text`.
"""

import hashlib
import io
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, PngImagePlugin

from diip_jax.image_colours import from_srgb, is_srgb
from diip_jax.image_reading import (
    EXTENSIONS,
    ImageError,
    LoadedImage,
    find_images,
    left_out,
    read_image,
    reason,
)
from diip_jax.pixels import to_uint8, to_uint16
from diip_jax.png_encoding import PNG_SIGNATURE, XMP_KEYWORD, encoded_16_bits, has_sound_chunks

__all__ = [
    "EXTENSIONS",
    "SOFTWARE",
    "Fitted",
    "ImageError",
    "LoadedImage",
    "check_png",
    "check_writable",
    "file_sha256",
    "find_images",
    "fit_to_size",
    "is_whole",
    "json_text",
    "left_out",
    "placed",
    "read_image",
    "unfit",
    "write_image",
    "write_json",
    "write_text",
]


_INVISIBLE = 1 / 1024  # alpha below which a colour divided by it would be noise
SOFTWARE = "diip_jax"  # what a picture that was written here says in its `Software` text


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
    - "keep": the picture as it is, filled up at the right and at the bottom by reflection, so that the blocks of a JPEG
      stay where they were; `unfit` cuts that off again. The target is at least as large.
    - "error": ImageError.

    Scaling is an antialiased Lanczos filter in float, clipped to [-1, 1]. Where there is alpha, it is scaled alike, and
    the colours weighted by it: what is invisible gives no colour to what is not.
    Raises ValueError for an unknown policy or size.
    """
    if policy not in ("fit", "crop", "keep", "error"):
        raise ValueError(f"resize policy is {policy!r}, expected 'fit', 'crop', 'keep' or 'error'; choose one of them")
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
    if policy == "keep":
        if h > height or w > width or image.scale != 1:
            raise ValueError(f"picture is {h}x{w}, expected at most {height}x{width}, read at its own size")
        below, right = (0, height - h), (0, width - w)
        rgb = np.stack([_pad(image.rgb[..., c], below, right) for c in range(3)], axis=-1)
        alpha = None if image.alpha is None else _pad(image.alpha, below, right)
        return Fitted(rgb, alpha, (0, 0, h, w))
    box, (new_h, new_w) = (0.0, 0.0, float(w), float(h)), (height, width)
    if policy == "fit":
        scale = min(height / h, width / w)
        new_h, new_w = max(1, min(height, round(h * scale))), max(1, min(width, round(w * scale)))
    else:
        scale = max(height / h, width / w)
        margin_x, margin_y = max(0.0, (w - width / scale) / 2), max(0.0, (h - height / scale) / 2)
        box = (margin_x, margin_y, w - margin_x, h - margin_y)
    top, left = (height - new_h) // 2, (width - new_w) // 2

    # In pixels of `rgb`, of which one may stand for several of the file.
    box = (box[0] / image.scale, box[1] / image.scale, box[2] / image.scale, box[3] / image.scale)

    def scaled(values: NDArray[np.float32]) -> NDArray[np.float32]:
        source = Image.fromarray(np.ascontiguousarray(values, np.float32))
        return np.asarray(source.resize((new_w, new_h), Image.Resampling.LANCZOS, box=box))

    def padded(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _pad(values, (top, height - new_h - top), (left, width - new_w - left))

    planes, alpha = _scaled(image.rgb, image.alpha, scaled)
    rgb = np.stack([padded(plane) for plane in planes], axis=-1)
    return Fitted(rgb, None if alpha is None else padded(alpha), (top, left, new_h, new_w))


def _scaled(
    rgb: NDArray[np.float32],
    alpha: NDArray[np.float32] | None,
    scaled: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32] | None]:
    """The three channels and alpha through a linear filter of one plane, clipped to their ranges."""
    planes = [scaled(rgb[..., c]).clip(-1.0, 1.0) for c in range(3)]
    if alpha is None:
        return planes, None
    weight = scaled(alpha)
    if alpha.min() == 1.0:
        return planes, weight.clip(0.0, 1.0)
    seen = weight > _INVISIBLE
    weighted = [scaled((rgb[..., c] + 1) * alpha) / np.maximum(weight, _INVISIBLE) - 1 for c in range(3)]
    planes = [np.where(seen, w.clip(-1.0, 1.0), p) for w, p in zip(weighted, planes, strict=True)]
    return planes, weight.clip(0.0, 1.0)


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
    if scale == 1 and margin == 0:
        return fitted
    top, left, height, width = fitted.content

    def enlarged(values: NDArray[np.float32]) -> NDArray[np.float32]:
        size = (values.shape[1] * scale, values.shape[0] * scale)
        source = Image.fromarray(np.ascontiguousarray(values, np.float32))
        return np.asarray(source.resize(size, Image.Resampling.BICUBIC))

    def padded(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _pad(values, (margin, margin), (margin, margin))

    content = (margin + scale * top, margin + scale * left, scale * height, scale * width)
    if scale == 1:
        planes, alpha = [fitted.rgb[..., c] for c in range(3)], fitted.alpha
    else:
        planes, alpha = _scaled(fitted.rgb, fitted.alpha, enlarged)
    rgb = np.stack([padded(plane) for plane in planes], axis=-1)
    return Fitted(rgb, None if alpha is None else padded(alpha), content)


def write_image(
    path: str | os.PathLike[str],
    rgb: ArrayLike,
    alpha: ArrayLike | None = None,
    *,
    bits: int = 8,
    icc: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
) -> None:
    """Write a PNG marked as sRGB and as written here (see `SOFTWARE`), atomically.

    Args:
        rgb: `[H, W, 3]` or grey `[H, W]`, float in [-1, 1] or uint8.
        alpha: `[H, W]`, float in [0, 1] or uint8, or None.
        bits: of a channel: 8, or 16 of float.
        icc: a profile whose colours the file is to have instead of sRGB; 8 bits are kept then, but where the profile is
            as good as sRGB. It is left out where nothing leads from sRGB to it.
        exif, xmp: what the file says of the picture.

    Raises ValueError for other shapes, dtypes or extensions, ImageError if the file cannot be written.
    """
    check_png(path)
    pixels = np.asarray(rgb)
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or 0 in pixels.shape:
        raise ValueError(f"image has shape {pixels.shape}, expected [H, W, 3] or [H, W]; write one image at a time")
    opacity = None if alpha is None else np.asarray(alpha)
    if opacity is not None and opacity.shape != pixels.shape[:2]:
        raise ValueError(f"alpha has shape {opacity.shape}, expected {pixels.shape[:2]}; give it the image's size")
    if bits == 16 and (icc is None or is_srgb(icc)):
        parts = [to_uint16(part) for part in ([pixels] if opacity is None else [pixels, opacity * 2.0 - 1.0])]
        write_bytes(path, encoded_16_bits(np.dstack(parts), icc=icc, exif=exif, xmp=xmp, software=SOFTWARE))
        return
    image = Image.fromarray(to_uint8(pixels))
    coloured = None if icc is None else from_srgb(image, icc)
    if opacity is not None:
        eight = opacity if opacity.dtype == np.uint8 else to_uint8(opacity * 2.0 - 1.0)
        (coloured or image).putalpha(Image.fromarray(eight))
    chunks = PngImagePlugin.PngInfo()
    if coloured is None:
        chunks.add(b"sRGB", b"\0")  # rendering intent: perceptual
    chunks.add_text("Software", SOFTWARE)
    if xmp is not None:
        chunks.add_itxt(XMP_KEYWORD, xmp.decode())
    options: dict[str, bytes] = {"exif": exif} if exif else {}
    buffer = io.BytesIO()
    if coloured is None:
        image.save(buffer, "PNG", pnginfo=chunks, **options)
    else:
        coloured.save(buffer, "PNG", pnginfo=chunks, icc_profile=icc, **options)
    write_bytes(path, buffer.getvalue())


def is_whole(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a picture as it is written here, which can be read to its end."""
    try:
        data = Path(path).read_bytes()
        if data.startswith(PNG_SIGNATURE):
            return has_sound_chunks(data)
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
            picture.load()
    except Exception:  # Pillow raises anything on damaged data
        return False
    return True


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal. Raises ImageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror}); check the path and its rights") from error


def check_png(path: str | os.PathLike[str]) -> None:
    """Raises ImageError unless the name ends in .png: something else would be called what it is not."""
    if Path(path).suffix.lower() != ".png":
        raise ImageError(path, "outputs are PNG; end the name in .png")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Write UTF-8 text atomically; bytes of a file name that are no UTF-8 become `\udce9`.

    Raises ImageError if the file cannot be written.
    """
    write_bytes(path, _encoded(text))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    r"""Write strict JSON atomically: NaN and infinity become null, arrays become lists, float32 keeps its own digits.

    A file name that is no UTF-8 has `\udce9` for such a byte: JSON's own escape, which reads back as the same name.
    Dictionaries are spread over lines, each list stays on one (a trace is one line). Raises TypeError for values that
    JSON does not have, ImageError if the file cannot be written.
    """
    write_bytes(path, _encoded(json_text(value)))


def json_text(value: Any) -> str:
    """What `write_json` writes. Raises TypeError for values that JSON does not have."""
    return _layout(_plain(value), "") + "\n"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


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
