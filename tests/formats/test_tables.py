"""TOML and JSON out of strangers' files: what is too deep, too large or too long is refused before it costs much."""

import json
import tracemalloc

import pytest

from xpcnn.errors import CheckpointError, ConfigError
from xpcnn.formats.limits import DEEPEST
from xpcnn.formats.tables import json_table, read_toml


@pytest.fixture
def toml(tmp_path):
    def read(content):
        path = tmp_path / "c.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_toml(path)

    return read


def test_what_is_read(toml):
    assert toml('a.b = [1, 2.5]\r\n[c]\nd = "x.y.z"\n# ' + "." * 100) == {"a": {"b": [1, 2.5]}, "c": {"d": "x.y.z"}}
    assert toml('x = "' + "." * 1000 + '"') == {"x": "." * 1000}  # dots in a text are no parts of a key
    assert toml("") == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("x = " + "[" * 5000 + "]" * 5000, "nested too deep"),
        ("x = " + "[" * 70 + "]" * 70, f"nested more than {DEEPEST} deep"),
        (".".join("a" * 70) + " = 1", "line 1 has more than 64 dots"),
        ("\n[" + ".".join(['"a"'] * 70) + "]", "line 2 has more than 64 dots"),
        ("x = 0x" + "f" * 5000, "more than 64 bits"),  # a number whose repr raises ValueError
        ("x = " + "9" * 5000, "limit"),
        ("x = 1 #" + "x" * 2**20, "more than 1,048,576 bytes"),
        (b"\xff\xfe", "utf-8"),
        ("x = ", "Invalid"),
    ],
)
def test_what_is_refused(toml, content, reason):
    with pytest.raises(ConfigError, match=rf"c\.toml: .*{reason}"):
        toml(content)


def test_a_key_of_very_many_parts_takes_no_memory(toml):
    """tomllib keeps every beginning of a key: 100,000 parts would be 40 GB."""
    content = ".".join("a" * 100_000) + " = 1"
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="dots"):
            toml(content)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match="none.toml"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="device or pipe"):
        read_toml("/dev/null")


def test_json():
    assert json_table('{"a": [1, {"b": null}]}', "x") == {"a": [1, {"b": None}]}
    for text, reason in (
        ("[1]", "is a list, not a table"),
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "nested too deep"),
        (json.dumps({"a": 2**70}), "more than 64 bits"),
        ('{"a": ' * 70 + "1" + "}" * 70, "deep"),
    ):
        with pytest.raises(CheckpointError, match=f"^file.ckpt: .*{reason}"):
            json_table(text, "file.ckpt")
