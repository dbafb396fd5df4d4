"""README and docs: every block of Python runs, every command is one that its program takes, every link leads somewhere.

The blocks run as they stand, with a tiny prior in the place of the bundled one and a budget of two iterations; what is
quoted from a file is compared with it. Commands of `launch` are run with `--dry_run` on files of the names that the
page uses; those of the other programs, which take hours or fetch weights, are parsed by the program's own flags. Of
other commands the files and extras that they name are there: `.ci/run` installs them, tests/test_examples.py and
tests/test_launch_scripts.py run the programs. The page's block for deepinv runs in tests/test_deepinv.py.
"""

import ast
import configparser
import contextlib
import dataclasses
import importlib
import inspect
import re
import shlex
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from networks import tiny_prior
from PIL import Image
from sybil import Region, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import diip_jax
from diip_jax.convert import main as convert
from diip_jax.interop import pipeline
from diip_jax.launch.main import main as launch

ROOT = Path(__file__).resolve().parent.parent
TOP = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
PAGES = sorted([*TOP, *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))])
PAGES += ["checkpoints/README.md", "examples/README.md", "launch/README.md"]

# What follows the program's name up to the end of the command, over lines that end in a backslash.
_COMMAND = re.compile(r"^(?: {3,}|)(?:\S*/)?python3? -m (diip_jax(?:\.\w+)+)((?: (?:\\\n *)?\S+)*)$", re.MULTILINE)


def commands(document):
    """A region for each command line of a page, in fences and in indented blocks."""
    for match in _COMMAND.finditer(document.text):
        if "..." not in match[2]:
            words = shlex.split(match[2].replace("\\\n", " "), comments=True)
            yield Region(match.start(), match.end(), (match[1], words), run_command)


def run_command(example):
    program, arguments = example.parsed
    if program == "diip_jax.launch" and not any("://" in argument for argument in arguments):
        with contextlib.chdir(example.namespace["folder"]):
            return None if launch([*arguments, "--dry_run"]) == 0 else f"{program} refused {arguments}"
    try:
        surplus = flags_of(program)([program, *arguments])[1:]
    except flags.Error as error:
        return f"{program} {arguments}: {error}"
    return f"{program} takes no {surplus}" if surplus and program != "diip_jax.launch" else None


def flags_of(program: str) -> flags.FlagValues:
    """The flags of a command, not yet parsed."""
    if program == "diip_jax.convert":
        return convert._flag_values()
    if program == "diip_jax.train":
        return importlib.import_module("diip_jax.train.flag_table").define_flags()
    own = {"diip_jax.sample": "diip_jax.sample", "diip_jax.launch": "diip_jax.launch.flag_table"}
    module = importlib.import_module(own.get(program, f"{program}.__main__"))
    return module.define_flags() if program == "diip_jax.launch" else module._flag_values()


def examples_of(page: str, parser) -> list:
    return list(Sybil(parsers=[parser]).parse(ROOT / page).examples())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pictures and checkpoints under the names that the pages use."""
    here = tmp_path_factory.mktemp("pages")
    (here / "examples").symlink_to(ROOT / "examples")
    face = Image.open(ROOT / "examples/noise/astronaut.png")
    for name in ("photos/one.png", "photos/two.png", "more/three.png", "clean/one.png", "clean/two.png"):
        (here / name).parent.mkdir(exist_ok=True)
        face.save(here / name)
    for name in ("portrait.png", "degraded.png", "photo.png"):
        face.save(here / name)
    face.resize((150, 100)).save(here / "holiday.jpg")
    (here / "list.csv").write_text("path,seed\nphotos/one.png,1\n")
    for name in ("ffhq", "ffhq_10m", "myprior", "celebahq"):
        diip_jax.save_prior(here / name, tiny_prior())
    return here


@pytest.mark.parametrize("page", [page for page in PAGES if examples_of(page, PythonCodeBlockParser())])
def test_python_of_a_page_runs(page, monkeypatch, folder):
    monkeypatch.setattr(diip_jax, "load_prior", lambda *_, **__: tiny_prior())
    monkeypatch.setattr(diip_jax, "restore", short)
    monkeypatch.setattr(pipeline, "restore", short)
    monkeypatch.chdir(folder)
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(ROOT / page)
    photos = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    document.namespace |= {"photos": photos, "masks": photos[..., 0] > 60}
    for example in document.examples():
        example.evaluate()


def short(problem, y, *rest, **settings):
    """`restore` with two iterations, of pictures as large as the tiny prior's."""
    if isinstance(y, np.ndarray):
        y = y[:, :16, :16]
    if not isinstance(problem, diip_jax.Problem):
        problem = problem.problem()
    return _restore(dataclasses.replace(problem, max_iterations=2), y, *rest, **settings)


_restore = diip_jax.restore


