"""The table of faces in photographs in docs/blind.md: `Blind` with the prior of photographs, and with `--faces` on top.

    pip install "diip_jax[faces,lpips]"
    python docs/photographed_faces.py FOLDER_OF_BSDS500 [--count=32] [--tasks="blur 1.6 and noise 2,x2"]

`count` of the photographs in which a face is found whose frame has 24 to 128 pixels a side, evenly spread by name; of
each a square of 128 pixels around that face, damaged as in docs/photographs.py. Faces are found in the restored square,
as the command does. PSNR in dB and LPIPS (AlexNet) over the frame, at 64x64 pixels; means.
"""

import argparse
from pathlib import Path

import numpy as np
from photographs import TASKS, enlarged
from PIL import Image

import diip_jax
from diip_jax.faces import cut_face
from diip_jax.metrics import lpips, psnr
from diip_jax.pixels import from_uint8

_SIDE = 128
_SMALLEST = 24
_FRAME = 64
# Ten of them, with which the way of doing it was chosen, are left out.
_CHOSEN_ON = {"122048", "230098", "368037", "302003", "14092", "385039", "16004", "187029", "157087", "23050"}


def squares(folder: Path, count: int) -> list[tuple[np.ndarray, diip_jax.Face]]:
    """Squares around faces of different photographs, and the face in each."""
    found = []
    for path in sorted(folder.rglob("*.jpg"), key=lambda path: path.stem):
        if path.stem in _CHOSEN_ON:
            continue
        picture = np.asarray(Image.open(path).convert("RGB"))
        for face in diip_jax.find_faces(picture):
            if _SMALLEST <= face.side <= _SIDE:
                x, y = np.mean(face.corners, axis=0)
                left, top = (
                    int(np.clip(middle - _SIDE / 2, 0, side - _SIDE))
                    for middle, side in ((x, picture.shape[1]), (y, picture.shape[0]))
                )
                found.append((picture[top : top + _SIDE, left : left + _SIDE], face.moved(-left, -top)))
                break
    chosen = [found[n] for n in np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)]
    sides = [face.side for _, face in chosen]
    print(f"{len(chosen)} of {len(found)} photographs, frames of {min(sides):.0f} to {max(sides):.0f} pixels")
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--tasks", default="noise 25,blur 1.6 and noise 2,JPEG 10,x2,x4")
    given = parser.parse_args()
    clean = squares(given.folder, given.count)
    photos, of_faces = diip_jax.load_prior("photos"), diip_jax.Blind(diip_jax.load_prior("faces64"))
    for name in given.tasks.split(","):
        scale, rows, seen = int(name[1:]) if name in ("x2", "x4") else 1, [], 0
        for x, face in clean:
            y = TASKS[name](x)
            restored = diip_jax.restore(diip_jax.Blind(photos, scale=scale), y[None]).images[0]
            found = diip_jax.find_faces(restored)
            seen += any(each.is_on(face) for each in found)
            with_faces = diip_jax.restore_faces(of_faces, from_uint8(restored), found)
            pictures = [from_uint8(y if scale == 1 else enlarged(y, scale)), from_uint8(restored), with_faces]
            wanted, *frames = (cut_face(picture, face, _FRAME) for picture in (from_uint8(x), *pictures))
            rows.append([(psnr(frame, wanted), lpips(frame, wanted)) for frame in frames])
        table = np.array(rows)
        means = " | ".join(f"{decibels:.2f} / {distance:.3f}" for decibels, distance in table.mean(axis=0))
        better, gain = (table[:, 2, 1] < table[:, 1, 1] - 1e-4).mean(), np.sort(table[:, 2, 0] - table[:, 1, 0])
        print(f"{name}: {means}; {seen} of {len(rows)} found, LPIPS better in {better:.0%}")
        print(f"  by the face: {gain[0]:+.2f}, {gain[1]:+.2f} ... {gain[-1]:+.2f} dB", flush=True)


if __name__ == "__main__":
    main()
