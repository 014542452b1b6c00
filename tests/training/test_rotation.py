import os

import pytest

from xpcnn.errors import CheckpointError
from xpcnn.training import rotation
from xpcnn.training.rotation import incoming, newest, set_aside, settle


def write(path, text):
    incoming(path).write_text(text)


def held(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize(
    ("keep", "want"),
    [
        (1, {"last.ckpt": "5"}),
        (2, {"last.ckpt": "5", "last.1.ckpt": "4"}),
        (4, {"last.ckpt": "5", "last.1.ckpt": "4", "last.2.ckpt": "3", "last.3.ckpt": "2"}),
    ],
)
def test_the_newest_push_the_others_back(tmp_path, monkeypatch, keep, want, links):
    if not links:
        monkeypatch.setattr(rotation.os, "link", lambda a, b: (_ for _ in ()).throw(OSError("no links here")))
    for number in range(1, 6):
        write(tmp_path / "last.ckpt", str(number))
        settle(tmp_path / "last.ckpt", keep)
    assert held(tmp_path) == want
    assert len({path.stat().st_ino for path in tmp_path.iterdir()}) == keep  # each a file of its own


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("stop", range(1, 8))
def test_stopped_at_any_call_a_newest_one_is_there_and_the_next_time_is_as_ever(tmp_path, monkeypatch, stop, links):
    class Killed(BaseException):
        pass

    path, calls = tmp_path / "last.ckpt", []
    for number in range(1, 5):
        write(path, str(number))
        settle(path, 3)

    def watched(own, fails):
        def call(*arguments):
            calls.append(arguments)
            if len(calls) == stop:
                raise Killed
            if fails:
                raise OSError("no links here")
            return own(*arguments)

        return call

    for name in ("replace", "link", "unlink"):
        monkeypatch.setattr(rotation.os, name, watched(getattr(os, name), not links and name == "link"))
    write(path, "5")
    try:
        settle(path, 3)
    except Killed:
        assert len(calls) == stop
    else:
        assert len(calls) < stop
    monkeypatch.undo()
    left = held(tmp_path)
    newest_left = left.get("last.ckpt", left.get("last.1.ckpt"))
    assert newest_left in ("4", "5")
    assert "last.ckpt" in left or not links
    write(path, "6")
    settle(path, 3)
    again = held(tmp_path)
    assert (again["last.ckpt"], again["last.1.ckpt"]) == ("6", newest_left)
    assert set(again) <= {"last.ckpt", "last.1.ckpt", "last.2.ckpt"}


def test_gaps_and_surplus(tmp_path):
    for name in ("last.ckpt", "last.3.ckpt", "last.9.ckpt", "last.x.ckpt", "last.01.ckpt", "last.².ckpt", "best.ckpt"):
        (tmp_path / name).write_text(name)
    write(tmp_path / "last.ckpt", "new")
    settle(tmp_path / "last.ckpt", 5)
    assert held(tmp_path) == {
        "last.ckpt": "new",
        "last.1.ckpt": "last.ckpt",
        "last.4.ckpt": "last.3.ckpt",
        **{name: name for name in ("last.x.ckpt", "last.01.ckpt", "last.².ckpt", "best.ckpt")},
    }


def test_where_the_newest_is_missing_the_older_stay_where_they_are(tmp_path):
    (tmp_path / "last.1.ckpt").write_text("old")
    write(tmp_path / "last.ckpt", "new")
    settle(tmp_path / "last.ckpt", 2)
    assert held(tmp_path) == {"last.ckpt": "new", "last.1.ckpt": "old"}


def test_newest_goes_by_the_names(tmp_path, monkeypatch):
    bad = set()

    def read(path):
        if path.name in bad:
            raise CheckpointError(f"{path.name} is bad")
        return {}, {"name": path.name}

    monkeypatch.setattr(rotation, "read_checkpoint", read)
    assert newest(tmp_path) is None
    order = ["last.ckpt", "last.1.ckpt", "last.2.ckpt", "last.10.ckpt", "best.ckpt"]
    for name in order:
        (tmp_path / name).write_text("")
    for name in order:
        found = newest(tmp_path)
        assert (found.path.name, found.values["name"]) == (name, name)
        assert {path.name for path in found.damaged} == bad
        bad.add(name)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* \(last.ckpt is bad; last.1.ckpt is bad; "):
        newest(tmp_path)


def test_set_aside_takes_the_place_of_an_earlier_one(tmp_path):
    for text in ("first", "second"):
        (tmp_path / "last.ckpt").write_text(text)
        assert set_aside(tmp_path / "last.ckpt") == tmp_path / "damaged-last.ckpt"
    assert held(tmp_path) == {"damaged-last.ckpt": "second"}
