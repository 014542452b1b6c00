import errno
import os
import subprocess
import sys

import pytest

from xpcnn.cli import lock
from xpcnn.cli.lock import run_lock
from xpcnn.errors import ConfigError


def test_only_one_at_a_time(tmp_path):
    with run_lock(tmp_path) as reason:
        assert reason is None
        for _ in range(2):
            with pytest.raises(ConfigError, match="another process is training in"), run_lock(tmp_path):
                pytest.fail("the block ran")
        assert (tmp_path / ".lock").exists()  # the refused ones leave it to its holder
    assert not (tmp_path / ".lock").exists()
    with run_lock(tmp_path):
        pass


def test_the_system_lets_go_of_what_a_killed_process_held(tmp_path):
    code = (
        "import sys, pathlib; from xpcnn.cli.lock import run_lock\n"
        "with run_lock(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout.readline().strip() == b"held"
        with pytest.raises(ConfigError, match="another process"), run_lock(tmp_path):
            pytest.fail("the block ran")
        process.kill()
        process.wait()
        with run_lock(tmp_path):
            pass


def test_a_lock_whose_file_was_removed_in_between_is_taken_again(tmp_path, monkeypatch):
    path, own, times = tmp_path / ".lock", lock._lock, []

    def late(descriptor):
        times.append(descriptor)
        if len(times) == 1:
            path.unlink()  # its last holder has just let go
        elif len(times) == 2:
            path.unlink()
            path.write_bytes(b"")  # and here another has already made a new one
        return own(descriptor)

    monkeypatch.setattr(lock, "_lock", late)
    with run_lock(tmp_path):
        assert len(times) == 3
        monkeypatch.undo()
        with pytest.raises(ConfigError, match="another process"), run_lock(tmp_path):
            pytest.fail("the block ran")


def test_a_folder_that_cannot_be_written_to(tmp_path):
    with pytest.raises(ConfigError, match="cannot write to the run folder .*missing: No such file"):
        run_lock(tmp_path / "missing").__enter__()


@pytest.mark.skipif(os.name != "posix", reason="Windows has locks on every file system")
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def none(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    with run_lock(tmp_path) as reason:
        assert reason == "No locks available"


def test_a_folder_that_vanishes_while_it_is_held(tmp_path):
    (tmp_path / "r").mkdir()
    with run_lock(tmp_path / "r"):
        (tmp_path / "r").rename(tmp_path / "moved")
    assert (tmp_path / "moved/.lock").exists()  # no longer where it can be found; it holds nobody up
    with run_lock(tmp_path / "moved"):
        pass
