"""The notebook runs from top to bottom, on fewer and smaller things than it shows."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "davidnet.ipynb"
SMALLER = {
    "epochs=5, batch_size=64": "epochs=2, batch_size=64, width=4",
    "load_shapes()": "load_shapes(train=320, test=100)",
}


def test_the_notebook_runs_on_shapes(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for long, short in SMALLER.items():
        assert sum(long in cell.source for cell in code) == 1, f"{long} is gone from the notebook"
        for cell in code:
            cell.source = cell.source.replace(long, short)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 5  # samples, augmentation, schedule, curves, confusion
    table = "".join(output.text for cell in code for output in cell.outputs if output.output_type == "stream")
    assert "train loss" in table


def test_cifar10_is_one_changed_line_away():
    source = "\n".join(cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells)
    assert source.count('DATA = "shapes"') == 1
    assert "davidnet_keras.load_cifar10()" in source
