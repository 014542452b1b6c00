"""The model of a cluster: a case by hand, its limits, what must grow with what, and the exchange's own buckets."""

from __future__ import annotations

import itertools
import math

import cluster
import numpy as np
import pytest
from cluster import ALGORITHMS, LINKS, Job, Link, Passes, Ready, allreduce, into_buckets, step

from xpcnn.communication import Alone
from xpcnn.executors.exchange import GradientExchange
from xpcnn.models import DeepConvNet, SimpleConvNet

LINK = Link("by hand", 2.0, 10.0, 5.0)
RANKS = (1, 2, 4, 8, 64, 1024)
ALWAYS = Link("nothing costs", 0.0, math.inf)


def job(passes: float = 0.1, update: float = 0.01) -> Job:
    """A pass of that many seconds a sample; 300 bytes in the middle of it, 100 at its end."""
    return Job("a job", Passes({1: passes, 100: 100 * passes}), update, (Ready(300, 0.5), Ready(100, 0.0)))


@pytest.mark.parametrize(
    ("algorithm", "ranks", "seconds"),
    [
        # 40 bytes: latency 2, 4 to send all of them, 8 to add all of them.
        ("recursive doubling", 2, 2 + 4 + 8),
        ("recursive doubling", 4, 2 * (2 + 4 + 8)),
        ("recursive doubling", 5, 2 * (2 + 4 + 8) + (2 + 4 + 8) + (2 + 4)),
        ("recursive halving", 2, 2 * 2 + 2 * 2 + 4),
        ("recursive halving", 4, 4 * 2 + 2 * 3 + 6),
        ("recursive halving", 6, 4 * 2 + 2 * 3 + 6 + (2 + 4 + 8) + (2 + 4)),
        ("ring", 2, 2 * 2 + 2 * 2 + 4),
        ("ring", 4, 6 * 2 + 2 * 3 + 6),
        ("ring", 5, 8 * 2 + 2 * 3.2 + 6.4),
    ],
)
def test_a_sum_by_hand(algorithm: str, ranks: int, seconds: float) -> None:
    assert allreduce(40, ranks, LINK, algorithm) == pytest.approx(seconds)


def test_one_process_sums_nothing() -> None:
    assert all(allreduce(1e6, 1, link) == 0.0 for link in LINKS)
    assert all(allreduce(1e6, 1, LINK, algorithm) == 0.0 for algorithm in ALGORITHMS)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, None])
def test_a_sum_takes_longer_with_more_bytes_and_ranks(link: Link, algorithm: str | None) -> None:
    times = np.array([[allreduce(n, ranks, link, algorithm) for n in (0, 1e3, 1e6, 1e9)] for ranks in RANKS])
    assert (np.diff(times, axis=0) >= 0).all()
    assert (np.diff(times[1:], axis=1) > 0).all()


def test_the_fastest_algorithm_is_a_short_one_for_few_bytes_and_a_thrifty_one_for_many() -> None:
    _, ethernet, *_ = LINKS
    few, many = 100, 1e9
    assert allreduce(few, 64, ethernet) == allreduce(few, 64, ethernet, "recursive doubling")
    assert allreduce(many, 64, ethernet) == allreduce(many, 64, ethernet, "recursive halving")
    # Halving must first fold the ranks beyond a power of two; a ring has no such thing.
    assert allreduce(many, 65, ethernet) == allreduce(many, 65, ethernet, "ring")
    for algorithm in ("recursive halving", "ring"):  # no more than twice all bytes pass a link, however many ranks
        seconds = allreduce(1e12, 1024, Link("wide", 0.0, 1e9), algorithm)
        assert seconds == pytest.approx(2 * 1023 / 1024 * 1e3)


@pytest.mark.parametrize("make", [SimpleConvNet, DeepConvNet])
@pytest.mark.parametrize("size", [1, 1 << 12, 1 << 16, 1 << 18, 1 << 20, 1 << 30])
def test_buckets_are_those_of_the_exchange(make: type, size: int) -> None:
    net = make(seed=0)
    ours = GradientExchange([node.layer for node in net.nodes.values()], Alone(), np.dtype("float32"), bucket=size)
    *before, last = ours.buckets
    found = into_buckets(cluster.ready_by_work(net), size)
    figures = 4 * ours.flat.size - sum(part.bytes for part in found)  # they ride with the last bucket
    assert [part.bytes for part in found] == [*before, last - figures]
    assert sum(part.bytes for part in found) == sum(a.nbytes for a in net.params.values())


def test_a_bucket_goes_with_its_last_layer() -> None:
    ready = [Ready(10, 0.6), Ready(5, 0.4), Ready(20, 0.3), Ready(1, 0.0)]
    assert into_buckets(ready, 15) == [Ready(15, 0.4), Ready(20, 0.3), Ready(1, 0.0)]
    assert into_buckets(ready, 16) == [Ready(35, 0.3), Ready(1, 0.0)]
    assert into_buckets(ready, math.inf) == [Ready(36, 0.0)]


def test_work_is_done_from_the_last_layer_to_the_first() -> None:
    found = cluster.ready_by_work(DeepConvNet(seed=0))
    assert [part.bytes for part in found][:2] == [4 * 510, 4 * 51_250]
    assert 0.6 < found[0].left < 2 / 3  # the last layers take next to nothing, the pass forward a third
    assert found[-1].left == pytest.approx(0.0, abs=1e-12)
    assert (np.diff([part.left for part in found]) < 0).all()


