import threading
import time

import pytest

from proband.stats import cores
from proband.stats.cores import on_cores


def test_what_is_found_comes_in_the_order_of_the_items_however_long_each_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(item: int) -> int:
        time.sleep((5 - item) / 100)
        return item**2

    for number in (1, 3):
        monkeypatch.setattr(cores, "cores", lambda number=number: number)
        assert list(on_cores(slow, range(5))) == [0, 1, 4, 9, 16]
    assert list(on_cores(slow, [])) == []


def test_several_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores", lambda: 2)
    meet = threading.Barrier(2, timeout=30)  # neither passes alone
    assert sorted(on_cores(lambda _: meet.wait(), range(2))) == [0, 1]


def test_no_more_run_at_once_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores", lambda: 8)
    assert {threading.get_ident()} == set(on_cores(lambda _: threading.get_ident(), range(20), most=1)), "one alone needs no thread"
    assert len(set(on_cores(lambda _: (time.sleep(0.005), threading.get_ident())[1], range(20), most=2))) == 2


def test_an_error_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores", lambda: 2)
    begun: list[int] = []

    def broken(item: int) -> None:
        begun.append(item)
        time.sleep(0.01)
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        list(on_cores(broken, range(100)))
    assert len(begun) < 100


def test_who_asks_for_no_more_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores", lambda: 2)
    begun: list[int] = []
    for _ in on_cores(lambda item: (begun.append(item), time.sleep(0.01)), range(100)):
        break
    assert len(begun) < 100
