"""The notebook runs with fast settings, and its stored outputs are complete and small."""

import base64
import io
import sys
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from tests.commands import CHECKOUT, environment

NOTEBOOK = CHECKOUT / "notebooks" / "style_transfer.ipynb"
FAST = {"SIZE": 48, "STEPS": 4, "EVERY": 2}
MAX_BYTES = 400_000


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def pictures(notebook):
    return [
        base64.b64decode(data)
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind, data in output.get("data", {}).items()
        if kind in ("image/jpeg", "image/png")
    ]


# Warnings of jupyter_client and its dependencies about their own code.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_core")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq")
@pytest.mark.skipif(sys.platform == "win32", reason="zmq needs another event loop there")
def test_notebook_runs(notebook, monkeypatch, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source += "".join(f"\n{name} = {value}" for name, value in FAST.items())
    for code in (c for c in notebook.cells if c.cell_type == "code"):
        code.outputs = []
    client = nbclient.NotebookClient(
        notebook, timeout=200, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    client.execute()
    shown = pictures(notebook)
    assert len(shown) == 8
    for data in shown:
        with Image.open(io.BytesIO(data)) as image:
            assert len(image.convert("RGB").getcolors(1 << 24)) > 20
    text = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))
    assert "step 4: loss" in text
    assert "the network took" in text


def test_stored_outputs_are_complete_and_small(notebook):
    assert NOTEBOOK.stat().st_size < MAX_BYTES
    assert len(pictures(notebook)) == 8
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert str(Path.home()) not in text
    assert "Traceback" not in text
