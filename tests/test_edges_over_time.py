"""Patients at the edge, from reading to writing: no event, one, ten thousand, only gaps, one moment twice, orphans, zones, old dates."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import proband
from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Schema
from proband.validate.findings import Evidence
from proband.validate.over_time import over_time

START = datetime(1898, 6, 1)
ODD = {"p00": "no event", "p01": "one event", "p02": "all values missing", "p03": "one moment twice"}
Frames = dict[str, pl.DataFrame]


def frames(patients: int = 30, seed: int = 0) -> Frames:
    """Potassium and sodium a few hours apart, from 1898 on; the first four patients are odd."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, datetime, str, float | None]] = []
    for at in range(1, patients):
        time, name = START + timedelta(days=int(rng.integers(0, 900))), f"p{at:02d}"
        for _ in range(1 if at == 1 else int(rng.integers(2, 5))):
            rows.append((name, time, "K", None if at == 2 else round(float(rng.normal(4, 0.4)), 1)))
            if at == 3:
                rows.append((name, time, "K", 4.4))
            if at > 3 and rng.random() < 0.7:
                rows.append((name, time, "Na", float(round(rng.normal(139, 3)))))
            time += timedelta(hours=int(rng.integers(1, 30)))
    labs = pl.DataFrame(rows, ["pid", "time", "test", "value"], orient="row")
    return {
        "patients": pl.DataFrame({"pid": [f"p{at:02d}" for at in range(patients)], "age": rng.integers(20, 90, patients)}),
        "labs": labs,
    }


def folder_of(path: Path, tables: Frames) -> Path:
    path.mkdir()
    for name, frame in tables.items():
        frame.write_csv(path / f"{name}.csv", datetime_format="%Y-%m-%dT%H:%M:%S")
    return path


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return proband.read(folder_of(tmp_path_factory.mktemp("edges") / "real", frames()))


@pytest.fixture(scope="module")
def made(real: Cohort) -> Cohort:
    return proband.SequenceGAN(minutes=0.01, select=False).fit(real, seed=0).sample(60, seed=1)


def test_all_of_them_are_read_as_they_are(real: Cohort) -> None:
    labs = real.linked["labs"]
    assert len(real) == 30 and labs["time"].min() >= START and labs["time"].min() < datetime(1900, 1, 1)  # type: ignore[operator]
    counts = [labs.filter(pid=name).height for name in ODD]
    assert counts[:2] == [0, 1] and labs.filter(pid="p02")["value"].null_count() == counts[2] > 1
    assert labs.filter(pid="p03")["time"].is_duplicated().all()
    assert set(labs["test"]) == {"K", "Na"}  # sodium is no word for "missing"
    told = [problem.message for problem in real.schema.check(real)]
    assert any("the same pid, time, test stood in a row before" in one for one in told)


def test_copies_of_them_are_whole(real: Cohort) -> None:
    one = [proband.Bootstrap().fit(real.take([name]), seed=0).sample(1, seed=0).linked["labs"].height for name in ODD]
    assert one == [real.linked["labs"].filter(pid=name).height for name in ODD]


def test_what_is_made_of_them_keeps_time_bounds_and_owners(made: Cohort) -> None:
    labs = made.linked["labs"]
    assert 0 < labs["pid"].n_unique() <= len(made) == 60 and labs["pid"].is_in(made.frame["pid"].implode()).all()
    assert labs["time"].is_between(START, START + timedelta(days=1000)).all()
    assert (labs.select(pl.col("time").diff().over("pid")).to_series().drop_nulls() >= timedelta(0)).all()
    assert labs.null_count().sum_horizontal().item() == 0 and set(labs["test"]) <= {"K", "Na"}


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_what_is_written_is_read_again(made: Cohort, tmp_path: Path, format: str) -> None:
    proband.write(made, tmp_path / "out", format=format)
    again = proband.read(tmp_path / "out", made.schema)
    assert again.fingerprint == made.fingerprint and again.mark == made.mark


def test_they_are_judged_and_silence_is_judged_too(real: Cohort, made: Cohort) -> None:
    parts = [real.take(real.patients.gather(np.arange(at, 30, 3))) for at in range(3)]
    found = {finding.name: finding for finding in over_time(Evidence(*parts, made), seed=0)}
    assert found["lengths_distance"].value is not None and found["charts_broken"].value is not None
    empty = Cohort(made.schema, made.frame, made.mark, {"labs": made.linked["labs"].clear()})
    silent = {finding.name: finding for finding in over_time(Evidence(*parts, empty), seed=0)}
    assert silent["lengths_distance"].value == 1.0 and silent["moment_auc"].value is None


