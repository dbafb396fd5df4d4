"""The documentation site: `sphinx-build -W -b html docs build/site` (extra [docs]).

Sphinx, MyST and sphinx-book-theme are what JAX, Flax, Optax and Orbax document themselves with. Pages that the
repository shows elsewhere (changelog, cards, contributing) are stubs here, replaced by those files as they stand; links
work in the repository and on the site.
"""

import contextlib
import importlib
import io
import os
import posixpath
import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import diip_jax  # noqa: E402

project, author, release = "diip_jax", "the diip_jax maintainers", diip_jax.__version__
copyright = "the diip_jax maintainers, Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["README.md"]
html_theme = "sphinx_book_theme"
html_title = "diip_jax"
html_theme_options = {"show_toc_level": 2, "home_page_in_toc": True}
highlight_language = "none"
myst_heading_anchors = 4
# The notebook is executed by its test; the site shows the outputs that it holds.
nb_execution_mode = "off"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
# A bad link, a missing page or a docstring that does not parse ends the build under -W.
nitpicky = False
copybutton_exclude = ".linenos, .gp"

# Page of the site -> the file that it shows.
SHOWN = {
    "changelog": "CHANGELOG.md",
    "checkpoints": "checkpoints/README.md",
    "contributing": "CONTRIBUTING.md",
    "examples": "examples/README.md",
    "guides/many_machines": "launch/README.md",
    "security": "SECURITY.md",
}
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def relinked(text: str, shown: str, page: str) -> str:
    """Links of a file of the repository as the page needs them.

    What has a page links to it; another file is linked from the page's place, and MyST offers it for download.

    Args:
        shown: the file, from the repository's top.
        page: the page, without extension, from docs/.
    """
    pages = {file: name for name, file in SHOWN.items()}

    def link(match: re.Match) -> str:
        head, target, anchor, tail = match.groups()
        if re.match(r"[a-z]+:", target):
            return match[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(shown), target))
        here = posixpath.join("docs", posixpath.dirname(page))
        file = f"docs/{pages[file]}.md" if file in pages else file
        return f"{head}{posixpath.relpath(file, here)}{anchor or ''}{tail}"

    return _LINK.sub(link, text)


def _read(app, page, source):
    if os.fspath(app.env.doc2path(page)).endswith(".ipynb"):  # the notebook has links to nothing here
        return
    shown = SHOWN.get(page, f"docs/{page}.md")
    if page in SHOWN:
        app.env.note_dependency(str(ROOT / shown))
        source[0] = (ROOT / shown).read_text(encoding="utf-8")
    source[0] = relinked(source[0], shown, page)


def _docstring(app, what, name, obj, options, lines):
    """Docstrings have Markdown's backticks and indented code, and formulas: as reStructuredText reads them."""
    code_from = None  # indentation of the line that introduced a block of code
    for n, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if code_from is not None and (not line.strip() or indent > code_from):
            continue
        code_from = None
        # "height, width: ..." is a line for two names, which Sphinx would take for a type and a name.
        names = re.match(r"( +)(\w+(?:, \w+)+):", line)
        if names:
            line = names[1] + names[2].replace(", ", ",\N{ZERO WIDTH SPACE}") + line[names.end() - 1 :]
        parts = re.split(r"(`[^`]*`)", line)
        lines[n] = "".join(
            f"``{part[1:-1]}``" if part.startswith("`") and len(part) > 2 else _plain(part) for part in parts
        )
        following = lines[n + 1 : n + 3]
        if line.endswith(":") and len(following) == 2 and not following[0].strip():
            if len(following[1]) - len(following[1].lstrip()) > indent:
                lines[n] += ":"
                code_from = indent


def _plain(text: str) -> str:
    text = re.sub(r"([\\*|])", r"\\\1", text)
    return re.sub(r"(\w)_(?!\w)", r"\1\\_", text)


class CommandHelp(Directive):
    """What `--help` of a command prints: `{command-help} diip_jax.launch.main`, the module that has its `main`."""

    required_arguments = 1

    def run(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = importlib.import_module(self.arguments[0]).main(["--help"])
        if code:
            raise self.error(f"{self.arguments[0]} --help ended with {code}")
        return [nodes.literal_block(out.getvalue(), out.getvalue(), language="none")]


def setup(app):
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before napoleon
    app.add_directive("command-help", CommandHelp)
