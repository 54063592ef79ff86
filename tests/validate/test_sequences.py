"""Histories with one planted fault each: the finding that is for it must see it, and a fresh draw must pass."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.schema import Column, Schema, Table
from proband.validate import sequences as judges
from proband.validate.charts import charts_broken
from proband.validate.findings import Evidence, Finding
from proband.validate.histories import flattened
from proband.validate.known_values import known_values_attack
from proband.validate.limits import LIMITS
from proband.validate.moments import moment_detection, next_values
from proband.validate.privacy import privacy
from proband.validate.recurrent import recurrent_detection
from proband.validate.sequences import Histories, _finding, _ks, _measured, _Ruler, sequences
from proband.validate.trials import Trials
from tests.ward import resampled, ward, with_events

TRAIN, HOLDOUT, REFERENCE = ward(300, 1), ward(150, 2), ward(150, 3)


def evidence(made: Cohort) -> Evidence:
    return Evidence(TRAIN, HOLDOUT, REFERENCE, made)


def judged(found: list[Finding]) -> dict[str, Finding]:
    return {one.name: one.judged(LIMITS.get(one.name)) for one in found}


def scattered(cohort: Cohort) -> Cohort:
    """Independent events: minute, and variable with value, dealt out anew."""

    def deal(rows: pl.DataFrame) -> pl.DataFrame:
        minute, what = rows["minute"].shuffle(seed=1), rows.select("what", "value").sample(fraction=1, shuffle=True, seed=2)
        return rows.select("stay").hstack([minute, *what]).sort("stay", "minute", maintain_order=True)

    return with_events(cohort, deal)


@pytest.fixture(scope="module")
def fresh() -> dict[str, Finding]:
    return judged(sequences(evidence(ward(300, 4)), seed=1))


def test_a_fresh_draw_of_the_same_ward_is_near_real_against_real(fresh: dict[str, Finding]) -> None:
    for name, finding in fresh.items():
        assert finding.value is not None and finding.reference is not None, name
        assert finding.value < finding.reference + 0.08, name  # 150 against 150 patients: half a distance's own noise of .16
        assert finding.passed is not False, name


def test_independent_events_are_seen_by_what_is_measured_together_not_by_rates(fresh: dict[str, Finding]) -> None:
    found = judged(sequences(evidence(scattered(ward(300, 4))), seed=1))
    assert found["at_once_error"].passed is False and found["together_error"].value > 2 * found["together_error"].reference
    assert found["persistence_error"].passed is False
    for name in ("lengths_distance", "rates_error", "values_distance"):
        assert found[name].value == pytest.approx(fresh[name].value, abs=0.02), name  # the same numbers of the same events
    assert found["at_once_error"].value == pytest.approx(found["at_once_error"].floor, abs=0.05)


def test_a_shuffled_order_is_seen_by_lag_one_and_by_nothing_that_has_no_order(fresh: dict[str, Finding]) -> None:
    made = with_events(ward(300, 4), lambda rows: rows.with_columns(pl.col("value").shuffle(seed=1).over("stay", "what")))
    found = judged(sequences(evidence(made), seed=1))
    assert found["persistence_within_error"].passed is False
    assert "pulse" in found["persistence_within_error"].why
    for name in ("values_distance", "at_once_error", "gaps_distance"):
        assert found[name].value == fresh[name].value, name


def test_the_courses_of_levels_are_judged_as_codes() -> None:
    """A visit table of levels: rhythms that last in real patients and change at every visit in synthetic ones."""

    def clinic(n: int, seed: int, stays: float) -> Cohort:
        rng = np.random.default_rng(seed)
        rhythm = np.zeros((n, 6), int)
        rhythm[:, 0] = rng.random(n) < 0.5
        for at in range(1, 6):
            rhythm[:, at] = np.where(rng.random(n) < stays, rhythm[:, at - 1], 1 - rhythm[:, at - 1])
        names = np.array([f"{seed}-{at}" for at in range(n)])
        visits = pl.DataFrame(
            {"id": np.repeat(names, 6), "day": np.tile(np.arange(6), n), "rhythm": np.array(["sinus", "flutter"])[rhythm.ravel()]}
        )
        identity = Column(name="id", kind="identifier")
        levels = Column(name="rhythm", kind="category", categories=("sinus", "flutter"))
        tables = (
            Table(name="patients", key="id", columns=(identity,)),
            Table(
                name="visits", parent="patients", on="id", order=("day",), columns=(identity, Column(name="day", kind="integer"), levels)
            ),
        )
        return Cohort(Schema(tables=tables), pl.DataFrame({"id": names}), linked={"visits": visits})

    real = [clinic(100, seed, 0.9) for seed in (1, 2, 3)]
    found = {one.name: one for one in sequences(Evidence(*real, clinic(100, 4, 0.1)), seed=1)}
    transitions = found["transitions_error"]
    assert transitions.value == pytest.approx(0.8, abs=0.1) and transitions.reference < 0.1  # .9 against .1 stay as they are
    assert found["rates_error"].value < 0.2 and found["values_distance"].value is None  # there is no number to judge


def test_pairs_are_of_the_hundred_variables_that_most_patients_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 101 variables one patient alone has the first. The third repeats the second in real patients, and not in synthetic ones."""

    def clinic(seed: int, *, repeats: bool) -> Cohort:
        draw = np.random.default_rng(seed)
        names, values = np.array([f"{seed}-{at}" for at in range(50)]), draw.normal(size=(101, 500))
        values[0, 10:] = np.nan
        values[2] = values[1] if repeats else values[2]
        columns = {f"v{at}": pl.Series(row).fill_nan(None) for at, row in enumerate(values)}
        visits = pl.DataFrame({"id": np.repeat(names, 10), "day": np.tile(np.arange(10), 50)} | columns)
        identity, day = Column(name="id", kind="identifier"), Column(name="day", kind="integer")
        numbers = tuple(Column(name=name, kind="number") for name in columns)
        tables = (
            Table(name="patients", key="id", columns=(identity,)),
            Table(name="visits", parent="patients", on="id", order=("day",), columns=(identity, day, *numbers)),
        )
        return Cohort(Schema(tables=tables), pl.DataFrame({"id": names}), linked={"visits": visits})

    found = Evidence(*(clinic(seed, repeats=True) for seed in (1, 2, 3)), clinic(4, repeats=False))
    histories = Histories.of(found)
    ruler = _Ruler.of(histories)
    assert ruler.paired.tolist() == list(range(1, 101))
    made = _measured(ruler, *(side["synthetic"] for side in (histories.values, histories.codes, histories.common)))
    assert made["joint"].shape == made["lagged"].shape == (100, 100)
    monkeypatch.setattr(judges, "REPEATS", 2)  # what is asked here is not how sure the judge is
    joint = next(one for one in sequences(found, seed=1) if one.name == "joint_values_error")
    assert joint.why.endswith("farthest for 'v1' and 'v2'.")


