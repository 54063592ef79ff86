"""Linked patients: resampled whole by the yardstick, refused in one sentence by whatever knows one table."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import proband
from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema.integrity import strays, unowned
from proband.schema.model import Column, Link, Schema, Table
from proband.synthesizers import linked
from proband.synthesizers.baselines import Bootstrap, IndependentColumns
from tests.linked import SCHEMA, cohort


def told(made: Cohort) -> set[tuple[object, ...]]:
    """What each patient is, without a single identifier: age, stays, and labs with the place of their stay."""
    found = set()
    for pid, age in made.frame.rows():
        stays = made.linked["stays"].filter(pl.col("pid") == pid)
        place = {stay: at for at, stay in enumerate(stays["stay"])}
        labs = made.linked["labs"].filter(pl.col("pid") == pid)
        seen = tuple((place.get(stay), *rest) for stay, *rest in labs.select("stay", "time", "test", "value").rows())
        found.add((age, tuple(stays.select("intime", "outtime").rows()), seen))
    return found


def test_patients_are_copied_with_all_their_rows() -> None:
    real = cohort()
    made = Bootstrap().fit(real, seed=1).sample(50, seed=2)
    assert len(made) == 50 and made.schema == SCHEMA
    assert told(made) == told(real)  # with 50 draws of three patients each is drawn, and nobody else
    frames = {table.name: frame for table, frame in made.tables}
    assert unowned(SCHEMA, frames) == [] and strays(SCHEMA, frames) == []
    drawn = made.frame["age"].value_counts()
    rows = {71: 3, 43: 1, 60: 1}
    assert made.linked["labs"].height == sum(rows[age] * count for age, count in drawn.rows())


def test_every_identifier_is_fresh_in_every_table() -> None:
    real = cohort()
    made = Bootstrap().fit(real, seed=1).sample(20, seed=2)
    for table, frame in made.tables:
        for column in table.columns:
            if column.kind == "identifier":
                old = next(rows for other, rows in real.tables if other.name == table.name)[column.name]
                assert not frame[column.name].drop_nulls().is_in(old.drop_nulls().implode()).any(), (table.name, column.name)
    assert made.linked["stays"]["stay"].is_unique().all()
    assert made.linked["labs"].filter(pl.col("value").is_null())["stay"].null_count() == (made.frame["age"] == 60).sum()


def test_a_link_that_leads_nowhere_becomes_missing() -> None:
    real = cohort()
    labs = real.linked["labs"].with_columns(stay=pl.Series(["10", "99", "20", "20", None]))  # 99 is no stay, 20 that of another patient
    made = Bootstrap().fit(replace(real, linked={**real.linked, "labs": labs}), seed=1).sample(1, seed=2, where="age = 71")
    assert made.linked["labs"]["stay"].is_null().to_list() == [False, True, True]


def test_conditions_seeds_and_the_label() -> None:
    model = Bootstrap().fit(cohort(), seed=1)
    assert set(model.sample(9, seed=2, where="age > 50").frame["age"]) <= {71, 60}
    one, two, other = model.sample(9, seed=2), model.sample(9, seed=2), model.sample(9, seed=3)
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert one.mark is not None and "real patients" in one.mark.details["warning"]
    none = model.sample(0, seed=2)
    assert [frame.height for _, frame in none.tables] == [0, 0, 0]


def test_rows_that_break_a_rule_stay_out_with_all_that_hangs_on_them() -> None:
    ruled = SCHEMA.model_copy(update={"rules": (proband.Rule(sql="age < 70"),)})
    made = Bootstrap().fit(replace(cohort(), schema=ruled), seed=1).sample(30, seed=2)
    assert set(made.frame["age"]) == {43, 60} and set(made.linked["labs"]["test"]) == {"K", "Na"}
    assert made.linked["stays"]["outtime"].null_count() == made.linked["stays"].height


def test_a_model_folder_holds_linked_patients(tmp_path: Path) -> None:
    model = Bootstrap().fit(cohort(), seed=1)
    model.save(tmp_path / "model")
    again = proband.load(tmp_path / "model").sample(12, seed=5)
    assert again.fingerprint == model.sample(12, seed=5).fingerprint
    proband.write(again, tmp_path / "made", format="csv")
    assert proband.read(tmp_path / "made", SCHEMA).mark == again.mark
    assert "real patients" in json.loads((tmp_path / "model" / "model.json").read_text())["config"]["warning"]


def single(name: str) -> Callable[[Cohort], object]:
    return lambda made: proband.find(name)().fit(made, seed=1)


@pytest.mark.parametrize(
    "act",
    [
        *(single(name) for name in ("gan", "forest", "copula", "diffusion", "smote", "duel")),
        lambda made: proband.compare(made, out="nowhere", target="age"),
        lambda made: proband.frontier(made, out="nowhere", target="age"),
        lambda made: proband.Auto().fit(made, seed=1),
        lambda made: proband.refine(made, made, seed=1),
        lambda made: proband.fit_labeller(made, "age"),
        lambda made: proband.augment(made, IndependentColumns(), where="age > 50", n=1, seed=1),
        lambda made: proband.evaluate_augmentation(made, made, target="age", where="age > 50", synthesizer=IndependentColumns(), seed=1),
        lambda made: proband.write(made, "one.csv"),
    ],
)
def test_what_knows_one_table_says_so(act: Callable[[Cohort], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"the cohort has (3: |the tables )patients, stays, labs"):
        act(cohort())
    assert list(tmp_path.iterdir()) == []


def test_a_private_synthesizer_says_so_too() -> None:
    public = replace(cohort(), schema=SCHEMA.model_copy(update={"public": True}))
    with pytest.raises(InputError, match="A private synthesizer knows one table"):
        proband.PrivateMarginals(epsilon=1).fit(public, seed=1)


def test_frames_are_kept_to_the_bit() -> None:
    from proband.encode.frames import from_arrays, to_arrays

    made = cohort()
    for table, frame in made.tables:
        for some in (frame, frame.clear()):
            assert from_arrays(to_arrays(some), table).equals(some)
    arrays = to_arrays(made.frame)
    arrays["0.ends"] = arrays["0.ends"][::-1].copy()
    with pytest.raises(ValueError, match="do not fit"):
        from_arrays(arrays, made.schema.table)
    assert np.array_equal(to_arrays(made.frame)["1.values"], [71, 43, 60])


def test_a_link_leads_to_what_began_last_and_follows_what_owns_the_row() -> None:
    frames = {table.name: frame for table, frame in cohort().tables}
    stays = frames["stays"].sort("intime")  # patient 1: 10 in January, 11 in March; patient 2: 20
    when = [datetime(2019, 12, 31), datetime(2020, 2, 1), datetime(2020, 3, 2), datetime(2022, 1, 1)]
    rows = pl.DataFrame({"pid": ["1", "1", "1", "3"], "time": when, "test": ["K"] * 4, "value": [4.0] * 4})
    made = linked.completed(SCHEMA, frames | {"stays": stays}, SCHEMA["labs"], rows, np.arange(3), np.random.default_rng(0))
    # before any stay there is none, in February stay 10 is over, in March 11 is not, and patient 3 has none at all
    assert made["stay"].to_list() == [None, None, "11", None]
    below = SCHEMA["labs"].model_copy(update={"parent": "stays", "on": "stay", "links": (Link(column="pid", table="patients"),)})
    schema = SCHEMA.model_copy(update={"tables": (*SCHEMA.tables[:2], below)})
    rows = pl.DataFrame({"stay": ["11", "20"], "time": when[:2], "test": ["K"] * 2, "value": [4.0] * 2})
    made = linked.completed(schema, frames, below, rows, np.array([0, 0, 1]), np.random.default_rng(0))
    assert made["pid"].to_list() == ["1", "2"]


def test_whole_number_identifiers_stay_whole_numbers_beyond_the_real_ones() -> None:
    real = cohort()
    assert linked.beyond(real) == 900
    frames = {table.name: frame for table, frame in real.tables}
    made = linked.named(SCHEMA, [frames, frames], "synthetic-", 900)
    assert made["patients"]["pid"].to_list() == ["901", "902", "903", "904", "905", "906"]
    assert made["stays"].select("stay", "pid").rows()[-1] == ("906", "905")
    assert made["labs"]["stay"].drop_nulls().is_in(made["stays"]["stay"].implode()).all()


@pytest.mark.parametrize(
    ("stored", "largest", "first"),
    [("Int64", 42, 900), ("Int16", 42, 900), ("Int16", 4200, 4200), ("Int8", 120, None), ("UInt64", 2**63 + 1, None)],
)
def test_new_whole_number_identifiers_fit_into_the_narrowest_type(stored: str, largest: int, first: int | None) -> None:
    key = Column(name="pid", kind="identifier", stored=stored)
    schema = Schema(tables=(Table(name="patients", key="pid", columns=(key,)),))
    assert linked.beyond(Cohort(schema, pl.DataFrame({"pid": ["7", str(largest)]}))) == first
