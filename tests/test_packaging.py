"""What a wheel must hold: every package of the source tree, and the checkpoints."""

import configparser
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_setup_cfg_lists_every_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "diip_jax").rglob("__init__.py")}
    assert listed == found | {"diip_jax.checkpoints"}


def test_import_loads_neither_torch_nor_matplotlib():
    code = "import sys, diip_jax; print(*sorted({'torch', 'diffusers', 'matplotlib', 'skimage'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
