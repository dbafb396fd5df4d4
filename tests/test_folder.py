"""Locks of an output folder: between processes, as runs are."""

import contextlib
import errno
import os
import signal
import subprocess
import sys

import pytest

from diip_jax.run import folder as module
from diip_jax.run.folder import FolderTaken, held

HOLDER = """
import sys, time
from pathlib import Path
from diip_jax.run.folder import held
with held(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def other(folder, run="a", how="alone"):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), run, how], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_run_is_refused_until_the_first_one_is_gone(tmp_path):
    with other(tmp_path) as first:
        for shared in (False, True):
            with pytest.raises(FolderTaken, match="another run writes here; wait for it"), held(tmp_path, "a", shared):
                pass
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        with held(tmp_path, "b", False) as locked:
            assert locked
    assert list(tmp_path.iterdir()) == []


def test_runs_of_the_same_settings_share_it(tmp_path):
    with other(tmp_path, "a", "shared"):
        with held(tmp_path, "a", True) as locked:
            assert locked
        with pytest.raises(FolderTaken, match=r"with other settings \(a\)"), held(tmp_path, "b", True):
            pass
        with pytest.raises(FolderTaken, match="wait for it"), held(tmp_path, "a", False):
            pass


def test_the_last_one_takes_the_lock_away(tmp_path):
    with held(tmp_path, "a", True):
        with held(tmp_path, "a", True):
            pass
        assert [path.name for path in tmp_path.iterdir()] == [module.NAME]
    assert list(tmp_path.iterdir()) == []


def test_storage_without_locks_is_told(tmp_path, monkeypatch):
    def none(file, operation):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(module.fcntl, "flock", none)
    with held(tmp_path, "a", False) as locked:
        assert not locked


def test_of_many_at_once_one_has_it(tmp_path):
    """Each holds it for a moment, if it gets it; never two."""
    code = """
import sys, time
from pathlib import Path
from diip_jax.run.folder import FolderTaken, held
folder, got = Path(sys.argv[1]), 0
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        with held(folder, "a", False):
            (folder / "in").mkdir()
            got += 1
            (folder / "in").rmdir()
    except FolderTaken:
        pass
print(got)
"""
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [int(process.communicate()[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0] and sum(told) > 10
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_taken_away_and_nothing_else(tmp_path):
    (tmp_path / ".0123456789abcdef.tmp").touch()
    kept = [tmp_path / name for name in (".0123.tmp", "0123456789abcdef.tmp", "x.png", ".hidden")]
    for path in kept:
        path.touch()
    module.without_leftovers(tmp_path)
    module.without_leftovers(tmp_path / "none")
    assert set(tmp_path.iterdir()) == set(kept)
