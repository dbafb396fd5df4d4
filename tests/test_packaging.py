"""What a wheel must hold: every package of the source tree, and the checkpoints."""

import configparser
import os
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


def test_devices_can_be_chosen_after_methods_are_made():
    """JAX takes their number until its first computation, and `--distributed` joins the processes until then."""
    code = (
        "import jax\nimport diip_jax as dj\nfor method in (dj.DIIP, dj.BIRD, dj.Blind): method(None)\n"
        "jax.config.update('jax_num_cpu_devices', 3); print(jax.local_device_count())"
    )
    without = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=without, capture_output=True, text=True)
    assert done.stdout == "3\n", done.stderr
