"""Work that is spread over processes: done once each, and over when it should be."""

from __future__ import annotations

import math
import multiprocessing
import os
import time

import pytest
from mattebox_backend.bench.errors import BenchError
from mattebox_backend.bench.workers import spread


def all_gone() -> bool:
    """Whether no process is left, soon: the pool's own thread waits for them too, and tells a bit later."""
    deadline = time.monotonic() + 60
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not multiprocessing.active_children()


def test_every_item_is_worked_on_once() -> None:
    assert sorted(spread(math.factorial, [3, 4, 5, 0], 2)) == [1, 6, 24, 120]
    assert not multiprocessing.active_children()


def test_what_work_raises_is_raised_and_ends_the_workers() -> None:
    began = time.monotonic()
    with pytest.raises(TypeError, match="str"):
        list(spread(time.sleep, ["long", *[600.0] * 3], 2))  # type: ignore[list-item]
    assert time.monotonic() - began < 300
    assert all_gone()


def test_closing_it_ends_the_workers() -> None:
    done = spread(time.sleep, [0.0, 600.0, 600.0], 2)
    next(done)
    done.close()
    assert all_gone()


def test_a_worker_that_is_killed_is_one_sentence() -> None:
    with pytest.raises(BenchError, match=r"ended from outside.*fewer with --workers"):
        list(spread(os._exit, [1], 1))
