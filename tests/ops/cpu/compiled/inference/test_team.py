"""A team of threads: every chunk once, steps one after the other, whoever comes when."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("llvmlite.binding", reason="the compiled kernels need llvmlite (extra fast)", exc_type=ImportError)

from xpcnn.ops.cpu.compiled.arrays import NUMBERS_AT
from xpcnn.ops.cpu.compiled.host import this_host
from xpcnn.ops.cpu.compiled.inference.elementwise import RowShape, pixel_kernel
from xpcnn.ops.cpu.compiled.inference.team import Room, Team

WIDTH = 10  # chunks of a step


def counting(steps):
    """Cells (steps + 1, WIDTH, 16): each chunk makes one of a cell of the step before, a neighbour's, plus 1."""
    cells, one = np.zeros((steps + 1, WIDTH, 16), np.float32), np.ones(16, np.float32)
    kernel = pixel_kernel("add", RowShape(16, 1, 16, 16, 16), this_host())
    work = []
    for s in range(steps):
        chunks = []
        for c in range(WIDTH):
            source, target = cells[s, (c + 1) % WIDTH].ctypes.data, cells[s + 1, c].ctypes.data
            chunks.append([(kernel, (1, source, 0, one.ctypes.data, 0, 0, 0, -np.inf, target, 0, NUMBERS_AT))])
        work.append(chunks)
    return cells, one, work


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_steps_follow_each_other(threads):
    cells, one, work = counting(200)
    team = Team(work, threads, 0)
    assert team.threads == threads
    for _ in range(5):
        cells[...] = 0.0
        team.reset()
        others = [threading.Thread(target=team.work, args=(i,)) for i in range(1, threads)]
        for thread in others:
            thread.start()
        team.work(0)
        assert (cells == np.arange(201, dtype=np.float32)[:, None, None]).all()  # all is done when one returns
        for thread in others:
            thread.join()
    assert (one == 1.0).all()


def test_one_who_never_comes_is_not_waited_for():
    cells, one, work = counting(20)
    team = Team(work, 3, 0)
    team.reset()
    team.work(1)
    assert (cells[-1] == 20.0).all()
    cells[...] = 0.0
    team.work(0)  # too late: all is done, so nothing is done again
    assert (cells == 0.0).all()
    assert one.all()


def test_the_others_are_waited_for_while_they_work():
    """A chunk that takes long, in another thread: nobody goes on before it is done."""
    side = 400
    slow = np.ones((side, side, 64), np.float32)
    room = np.zeros_like(slow)
    kernel = pixel_kernel("add", RowShape(64, side, 64, 64, 64), this_host())
    row = side * 64 * 4
    long_ = (kernel, (side, slow.ctypes.data, row, slow.ctypes.data, row, 0, 0, 0.0, room.ctypes.data, row, NUMBERS_AT))
    after = np.zeros(64, np.float32)
    last = room[-1, -1].ctypes.data
    copy = pixel_kernel("copy", RowShape(64, 1, 64, 64, 64), this_host())
    team = Team([[[long_]], [[(copy, (1, last, 0, last, 0, 0, 0, 0.0, after.ctypes.data, 0, NUMBERS_AT))]]], 2, 0)
    for _ in range(10):
        room[...] = 0.0
        after[...] = 0.0
        team.reset()
        thread = threading.Thread(target=team.work, args=(1,))
        thread.start()
        time.sleep(0.002)
        team.work(0)
        assert (after == 2.0).all()
        thread.join()


def test_every_thread_has_a_room_of_its_own():
    """Two kernels a chunk, the first into the room, the second out of it."""
    source = np.arange(64 * 16, dtype=np.float32).reshape(64, 16)
    target = np.zeros_like(source)
    copy = pixel_kernel("copy", RowShape(16, 1, 16, 16, 16), this_host())

    def move(a, b):
        return copy, (1, a, 0, a, 0, 0, 0, 0.0, b, 0, NUMBERS_AT)

    chunks = [[move(source[i].ctypes.data, Room(64)), move(Room(64), target[i].ctypes.data)] for i in range(64)]
    team = Team([chunks], 3, 128)
    team.reset()
    others = [threading.Thread(target=team.work, args=(i,)) for i in (1, 2)]
    for thread in others:
        thread.start()
    team.work(0)
    for thread in others:
        thread.join()
    assert (target == source).all()


def test_nothing_to_do():
    team = Team([[], []], 2, 0)
    team.reset()
    team.work(0)