def test_what_has_no_scale_or_no_doubt_is_not_told() -> None:
    """A level has no trend, whether or not somebody real has two of it; and of a value without an interval a gate could not judge."""
    assert np.isnan(_ks(np.full(12, np.nan), np.empty(0))) and _ks(np.arange(12.0), np.empty(0)) == 1
    known, unknown = np.full((20, 1), 0.1), np.array([[0.1]] * 19 + [[np.nan]])
    for spread, reference, value in ((known, known, 0.2), (unknown, known, None), (known, unknown, None)):
        one = _finding("x", "X", Trials(np.array([0.2]), spread, reference, known), lambda one: float(one[0]), "Why.")
        assert one.value == value and (value is not None or "doubt" in one.why)


def test_what_charts_keep_to_is_learned_and_counted() -> None:
    made = with_events(
        ward(300, 4),
        lambda rows: rows.with_columns(pl.when(pl.col("what") == "diastolic").then(pl.col("value") + 60).otherwise("value").alias("value")),
    )
    sound, found = charts_broken(evidence(ward(300, 4))), charts_broken(evidence(made))
    assert sound.value < 0.001 and LIMITS["charts_broken"] and sound.judged(LIMITS["charts_broken"]).passed
    assert found.value > 0.05 and found.detail["rules"][0]["sql"] == "diastolic < systolic"
    assert found.judged(LIMITS["charts_broken"]).passed is False


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (pl.col("minute") + 5000, "0 <= minute <= 2880"),
        (-pl.col("minute"), "minute never runs backwards"),
        (pl.lit("nobody").alias("stay"), "a row belongs to a patient"),
        (pl.lit("lactate").alias("what"), "what is declared"),
        (pl.col("value") - 1000, "20 <= pulse <= 250"),
    ],
)
def test_each_breach_is_told_by_its_name(fault: pl.Expr, told: str) -> None:
    found = charts_broken(evidence(with_events(ward(60, 4), lambda rows: rows.with_columns(fault))))
    assert told in [row["sql"] for row in found.detail["rules"] if row["synthetic"] > 0.1]


def test_an_order_counts_among_the_moments_that_have_both_not_among_all_events() -> None:
    """Pressures upside down at one moment in a hundred and never together elsewhere: half of what could be broken is."""

    def rare(rows: pl.DataFrame) -> pl.DataFrame:
        kept = rows.with_columns(pl.when(pl.col("what") == "diastolic").then(pl.col("value") + 60).otherwise("value").alias("value"))
        together = pl.int_range(pl.len()).over("stay", "what") == 0
        return kept.filter((pl.col("what") != "diastolic") | (together & (pl.col("stay").str.ends_with("7"))))

    found = charts_broken(evidence(with_events(ward(300, 4), rare)))
    rule = next(row for row in found.detail["rules"] if row["sql"] == "diastolic < systolic")
    assert rule["synthetic"] > 0.5 and found.judged(LIMITS["charts_broken"]).passed is False


