"""Who dies ends the others, at once and by name."""

import threading
import time

import pytest

from tests.communication.processes import missing_mpi, mpiexec
from tests.communication.together import together
from xpcnn.communication import Alone, Lifeline
from xpcnn.errors import DistributedError


def lifelines(size, work):
    """`work(lifeline, ranks)` on each rank within its lifeline; (results, what each was told of deaths)."""
    told = [[] for _ in range(size)]
    heard = [threading.Event() for _ in range(size)]

    def run(ranks):
        def hear(rank, text):
            told[ranks.rank].append((rank, text))
            heard[ranks.rank].set()

        lifeline = Lifeline(ranks, hear)
        try:
            with lifeline:
                return work(lifeline, heard[ranks.rank])
        except ValueError:
            return "failed"
        finally:
            lifeline._watch.join(10.0)
            assert not lifeline._watch.is_alive()

    return together(size, run), told


def test_all_go_on_and_leave_in_any_order():
    def work(lifeline, heard):
        assert lifeline.communicator.watched
        heard.wait(0.05 * lifeline.communicator.rank)
        return "left"

    results, told = lifelines(4, work)
    assert results == ["left"] * 4
    assert told == [[]] * 4


@pytest.mark.parametrize("who", [0, 2])
def test_a_rank_whose_socket_closes_has_died(who):
    def work(lifeline, heard):
        ranks = lifeline.communicator
        ranks.all(None)
        if ranks.rank == who:
            lifeline._over.set()  # what follows is this test's own doing
            for line in lifeline._lines.values():
                line.shutdown(2)
            return
        assert heard.wait(10.0)

    _, told = lifelines(4, work)
    assert told[who] == []
    assert all(t == [(who, f"rank {who} has died")] for rank, t in enumerate(told) if rank != who)


def test_a_rank_that_fails_says_why_and_the_others_end_after_a_moment():
    def work(lifeline, heard):
        if lifeline.communicator.rank == 1:
            raise ValueError("no room on\nthe disk")
        assert heard.wait(10.0)

    results, told = lifelines(3, work)
    assert results[1] == "failed"
    assert told[1] == []
    assert told[0] == told[2] == [(1, "rank 1 failed: no room on the disk")]


def test_ranks_that_fail_alike_each_keep_their_own_error():
    def work(lifeline, heard):
        heard.wait(0.05 * lifeline.communicator.rank)
        raise ValueError("the loss is nan")

    results, told = lifelines(3, work)
    assert results == ["failed"] * 3
    assert told == [[]] * 3


def test_a_process_alone_needs_none():
    ranks = Alone()
    with Lifeline(ranks) as lifeline:
        assert ranks.watched
        assert lifeline._watch is None
    assert not ranks.watched


def test_a_stranger_on_the_line_is_turned_away(monkeypatch):
    import socket

    from xpcnn.communication import lifeline as module

    real = socket.create_connection

    def after_a_stranger(address, **options):
        stranger = real(address, **options)
        stranger.sendall(b"not the token 1\n" if who.pop() else b"\xff\xfe\n")
        stranger.close()
        return real(address, **options)

    who = [True, False]
    monkeypatch.setattr(module.socket, "create_connection", after_a_stranger)
    results, told = lifelines(3, lambda lifeline, heard: "left")
    assert (results, told) == (["left"] * 3, [[]] * 3)


def test_hosts_that_cannot_reach_each_other_say_so(monkeypatch):
    def refused(address, **options):
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr("xpcnn.communication.lifeline.socket.create_connection", refused)
    monkeypatch.setattr("xpcnn.communication.lifeline._PATIENCE", 0.3)
    with pytest.raises(DistributedError, match="cannot reach each other through rank 0 at 127.0.0.1:[0-9]+ "):
        together(2, lambda ranks: Lifeline(ranks).__enter__())


@pytest.mark.mpi
def test_real_processes_that_die_or_fail():
    """The message is rank 0's, or that of all where it is rank 0 that died."""
    if missing := missing_mpi():
        pytest.skip(missing)
    for how, who, line in (
        ("kill", 2, "xpcnn: rank 2 has died; all end here"),
        ("kill", 0, "xpcnn: rank 0 has died; all end here"),
        ("exit", 1, "xpcnn: rank 1 has died; all end here"),
        ("raise", 1, "xpcnn: rank 1 failed: this rank cannot go on; all end here"),
    ):
        words = ("-m", "tests.communication.ranks", "end", how, who)
        run = mpiexec(3, *words, flags=("-disable-auto-cleanup",))
        assert run.returncode != 0
        assert line in run.stderr.splitlines()
        gone = float(run.stdout.split("gone at ")[1].split()[0])
        assert time.time() - gone < 10.0
