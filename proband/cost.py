"""What a piece of work cost: seconds, processor seconds, memory, and an estimate of the energy."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

#: Watts that one busy core draws, with its share of memory and power supply. An assumption, not a measurement: makers state 4 to
#: 15 W of design power a core for today's server and laptop processors. Cooling and idle cores are left out, and so is a GPU.
WATTS_PER_CORE = 10.0


@dataclass(frozen=True)
class Cost:
    """What was spent.

    seconds      on the clock
    cpu_seconds  of all threads, and of the processes that were started and have ended
    peak_mb      the most memory (MB of 10^6 bytes) that this process held from its start to the end of the work, libraries
                 included: what a machine must have; None where the system does not tell
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float | None

    @property
    def watt_hours(self) -> float:
        """An estimate of the energy: processor seconds times WATTS_PER_CORE."""
        return self.cpu_seconds * WATTS_PER_CORE / 3600

    def as_dict(self) -> dict[str, float | None]:
        """Plain JSON: seconds, cpu_seconds, peak_mb, watt_hours, and the assumption behind the last."""
        return {
            "seconds": round(self.seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "peak_mb": None if self.peak_mb is None else round(self.peak_mb),
            "watt_hours": float(f"{self.watt_hours:.3g}"),
            "watts_per_core_assumed": WATTS_PER_CORE,
        }

    def __str__(self) -> str:
        memory = "" if self.peak_mb is None else f", {self.peak_mb:,.0f} MB"
        return f"{self.seconds:,.1f} s{memory}, about {self.watt_hours:.2g} Wh"


def measure(work: Callable[[], T]) -> tuple[T, Cost]:
    """What `work()` gives, and what it cost.

    >>> total, cost = measure(lambda: sum(range(1000)))
    >>> total, cost.seconds >= 0
    (499500, True)
    """
    started, busy = time.perf_counter(), _cpu_seconds()
    done = work()
    return done, Cost(time.perf_counter() - started, _cpu_seconds() - busy, _peak_mb())


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


def _peak_mb() -> float | None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    # The unit is bytes on macOS and 1,024 bytes elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
