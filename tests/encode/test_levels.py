"""Levels <-> tokens: those that one patient holds are told as another, and thousands of codes are told in two steps."""

import numpy as np
import polars as pl
import pytest

from proband.encode.levels import MOST_LEVELS, Levels
from proband.errors import InputError
from proband.schema import Column


def learn(values: list[str | None], kind: str = "category", more: tuple[str, ...] = (), patients: list[int] | None = None) -> Levels:
    categories = tuple(sorted({v for v in values if v is not None} | set(more)))
    column = Column(name="k", kind=kind, categories=categories)  # type: ignore[arg-type]
    return Levels.learn(column, pl.Series(values, dtype=pl.String), None if patients is None else np.array(patients), 2)


def there_and_back(levels: Levels, values: list[str | None]) -> list[str | None]:
    tokens = levels.encode(pl.Series(values, dtype=pl.String))
    return levels.decode(list(tokens.T)).to_list()


def test_a_level_of_one_patient_is_told_as_the_commonest():
    levels = learn(["x", "x", "y", "y", "y", "z", None], more=("never",))
    assert levels.sizes == (3,)
    assert there_and_back(levels, ["x", "y", "z", "never", None]) == ["x", "y", "y", "y", None]


def test_a_code_of_one_patient_is_told_as_the_nearest_code():
    levels = learn(["I21.0", "I21.0", "I50.9", "I50.9", "A01", "A01", "A01", "I21.4", "Z99"])
    assert there_and_back(levels, ["I21.4", "Z99"]) == ["I21.0", "A01"]  # nothing begins like Z99: the commonest


def test_a_rank_of_one_patient_is_told_as_the_nearest_rank():
    levels = learn(["1", "1", "2", "5", "6", "6"], "ordinal")
    assert there_and_back(levels, ["2", "5"]) == ["1", "6"]


def test_no_level_may_be_told():
    levels = learn(["x", "y", "z"])
    assert levels.sizes == (1,)
    assert there_and_back(levels, ["x", None]) == [None, None]


def test_rows_of_one_patient_count_once():
    assert there_and_back(learn(["x", "x", "y", "y"], patients=[1, 1, 2, 3]), ["x"]) == ["y"]


def codes(chapters: int = 20) -> list[str]:
    return [
        f"{chapter}{family:02d}.{rest}" for chapter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:chapters] for family in range(20) for rest in range(10)
    ]


@pytest.mark.parametrize("chapters", [1, 5, 20])
def test_many_codes_are_told_in_two_steps(chapters):
    """Up to 4,000 codes: no step has more than 1.25 times the square root of them, plus what families leave over."""
    values = codes(chapters)
    levels = learn(values * 2)
    assert len(levels.sizes) == 2 and max(levels.sizes) <= 1.6 * np.sqrt(len(values)) + 10
    assert there_and_back(levels, values) == values
    groups = levels.encode(pl.Series(values))[:, 0]
    chapter = [value[:1] for value in values]
    if chapters > 1:  # a group lies within one chapter
        assert all(len({c for c, g in zip(chapter, groups, strict=True) if g == group}) == 1 for group in set(groups))


def test_names_are_told_by_how_common_they_are():
    names = [f"ward {word}" for word in range(MOST_LEVELS + 30)]
    values = names * 2 + names[:48] * 20
    levels = learn(values)
    assert len(levels.sizes) == 2 and there_and_back(levels, names) == names
    common, rare = (set(levels.encode(pl.Series(part))[:, 0].tolist()) for part in (names[:30], names[60:]))
    assert not common & rare


def test_steps_that_do_not_belong_together_give_a_level():
    levels = learn(codes() * 2)
    groups, places = (size - 1 for size in levels.sizes)
    told = levels.decode([np.repeat(np.arange(1, groups + 1), places), np.tile(np.arange(1, places + 1), groups)])
    assert told.null_count() == 0 and set(told) == set(codes())
    assert levels.decode([np.array([0, 3, 0]), np.array([2, 0, 0])]).to_list() == [None] * 3


def test_an_unknown_level_is_refused():
    with pytest.raises(InputError, match="'k' holds a level that is not among its categories"):
        learn(["x", "x"]).encode(pl.Series(["w"]))


@pytest.mark.parametrize("damage", ["held", "instead", "tokens"])
def test_a_damaged_model_is_refused(damage):
    levels = learn(codes() * 2)
    with pytest.raises(ValueError, match="do not fit together"):
        levels._replace(**{damage: getattr(levels, damage) + 4001}).check()
    levels.check()
