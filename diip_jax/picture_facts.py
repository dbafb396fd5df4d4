"""What a file says of a picture beside its pixels, and goes with it: when, by which camera, where, by whom."""

from PIL import Image

_ORIENTATION, _EXIF, _GPS, _INTEROPERABILITY, _MAKER_NOTE = 0x0112, 0x8769, 0x8825, 0xA005, 0x927C
# Not the size, the thumbnail or the layout of the file: they are those of another picture. 0x010E description, 0x010F
# and 0x0110 camera, 0x0132 date, 0x013B artist, 0x8298 copyright.
_KEPT = (0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298)
# Of the width and height, of what the maker wrote, which holds addresses within the old file, of the colour space.
_DROPPED = frozenset({0xA002, 0xA003, _MAKER_NOTE, _INTEROPERABILITY, 0xA001})


def kept_exif(exif: Image.Exif) -> bytes | None:
    """The EXIF of an upright picture of another size in sRGB; None where nothing is left, or it cannot be read."""
    kept = Image.Exif()
    try:
        for tag in _KEPT:
            if tag in exif:
                kept[tag] = exif[tag]
        for tag in (_EXIF, _GPS):
            if entries := {name: value for name, value in exif.get_ifd(tag).items() if name not in _DROPPED}:
                kept.get_ifd(tag).update(entries)
                kept[tag] = entries
        return kept.tobytes() if len(kept) else None
    except Exception:  # damaged: Pillow raises anything
        return None
