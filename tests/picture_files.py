"""Picture files byte by byte, for kinds that Pillow cannot write, and ICC profiles by hand."""

import io
import struct
import zlib

import numpy as np
from PIL import ImageCms


def png(width, height, bits, colour_type, rows, *chunks):
    """A PNG with these rows, each behind its filter's number, and chunks (name, data) between header and data."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    between = b"".join(chunk(*given) for given in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + between + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_16(values, *chunks):
    """A PNG of uint16 `[H, W, C]`: grey, with alpha, RGB, with alpha."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows, *chunks)


# --- ICC profiles, written by hand because Pillow can only make sRGB, Lab and XYZ ones --------------------------------

D50 = (0.9642, 1.0, 0.8249)
P3 = {"r": (0.5151, 0.2412, -0.0011), "g": (0.2920, 0.6922, 0.0419), "b": (0.1571, 0.0666, 0.7841)}  # Display P3 in D50


def icc(space, tags, kind=b"mntr", pcs=b"XYZ "):
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"Test\0" + bytes(78), b"wtpt": xyz(D50), **tags}
    offset, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(
        ">IIi4s4s4s12s4s28s",
        offset + len(body),
        0,
        0x02400000,
        kind,
        space,
        pcs,
        struct.pack(">6H", 2024, 1, 1, 0, 0, 0),
        b"acsp",
        bytes(28),
    )
    return header + fixed(D50) + bytes(128 - len(header) - 12) + table + body


def fixed(numbers):
    return struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))


def xyz(numbers):
    return b"XYZ \0\0\0\0" + fixed(numbers)


def gamma(exponent):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))


def p3_profile():
    return icc(
        b"RGB ", {f"{c}XYZ".encode(): xyz(v) for c, v in P3.items()} | {f"{c}TRC".encode(): gamma(2.2) for c in P3}
    )


def grey_profile(exponent):
    return icc(b"GRAY", {b"kTRC": gamma(exponent)})


def cmyk_profile():
    """A printer whose black ink is bluish: 2 grid points an ink, Lab, the identity as its curves."""
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(16, 4)
    lab = (
        np.stack(
            [
                255 * (1 - corners.max(1) * 0.8),
                128 + 20 * corners[:, 1] - 10 * corners[:, 0],
                128 + 30 * corners[:, 2] - 25 * corners[:, 3],
            ],
            -1,
        )
        .round()
        .astype(np.uint8)
    )
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + fixed((1, 0, 0, 0, 1, 0, 0, 0, 1))
    table += ramp * 4 + lab.tobytes() + ramp * 3
    return icc(b"CMYK", {b"A2B0": table}, kind=b"prtr", pcs=b"Lab ")


def littlecms(image, profile):
    return np.asarray(
        ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    )
