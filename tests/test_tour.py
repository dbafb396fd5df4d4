"""The notebook: runs from top to bottom, in the folder where it lies, and holds the outputs of such a run, small."""

import re
from pathlib import Path

import nbformat
import pytest

nbclient = pytest.importorskip("nbclient")
NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "tour.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_there_in_order_and_small(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    assert NOTEBOOK.stat().st_size < 1_000_000
    kinds = [kind for cell in cells for output in cell.outputs for kind in output.get("data", {})]
    assert kinds.count("image/jpeg") >= 4 and "image/gif" in kinds and "image/png" in kinds
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)


@pytest.mark.filterwarnings("default")  # of the notebook's client and its kernel
def test_it_runs_from_top_to_bottom(notebook, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parent.parent))
    again = nbformat.from_dict(notebook)
    client = nbclient.NotebookClient(again, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()
    said = ["".join(one.text for one in cell.outputs if one.output_type == "stream") for cell in code_cells(again)]
    text = "\n".join(said)
    assert re.search(r"noise: found noise of 2\d\.\d levels; 0 iterations, ended by settled", text)
    assert re.search(r"blur: found blur of 1\.\d px, .*; 18 iterations, ended by budget", text)
    assert "JPEG: found JPEG (quality about 10); 0 iterations, ended by settled" in text
    assert re.search(r"found: 1\.\d+ pixels", text)  # of 1.5
    gains = [float(number) for number in re.search(r"gain found: \[(.*?)\]", text)[1].split()]
    assert gains == pytest.approx([1.0, 0.8, 0.5], abs=0.12)
    assert not any(output.get("name") == "stderr" for cell in code_cells(again) for output in cell.outputs)
