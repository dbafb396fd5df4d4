"""A run over the actors of a Ray cluster that is started on this machine; one of them is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import checkpoint, picture, run

SETTINGS = ["--method=diip", "--stride=250", "--max_iterations=8", "--stopping=budget"]


@pytest.fixture
def pictures(tmp_path):
    return [picture(tmp_path / "in" / f"{n:02}.png", n) for n in range(12)]


def actors_of(process):
    """Process ids of the actors that a driver has started."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                title, status = ((path / name).read_text() for name in ("cmdline", "status"))
            except OSError:
                continue
            if "MapWorker" in title and f"RAYDRIVER={process.pid}" in environment(path) and "zombie" not in status:
                found.append(int(path.name))
    return found


def environment(path):
    try:
        return (path / "environ").read_text()
    except OSError:
        return ""


def test_an_actor_that_is_killed_costs_nothing(capsys, tmp_path, pictures):
    out, log = tmp_path / "out", tmp_path / "run.jsonl"
    given = [*map(str, pictures), f"--checkpoint={checkpoint()}", *SETTINGS, f"--output_dir={out}"]
    code = (
        "import os, sys\nos.environ['RAYDRIVER'] = str(os.getpid())\n"
        "from diip_jax.launch.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    more = ["--engine=ray", "--ray_actors=2", f"--run_log={log}"]
    command = [sys.executable, "-c", code, *given, *more]
    # Ray's workers give way to all other work by default: beside other tests they would hardly run.
    environ = os.environ | {"RAY_worker_niceness": "0"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(out.glob("*.json")):
            time.sleep(0.05)
        [first, *_] = actors_of(process)
        os.kill(first, signal.SIGKILL)
        told, _ = process.communicate()
    assert process.returncode == 0, told
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{path.stem}.{kind}" for path in pictures for kind in ("png", "json")
    )
    counts = json.loads(log.read_text().splitlines()[-1])
    assert counts["images"]["failed"] == 0 and counts["images"]["restored"] + counts["images"]["skipped"] == 12
    here = tmp_path / "here"
    assert run(capsys, *pictures, *SETTINGS, f"--output_dir={here}").code == 0
    for path in pictures:
        assert (out / path.name).read_bytes() == (here / path.name).read_bytes()
    assert run(capsys, *pictures, *SETTINGS, f"--output_dir={out}", "--skip_existing").out[-1].startswith("0 restored")
