"""Work of parts that do not depend on one another, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MOST = 8  # threads: each may hold a copy of what it works on

Item = TypeVar("Item")
Found = TypeVar("Found")


def on_cores(work: Callable[[Item], Found], items: Iterable[Item], *, most: int = MOST) -> Iterator[Found]:
    """`work` of every item, one after the other in their order: the cores change the time, never the result.

    In threads, so that nothing is copied; `work` must release Python's lock where it takes long, as torch and scikit-learn's trees
    do. An error in one, or in who asks for the next, ends all: what has not begun never does, and what has is waited for. At `most` so
    many threads run.
    """
    items = list(items)
    workers = min(len(items), cores(), most)
    if workers < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(work, items)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def cores() -> int:
    """How many this process may use, where the system tells; else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
