"""atomic_write: the file is the old one or the new one, whole, and nothing is left beside it."""

import errno
import os

import pytest

from xpcnn import atomic
from xpcnn.atomic import atomic_write
from xpcnn.errors import ConfigError

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions and links")


def test_bytes_and_text_arrive(tmp_path):
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"\x00\r\n\xff")
    with atomic_write(str(tmp_path / "a.txt"), "w") as file:
        file.write("합성곱\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\r\n\xff"
    assert (tmp_path / "a.txt").read_bytes() == "합성곱\n".encode()
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "a.txt"]


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt(), OSError(errno.EIO, "some other file")])
def test_a_failing_block_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write_half():
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        write_half()
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_the_old_file_is_whole_until_the_block_ends(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_content_is_synced_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(atomic.os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(atomic.os, "replace", lambda a, b: (calls.append("replace"), replace(a, b))[1])
    with atomic_write(tmp_path / "a") as file:
        file.write(b"x")
    assert calls == (["fsync", "replace", "fsync"] if os.name == "posix" else ["fsync", "replace"])


def test_a_missing_folder_a_folder_and_a_file_as_folder_are_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path, word in [
        (tmp_path / "none" / "a", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "a", "is a file"),
    ]:
        with pytest.raises(ConfigError, match=word) as caught, atomic_write(path):
            pytest.fail("the block ran")
        assert repr(str(path)) in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("path", ["bad\0name", ""])
def test_a_name_that_is_none(path):
    with pytest.raises(ConfigError), atomic_write(path):
        pytest.fail("the block ran")


def test_an_unknown_mode():
    with pytest.raises(ConfigError, match='"wb" or "w"'), atomic_write("a", "ab"):
        pytest.fail("the block ran")


@posix
def test_a_device_is_not_replaced():
    with pytest.raises(ConfigError, match="not a file"), atomic_write("/dev/null"):
        pytest.fail("the block ran")
    assert not os.path.isfile("/dev/null")


def test_a_read_only_file_and_folder(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    # Asked of the system through these two calls; a test that runs as root gets no refusal from the real ones.
    monkeypatch.setattr(atomic.os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="read-only"), atomic_write(path):
        pytest.fail("the block ran")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()

    def refuse(*_):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(atomic.os, "open", refuse)
    with pytest.raises(ConfigError, match="read-only for you"), atomic_write(tmp_path / "b"):
        pytest.fail("the block ran")


def test_a_full_disk(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(ConfigError, match="disk is full"), atomic_write(tmp_path / "a") as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == []


@posix
def test_permissions_follow_the_umask_and_then_the_file(tmp_path):
    path = tmp_path / "a"
    old = os.umask(0o027)
    try:
        with atomic_write(path):
            pass
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        with atomic_write(path):
            pass
        assert path.stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(old)


@posix
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
