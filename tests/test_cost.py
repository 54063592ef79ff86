"""What a piece of work cost."""

from proband.cost import WATTS_PER_CORE, Cost, measure


def test_the_estimate_is_processor_seconds_times_the_watts_assumed() -> None:
    cost = Cost(seconds=1800, cpu_seconds=3600, peak_mb=400)
    assert cost.watt_hours == WATTS_PER_CORE
    assert str(cost) == "1,800.0 s, 400 MB, about 10 Wh"
    assert cost.as_dict() == {"seconds": 1800, "cpu_seconds": 3600, "peak_mb": 400, "watt_hours": 10, "watts_per_core_assumed": 10}


def test_where_memory_is_not_told_it_is_left_out() -> None:
    assert str(Cost(seconds=2, cpu_seconds=2, peak_mb=None)) == "2.0 s, about 0.0056 Wh"


def test_work_gives_its_result_and_busy_work_costs_processor_time() -> None:
    done, cost = measure(lambda: sum(range(3_000_000)))
    assert done == 4_499_998_500_000
    assert cost.seconds > 0 and cost.cpu_seconds > 0
    assert cost.peak_mb is None or cost.peak_mb > 10  # an interpreter with numpy takes more
