"""What a wheel must hold: every package of the source tree, the checkpoints, and the terms of both."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

import diip_jax
from diip_jax.prior import BUNDLED

ROOT = Path(__file__).resolve().parent.parent


def test_setup_cfg_lists_every_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "diip_jax").rglob("__init__.py")}
    assert listed == found | {"diip_jax.checkpoints"}


def test_metadata_names_the_terms_of_code_and_weights():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    expression, files = config["metadata"]["license_expression"], config["metadata"]["license_files"].split()
    terms, texts = expression.split(" AND "), [(ROOT / name).read_text() for name in files]
    assert terms[0] == "Apache-2.0" and "Apache License" in texts[0] and len(terms) == len(texts) == 1 + len(BUNDLED)
    for name, term, text in zip(BUNDLED, terms[1:], texts[1:], strict=True):
        # The reference that the expression makes is what the text calls itself.
        assert name in term and f"({term})" in text.splitlines()[0]
        assert "non-commercial research only" in text


def test_types_are_published():
    assert (ROOT / "diip_jax/py.typed").is_file()


def test_an_installation_without_weights_works_and_says_how_to_get_some(tmp_path):
    shutil.copytree(ROOT / "diip_jax", tmp_path / "diip_jax", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import sys; sys.path.insert(0, ''); import diip_jax as dj; print(dj.__file__); dj.DIP()\n"
        "try: dj.load_prior()\nexcept dj.CheckpointError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    where, says = done.stdout.splitlines()
    assert Path(where).parent == tmp_path / "diip_jax"
    assert "has no weights; give a checkpoint (convert or train one)" in says


def test_citation_and_version_are_those_of_the_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == config["metadata"]["version"] == diip_jax.__version__
    assert citation["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= citation.keys()


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
