"""A run over the actors of a Ray cluster that is started on this machine; actors are killed, or stuck, on the way."""

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
DRIVER = [sys.executable, str(Path(__file__).with_name("ray_driver.py"))]
# Ray's workers give way to all other work by default: beside other tests they would hardly run.
ENVIRON = os.environ | {"RAY_worker_niceness": "0"}


@pytest.fixture
def pictures(tmp_path):
    return [picture(tmp_path / "in" / f"{n:02}.png", n) for n in range(12)]


def flags(pictures, tmp_path):
    given = [*map(str, pictures), f"--checkpoint={checkpoint()}", *SETTINGS, f"--output_dir={tmp_path / 'out'}"]
    return [*given, "--engine=ray", "--ray_actors=2", f"--run_log={tmp_path / 'run.jsonl'}"]


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


def waiting(folder, process, beside):
    """The process id of an actor that waits, and is none of these."""
    while process.poll() is None:
        found = {int(path.name.removeprefix("waiting_")) for path in folder.glob("waiting_*")} - beside
        if found and (there := found & set(actors_of(process))):
            return there.pop()
        time.sleep(0.05)
    raise AssertionError("the run has ended meanwhile")


def check_all_once(pictures, tmp_path, given):
    """Of all pictures there is a result, and every one that was given to the last run is counted once."""
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{path.stem}.{kind}" for path in pictures for kind in ("png", "json")
    )
    counts = json.loads((tmp_path / "run.jsonl").read_text().splitlines()[-1])["images"]
    assert counts["failed"] == 0 and counts["restored"] + counts["skipped"] == given


def test_an_actor_that_is_killed_twice_or_whose_device_is_stuck_costs_nothing(capsys, tmp_path, pictures):
    with subprocess.Popen(
        [*DRIVER, "Waiting", str(tmp_path), *flags(pictures, tmp_path)], env=ENVIRON, stdout=subprocess.PIPE, text=True
    ) as process:
        first = waiting(tmp_path, process, set())
        both = set(actors_of(process))
        os.kill(first, signal.SIGKILL)
        # The one that Ray has started in its place; the other actor waits as long.
        second = waiting(tmp_path, process, both)
        os.kill(second, signal.SIGKILL)
        (tmp_path / "go_on").touch()
        told, _ = process.communicate()
    assert process.returncode == 0, told
    check_all_once(pictures, tmp_path, len(pictures))
    here = tmp_path / "here"
    assert run(capsys, *pictures, *SETTINGS, f"--output_dir={here}").code == 0
    for path in pictures:
        assert (tmp_path / "out" / path.name).read_bytes() == (here / path.name).read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = subprocess.run(
        [*DRIVER, "Restorer", str(tmp_path), *flags(pictures, tmp_path)], env=ENVIRON, capture_output=True, text=True
    )
    assert again.returncode == 0 and "0 restored, 12 skipped, 0 failed" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times
    # Once more for those whose output is lost; all others are left alone.
    lost = pictures[:4]
    for path in lost:
        (tmp_path / "out" / path.name).unlink()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    command = [*DRIVER, "Stuck", str(tmp_path), *flags(lost, tmp_path)]
    done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert not Path(f"/proc/{(tmp_path / 'stuck').read_text()}").exists()
    for path in lost:
        assert (tmp_path / "out" / path.name).read_bytes() == (here / path.name).read_bytes()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    check_all_once(pictures, tmp_path, len(lost))
