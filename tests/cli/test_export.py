"""`xpcnn export`: a trained network as a file for other programs."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from xpcnn.cli.main import app
from xpcnn.models import make_model
from xpcnn.onnx import load


@pytest.fixture
def saved(tmp_path):
    network = make_model("simple", seed=0, input_dim=(1, 12, 12), hidden_size=20)
    network.save_params(tmp_path / "p.safetensors")
    return network, tmp_path / "p.safetensors"


def test_the_file_gives_the_same_scores(saved, tmp_path):
    network, path = saved
    result = CliRunner().invoke(app, ["export", str(path), str(tmp_path / "out.onnx"), "--opset", "15"])
    assert result.exit_code == 0, result.output
    assert "opset 15" in result.output
    assert "takes (N, 1, 12, 12), gives (N, 10)" in result.output
    x = np.random.default_rng(0).random((2, 1, 12, 12), np.float32)
    found = load(tmp_path / "out.onnx").run({"input": x})["scores"]
    np.testing.assert_allclose(found, network.predict(x), rtol=0.0, atol=1e-6)  # scores of about 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["out.pb"], "name it"),
        (["out.onnx", "--opset", "5"], "13 to 25"),
        (["missing/out.onnx"], "missing"),
    ],
)
def test_mistakes_are_one_line(saved, tmp_path, arguments, words):
    _, path = saved
    folder = tmp_path / "out"
    folder.mkdir()
    result = CliRunner().invoke(app, ["export", str(path), str(folder / arguments[0]), *arguments[1:]])
    assert result.exit_code == 2
    assert words in result.output
    assert result.output.count("\n") == 1
    assert list(folder.iterdir()) == []
