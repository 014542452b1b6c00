"""Models out of papers by their names on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpcnn.formats import load_arrays
from xpcnn.models.files import load_model


def test_train_evaluate_and_pytorchs_names(run, tiny):
    words = ["--dataset", "tiny.npz", "--batch-size", "20", "--epochs", "2", "--lr", "0.01", "--out", "r"]
    result = run("train", "--model", "resnet20", *words)
    assert result.exit_code == 0, result.output
    # 269,722 less 16 * 9 * 2 for two colours and 65 * 7 for seven classes.
    assert "CifarResNet: 268,979 parameters" in result.stdout
    assert 'model = "resnet20"' in Path("r/config.toml").read_text()
    result = run("evaluate", "r")
    assert result.exit_code == 0, result.output
    net = load_model("r")
    net.save_params("torch.safetensors", names="torch")
    assert "layer3.2.bn2.running_var" in load_arrays("torch.safetensors")
    again = load_model("torch.safetensors")
    x = tiny["x_test"][:, None] / 255.0
    np.testing.assert_array_equal(again.predict(x), net.predict(x))
