"""From the colours of a file to sRGB and back: ICC profiles by LittleCMS, PNG's gamma, notes on what is not read."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from diip_jax.image_files import reason

Floats = NDArray[np.float32]

_PROFILE_SPACE = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
_PICTURE_MODE = {"RGB": "RGB", "GRAY": "L"}  # of those spaces that a PNG may have
_SRGB_GAMMA, _SRGB_PRIMARIES = 1 / 2.2, (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_SRGB_CODE_POINTS = (1, 13, 0, 1)  # of H.273: primaries, transfer function, matrix, full range
_EXIF, _COLOUR_SPACE, _ADOBE_RGB = 0x8769, 0xA001, 2
_INTEROPERABILITY, _INDEX = 0xA005, 1
_TRANSFER_FUNCTION = 301  # of TIFF


@dataclass(frozen=True)
class Tone:
    """How the colours of a file become sRGB.

    Attributes:
        to_srgb: an L, RGB, CMYK or LAB picture as RGB, through its profile.
        gamma: exponent from light to samples, where it is not sRGB's curve and there is no profile.
        exact: whether `to_srgb` only copies values, so that more than 8 bits need not pass through it.
        icc: the profile, where it was usable.
    """

    to_srgb: Callable[[Image.Image], Image.Image]
    gamma: float | None
    exact: bool
    icc: bytes | None

    def of(self, rgb: Floats) -> Floats:
        """Samples in [-1, 1] after `to_srgb` to sRGB."""
        if self.gamma is None:
            return rgb
        light = ((rgb + 1) / 2) ** np.float32(1 / self.gamma)
        curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - 0.055)
        return (2 * curve - 1).astype(np.float32)


def tone_of(file: io.BufferedIOBase, image: Image.Image, tags: Any, exif: Image.Exif, notes: list[str]) -> Tone:
    """What a file says of its colours; of several statements the one that its format puts first.

    Args:
        tags: of a TIFF file, else empty.
    """
    info, mode = image.info, _colour_mode(image)
    points = _png_code_points(file) if image.format == "PNG" else None
    icc = info.get("icc_profile")
    if points == _SRGB_CODE_POINTS:
        return Tone(_plain, None, True, None)
    if points is not None:
        notes.append(f"cICP says colours {points}, which are not converted: they are taken as sRGB")
        return Tone(_plain, None, True, None)
    if icc:
        convert = _profile_conversion(icc, mode, notes)
        if convert is not None:
            return Tone(convert, None, convert is _plain, icc)
    if mode == "CMYK":
        notes.append("CMYK without a usable ICC profile: converted by the plain formula")
    if mode == "LAB":
        lab = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        return Tone(lab.apply, None, False, None)
    if icc:
        return Tone(_plain, None, True, None)
    notes += _unread(image, tags, exif)
    gamma = info.get("gamma") if image.format == "PNG" and "srgb" not in info else None
    if not gamma or abs(gamma / _SRGB_GAMMA - 1) < 0.02:
        return Tone(_plain, None, True, None)
    notes.append(f"converted from gamma {gamma:g} to sRGB")
    return Tone(_plain, gamma, True, None)


def _plain(colour: Image.Image) -> Image.Image:
    return colour.convert("RGB")


def _colour_mode(image: Image.Image) -> str:
    if image.mode in ("CMYK", "LAB"):
        return image.mode
    return "L" if image.mode in ("1", "F") or image.mode[0] in "LI" else "RGB"


def _png_code_points(file: io.BufferedIOBase) -> tuple[int, int, int, int] | None:
    """What the chunk cICP of a PNG file says; None without one."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"cICP" and length == 4:
            return struct.unpack("4B", file.read(4))
        if name in (b"IDAT", b"IEND"):
            break
        file.seek(length + 4, 1)
    return None


