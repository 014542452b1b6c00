import gzip
import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from xpcnn.data import download as module
from xpcnn.data.download import RemoteFile, download
from xpcnn.data.places import DataMissingError

CONTENT = os.urandom(300_000)
PACKED = gzip.compress(CONTENT, 1)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """The first part of the path says how to behave."""

    def do_GET(self):
        server = self.server
        server.seen.append((self.path, self.headers.get("Range")))
        behaviour = self.path.split("/")[1]
        body, start = server.body, 0
        if behaviour == "refuse":
            self.send_error(503, "Busy")
            return
        if behaviour == "hang":
            server.release.wait(30)
            return
        if behaviour == "portal":
            body = b"<html>please log in</html>"
        if behaviour == "other":
            body = gzip.compress(b"not what was asked for")
        asked = self.headers.get("Range")
        if asked and behaviour not in ("norange", "portal"):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            start = 0 if behaviour == "misplaced" else start
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        sent = body[start:]
        if behaviour != "nolength":
            self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent[: len(sent) // 2] if behaviour in ("truncate", "stall") else sent)
        if behaviour == "stall":
            server.release.wait(30)

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen, server.body, server.release = [], PACKED, threading.Event()
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def remote(server):
    def make(*behaviours, **options):
        urls = tuple(f"http://127.0.0.1:{server.server_port}/{behaviour}/a.gz" for behaviour in behaviours)
        return RemoteFile("a.gz", urls, **({"sha256": SHA256} | options))

    return make


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("behaviour", ["good", "nolength"])
def test_whole(tmp_path, remote, behaviour):
    told = []
    path = download(remote(behaviour), tmp_path / "new" / "folder", progress=lambda *at: told.append(at))
    assert path.read_bytes() == PACKED
    assert names(path.parent) == ["a.gz"]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (len(PACKED), None if behaviour == "nolength" else len(PACKED))


@pytest.mark.parametrize("behaviour", ["refuse", "portal", "other", "truncate", "missing-host"])
def test_second_mirror(tmp_path, remote, server, behaviour):
    both = remote(behaviour, "good")
    if behaviour == "missing-host":
        both = RemoteFile("a.gz", ("http://127.0.0.1:9/a.gz", both.urls[1]), sha256=SHA256)
    assert download(both, tmp_path).read_bytes() == PACKED
    assert names(tmp_path) == ["a.gz"]


def test_time_out(tmp_path, remote):
    both = RemoteFile("a.gz", (*remote("hang").urls, "http://127.0.0.1:9/a.gz"))
    with pytest.raises(DataMissingError, match=r"no answer within 0\.1 s; 127\.0\.0\.1:9: "):
        download(both, tmp_path, timeout=0.1)


def test_time_out_in_mid_body(tmp_path, remote):
    # Two seconds, so that a busy machine still gets the first half across in time.
    with pytest.raises(DataMissingError, match=r"broke off \(.*timed out"):
        download(remote("stall"), tmp_path, timeout=2.0)
    assert (tmp_path / "a.gz.part").read_bytes() == PACKED[: len(PACKED) // 2]


def test_resume(tmp_path, remote, server):
    with pytest.raises(DataMissingError, match=f"broke off after {len(PACKED) // 2:,} of {len(PACKED):,}"):
        download(remote("truncate"), tmp_path)
    assert names(tmp_path) == ["a.gz.part"]
    told = []
    assert download(remote("good"), tmp_path, progress=lambda *at: told.append(at)).read_bytes() == PACKED
    assert server.seen[-1] == ("/good/a.gz", f"bytes={len(PACKED) // 2}-")
    assert told[0][0] > len(PACKED) // 2
    assert told[-1] == (len(PACKED), len(PACKED))
    assert names(tmp_path) == ["a.gz"]


@pytest.mark.parametrize(("behaviour", "requests"), [("good", 1), ("norange", 1), ("misplaced", 2)])
def test_resume_without_a_checksum(tmp_path, remote, server, behaviour, requests):
    """Nothing but the answer's own headers says where its bytes belong."""
    (tmp_path / "a.gz.part").write_bytes(PACKED[:1000])
    assert download(remote(behaviour, sha256=None), tmp_path).read_bytes() == PACKED
    assert len(server.seen) == requests


@pytest.mark.parametrize("behaviour", ["good", "norange", "misplaced"])
@pytest.mark.parametrize(
    "kept",
    [PACKED[:1000], b"of another packing", PACKED, PACKED + b"x"],
    ids=["right", "wrong", "complete", "too long"],
)
def test_whatever_was_kept(tmp_path, remote, behaviour, kept):
    (tmp_path / "a.gz.part").write_bytes(kept)
    assert download(remote(behaviour), tmp_path).read_bytes() == PACKED
    assert names(tmp_path) == ["a.gz"]


@pytest.mark.parametrize(
    ("behaviour", "options", "reason"),
    [
        ("refuse", {}, "HTTP 503 Busy"),
        ("portal", {}, "something else than the gzipped file"),
        ("other", {}, "SHA-256"),
        ("good", {"sha256": "0" * 64}, "SHA-256"),
        ("good", {"sha256": None, "md5": "0" * 32}, "MD5"),
        ("good", {"max_bytes": 1000}, "at most 1,000"),
        ("nolength", {"max_bytes": 1000}, "more than the 1,000"),
        ("good", {"max_unpacked": 1000}, "SHA-256"),
    ],
)
def test_failure_leaves_nothing(tmp_path, remote, behaviour, options, reason):
    with pytest.raises(DataMissingError, match=reason) as caught:
        download(remote(behaviour, **options), tmp_path)
    assert "127.0.0.1" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_md5_of_the_packed_file(tmp_path, remote):
    md5 = hashlib.md5(PACKED).hexdigest()
    assert download(remote("good", sha256=None, md5=md5), tmp_path).read_bytes() == PACKED


def test_other_packing_passes(tmp_path, remote, server):
    server.body = gzip.compress(CONTENT, 0)
    assert gzip.decompress(download(remote("good"), tmp_path).read_bytes()) == CONTENT


def test_interrupted(tmp_path, remote):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(remote("good"), tmp_path, progress=stop)
    assert names(tmp_path) == ["a.gz.part"]


def test_beside_another_process(tmp_path, remote, server):
    (tmp_path / "a.gz.lock").touch()
    (tmp_path / "a.gz.part").write_bytes(b"its bytes")
    assert download(remote("good"), tmp_path).read_bytes() == PACKED
    assert server.seen == [("/good/a.gz", None)]
    assert (tmp_path / "a.gz.part").read_bytes() == b"its bytes"
    assert names(tmp_path) == ["a.gz", "a.gz.lock", "a.gz.part"]


def test_after_a_killed_process(tmp_path, remote, server):
    for name, content in (("a.gz.lock", b""), ("a.gz.part", PACKED[:1000])):
        (tmp_path / name).write_bytes(content)
        old = (tmp_path / name).stat().st_mtime - 2 * module._IDLE_AFTER
        os.utime(tmp_path / name, (old, old))
    assert download(remote("good"), tmp_path).read_bytes() == PACKED
    assert server.seen == [("/good/a.gz", "bytes=1000-")]
    assert names(tmp_path) == ["a.gz"]


def test_folder_that_cannot_be_written(tmp_path, remote):
    (tmp_path / "file").touch()
    with pytest.raises(DataMissingError, match=r"cannot write a\.gz"):
        download(remote("good"), tmp_path / "file")


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-5", "1e3"])
def test_lengths_that_are_no_numbers(server, tmp_path, monkeypatch, length):
    """The superscript 2 is a digit to str.isdigit and none to int; 5,000 digits are too many for it."""
    opened = module._open

    def lying(*arguments):
        response = opened(*arguments)
        response.headers.replace_header("Content-Length", length)
        return response

    monkeypatch.setattr(module, "_open", lying)
    remote = RemoteFile("a.gz", (f"http://127.0.0.1:{server.server_port}/good/a.gz",), sha256=SHA256)
    assert download(remote, tmp_path).read_bytes() == PACKED
