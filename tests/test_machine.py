"""Cores, memory and kind of CPU, in control groups as Linux writes them and without them."""

import os

import pytest

from diip_jax import machine

# Files below the root of the control groups, and /proc/self/cgroup.
V2 = "0::/job/step\n"
V1 = "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n"
TOTAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def groups(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)

    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        (V2, {}, 8),
        (V2, {"job__step__cpu_dot_max": "max 100000\n"}, 8),
        (V2, {"job__step__cpu_dot_max": "150000 100000\n"}, 2),
        (V2, {"job__step__cpu_dot_max": "max 100000\n", "job__cpu_dot_max": "300000 100000\n"}, 3),
        (V2, {"job__cpu_dot_max": "1000 100000\n"}, 1),
        (V2, {"cpu_dot_max": "400000 100000\n"}, 4),  # the container's own group is its root
        (V2, {"cpu_dot_max": "9900000 100000\n"}, 8),
        (V2, {"cpu_dot_max": "nonsense\n"}, 8),
        (V1, {"cpu__cpu_dot_cfs_quota_us": "200000\n", "cpu__cpu_dot_cfs_period_us": "100000\n"}, 2),
        (V1, {"cpu__cpu_dot_cfs_quota_us": "-1\n", "cpu__cpu_dot_cfs_period_us": "100000\n"}, 8),
    ],
)
def test_cores(own, files, cores, groups):
    groups(own, **files)
    assert machine.usable_cores() == cores


@pytest.mark.parametrize(
    ("own", "files", "memory"),
    [
        (V2, {}, TOTAL),
        (V2, {"job__step__memory_dot_max": "max\n"}, TOTAL),
        (V2, {"job__step__memory_dot_max": "1048576\n"}, 2**20),
        (V2, {"job__step__memory_dot_max": "2097152\n", "memory_dot_max": "1048576\n"}, 2**20),
        (V1, {"memory__docker__abc__memory_dot_limit_in_bytes": "1048576\n"}, 2**20),
        (V1, {"memory__memory_dot_limit_in_bytes": "9223372036854771712\n"}, TOTAL),
    ],
)
def test_memory(own, files, memory, groups):
    groups(own, **files)
    assert machine.usable_memory() == memory


def test_systems_without_affinity_and_control_groups(groups, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert machine.usable_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.usable_cores() == 1
    assert machine.usable_memory() == TOTAL
    monkeypatch.delattr(os, "sysconf")
    assert machine.usable_memory() is None


def test_the_kind_of_cpu_is_its_model_and_features_not_its_clock(tmp_path, monkeypatch):
    def kind(text):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(machine, "_CPU_INFO", tmp_path / "cpuinfo")
        return machine.cpu_kind()

    core = "processor\t: 0\nmodel name\t: A\ncpu MHz\t\t: {}\nflags\t\t: fpu {}\n\nprocessor\t: 1\nflags\t: other\n"
    assert kind(core.format(1000, "avx2")) == kind(core.format(2000, "avx2")) != kind(core.format(1000, "avx512f"))
    assert kind("") == machine.cpu_kind()


def test_memory_can_be_given_back_on_any_system(monkeypatch):
    machine.give_back_memory()
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: object())  # a C library that has no such call
    machine.give_back_memory()
