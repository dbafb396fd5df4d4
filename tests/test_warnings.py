"""No command warns of an ordinary run: with warnings as errors each does its work, and says nothing that is no line of
its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import checkpoint, picture
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
# The bright picture has no value below the middle, which the API takes for a mistake.
COMMANDS = {
    "launch": "bright.png --output_dir=out --method=diip --stride=250 --max_iterations=2 --checkpoint={prior}",
    "convert": "--inspect={prior}",
    "sample": "--checkpoint={prior} --output=samples.png --rows=1 --columns=2 --stride=250",
    "evaluate": "--prior --checkpoint={prior} --images=clean.npz",
    "bench": "--checkpoint={prior} --batch_size=1 --repeats=1 --gradient=detached --stride=250",
    "train": "--help",
    "demo": "--help",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_ordinary_run_warns_of_nothing(name, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(200, 256, (16, 16, 3), np.uint8)).save(tmp_path / "bright.png")
    np.savez(tmp_path / "clean.npz", images=np.stack([np.asarray(Image.open(picture(tmp_path / "a.png")))] * 2))
    arguments = COMMANDS[name].format(prior=checkpoint()).split()
    settings = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", f"diip_jax.{name}", *arguments],
        cwd=tmp_path,
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout and "Warning" not in done.stderr
