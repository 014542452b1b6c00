"""Batches and cores, shared out among processes."""

import threading

import pytest

from tests.communication.together import together
from xpcnn.training import shares
from xpcnn.training.shares import cores_for_one, part_of


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("N", [0, 1, 2, 5, 7, 100])
def test_parts_follow_one_another_and_are_as_equal_as_can_be(N, ranks):
    parts = [range(N)[part_of(rank, ranks)(N)] for rank in range(ranks)]
    assert [i for part in parts for i in part] == list(range(N))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("cores", "hosts", "expected"),
    [
        ([{0, 1, 2, 3}] * 2, "aa", [4, 4]),  # not bound: they share 8 threads
        ([{0, 1}, {2, 3}], "aa", [8, 8]),  # each bound to cores of its own, as usual_threads has seen already
        ([{0, 1}, {0, 1}], "ab", [8, 8]),
        ([{0, 1}, {0, 1}, {0, 1}], "aab", [4, 4, 8]),
        ([{0}] * 9, "a" * 9, [1] * 9),
    ],
    ids=["shared", "bound", "two hosts", "two and one", "more ranks than cores"],
)
def test_threads_for_each_rank(monkeypatch, cores, hosts, expected):
    monkeypatch.setattr(shares, "usual_threads", lambda: 8)
    of_thread = threading.local()
    monkeypatch.setattr(shares, "_cores", lambda: of_thread.cores)

    def work(ranks):
        of_thread.cores = frozenset(cores[ranks.rank])
        return cores_for_one(ranks)

    assert together(len(cores), work, hosts=hosts) == expected


def test_this_process_alone_takes_all():
    assert together(1, cores_for_one) == [shares.usual_threads()]