@pytest.mark.parametrize("page", [page for page in PAGES if examples_of(page, commands)])
def test_commands_of_a_page_are_taken(page, folder):
    document = Sybil(parsers=[commands]).parse(ROOT / page)
    document.namespace["folder"] = folder
    for example in document.examples():
        example.evaluate()


def test_a_command_that_does_not_exist_is_found(tmp_path, folder):
    page = tmp_path / "page.md"
    page.write_text("```bash\npython -m diip_jax.sample --rows=2 \\\n    --colums=3\n```\n")
    document = Sybil(parsers=[commands]).parse(page)
    (example,) = document.examples()
    assert "colums" in run_command(example)


_INLINE = re.compile(r"`(?:\S*/)?python3? -m (diip_jax(?:\.\w+)+)((?: [^`\n]+)?)`")


# The changelog has those of earlier versions.
_TELLING = [page for page in PAGES if page != "CHANGELOG.md" and _INLINE.search((ROOT / page).read_text())]


@pytest.mark.parametrize("page", _TELLING)
def test_commands_within_the_text_are_taken(page):
    for program, rest in _INLINE.findall((ROOT / page).read_text()):
        words = [word for word in shlex.split(rest) if "..." not in word]
        try:
            surplus = flags_of(program)([program, *words])[1:]
        except flags.Error as error:
            pytest.fail(f"{page}: {program} {words}: {error}")
        assert not surplus or program == "diip_jax.launch", f"{page}: {program} takes no {surplus}"


def extras() -> set[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return set(config["options.extras_require"])


# Programs, tests and scripts of the repository.
_FILE = re.compile(r"(?<![\w/])(?:tests|docs|examples|diip_jax|launch)/[\w./-]*\w\.(?:py|sh|sbatch|ipynb|npz)\b")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_command_names_is_there(page):
    text = (ROOT / page).read_text()
    for named in re.findall(r"(?:pip install|\.)[^\n]*?\.?\[([\w,]+)\]\"", text):
        assert set(named.split(",")) <= extras(), f"{page}: [{named}]"
    for path in _FILE.findall(text):
        assert (ROOT / path).exists() or (ROOT / "diip_jax" / path).exists(), f"{page}: {path}"


def test_code_that_is_quoted_is_that_of_its_file():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    quoted = re.findall(r"from `((?:plugs|tests)/\S+\.py)`:\n\n((?:    .*\n|\n)+)", text)
    assert len(quoted) == 2
    for path, block in quoted:
        code = re.sub(r"^    ", "", block, flags=re.MULTILINE).strip()
        file = ROOT / (path if path.startswith("tests") else f"diip_jax/{path}")
        assert code in file.read_text(), path


def anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub and MyST name them; and MyST's own targets."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    own = re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings} | set(own)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target, anchor in re.findall(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)", path.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), f"{page} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page} links to {target}#{anchor}"


def test_reference_has_every_public_name_once():
    text = "".join(path.read_text() for path in sorted((ROOT / "docs/api").glob("*.md")))
    listed = re.findall(r"^\.\. auto(?:class|function|exception):: (\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(diip_jax.__all__)


@pytest.mark.parametrize("name", diip_jax.__all__)
def test_public_names_are_documented_with_shapes_and_errors(name):
    public = getattr(diip_jax, name)
    of_methods = inspect.getmembers(public, inspect.isfunction) if inspect.isclass(public) else []
    text = " ".join([inspect.getdoc(public) or "", *(inspect.getdoc(method) or "" for _, method in of_methods)])
    assert inspect.getdoc(public)
    if refuses(public):
        assert re.search(r"Raises|ValueError", text), "says nothing of what it refuses"
    # Arrays are annotated with their shapes, or the docstring has them.
    for _, function in of_methods if inspect.isclass(public) else [(name, public)]:
        given = getattr(function, "__annotations__", {})
        bare = [argument for argument, kind in given.items() if kind in (jax.Array, np.ndarray)]
        assert not bare or "[" in text, f"no shape of {bare}"


def refuses(public) -> bool:
    """Whether its own code raises a ValueError, or has arguments checked."""
    if not (inspect.isclass(public) or inspect.isfunction(public)):
        return False
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(public)))):
        called = node.exc if isinstance(node, ast.Raise) else node
        function = called.func if isinstance(called, ast.Call) else None
        name = function.id if isinstance(function, ast.Name) else ""
        if name.startswith("check_") or (isinstance(node, ast.Raise) and name == "ValueError"):
            return True
    return False


def test_what_refuses_is_told_from_what_does_not():
    assert refuses(diip_jax.DIIP) and refuses(diip_jax.Schedule)
    assert not refuses(diip_jax.Never) and not refuses(diip_jax.mse)


def test_readme_is_a_screen_and_a_half():
    assert len((ROOT / "README.md").read_text().split()) <= 600
