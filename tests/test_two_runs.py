"""Two runs into one folder at once: refused, or they share the work; never a picture beside the other's record."""

import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import checkpoint, picture, pixels, record

SETTINGS = ["--method=diip", "--stride=500", "--stopping=budget", "--max_iterations=3"]


@pytest.fixture
def start(tmp_path):
    """Starts the command, or another program with its flags, on ten pictures."""
    for n in range(10):
        picture(tmp_path / "in" / f"{n}.png", n)
    running = []

    def start(*flags, program=("-m", "diip_jax.launch")):
        given = [str(tmp_path / "in"), f"--output_dir={tmp_path / 'out'}", f"--checkpoint={checkpoint()}", *SETTINGS]
        command = [sys.executable, *program, *given, *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_two_runs_that_share_a_folder_share_the_work(tmp_path, start):
    out, go_on = tmp_path / "out", tmp_path / "go_on"
    held_up = [str(Path(__file__).with_name("mortal_process.py")), str(go_on)]
    runs = [start("--share_output", program=held_up) for _ in range(2)]
    while len(list(tmp_path.glob("go_on.*"))) < 2:  # each has restored one, and waits
        assert all(process.poll() is None for process in runs)
        time.sleep(0.01)
    strangers = [start(), start("--share_output", "--seed=1")]
    for process, says in zip(strangers, ("another run writes here; wait for it", "with other settings"), strict=True):
        told = process.communicate(timeout=100)[1]
        assert process.returncode == 2 and says in told
    go_on.touch()
    told = [process.communicate(timeout=300)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0]
    counts = [list(map(int, re.findall(r"\d+", text.splitlines()[-1]))) for text in told]
    assert [sum(count) for count in counts] == [10, 10] and all(count[2] == 0 for count in counts)
    # What both are at in the same moment is done twice; the rest once.
    assert 10 <= counts[0][0] + counts[1][0] < 20 and min(counts)[0] > 0
    assert {path.name for path in out.iterdir()} == {f"{n}.{kind}" for n in range(10) for kind in ("png", "json")}
    for n in range(10):
        assert record(out / f"{n}.json")["seed"] == 0 and pixels(out / f"{n}.png").shape == (16, 16, 3)


def test_a_run_with_another_seed_gets_the_folder_afterwards(tmp_path, start):
    digests = []
    for seed in (0, 1):
        process = start(f"--seed={seed}", "--skip_existing")
        assert "10 restored" in process.communicate(timeout=300)[0]
        files = sorted((tmp_path / "out").glob("*.png"))
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
        assert {record(path.with_suffix(".json"))["seed"] for path in files} == {seed}
    assert not set(digests[0]) & set(digests[1])
