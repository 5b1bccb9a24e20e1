"""docs/quickstart.ipynb runs as it stands, and is stored without outputs."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

SECONDS = 120.0  # on a loaded machine; it takes some five


@pytest.fixture(scope="module")
def notebook(repo):
    return nbformat.read(repo / "docs/quickstart.ipynb", as_version=4)


def test_it_holds_no_outputs(notebook):
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    nbformat.validate(notebook)


def test_it_runs_without_results_and_network(repo, notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(repo / "workflow"))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # a command of another test may have set it
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    for name in ("http_proxy", "https_proxy"):  # what asks a network fails at once
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = NotebookClient(
        notebook, timeout=SECONDS, resources={"metadata": {"path": str(repo / "docs")}}
    )
    done = client.execute()
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    texts = [str(output) for cell in code for output in cell.outputs]
    assert any("image/png" in text for text in texts)
    assert any("Status.OK" in text for text in texts)
    assert any("fsd_full" in text for text in texts)
