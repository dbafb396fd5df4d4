"""The command of the page: what it refuses, and in which words."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from networks import tiny_prior

import diip_jax as dj
from diip_jax.demo.__main__ import _told, main

ROOT = Path(__file__).resolve().parent.parent


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert main([]) == 2
    assert capsys.readouterr().err == (
        'diip_jax.demo: error: the page needs Gradio; run: pip install "diip_jax[demo]"\n'
    )


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="no Gradio: pip install diip_jax[demo]")
def test_a_port_that_is_taken_is_one_line(tmp_path):
    dj.save_prior(tmp_path / "tiny", tiny_prior())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "diip_jax.demo", f"--port={port}", f"--checkpoint={tmp_path / 'tiny'}"]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"--host=127.0.0.1 --port={port}: cannot listen there" in done.stderr and done.stderr.count("\n") == 1


def test_visitors_are_told_what_the_prior_is_for(tmp_path):
    kind, terms = _told(None, (64, 64, 3))
    assert kind == "aligned faces of up to 128 pixels, and of larger photographs what is near each pixel"
    assert "non-commercial research only" in terms
    dj.save_prior(tmp_path / "own", tiny_prior())
    assert _told(str(tmp_path / "own"), (16, 16, 3)) == (
        "pictures like those that it was trained on, of 16x16 pixels",
        "",
    )


def test_listens_at_this_computer_alone_unless_told_otherwise():
    from diip_jax.demo.__main__ import _flag_values

    assert _flag_values()["host"].default == "127.0.0.1"
