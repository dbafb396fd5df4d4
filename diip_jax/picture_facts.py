"""What a file says of a picture beside its pixels, and goes with it: when, by which camera, where, by whom."""

from xml.etree import ElementTree

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


_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_META = "adobe:ns:meta/"
# Properties that say something of the picture, whatever its pixels and its file: namespaces (XMP specification, part 2;
# IPTC Photo Metadata), or single names of one that has others besides. Not: orientation and size (tiff, exif), the
# steps of a raw converter (crs), which programs would take again, history and identifiers of the file (xmpMM),
# thumbnails.
_KEPT_XMP = {
    "http://purl.org/dc/elements/1.1/": ("dc", None),
    "http://ns.adobe.com/photoshop/1.0/": ("photoshop", None),
    "http://ns.adobe.com/xap/1.0/rights/": ("xmpRights", None),
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": ("Iptc4xmpCore", None),
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": ("Iptc4xmpExt", None),
    "http://ns.adobe.com/xap/1.0/": ("xmp", frozenset({"CreateDate", "Label", "Rating"})),
}
_LARGEST_XMP = 1_000_000  # bytes; what JPEG holds in one place is 64 KB
# Of photoshop, what is not of every picture: the profile goes by itself.
_NOT_KEPT_XMP = frozenset({"ICCProfile", "ColorMode", "History", "DocumentAncestors"})


def kept_xmp(packet: bytes) -> bytes | None:
    """The XMP packet of an upright picture of another size in sRGB; None where nothing is left, or it is damaged."""
    if len(packet) > _LARGEST_XMP:
        return None
    try:
        root = ElementTree.fromstring(packet.rstrip(b"\0"), ElementTree.XMLParser(target=_WithoutDocumentType()))
    except (ElementTree.ParseError, ValueError, LookupError):  # the latter of an unknown encoding
        return None
    of_file = root if root.tag == f"{{{_RDF}}}RDF" else root.find(f"{{{_RDF}}}RDF")
    kept = ElementTree.Element(f"{{{_RDF}}}RDF")
    for about in [] if of_file is None else of_file.findall(f"{{{_RDF}}}Description"):
        properties = ElementTree.Element(f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
        for name, value in about.attrib.items():
            if _is_kept(name):
                properties.set(name, value)
        properties.extend(child for child in about if _is_kept(child.tag))
        if len(properties) or len(properties.attrib) > 1:
            kept.append(properties)
    if not len(kept):
        return None
    for prefix, uri in {"rdf": _RDF, "x": _META, **{prefix: uri for uri, (prefix, _) in _KEPT_XMP.items()}}.items():
        ElementTree.register_namespace(prefix, uri)
    meta = ElementTree.Element(f"{{{_META}}}xmpmeta")
    meta.append(kept)
    # The packet's own wrapper, by which programs find it.
    begin = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    return begin + ElementTree.tostring(meta, "utf-8", xml_declaration=False) + b'\n<?xpacket end="r"?>'


class _WithoutDocumentType(ElementTree.TreeBuilder):
    def doctype(self, name: str, public_id: str | None, system: str | None) -> None:
        raise ValueError("a document type, whose entities may grow without bounds")


def _is_kept(name: str) -> bool:
    uri, _, local = name.removeprefix("{").partition("}")
    if uri not in _KEPT_XMP or local in _NOT_KEPT_XMP:
        return False
    _, only = _KEPT_XMP[uri]
    return only is None or local in only
