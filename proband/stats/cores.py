"""Work that no part of depends on another, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")


def on_cores(work: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """`work` of every item, in their order: the cores change the time, never the result.

    In threads, so that nothing is copied; `work` must release Python's lock where it takes long, as torch and scikit-learn's trees
    do. An error in one ends all: what has not begun never does.
    """
    items = list(items)
    workers = min(len(items), cores())
    if workers < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        try:
            return list(pool.map(work, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def cores() -> int:
    """How many this process may use, where the system tells; else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
