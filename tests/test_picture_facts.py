"""What goes with a picture, and what does not."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from diip_jax.image_reading import read_image
from diip_jax.picture_facts import kept_exif, kept_xmp

DATE, GPS_LATITUDE = 0x9003, 2


def exif_of(**more):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x0131] = "Maker", "Camera", 6, "Editor"
    exif[0x8769] = {DATE: "2020:01:02 03:04:05", 0xA002: 4000, 0xA003: 3000, 0x927C: b"secret addresses", 0xA001: 2}
    exif[0x8825] = {1: "N", GPS_LATITUDE: (1.0, 2.0, 3.0)}
    return exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_date_camera_and_place_are_kept_and_what_is_of_the_old_file_is_not(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    given = Image.Exif()
    given.load(exif_of().tobytes())
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path, exif=given)
    image = read_image(path)
    assert image.size == (8, 6)
    kept = Image.Exif()
    kept.load(image.exif)
    assert kept[0x0110] == "Camera" and kept[0x010F] == "Maker"
    assert set(kept) <= {0x010F, 0x0110, 0x8769, 0x8825}
    assert kept.get_ifd(0x8769) == {DATE: "2020:01:02 03:04:05"}
    assert kept.get_ifd(0x8825)[GPS_LATITUDE] == (1.0, 2.0, 3.0)


def test_nothing_said_is_nothing_kept():
    assert kept_exif(Image.Exif()) is None
    only = Image.Exif()
    only[0x0112] = 6
    assert kept_exif(only) is None


def test_damaged_facts_are_left_out(tmp_path):
    Image.new("RGB", (4, 4)).save(buffer := io.BytesIO(), "JPEG", exif=exif_of())
    data = bytearray(buffer.getvalue())
    at = data.index(b"Exif\0\0") + 6
    for begin in range(at, at + 200, 5):
        damaged = bytearray(data)
        damaged[begin : begin + 5] = b"\xff" * 5
        (tmp_path / "a.jpg").write_bytes(damaged)
        image = read_image(tmp_path / "a.jpg")
        assert image.exif is None or isinstance(image.exif, bytes)


def packet(properties: str, attributes: str = "") -> bytes:
    names = {
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "dc": "http://purl.org/dc/elements/1.1/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "tiff": "http://ns.adobe.com/tiff/1.0/",
        "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
        "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    }
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in names.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF {declared}><rdf:Description rdf:about="" {attributes}>{properties}</rdf:Description></rdf:RDF>'
        f'</x:xmpmeta>{"    " * 50}<?xpacket end="w"?>'
    ).encode()


TITLE = '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Über</rdf:li></rdf:Alt></dc:title>'
DOCUMENT_TYPE = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x:xmpmeta'
OF_THE_FILE = 'tiff:Orientation="6" crs:Exposure2012="+1.5" xmpMM:DocumentID="1" photoshop:ICCProfile="P3"'


def test_xmp_of_the_picture_is_kept_and_that_of_the_old_file_is_not():
    given = packet(TITLE + "<xmpMM:History>x</xmpMM:History>", f'{OF_THE_FILE} xmp:Rating="4" photoshop:City="Bern"')
    kept = kept_xmp(given).decode()
    assert kept.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>') and kept.endswith('end="r"?>')
    assert TITLE in kept and 'xmp:Rating="4"' in kept and 'photoshop:City="Bern"' in kept
    assert not any(name in kept for name in ("Orientation", "crs", "xmpMM", "ICCProfile"))
    assert kept_xmp(kept.encode()) == kept.encode()


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"not XML <",
        packet("", OF_THE_FILE),
        packet(TITLE)[:-300],
        packet(TITLE).replace(b"<x:xmpmeta", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x:xmpmeta', 1),
        packet(TITLE)
        .replace(b"<x:xmpmeta", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x:xmpmeta', 1)
        .decode()
        .encode("utf-16"),
        packet(TITLE + "<dc:source>" + "x" * 1_000_000 + "</dc:source>"),
        b'<?xml version="1.0" encoding="klingon"?><a/>',
    ],
)
def test_xmp_that_says_nothing_or_is_no_packet_is_left_out(given):
    assert kept_xmp(given) is None


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_xmp_is_read_of_every_format(tmp_path, suffix):
    path, given = tmp_path / f"a.{suffix}", packet(TITLE)
    options = {"xmp": given}
    if suffix == "png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", given.decode())
        options = {"pnginfo": chunks}
    elif suffix == "tif":
        options = {"tiffinfo": {700: given}}
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path, **options)
    assert read_image(path).xmp == kept_xmp(given)
