"""Makes docs/examples.png from restored examples: input, restored and clean, for every damage and portrait.

    python -m diip_jax.launch examples/noise examples/blur examples/jpeg examples/x4 \\
        --reference=examples/clean --output_dir=results/examples --compare
    python docs/make_pictures.py results/examples
"""

import json
import sys
from pathlib import Path

import numpy as np

from diip_jax.images import read_image, to_uint8, write_image
from diip_jax.report import montage

ROOT = Path(__file__).resolve().parent.parent
DAMAGES = ("noise", "blur", "jpeg", "x4")
PORTRAITS = ("astronaut", "grace_hopper")


def main(restored: Path) -> None:
    rows, labels = [], []
    for portrait in PORTRAITS:
        clean = _pixels(ROOT / "examples" / "clean" / f"{portrait}.png")
        for kind, folder in (("input", ROOT / "examples"), ("restored", restored)):
            rows.append([_pixels(folder / damage / f"{portrait}.png") for damage in DAMAGES] + [clean])
            labels.append(kind)
        metrics = [json.loads((restored / damage / f"{portrait}.json").read_text())["metrics"] for damage in DAMAGES]
        for damage, values in zip(DAMAGES, metrics, strict=True):
            print(portrait, damage, json.dumps(values))
    write_image(ROOT / "docs" / "examples.png", montage(rows, labels, [*DAMAGES, "clean"], cell=128))


def _pixels(path: Path) -> np.ndarray:
    return to_uint8(read_image(path).rgb)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
