"""What files may cost, and what messages may show of them."""

import os

import numpy as np
import pytest

from xpcnn.errors import CheckpointError
from xpcnn.formats import SUFFIXES, load_arrays
from xpcnn.formats.limits import is_line, listed, most_unpacked, not_a_file, one_line, shown


def test_most_unpacked():
    assert most_unpacked(0) == most_unpacked(2**20) == 2**27
    assert most_unpacked(2**22) == 2**28


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\x1b[2J\n", r"'a\x1b[2J\n'"),
        ("x" * 100, "'" + "x" * 80 + "'..."),
        (b"ab", "b'ab'"),
        (12, "12"),
        (1.5, "1.5"),
        (None, "None"),
        (True, "True"),
        pytest.param(10**5000, "a very large number", id="huge"),  # repr refuses it with a ValueError
        ([1], "a list"),
        (np.zeros(3), "a ndarray"),
    ],
)
def test_shown(value, text):
    assert shown(value) == text


def test_one_line():
    assert one_line("two\nlines\x1b[2J  and\tmore") == "two lines [2J and more"
    assert one_line("x" * 500, 10) == "x" * 10 + "..."


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    assert not_a_file(path)
    with pytest.raises(CheckpointError, match="device or pipe"):
        load_arrays(path)
    (tmp_path / f"b{suffix}").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="device or pipe"):
        load_arrays(tmp_path / f"b{suffix}")
    assert not not_a_file(tmp_path)
    assert not not_a_file(tmp_path / "none")


def test_names_as_part_of_a_message():
    assert listed([]) == "nothing"
    assert listed(["a", "\x1b"]) == "'a', '\\x1b'"
    assert listed({str(i): i for i in range(1007)}) == "'0', '1', '2', '3', '4' and 1,002 more"


def test_what_is_a_line_already():
    assert is_line("words")
    assert not is_line("two\nlines")
    assert not is_line("x" * 601)
