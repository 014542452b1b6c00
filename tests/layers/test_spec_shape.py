"""Specs and words of layers that rearrange, resize, reduce and calculate."""

from __future__ import annotations

import pytest

from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import channel_shuffle, pad, pixel_shuffle, reduce, reshape, transpose, upsample
from xpcnn.network import Network, Sequential

SPECS = [
    (channel_shuffle(2), (4, 6, 6)),
    (pixel_shuffle(2), (1, 12, 12)),
    (pad(1), (4, 8, 8)),
    (pad((1, 2), "reflect"), (4, 8, 10)),
    (reshape(8, -1), (8, 18)),
    (transpose(0, 2, 3, 1), (6, 6, 4)),
    (reduce("mean"), (4, 1, 1)),
    (reduce("l2", (1,), keepdims=False), (6, 6)),
    (upsample(2), (4, 12, 12)),
    (upsample((1.5, 1), "bilinear"), (4, 9, 6)),
    (upsample(1.4, "bicubic", align_corners=True), (4, 8, 8)),
]


@pytest.mark.parametrize(("spec", "want"), SPECS)
def test_shapes_and_layers_of_ones_own(spec, want: tuple[int, ...]) -> None:
    nets = [Sequential([("layer", spec), "relu"], input_shape=(4, 6, 6)) for _ in range(2)]
    assert nets[0].output_shape == want
    assert nets[0].layers["layer"] is not nets[1].layers["layer"]


@pytest.mark.parametrize("word", ["add", "divide", "multiply", "subtract"])
def test_words(word: str) -> None:
    entries = [("a", "relu", "input"), ("b", "sigmoid", "input"), ("both", word, ("a", "b"))]
    assert Network(entries, input_shape=(3, 2, 2)).output_shape == (3, 2, 2)


def test_faults_show_at_once() -> None:
    for make, words in [
        (lambda: channel_shuffle(0), "groups"),
        (lambda: pixel_shuffle(0), "block of pixels"),
        (lambda: pad(1, "mirror"), "got 'mirror'"),
        (lambda: reshape(-1, -1), "at most one -1"),
        (lambda: reduce("median"), "got 'median'"),
        (lambda: upsample(-2), "above 0"),
    ]:
        with pytest.raises(ConfigError, match=words):
            make()
    with pytest.raises(ShapeError, match=r"wanted pictures \(C, H, W\), got \(5,\)"):
        Sequential([upsample(2, "bilinear", align_corners=True)], input_shape=(5,))
