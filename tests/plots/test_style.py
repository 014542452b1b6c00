"""Grids of small pictures, and figures in files."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from xpcnn.errors import ConfigError, DataError
from xpcnn.plots import save_figure
from xpcnn.plots.style import bare, grid_shape, host, mosaic, new_figure


@pytest.mark.parametrize(
    ("suffix", "starts"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89P")]
)
def test_save_by_suffix(tmp_path, suffix, starts):
    figure = new_figure(2, 1, "a title with $ and _")
    figure.subplots()
    path = tmp_path / f"f{suffix}"
    save_figure(figure, path)
    assert path.read_bytes().startswith(starts)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_size_in_pixels(tmp_path):
    figure = new_figure(2, 1)
    figure.subplots()
    save_figure(figure, tmp_path / "f.png", dpi=100)
    with Image.open(tmp_path / "f.png") as image:
        assert image.size == (200, 100)


@pytest.mark.parametrize("name", ["f.txt", "f", "f.jpg"])
def test_other_suffixes(tmp_path, name):
    with pytest.raises(ConfigError, match=r"figures are written as \.png, \.svg, \.pdf"):
        save_figure(new_figure(2, 1), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_missing_folder(tmp_path):
    figure = new_figure(2, 1)
    figure.subplots()
    with pytest.raises(ConfigError, match="does not exist"):
        save_figure(figure, tmp_path / "none" / "f.png")


def test_figure_that_cannot_be_drawn_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f.png"
    path.write_bytes(b"old")
    figure = new_figure(2, 1)

    def fail(file, **options):
        file.write(b"half")
        raise RuntimeError("no ink")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("count", [*range(1, 41), 64, 96, 256])
def test_grid_holds_all_without_an_empty_row(count):
    rows, columns = grid_shape(count)
    assert rows * columns >= count > (rows - 1) * columns
    assert columns <= 2.6 * count**0.5 + 1  # neither one long row ...
    assert rows <= 1.8 * count**0.5 + 1  # ... nor one tall column


def test_mosaic():
    tiles = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
    canvas = mosaic(tiles, 3)
    assert canvas.shape == (5, 11)
    np.testing.assert_array_equal(canvas[0:2, 4:7], tiles[1])
    np.testing.assert_array_equal(canvas[3:5, 0:3], tiles[3])
    assert np.isnan(canvas).sum() == 5 * 11 - 5 * 6
    colour = mosaic(np.zeros((2, 4, 4, 3)), 2)
    assert colour.shape == (4, 9, 3)
    assert (colour[:, 4] == 1).all()


def test_host():
    assert host([[1, 2]], 2, "x").shape == (1, 2)
    with pytest.raises(DataError, match=r"pictures wanted as .* of 4 axes .* got shape \(0, 1, 2, 3\)"):
        host(np.zeros((0, 1, 2, 3)), 4, "pictures")


def test_bare():
    axes = new_figure(1, 1).subplots()
    bare(axes)
    assert not len(axes.get_xticks())
    assert not any(spine.get_visible() for spine in axes.spines.values())


def test_pyplot_is_never_imported():
    code = "import sys, xpcnn.plots; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