def test_nobody_has_an_event(real: Cohort, tmp_path: Path) -> None:
    none = Cohort(real.schema, real.frame, linked={"labs": real.linked["labs"].clear()})
    assert any("Table 'labs' has no row" in problem.message for problem in none.schema.check(none))
    made = proband.SequenceGAN(minutes=0.01, select=False).fit(none, seed=0).sample(5, seed=1)
    assert len(made) == 5 and made.linked["labs"].height == 0
    found = {finding.name: finding.value for finding in over_time(Evidence(none, none, none, made), seed=0)}
    assert found["moment_auc"] is None and found["rates_error"] in (None, 0.0)
    proband.write(made, tmp_path / "out", format="csv")
    assert proband.read(tmp_path / "out", none.schema).fingerprint == made.fingerprint
    with pytest.raises(InputError, match=r"labs\.csv' has column names but no rows"):
        proband.read(tmp_path / "out")


def test_everybody_has_one_event() -> None:
    tables = frames()
    tables["labs"] = tables["labs"].unique("pid", maintain_order=True)
    tables["patients"] = tables["patients"].filter(pl.col("pid").is_in(tables["labs"]["pid"].implode()))
    schema = Schema.guess({name: tables[name] for name in ("labs", "patients")})  # by key alone either could own the other
    assert [(table.name, table.parent) for table in schema.tables] == [("patients", None), ("labs", "patients")]


@pytest.fixture
def longer(real: Cohort) -> Cohort:
    """The first patient has 10,000 events."""
    times = [datetime(1901, 1, 1) + timedelta(minutes=7 * at) for at in range(10_000)]
    many = pl.DataFrame({"pid": "p00", "time": times, "test": "K", "value": 4.0}, schema=real.linked["labs"].schema)
    return Cohort(real.schema, real.frame, linked={"labs": pl.concat([real.linked["labs"], many])})


@pytest.mark.slow
def test_ten_thousand_events_are_learned(longer: Cohort) -> None:
    """A minute or two: the network reads them one after another. Whoever has few events still has few."""
    made = proband.SequenceGAN(minutes=0.01, select=False).fit(longer, seed=0).sample(60, seed=1)
    counts = made.linked["labs"]["pid"].value_counts()["count"]
    assert 100 < counts.max() <= 2 * 10_000 and counts.median() < 10  # type: ignore[operator]


def test_ten_thousand_events_of_one_patient(longer: Cohort, tmp_path: Path) -> None:
    copies = proband.Bootstrap().fit(longer.take(["p00", "p01"]), seed=0).sample(6, seed=0).linked["labs"]
    assert set(copies["pid"].value_counts()["count"]) == {1, 10_000}
    proband.write(longer, tmp_path / "long")
    assert proband.read(tmp_path / "long", longer.schema).fingerprint == longer.fingerprint
    shown = proband.show(longer, "p00")
    assert any(text.get_text() == "labs: 10,000 rows" for text in shown.axes[0].texts) and len(shown.axes[0].lines) < 60


def test_an_event_of_nobody_is_refused(tmp_path: Path) -> None:
    for at, nobody in enumerate(("p99", None)):
        tables = frames()
        stray = tables["labs"].head(1).with_columns(pid=pl.lit(nobody, pl.String))
        with pytest.raises(InputError, match=r"Table 'labs': column 'pid', row 1: (no row of table 'patients' has this key|it is missing)"):
            proband.read(folder_of(tmp_path / str(at), tables | {"labs": pl.concat([stray, tables["labs"]])}))


def test_two_time_zones_become_one_and_half_told_ones_are_refused(tmp_path: Path) -> None:
    tables = frames()
    first = pl.int_range(pl.len()) % 2 == 0
    local = pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S")
    both = tables["labs"].with_columns(time=pl.when(first).then(local + "+01:00").otherwise(local + "-05:00"))
    read = proband.read(folder_of(tmp_path / "both", tables | {"labs": both})).linked["labs"]["time"]
    told = tables["labs"]["time"]
    assert read[0] == told[0] - timedelta(hours=1) and read[1] == told[1] + timedelta(hours=5)
    half = tables["labs"].with_columns(time=pl.when(first).then(local + "+01:00").otherwise(local))
    with pytest.raises(InputError, match=r"Column 'time' has times with an offset .* and times without"):
        proband.read(folder_of(tmp_path / "half", tables | {"labs": half}))
    zoned = tables | {"labs": tables["labs"].with_columns(pl.col("time").dt.replace_time_zone("Asia/Tokyo"))}
    cohort = proband.read(zoned)
    assert cohort.linked["labs"]["time"][0] == told[0].replace(tzinfo=UTC).replace(tzinfo=None) - timedelta(hours=9)
    proband.write(cohort, tmp_path / "zoned")
    assert pl.read_parquet(tmp_path / "zoned" / "labs.parquet")["time"].equals(zoned["labs"]["time"])