def _unread(image: Image.Image, tags: Any, exif: Image.Exif) -> list[str]:
    """Notes on statements about colour that are not followed, where there is no profile."""
    notes, info = [], image.info
    details = exif.get_ifd(_EXIF)
    try:
        index = exif.get_ifd(_INTEROPERABILITY).get(_INDEX)
    except KeyError:  # Pillow 12 raises it where there is none
        index = None
    if details.get(_COLOUR_SPACE) == _ADOBE_RGB or str(index).startswith("R03"):
        notes.append("EXIF says Adobe RGB, and there is no ICC profile: the colours are taken as sRGB")
    if _TRANSFER_FUNCTION in tags:
        notes.append("its TransferFunction is not read: the tones are taken as sRGB")
    primaries = info.get("chromaticity")
    if primaries and "srgb" not in info and np.abs(np.subtract(primaries, _SRGB_PRIMARIES)).max() > 0.01:
        notes.append("its primaries (cHRM) are not read: they are taken as sRGB's")
    transfer = (info.get("nclx_profile") or {}).get("transfer_characteristics")
    if transfer in (16, 18):  # of H.273
        notes.append(f"its tones are {'PQ' if transfer == 16 else 'HLG'}, which is not read: they are taken as sRGB")
    if info.get("bit_depth", 8) > 8:
        notes.append(f"{info['bit_depth']} bits a channel, reduced to 8")
    return notes


def _profile_conversion(icc: bytes, mode: str, notes: list[str]) -> Callable[[Image.Image], Image.Image] | None:
    """The conversion from a profile to sRGB; `_plain` where it changes nothing; None, noted, where it is unusable."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        name = ImageCms.getProfileDescription(profile).strip() or "unnamed"
        space = _space(profile)
        source = "RGB" if mode == "L" and space == "RGB" else mode  # grey saved by an RGB workflow
        if space != _PROFILE_SPACE[source]:
            raise ImageCms.PyCMSError(f"a profile for {space} in a {mode} image")
        transform = _transform(profile, ImageCms.createProfile("sRGB"), source, "RGB")
        if _changes_nothing(transform, source):
            return _plain
    except (ImageCms.PyCMSError, OSError) as error:
        notes.append(f"ICC profile ignored ({reason(error)}): the colours are taken as sRGB")
        return None
    notes.append(f"converted from the ICC profile {name!r} to sRGB")

    def convert(colour: Image.Image) -> Image.Image:
        return _neutral(colour, transform.apply(colour if colour.mode == source else colour.convert(source)))

    return convert


def _space(profile: ImageCms.ImageCmsProfile) -> str:
    return str(profile.profile.xcolor_space).strip()


def _transform(
    source: ImageCms.ImageCmsProfile | Any, target: ImageCms.ImageCmsProfile | Any, mode: str, target_mode: str
) -> ImageCms.ImageCmsTransform:
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.buildTransform(source, target, mode, target_mode, intent, flags)


def _neutral(before: Image.Image, after: Image.Image) -> Image.Image:
    """What was grey is grey: LittleCMS rounds each channel on its own."""
    if before.mode not in ("L", "RGB") or after.mode != "RGB":
        return after
    given, rgb = np.asarray(before), np.asarray(after).astype(np.int16)
    grey = True if given.ndim == 2 else (given == given[..., :1]).all(-1)
    tinted = grey & (np.ptp(rgb, -1) <= 2) & (np.ptp(rgb, -1) > 0)
    if not tinted.any():
        return after
    rgb[tinted] = np.rint(rgb[tinted].mean(-1, keepdims=True)).astype(np.int16)
    return Image.fromarray(rgb.astype(np.uint8))


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """True if the profile is sRGB within LittleCMS's own rounding, measured on a grid of colours."""
    if mode not in ("L", "RGB"):
        return False
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    probe = Image.fromarray(grid if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    before, after = (np.asarray(i, np.int16) for i in (probe.convert("RGB"), transform.apply(probe)))
    return bool(np.abs(before - after).max() <= 1)


def is_srgb(icc: bytes) -> bool:
    """Whether an RGB or grey profile is as good as sRGB."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = _PICTURE_MODE.get(_space(profile))
        if mode is None:
            return False
        return _changes_nothing(_transform(profile, ImageCms.createProfile("sRGB"), mode, "RGB"), mode)
    except (ImageCms.PyCMSError, OSError):
        return False


def from_srgb(image: Image.Image, icc: bytes) -> Image.Image | None:
    """An 8-bit L or RGB picture in sRGB in the colours of a profile; None where the profile leads only the other way.

    One of a profile that is as good as sRGB comes back as it is. Grey of an RGB profile becomes RGB.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = _PICTURE_MODE.get(_space(profile))
        if mode is None or (mode == "L" and image.mode != "L"):
            return None
        if is_srgb(icc):
            return image.convert(mode)
        converted = _transform(ImageCms.createProfile("sRGB"), profile, "RGB", mode).apply(image.convert("RGB"))
        return _neutral(image, converted)
    except (ImageCms.PyCMSError, OSError):
        return None
