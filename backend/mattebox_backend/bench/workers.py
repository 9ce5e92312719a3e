"""Spreads work over processes of one thread each: small models gain nothing from a second thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from mattebox_backend.bench.errors import BenchError

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Generator[Result, None, None]:
    """What `work` gives for every item, in the order in which it is done. Close it to end the processes
    early.

    work, items and results must be picklable. What `work` raises is raised here, and ends the processes; so
    does an interrupt. Raises `BenchError` where a process was ended from outside.
    """
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        try:
            for done in as_completed([pool.submit(work, item) for item in items]):
                yield done.result()
        except BrokenProcessPool as error:
            raise BenchError(
                "A worker was ended from outside, perhaps for want of memory; ask for fewer with --workers."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            own = [process for process in multiprocessing.active_children() if process not in others]
            for process in own:
                process.terminate()
            for process in own:
                process.join()
            raise


def _begin() -> None:
    """Make this process a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2
    import torch
    from tqdm import tqdm

    # The lock across processes that tqdm would make stays behind when a worker is ended.
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, and they would wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
