"""Threads, and the caller's BLAS setting before, during and after."""

import os
import sys
import threading
from types import SimpleNamespace

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from xpcnn import threads
from xpcnn.threads import Crew, available_cores, blas_can_be_held, one_blas_thread, usual_threads


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.skipif(not blas_threads(), reason="threadpoolctl cannot hold this NumPy's BLAS")
@pytest.mark.parametrize("before", [1, 2])
def test_blas_has_one_thread_inside_and_the_callers_number_after(before):
    with threadpool_limits(before, user_api="blas"):
        outside = blas_threads()
        with one_blas_thread():
            assert blas_threads() == {1}
            with one_blas_thread():
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == outside
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            1 / 0  # noqa: B018
        assert blas_threads() == outside


@pytest.mark.skipif(not blas_threads(), reason="threadpoolctl cannot hold this NumPy's BLAS")
def test_the_last_thread_to_leave_restores_blas():
    with threadpool_limits(2, user_api="blas"):
        outside = blas_threads()
        inside, leave = threading.Event(), threading.Event()

        def hold():
            with one_blas_thread():
                inside.set()
                leave.wait(10)

        other = threading.Thread(target=hold)
        with one_blas_thread():
            other.start()
            assert inside.wait(10)
        assert blas_threads() == {1}  # the other is still inside
        leave.set()
        other.join()
        assert blas_threads() == outside


def test_results_come_in_the_order_of_the_jobs():
    assert Crew(2).run([lambda i=i: i * i for i in range(20)]) == [i * i for i in range(20)]


def test_jobs_run_at_once():
    meet = threading.Barrier(3, timeout=10)  # would break if one waited for another to end
    Crew(2).run([meet.wait] * 3)


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_is_raised_after_all_have_ended(place):
    done = []

    def fail():
        raise ValueError("mine")

    jobs = [lambda: done.append(1), lambda: done.append(2)]
    jobs.insert(place, fail)
    with pytest.raises(ValueError, match="mine"):
        Crew(2).run(jobs)
    assert sorted(done) == [1, 2]


def test_an_error_that_only_follows_gives_way_to_its_cause():
    def follow():
        raise threading.BrokenBarrierError

    def cause():
        raise ValueError("cause")

    with pytest.raises(ValueError, match="cause"):
        Crew(1).run([follow, cause], ignore=threading.BrokenBarrierError)
    with pytest.raises(threading.BrokenBarrierError):
        Crew(1).run([follow, follow], ignore=threading.BrokenBarrierError)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking with threads is what is tested
def test_a_forked_child_makes_its_own_threads():
    crew = Crew(1)
    crew.run([int, int])
    child = os.fork()
    if child == 0:
        os._exit(crew.run([lambda: 3, lambda: 4]) != [3, 4])
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("held", [True, False])
def test_a_blas_that_cannot_be_held_gets_one_thread_of_ours(held, monkeypatch):
    libraries = [SimpleNamespace(user_api="blas")] if held else [SimpleNamespace(user_api="openmp")]
    monkeypatch.setattr(threads, "_controller", SimpleNamespace(lib_controllers=libraries))
    assert blas_can_be_held() == held
    assert usual_threads() == (available_cores() if held else 1)


def test_without_threadpoolctl_networks_keep_to_one_thread(monkeypatch):
    monkeypatch.setattr(threads, "_controller", None)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert usual_threads() == 1
    with one_blas_thread():
        assert threads.blas_architectures() == set()


def test_hardware_threads_of_one_core_count_once(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(threads, "_siblings", lambda cpu: "0,2" if cpu in (0, 2) else "1,3")
    assert available_cores() <= 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_limits_the_cores():
    everything = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(everything)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, everything)
    assert 1 <= available_cores() <= len(everything)