def test_a_step_by_hand() -> None:
    link = Link("", 1.0, 100.0)  # of two ranks: 4 s for 300 bytes, 2 s for 100, 5 s for 400
    done = step(job(), 2, 100, link, 300, beside=True)  # a pass of 5 s
    assert done == cluster.Step(pytest.approx(5 + (2.5 + 4 + 2 - 5) + 0.01), 5.01, 6.0, pytest.approx(3.5))
    assert step(job(), 2, 100, link, 300, beside=False).waiting == pytest.approx(6.0)
    assert step(job(), 2, 100, link, 1000, beside=True).waiting == pytest.approx(5.0)  # one bucket: nothing goes beside
    assert step(job(1.0), 2, 100, link, 300, beside=True).waiting == pytest.approx(2.0)  # 50 s: the first is hidden
    assert step(job(), 1, 100, link, 300, beside=True).seconds == pytest.approx(10.01)
    # An odd sample more for one of them; the others wait for it.
    assert step(job(), 3, 100, ALWAYS, 300, beside=True).seconds == pytest.approx(3.41)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_sums_beside_the_pass_never_make_it_longer(link: Link) -> None:
    for ranks in RANKS:
        for bucket in (1, 200, 1e9):
            beside, after = (step(job(), ranks, 1000, link, bucket, beside).seconds for beside in (True, False))
            assert beside <= after + 1e-12


def test_efficiency_is_one_where_nothing_costs() -> None:
    free = job(update=0.0)
    for ranks in RANKS:
        assert cluster.efficiency(free, ranks, 100 * ranks, ALWAYS, 300, True) == pytest.approx(1.0)
    # With a fixed batch of 100, more ranks than samples leave the others idle.
    strong = [cluster.efficiency(free, ranks, 100, ALWAYS, 300, True) for ranks in (1, 100, 200)]
    assert strong == pytest.approx([1.0, 1.0, 0.5])


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
@pytest.mark.parametrize("beside", [True, False])
def test_efficiency_falls_with_ranks_and_is_at_most_one(link: Link, beside: bool) -> None:
    quick = Job("quick", Passes({1: 2e-5, 100: 1e-3}), 1e-5, (Ready(1e6, 0.5), Ready(1e5, 0.0)))
    for batch in (lambda ranks: 100 * ranks, lambda ranks: 1024):
        found = [cluster.efficiency(quick, ranks, batch(ranks), link, 1 << 20, beside, 100) for ranks in RANKS[1:]]
        assert all(b <= a for a, b in itertools.pairwise(found))
        assert 0.0 < found[-1] < found[0] <= 1.01  # batches of 512 spread the update over more samples than 100


def test_a_faster_link_is_never_worse() -> None:
    for ranks in RANKS:
        times = [step(job(1e-5, 0.0), ranks, 1000, link, 300, True).seconds for link in LINKS[:3]]
        assert times == sorted(times, reverse=True)


def test_the_best_bucket_weighs_latency_against_hiding() -> None:
    sizes = (1, 300, 1000)
    assert cluster.best_bucket(job(), 8, 800, Link("slow to begin", 3.0, 1e9), sizes, beside=False) == 1000
    assert cluster.best_bucket(job(), 8, 800, Link("narrow", 1e-9, 100.0), sizes, beside=True) == 300
    assert cluster.best_bucket(job(), 8, 800, ALWAYS, sizes, beside=True) == 1000  # all alike: the largest


def test_the_smallest_part_reaches_what_is_wanted_and_one_tenth_less_does_not() -> None:
    link = Link("", 0.5, 100.0)
    part = cluster.smallest_part(job(), 64, link, 300, True)
    assert part is not None
    assert cluster.efficiency(job(), 64, 64 * part, link, 300, True) >= 0.8
    assert cluster.efficiency(job(), 64, 64 * (part * 10 // 11 - 1), link, 300, True) < 0.8
    assert cluster.smallest_part(job(1e-9, 0.0), 64, Link("", 1e3, 1.0), 300, True) is None


def test_passes_between_and_beyond_what_is_known() -> None:
    passes = Passes({10: 2.0, 1: 1.0, 100: 12.0})
    assert [passes(n) for n in (0, 1, 10, 100)] == [0.0, 1.0, 2.0, 12.0]
    assert passes(55) == pytest.approx(7.0)
    assert passes(1000) == pytest.approx(120.0)


def test_a_link_is_found_again() -> None:
    sizes = (8, 1 << 10, 1 << 16, 1 << 24)
    true = Link("", 3e-6, 2e9)
    found, error = cluster.fit_link("here", {n: allreduce(n, 2, true, "recursive doubling") for n in sizes})
    assert (found.name, found.latency, found.bandwidth) == ("here", pytest.approx(3e-6), pytest.approx(2e9))
    assert error < 1e-6
    # A line through these would begin below nothing, or fall: neither is a link.
    assert cluster.fit_link("", {1000: 1e-6, 2000: 5e-6})[0].latency == 0.0
    assert cluster.fit_link("", {1000: 5e-6, 2000: 1e-6})[0].bandwidth == math.inf
