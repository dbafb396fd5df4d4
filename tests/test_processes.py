"""One run in several processes: two processes of two devices each, started as a launcher would start them."""

import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from command_line import checkpoint, free_port, own_programs, picture, record, run

from diip_jax import distribute
from diip_jax.command import UsageError
from diip_jax.images import ImageError
from diip_jax.launch import processes
from diip_jax.launch.console import Console
from diip_jax.launch.flag_table import define_flags

SETTINGS = ["--method=diip", "--stride=250", "--max_iterations=4", "--stopping=budget"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the processes of this file keep what they compile, for one another."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def seven(tmp_path):
    return [picture(tmp_path / "in" / f"{name}.png", n) for n, name in enumerate("abcdefg")]


@pytest.fixture
def start(cache):
    """Starts a process for each (program, arguments), connected with the others; ends those that are left behind."""
    running = []

    def start(*commands, devices=2):
        coordinator = f"--coordinator=127.0.0.1:{free_port()}"
        # Not all of the suite's flags: with the older code generator sums round differently in batches of other sizes.
        xla = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
        xla += f" --xla_force_host_platform_device_count={devices}"
        environment = own_programs(cache) | {"XLA_FLAGS": xla}
        flags = [f"--checkpoint={checkpoint()}", *SETTINGS, coordinator, f"--num_processes={len(commands)}"]
        for i, (program, arguments) in enumerate(commands):
            command = [sys.executable, *program, *map(str, arguments), *flags, f"--process_id={i}"]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            running.append(subprocess.Popen(command, env=environment, **pipes))
        return running[-len(commands) :]

    yield start
    for process in running:
        process.kill()
        process.communicate()


LAUNCH = ["-m", "diip_jax.launch"]


def mortal(killed):
    return [str(Path(__file__).with_name("mortal_process.py")), str(killed)]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_two_processes_of_two_devices_do_what_one_does(tmp_path, seven, start):
    (alone,) = start((LAUNCH, [*seven, f"--output_dir={tmp_path / 'alone'}"]), devices=1)
    alone.communicate()
    assert alone.returncode == 0
    missing = tmp_path / "in" / "h.png"
    given = [*seven, missing, f"--output_dir={tmp_path / 'out'}"]
    first, second = start((LAUNCH, given), (LAUNCH, given))
    (out_0, err_0), (out_1, err_1) = first.communicate(), second.communicate()
    assert (first.returncode, second.returncode) == (1, 0)
    assert files(tmp_path / "out") == files(tmp_path / "alone")
    for name in "abcdefg":
        several, alone = (record(tmp_path / folder / f"{name}.json") for folder in ("out", "alone"))
        assert (several["traces"], several["settings"]) == (alone["traces"], alone["settings"])
    assert f"error: {missing}: no such file" in err_0 and "error" not in err_1
    for out, share in ((out_0, "aceg"), (out_1, "bdf")):
        assert sorted(line[0] for line in out.split(f"{tmp_path}/in/")[1:]) == list(share)
    assert "process 0 of 2: 4 restored, 0 skipped, 1 failed; " in out_0
    assert "process 1 of 2: 3 restored, 0 skipped, 0 failed; " in out_1
    assert "; 7 of all 7 images have a record" in out_0 + out_1


def test_a_process_that_dies_costs_nothing_but_its_own_rest(capsys, tmp_path, seven, start):
    out, killed = tmp_path / "out", tmp_path / "killed"
    given = [*seven, f"--output_dir={out}", "--skip_existing"]
    # Process 0 has the coordinator, on which all depend while they are connected.
    first, second = start((mortal("-"), given), (mortal(killed), given))
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    killed.touch()
    told, _ = second.communicate()
    assert second.returncode == 0
    finished = sorted(path.stem for path in out.glob("*.json"))
    # Process 0 has a, c, e and g; it was told of the first one, and the one that was on the other device may be there.
    assert {*"bdf"} < {*finished} < {*"abcdefg"}
    assert f"process 1 of 2: 3 restored, 0 skipped, 0 failed; {len(finished)} of all 7 images have a record" in told
    kept = {path: path.stat().st_mtime_ns for name in finished for path in out.glob(f"{name}.*")}
    resumed = run(capsys, *given)
    assert resumed.code == 0
    assert resumed.out[-1] == f"{7 - len(finished)} restored, {len(finished)} skipped, 0 failed"
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_processes_that_find_other_images_do_not_start(tmp_path, seven, start):
    out = f"--output_dir={tmp_path / 'out'}"
    for index, process in enumerate(start((LAUNCH, [*seven, out]), (LAUNCH, [*seven[:6], out]))):
        _, err = process.communicate()
        says = f"the processes do not find the same images: process {index} of 2 finds {7 - index}; give all"
        assert process.returncode == 2 and says in err
    assert not (tmp_path / "out").exists()


def parsed(*arguments):
    values = define_flags()
    values(["launch", *arguments])
    return values


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--coordinator=a:1", "--process_id=0"], "--num_processes is missing; with --distributed alone JAX finds"),
        (["--num_processes=2", "--distributed"], "--coordinator, --process_id is missing"),
        (["--coordinator=a", "--num_processes=2", "--process_id=0"], "--coordinator=a: expected HOST:PORT"),
        (["--coordinator=:1", "--num_processes=2", "--process_id=0"], "--coordinator=:1: expected HOST:PORT"),
        (["--coordinator=a:b", "--num_processes=2", "--process_id=0"], "--coordinator=a:b: expected HOST:PORT"),
        (["--coordinator=a:1", "--num_processes=2", "--process_id=2"], "--process_id=2: expected below --num_proc"),
    ],
)
def test_flags_that_do_not_name_a_meeting(arguments, says):
    with pytest.raises(UsageError, match=says):
        processes.meeting(parsed(*arguments), Console())


def test_without_the_flags_nobody_is_waited_for(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: pytest.fail("it was"))
    with processes.meeting(parsed(), Console()):
        processes.check_same_inputs([Path("a.png")], [ImageError("b.png", "is missing")])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (
            ["--distributed"],
            ValueError("coordinator_address should be defined."),
            r"on this cluster \(coordinator_address should be defined.\); give --coordinator",
        ),
        (
            ["--coordinator=a:1", "--num_processes=2", "--process_id=0"],
            RuntimeError("the port is taken\nmore"),
            r"at a:1 \(the port is taken\); try another port",
        ),
    ],
)
def test_processes_that_cannot_meet_are_one_line(monkeypatch, capsys, arguments, error, says):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with (
        pytest.raises(UsageError, match=f"the processes cannot meet {says}"),
        processes.meeting(parsed(*arguments), Console()),
    ):
        pytest.fail("they met")
    assert "waiting for the other processes " in capsys.readouterr().out


def test_a_cluster_is_looked_for_only_where_nothing_is_told(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *told, **how: calls.append((told, how)))
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: calls.append("parted"))
    for told in ((), ("a:1", 2, 0)):
        with pytest.raises(ZeroDivisionError), distribute.meeting(*told):
            raise ZeroDivisionError
    assert calls == [
        ((None, None, None), {"cluster_detection_method": None}),
        "parted",
        (("a:1", 2, 0), {"cluster_detection_method": "deactivate"}),
        "parted",
    ]
