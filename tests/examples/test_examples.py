"""The examples run: the script on a tiny data set in a process of its own, the notebook's quick cells in this one."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from xpcnn.data.idx import write_idx
from xpcnn.models import SimpleConvNet

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = EXAMPLES / "train_mnist.py"
NOTEBOOK = EXAMPLES / "ch07_cnn.ipynb"

# xpcnn refuses an MNIST that has not 60,000 and 10,000 digits, so the process is told of a smaller one first.
DRIVER = """
import dataclasses, runpy, sys
from xpcnn.data import registry
registry._IDX["mnist"] = dataclasses.replace(registry._IDX["mnist"], counts=(300, 70))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_script(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    # The package as this process sees it, installed or not; matplotlib's caches stay out of the user's folders.
    settings = {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "XPCNN_DATA": str(folder),
        "MPLCONFIGDIR": str(folder / "mpl"),
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", DRIVER, str(SCRIPT), *flags],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def tiny_mnist(tmp_path):
    """A folder with 300 and 70 pictures as MNIST's four files: class k has a bright bar in row 2k + 4."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 300), ("t10k", 70)):
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        pictures = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        pictures[np.arange(count), 2 * labels + 4, 6:22] = 255
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", pictures)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    return tmp_path


def test_script_trains_and_leaves_its_files(tiny_mnist):
    done = run_script(tiny_mnist, "--device", "cpu", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "300 digits to train on, 70 to test on, cpu (asked for)"
    assert [line.split("  ")[0] for line in lines[1:3]] == ["epoch 1/2", "epoch 2/2"]
    assert lines[-1].startswith("test accuracy ")
    assert (tiny_mnist / "curves.png").read_bytes().startswith(b"\x89PNG\r\n")

    trained, untrained = SimpleConvNet(seed=0), SimpleConvNet(seed=0)
    trained.load_params(tiny_mnist / "simple_convnet.safetensors")
    # Adam moves every weight of the last layer by about lr = 1e-3 a step, six steps in all.
    assert np.abs(trained.params["W3"] - untrained.params["W3"]).max() > 1e-3


@pytest.mark.parametrize(
    ("flags", "words"),
    [(("--epochs", "0"), "epochs is a whole number of at least 1"), (("--device", "abacus"), "no device is called")],
)
def test_script_says_in_one_line_what_is_wrong(tiny_mnist, flags, words):
    done = run_script(tiny_mnist, "--device", "cpu", *flags)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tiny_mnist / "simple_convnet.safetensors").exists()


def test_script_is_short():
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 40


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)


def code_cells(notebook, *, tag=None):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in cells if tag is None or tag in cell.metadata.get("tags", ())]


def printed(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def test_notebook_is_valid(notebook):
    assert notebook.nbformat == 4
    nbformat.validate(notebook)


def test_notebook_was_run_from_top_to_bottom(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    for cell in cells:
        # A cell that prints or ends in a figure shows something.
        if "print(" in cell.source or "plot_" in cell.source.splitlines()[-1]:
            assert cell.outputs, cell.source
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 4  # curves, filters, responses, feature maps


def test_notebook_is_small_and_tells_nothing_of_the_machine(notebook):
    assert NOTEBOOK.stat().st_size < 1_500_000
    assert "execution" not in {key for cell in notebook.cells for key in cell.metadata}
    for cell in code_cells(notebook):
        for output in cell.outputs:
            text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            assert not [place for place in ("/home/", "/root", "/tmp", "/work", "/Users/", ":\\") if place in text], (
                text
            )


def test_quick_cells_print_what_is_kept(notebook):
    """In order, in one namespace, with warnings as errors (this suite's setting)."""
    cells = code_cells(notebook, tag="quick")
    assert len(cells) > 20
    namespace: dict[str, object] = {"__name__": "__main__"}
    for cell in cells:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(cell.source, f"{NOTEBOOK.name}, {cell.id}", "exec"), namespace)
        if "machine" not in cell.metadata.tags:
            assert said.getvalue() == printed(cell), cell.source


def test_other_cells_at_least_compile(notebook):
    quick = code_cells(notebook, tag="quick")
    for cell in code_cells(notebook):
        if cell not in quick and not cell.source.startswith("%"):
            compile(cell.source, f"{NOTEBOOK.name}, {cell.id}", "exec")
