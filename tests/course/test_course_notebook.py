from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIAL = Path(__file__).parents[2] / "notebooks" / "tutorial.ipynb"


@pytest.fixture
def tutorial():
    return nbformat.read(TUTORIAL, as_version=4)


def test_the_tutorial_is_kept_without_outputs(tutorial):
    nbformat.validate(tutorial)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in tutorial.cells)


# Warnings of Jupyter's own, about event loops and sockets, are not the project's.
@pytest.mark.filterwarnings("default")
def test_the_tutorial_runs_from_top_to_bottom_and_draws_its_plots(tutorial, tmp_path, monkeypatch):
    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    NotebookClient(tutorial, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    outputs = [output for cell in tutorial.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "[C1] certificate signed by its issuer" in printed
    assert "[B4] block forger is entitled to forge" in printed
    assert [output for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
