"""Several ranks as threads of one process: a Communicator whose sums are made in the order of the ranks."""

from __future__ import annotations

import threading
from collections import defaultdict

from xpcnn.communication import Communicator, Pending
from xpcnn.errors import DistributedError

PATIENCE = 20.0  # seconds: a rank that waits longer has been forgotten by the others


class Ranks:
    """What the threads share: for each kind of call, and each of its calls, what has come from every rank."""

    def __init__(self, size):
        self.size = size
        self.news = threading.Condition()
        self.given = defaultdict(dict)
        self.failed = False

    def give(self, key, rank, value):
        with self.news:
            self.given[key][rank] = value
            self.news.notify_all()

    def here(self, key):
        return len(self.given[key]) == self.size

    def take(self, key):
        with self.news:
            self.news.wait_for(lambda: self.here(key) or self.failed, PATIENCE)
            if not self.here(key):
                raise DistributedError(f"only {sorted(self.given[key])} of {self.size} ranks came to {key}")
            return [self.given[key][rank] for rank in range(self.size)]

    def fail(self):
        with self.news:
            self.failed = True
            self.news.notify_all()


class ThreadCommunicator(Communicator):
    """One rank. begun: the sizes of the sums that it began to make beside its other work, in their order."""

    name = "threads"

    def __init__(self, ranks, rank, hosts=None):
        super().__init__()
        self.ranks, self.rank, self.size = ranks, rank, ranks.size
        self.local_rank, self.local_size = rank, ranks.size
        self.host = "here" if hosts is None else hosts[rank]
        self.watched = True  # nobody dies alone here
        self.counts = defaultdict(int)
        self.begun = []
        self.gave_up = False

    def _key(self, kind):
        self.counts[kind] += 1
        return kind, self.counts[kind]

    def _start(self, kind, a):
        assert a.flags.c_contiguous
        self.calls += 1
        self.bytes += a.nbytes
        key = self._key(kind)
        self.ranks.give(key, self.rank, a.copy())
        return _Sum(self, key, a)

    def start_sum(self, a):
        self.begun.append(a.size)
        return self._start("beside", a)

    def sum(self, a):
        self._start("sum", a).wait()

    def all(self, value, limit=None):
        key = self._key("all")
        self.ranks.give(key, self.rank, value)
        return self.ranks.take(key)

    def give_up(self):
        self.gave_up = True


class _Sum(Pending):
    def __init__(self, owner, key, a):
        self.owner, self.key, self.a = owner, key, a

    def wait(self):
        first, *others = self.owner.ranks.take(self.key)
        assert all((o.shape, o.dtype) == (first.shape, first.dtype) for o in others)
        total = first.copy()
        for other in others:
            total += other
        self.a[...] = total


def together(size, work, hosts=None):
    """What `work(communicator)` gives on each of `size` ranks, each in a thread; raises the first error of any."""
    ranks = Ranks(size)
    results, errors = [None] * size, [None] * size

    def run(rank):
        try:
            results[rank] = work(ThreadCommunicator(ranks, rank, hosts))
        except BaseException as error:
            errors[rank] = error
            ranks.fail()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # An error that only follows from another one's is told last.
    found = sorted((e for e in errors if e is not None), key=lambda e: "ranks came to" in str(e))
    if found:
        raise found[0]
    return results
