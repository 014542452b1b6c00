"""Threads, and the caller's BLAS setting before, during and after."""

import os
import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from xpcnn.executors.threads import available_cores, one_blas_thread, run_together


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
    assert run_together([lambda i=i: i * i for i in range(20)]) == [i * i for i in range(20)]


def test_jobs_run_at_once():
    meet = threading.Barrier(2, timeout=10)  # would break if one waited for the other to end
    run_together([meet.wait, meet.wait])


def test_an_error_is_raised_after_all_have_ended():
    done = []

    def fail():
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        run_together([fail, lambda: done.append(1)])
    assert done == [1]
    with pytest.raises(ValueError, match="first"):
        run_together([lambda: done.append(2), fail])
    assert done == [1, 2]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_limits_the_cores():
    everything = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(everything)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, everything)
    assert 1 <= available_cores() <= len(everything)
