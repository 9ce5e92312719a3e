"""Turns at the device."""

from __future__ import annotations

import threading
import time

from mattebox_backend.jobs.turns import DeviceTurns


def test_turns_come_one_at_a_time_in_the_order_of_asking() -> None:
    turns, order, inside = DeviceTurns(), list[int](), list[int]()
    threads: list[threading.Thread] = []

    def take(number: int) -> None:
        with turns.turn(lambda: True) as mine:
            assert mine
            inside.append(number)
            assert len(inside) == 1, "two at once"
            order.append(number)
            time.sleep(0.01)
            inside.remove(number)

    with turns.turn(lambda: True):
        for number in range(5):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            while len(turns._waiting) < number + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3, 4]


def test_who_no_longer_wants_a_turn_gets_none_and_holds_up_nobody() -> None:
    turns, wants = DeviceTurns(), threading.Event()
    got: list[bool] = []

    def take() -> None:
        with turns.turn(lambda: not wants.is_set()) as mine:
            got.append(mine)

    with turns.turn(lambda: True) as first:
        assert first
        thread = threading.Thread(target=take)
        thread.start()
        wants.set()
        thread.join(10)
        assert got == [False]
    with turns.turn(lambda: True) as second:
        assert second


def test_a_turn_ends_with_an_error_too() -> None:
    turns = DeviceTurns()
    try:
        with turns.turn(lambda: True):
            raise RuntimeError("it failed")
    except RuntimeError:
        pass
    with turns.turn(lambda: False) as mine:
        assert mine, "whose turn it is needs no more patience"