def test_a_drug_without_its_diagnosis() -> None:
    """Insulin is given to diabetics alone, in another table; the synthetic patients get it whoever they are."""

    def clinic(n: int, seed: int, *, anybody: bool) -> Cohort:
        rng = np.random.default_rng(seed)
        names, diabetic = np.array([f"{seed}-{at}" for at in range(n)]), rng.random(n) < 0.4
        treated = rng.permutation(diabetic) if anybody else diabetic
        identity = Column(name="id", kind="identifier")
        tables, linked = [Table(name="patients", key="id", columns=(identity,))], {}
        for table, column, told in (
            ("drugs", "drug", np.where(treated, "insulin", "aspirin")),
            ("diagnoses", "code", np.where(diabetic, "diabetes", "hypertension")),
        ):
            level = Column(name=column, kind="category", categories=tuple(sorted(set(told))))
            tables.append(Table(name=table, parent="patients", on="id", columns=(identity, level)))
            linked[table] = pl.DataFrame({"id": names, column: told})
        return Cohort(Schema(tables=tuple(tables)), pl.DataFrame({"id": names}), linked=linked)

    real = [clinic(200, seed, anybody=False) for seed in (1, 2, 3)]
    sound, found = (charts_broken(Evidence(*real, clinic(200, 4, anybody=anybody))) for anybody in (False, True))
    assert sound.value == sound.reference == 0
    rule = found.detail["rules"][0]
    assert rule["sql"] == "drug = insulin only with diagnoses: code = diabetes" and rule["real"] == 0
    assert rule["synthetic"] == pytest.approx(0.6, abs=0.1) and found.value > 0.2  # of those treated, 6 in 10 have no diabetes


def test_a_moment_gives_away_that_it_does_not_follow_from_the_one_before() -> None:
    few = [part.take(part.patients[:90]) for part in (TRAIN, HOLDOUT, REFERENCE)]
    loose = with_events(ward(90, 4), lambda rows: rows.with_columns(pl.col("value").shuffle(seed=1).over("what")))
    fresh, found = (moment_detection(Evidence(*few, made), seed=1) for made in (ward(90, 4), loose))
    assert fresh.interval[0] < 0.53 and fresh.value < 0.6  # 90 against 90 patients: a standard error of about .03
    assert found.interval[0] > 0.6


def test_a_network_that_reads_whole_histories_sees_values_that_stand_in_the_wrong_order() -> None:
    mixed = with_events(ward(300, 4), lambda rows: rows.with_columns(pl.col("value").shuffle(seed=1).over("stay", "what")))
    fresh, found = (recurrent_detection(evidence(made), seed=1) for made in (ward(300, 4), mixed))
    assert fresh.reference_interval[0] < fresh.value < fresh.reference_interval[1] and abs(fresh.reference - 0.5) < 0.03
    assert found.interval[0] > fresh.reference_interval[1]
    assert found.floor > 0.8 > found.value  # nothing but the order is wrong
    assert fresh.judged(LIMITS["recurrent_auc"]).passed


def test_forecasts_learned_from_values_that_follow_from_nothing_are_worse() -> None:
    loose = with_events(ward(300, 4), lambda rows: rows.with_columns(pl.col("value").shuffle(seed=1).over("what")))
    fresh, lost = next_values(evidence(ward(300, 4)), seed=1), next_values(evidence(loose), seed=1)
    assert abs(fresh.value) < 0.05 < 0.15 < lost.value
    assert fresh.floor > 0  # repeating the last value is worse than what trees learn
    assert {row["name"] for row in fresh.detail["forecasts"]} >= {"pulse", "systolic", "diastolic"}


def test_how_many_patients_were_attacked_is_told() -> None:
    """Of 300 training patients a hundred have no event, and so no three measurements."""
    named = pl.col("stay").str.split("-").list.last().cast(pl.Int64)
    fewer = with_events(TRAIN, lambda rows: rows.filter(named >= 100))
    for one in known_values_attack(Evidence(fewer, HOLDOUT, REFERENCE, ward(300, 4)), seed=1):
        assert one.detail == {"patients_train": 200, "patients_holdout": 300}


def test_copied_patients_are_seen_by_three_of_their_values_and_by_the_attacks_on_whole_histories() -> None:
    copies, strangers = evidence(resampled(TRAIN, 300, 5)), evidence(ward(300, 4))
    (pairs, sure), (chance, unsure) = (known_values_attack(one, seed=1) for one in (copies, strangers))
    assert pairs.interval[0] > 0.55 and chance.interval[0] < 0.5
    assert sure.value > 0.3 > 10 * unsure.value
    assert [one.judged(LIMITS[one.name]).passed for one in (sure, unsure)] == [False, True]
    found = {one.name: one for one in privacy(flattened(copies), seed=1)}
    assert found["membership_auc"].value > 0.7 and found["exact_copies_excess"].value > 0.5
