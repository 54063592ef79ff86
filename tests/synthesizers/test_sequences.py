"""SequenceGAN: patients with linked tables, at irregular times."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Link, Rule, Schema, Table
from proband.synthesizers import plans
from proband.synthesizers.refine import HELD_OUT, held_out
from proband.synthesizers.sequences import SequenceGAN, _candidates

CHART = Schema(
    tables=(
        Table(
            name="stays",
            key="stay",
            columns=(
                Column(name="stay", kind="identifier"),
                Column(name="age", kind="integer", low=0, high=120),
                Column(name="died", kind="boolean"),
            ),
        ),
        Table(
            name="events",
            parent="stays",
            on="stay",
            order=("minute",),
            measures=("code", "value"),
            columns=(
                Column(name="stay", kind="identifier"),
                Column(name="minute", kind="integer", low=0, high=600),
                Column(name="code", kind="category", categories=("pulse", "temp")),
                Column(name="value", kind="number"),
            ),
            variables=(Column(name="pulse", kind="integer", low=0, high=300), Column(name="temp", kind="number", low=30, high=45)),
        ),
    )
)


def charts(patients: int, seed: int = 0) -> Cohort:
    """Every patient has a pulse of their own, told each hour, and now and then a temperature; the first has no event."""
    rng = np.random.default_rng(seed)
    stays = pl.DataFrame(
        {"stay": [f"s{i}" for i in range(patients)], "age": rng.integers(20, 90, patients), "died": rng.random(patients) < 0.3}
    )
    rows = []
    for i in range(1, patients):
        own = 120 if stays["died"][i] else 70
        for hour in range(1 if i == 1 else int(rng.integers(2, 10))):
            rows.append((f"s{i}", 60 * hour, "pulse", float(own + rng.integers(-5, 6))))
            if rng.random() < 0.3:
                rows.append((f"s{i}", 60 * hour, "temp", float(np.round(36.5 + rng.random(), 1))))
    frame = pl.DataFrame(rows, ["stay", "minute", "code", "value"], orient="row")
    return Cohort(CHART, stays, linked={"events": frame})


@pytest.fixture(scope="module")
def fitted() -> SequenceGAN:
    return SequenceGAN(minutes=0.15, select=False).fit(charts(160), seed=0)


def test_what_is_made_keeps_every_bound_and_order(fitted: SequenceGAN) -> None:
    made = fitted.sample(200, seed=1)
    rows = made.linked["events"]
    assert len(made) == 200 and made.mark is not None and made.mark.synthesizer == "sequences"
    assert rows["stay"].is_in(made.frame["stay"].implode()).all()
    assert rows["minute"].is_between(0, 600).all() and (rows["minute"] % 60 == 0).all()
    assert rows.select(pl.col("minute").diff().over("stay") >= 0).to_series().drop_nulls().all()
    pulse = rows.filter(pl.col("code") == "pulse")["value"]
    assert pulse.is_between(60, 130).all() and (pulse == pulse.round()).all()
    assert rows.null_count().sum_horizontal().item() == 0


def test_a_patient_goes_on_as_they_began_and_the_outcome_tells(fitted: SequenceGAN) -> None:
    made = fitted.sample(300, seed=2)
    pulse = made.linked["events"].filter(pl.col("code") == "pulse").join(made.frame, on="stay")
    within = pulse.group_by("stay").agg(pl.col("value").std())["value"].drop_nulls().mean()
    assert within < 12 < pulse["value"].std()
    mean = dict(pulse.group_by("died").agg(pl.col("value").mean()).rows())
    assert mean[True] > mean[False] + 30


def test_histories_keep_to_their_plan(fitted: SequenceGAN) -> None:
    learned, table = fitted._learned, CHART["events"]
    frames, _ = _candidates(learned, 200, np.random.default_rng(0), None)
    part = learned.parts["events"]
    planned = plans.read(frames["stays"], table, part.steps, part.net)[:, :, 0].numpy()
    for at, code in enumerate(("pulse", "temp")):
        rows = frames["events"].filter(pl.col("code") == code).group_by("stay").len()
        made = frames["stays"].join(rows, on="stay", how="left", maintain_order="left")["len"].fill_null(0).to_numpy()
        assert (made[planned[:, at] == 0] == 0).all()
        assert 0.8 < made.sum() / planned[:, at].sum() < 1.2
        assert np.corrcoef(made, planned[:, at])[0, 1] > 0.3  # after seconds of learning; about 0 without a plan


def test_conditions_hold_and_the_same_seed_gives_the_same(fitted: SequenceGAN) -> None:
    made = fitted.sample(20, seed=3, where="died AND age > 60")
    assert made.frame["died"].all() and (made.frame["age"] > 60).all()
    assert made.fingerprint == fitted.sample(20, seed=3, where="died AND age > 60").fingerprint


def test_the_cores_that_draw_change_no_patient(fitted: SequenceGAN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proband.synthesizers.parts.IN_LANE", 5)
    found = []
    for number in (1, 3):
        monkeypatch.setattr("proband.stats.cores.cores", lambda number=number: number)
        found.append(fitted.sample(30, seed=4).fingerprint)
    assert found[0] == found[1] != fitted.sample(30, seed=5).fingerprint


def test_saved_and_loaded_it_makes_the_same(fitted: SequenceGAN, tmp_path) -> None:
    fitted.save(tmp_path / "model")
    assert SequenceGAN.load(tmp_path / "model").sample(10, seed=4).fingerprint == fitted.sample(10, seed=4).fingerprint


def test_futures_begin_where_the_past_ends(fitted: SequenceGAN) -> None:
    rows = [("a", 0, "pulse", 118.0), ("a", 60, "pulse", 122.0), ("b", 0, "pulse", 69.0)]
    past = Cohort(
        CHART,
        pl.DataFrame({"stay": ["a", "b"], "age": [50, 50], "died": [True, False]}),
        linked={"events": pl.DataFrame(rows, ["stay", "minute", "code", "value"], orient="row")},
    )
    ahead = fitted.futures(past, 12, seed=0)
    assert len(ahead) == 12 and all(one.linked["events"][:3].rows() == rows for one in ahead)
    more = pl.concat([one.linked["events"][3:] for one in ahead]).filter(pl.col("code") == "pulse")
    assert all(one.mark is None for one in ahead), "what is known of them is real, and must not leave as synthetic"
    assert (more.filter(pl.col("stay") == "a")["minute"] >= 60).all()
    assert more.filter(pl.col("stay") == "a")["value"].mean() > more.filter(pl.col("stay") == "b")["value"].mean() + 25


def test_a_code_that_never_has_a_value_is_told_as_there() -> None:
    real = charts(60)
    events = CHART["events"]
    silent = Column(name="note", kind="category", categories=())
    code = events["code"].model_copy(update={"categories": ("pulse", "temp", "note")})
    columns = tuple(code if column.name == "code" else column for column in events.columns)
    wider = events.model_copy(update={"columns": columns, "variables": (*events.variables, silent)})
    notes = pl.DataFrame([(f"s{i}", 0, "note", None) for i in range(60)], real.linked["events"].schema, orient="row")
    noted = pl.concat([real.linked["events"], notes])
    cohort = Cohort(CHART.model_copy(update={"tables": (CHART.table, wider)}), real.frame, linked={"events": noted})
    made = SequenceGAN(minutes=0.01, select=False).fit(cohort, seed=0).sample(20, seed=1)
    notes = made.linked["events"].filter(pl.col("code") == "note")
    assert notes.height and notes["value"].null_count() == notes.height
    assert made.linked["events"].filter(pl.col("code") != "note")["value"].null_count() == 0


def test_codes_of_many_levels_come_back_whole() -> None:
    rng = np.random.default_rng(0)
    codes = tuple(f"{chapter}{number:02d}" for chapter in "ABCDEFGH" for number in range(40))
    visits = Table(
        name="visits",
        parent="stays",
        on="stay",
        order=("minute",),
        columns=(*CHART["events"].columns[:2], Column(name="icd", kind="category", categories=codes)),
    )
    stays = charts(100).frame
    rows = [(f"s{i}", 10 * k, codes[int(rng.integers(60))]) for i in range(100) for k in range(4)]
    frame = pl.DataFrame(rows, ["stay", "minute", "icd"], orient="row")
    cohort = Cohort(Schema(tables=(CHART.table, visits)), stays, linked={"visits": frame})
    made = SequenceGAN(minutes=0.02, select=False).fit(cohort, seed=0).sample(40, seed=1).linked["visits"]
    assert made.height > 40 and set(made["icd"].drop_nulls()) <= set(frame["icd"])


def test_selection_is_a_stage_that_may_stand_or_fall() -> None:
    model = SequenceGAN(minutes=0.02).fit(charts(120), seed=0)
    assert model.stages[0]["kept"] == 1 and {"success", "membership"} <= set(model.stages[0])
    assert len(model.sample(10, seed=0)) == 10


WARD = Schema(
    tables=(
        Table(
            name="patients",
            key="pid",
            columns=(
                Column(name="pid", kind="identifier"),
                Column(name="born", kind="date"),
                Column(name="sex", kind="category", categories=("F", "M")),
            ),
        ),
        Table(
            name="stays",
            key="hadm",
            parent="patients",
            on="pid",
            order=("came",),
            columns=(
                Column(name="hadm", kind="identifier"),
                Column(name="pid", kind="identifier"),
                Column(name="came", kind="datetime"),
                Column(name="left", kind="datetime"),
                Column(name="ward", kind="category", categories=("A", "B")),
            ),
        ),
        Table(
            name="labs",
            parent="stays",
            on="hadm",
            order=("taken",),
            links=(Link(column="pid", table="patients"),),
            columns=(
                Column(name="pid", kind="identifier"),
                Column(name="hadm", kind="identifier"),
                Column(name="taken", kind="datetime"),
                Column(name="sodium", kind="integer"),
            ),
        ),
    ),
)


def ward(patients: int) -> Cohort:
    rng = np.random.default_rng(1)
    people, stays, labs = [], [], []
    for i in range(patients):
        begin = datetime(1895, 1, 1) + timedelta(days=int(rng.integers(4000)))
        people.append((f"p{i}", (begin - timedelta(days=int(365.25 * rng.integers(20, 80)))).date(), "FM"[i % 2]))
        for k in range(int(rng.integers(1, 3))):
            came = begin + timedelta(days=100 * k, minutes=int(rng.integers(600)))
            days = int(rng.integers(1, 6))
            stays.append((f"h{i}.{k}", f"p{i}", came, came + timedelta(days=days), "AB"[k]))
            labs += [(f"p{i}", f"h{i}.{k}", came + timedelta(hours=12 * j), int(135 + rng.integers(8))) for j in range(2 * days)]
    frames = [
        pl.DataFrame(rows, [c.name for c in t.columns], orient="row") for rows, t in zip((people, stays, labs), WARD.tables, strict=True)
    ]
    return Cohort(WARD, frames[0], linked={"stays": frames[1], "labs": frames[2]})


def test_rows_below_rows_keep_keys_and_the_ends_of_what_owns_them() -> None:
    real = ward(120)
    late = pl.when(pl.int_range(pl.len()) == 7).then(pl.col("taken") + timedelta(days=30)).otherwise("taken")  # one entry made too late
    real = Cohort(WARD, real.frame, linked=real.linked | {"labs": real.linked["labs"].with_columns(late.alias("taken"))})
    made = SequenceGAN(minutes=0.1, select=False).fit(real, seed=0).sample(80, seed=1)
    stays, labs = made.linked["stays"], made.linked["labs"]
    assert stays["hadm"].n_unique() == stays.height and stays["pid"].is_in(made.frame["pid"].implode()).all()
    joined = labs.join(stays, on="hadm", suffix="_stay")
    assert joined.height == labs.height > 0
    assert (joined["pid"] == joined["pid_stay"]).all()  # a link and a parent of one row are of one patient
    assert (joined["taken"] >= joined["came"]).all() and (joined["taken"] <= joined["left"]).all()
    assert (stays["left"] > stays["came"]).all()
    born = stays.join(made.frame, on="pid")
    assert (born["came"].dt.date() > born["born"]).all()
    assert not set(made.frame["pid"]) & set(real.frame["pid"])


def test_rows_on_the_minute_stay_so_though_what_owns_them_came_between_two() -> None:
    real = ward(120)
    late = real.linked["stays"].with_columns(pl.col("came") + timedelta(seconds=37), pl.col("left") + timedelta(seconds=50))
    cohort = Cohort(WARD, real.frame, linked={"stays": late, "labs": real.linked["labs"].filter(pl.col("taken").dt.hour() > -1)})
    on_time = cohort.linked["labs"].with_columns(pl.col("taken") + timedelta(minutes=1))
    made = SequenceGAN(minutes=0.02, select=False).fit(Cohort(WARD, real.frame, linked={"stays": late, "labs": on_time}), seed=0)
    found = made.sample(40, seed=1)
    joined = found.linked["labs"].join(found.linked["stays"], on="hadm")
    assert joined.height and (joined["taken"].dt.second() == 0).all()
    assert (joined["taken"] >= joined["came"]).all() and (joined["taken"] <= joined["left"]).all()


def test_rows_that_say_nothing_but_when_are_told() -> None:
    real = charts(60)
    visits = CHART["events"].model_copy(update={"columns": CHART["events"].columns[:2], "measures": None, "variables": ()})
    rows = real.linked["events"].select("stay", "minute")
    cohort = Cohort(CHART.model_copy(update={"tables": (CHART.table, visits)}), real.frame, linked={"events": rows})
    made = SequenceGAN(minutes=0.05, select=False).fit(cohort, seed=0).sample(60, seed=1).linked["events"]
    assert made.columns == ["stay", "minute"] and 0.5 < made.height / rows.height < 2
    assert made.select(pl.col("minute").diff().over("stay") >= 0).to_series().drop_nulls().all()


def test_few_rows_or_none_between_patients_and_their_labs() -> None:
    real = ward(60)
    few = real.linked["stays"][:12]
    labs = real.linked["labs"].join(few, on="hadm", how="semi")
    model = SequenceGAN(minutes=0.01, select=False).fit(Cohort(WARD, real.frame, linked={"stays": few, "labs": labs}), seed=0)
    assert all(len(model.sample(n, seed=seed)) == n for n in (0, 1) for seed in range(4))
    aside = real.frame.filter(pl.Series(held_out(real, HELD_OUT, 0)))["pid"][0]
    for rows in (0, 1):  # the one is of somebody from whom the networks do not learn
        stays = real.linked["stays"].filter(pid=aside)[:rows]
        below = real.linked["labs"].join(stays, on="hadm", how="semi")
        bare = SequenceGAN(minutes=0.001, select=False).fit(Cohort(WARD, real.frame, linked={"stays": stays, "labs": below}), seed=0)
        made = bare.sample(20, seed=1)
        assert made.linked["labs"].columns == labs.columns and (rows or not made.linked["stays"].height)


def test_an_outcome_that_histories_tell_keeps_the_rules() -> None:
    real = charts(160)
    ruled = CHART.model_copy(update={"rules": (Rule(sql="NOT died OR age >= 30"),)})
    frame = real.frame.with_columns(pl.col("age").clip(lower_bound=pl.when("died").then(30).otherwise(0)))
    model = SequenceGAN(minutes=0.05, select=False).fit(Cohort(ruled, frame, linked=dict(real.linked)), seed=0)
    assert [outcome.column for outcome in model._learned.outcomes] == ["died"]
    made = model.sample(600, seed=1).frame
    assert made["died"].sum() > 60 and not made.filter(pl.col("died") & (pl.col("age") < 30)).height


def test_a_clock_of_seconds_since_1970_loses_none() -> None:
    real, begin = charts(60), 1_600_000_000
    minute = CHART["events"]["minute"].model_copy(update={"low": None, "high": None})
    events = CHART["events"].model_copy(update={"columns": tuple(minute if c.name == "minute" else c for c in CHART["events"].columns)})
    rows = real.linked["events"].with_columns(pl.col("minute") + begin)
    cohort = Cohort(CHART.model_copy(update={"tables": (CHART.table, events)}), real.frame, linked={"events": rows})
    made = SequenceGAN(minutes=0.02, select=False).fit(cohort, seed=0).sample(30, seed=1).linked["events"]
    assert made.height and ((made["minute"] - begin) % 60 == 0).mean() > 0.9


def test_what_cannot_be_learned_is_said() -> None:
    real = charts(60)
    with pytest.raises(InputError, match="nobody in it a history"):
        SequenceGAN().fit(Cohort(Schema(tables=CHART.tables[:1]), real.frame), seed=0)
    untimed = real.linked["events"].with_columns(pl.lit(None, pl.Int64).alias("minute"))
    with pytest.raises(InputError, match="have no time"):
        SequenceGAN().fit(Cohort(CHART, real.frame, linked={"events": untimed}), seed=0)
    orphan = real.linked["events"].with_columns(pl.lit("nobody").alias("stay"))
    with pytest.raises(InputError, match="have no parent"):
        SequenceGAN().fit(Cohort(CHART, real.frame, linked={"events": orphan}), seed=0)
    with pytest.raises(InputError, match="minutes"):
        SequenceGAN(minutes=0)


def killed(step: int, of: int, what: str, figures: object) -> None:
    if what == "learn events" and step > of / 4:
        raise KeyboardInterrupt


def test_a_killed_fit_goes_on_to_the_same_model(tmp_path) -> None:
    real, whole = charts(60), SequenceGAN(minutes=0.05, select=False)
    whole.fit(real, seed=0).save(tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        SequenceGAN(minutes=0.05, select=False).fit(real, seed=0, on_step=killed, unfinished=tmp_path / "unfinished")
    assert len(list((tmp_path / "unfinished").iterdir())) == 1
    steps = []
    again = SequenceGAN(minutes=0.05, select=False)
    again.fit(real, seed=0, on_step=lambda step, of, what, figures: steps.append((what, step)), unfinished=tmp_path / "unfinished")
    again.save(tmp_path / "again")
    assert ("learn events", 1) not in steps
    assert (tmp_path / "again" / "arrays.safetensors").read_bytes() == (tmp_path / "whole" / "arrays.safetensors").read_bytes()


def test_what_was_kept_for_other_patients_is_passed_over(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        SequenceGAN(minutes=0.02, select=False).fit(charts(60), seed=0, on_step=killed, unfinished=tmp_path / "unfinished")
    steps = []
    SequenceGAN(minutes=0.02, select=False).fit(
        charts(50), seed=0, on_step=lambda step, of, what, figures: steps.append((what, step)), unfinished=tmp_path / "unfinished"
    )
    assert ("learn events", 1) in steps


def test_what_was_kept_under_another_schema_is_passed_over(tmp_path) -> None:
    real, folder = charts(60), tmp_path / "unfinished"
    with pytest.raises(KeyboardInterrupt):
        SequenceGAN(minutes=0.02, select=False).fit(real, seed=0, on_step=killed, unfinished=folder)
    bounded = CHART["events"].model_copy(
        update={"variables": (CHART["events"].variables[0].model_copy(update={"high": 200}), *CHART["events"].variables[1:])}
    )
    edited, steps = Cohort(CHART.model_copy(update={"tables": (CHART.table, bounded)}), real.frame, linked=dict(real.linked)), []
    model = SequenceGAN(minutes=0.02, select=False)
    model.fit(edited, seed=0, on_step=lambda step, of, what, figures: steps.append((what, step)), unfinished=folder)
    assert ("learn events", 1) in steps


def test_a_table_without_time_is_rows_at_one_moment() -> None:
    key = Column(name="pid", kind="identifier", stored="Int64")
    people = Table(name="people", key="pid", columns=(key, Column(name="old", kind="boolean")))
    codes = Table(name="codes", parent="people", on="pid", columns=(key, Column(name="code", kind="category", categories=("flu", "gout"))))
    rng = np.random.default_rng(0)
    old = rng.random(120) < 0.5
    rows = [(f"{i}", "gout" if old[i] else "flu") for i in range(120) for _ in range(int(rng.integers(3)))]
    frame = pl.DataFrame({"pid": [f"{i}" for i in range(120)], "old": old})
    real = Cohort(Schema(tables=(people, codes)), frame, linked={"codes": pl.DataFrame(rows, ["pid", "code"], orient="row")})
    made = SequenceGAN(minutes=0.1, select=False).fit(real, seed=0).sample(200, seed=1)
    found = made.linked["codes"].join(made.frame, on="pid")
    assert found.height == made.linked["codes"].height and 120 < found.height < 280
    assert ((found["code"] == "gout") == found["old"]).mean() > 0.9
    assert made.frame["pid"].cast(pl.Int64).min() == 9001


def test_ends_are_mended_at_every_length() -> None:
    counts = charts(200).linked["events"].group_by("stay").agg(pl.col("minute").n_unique())["minute"]
    made = SequenceGAN(minutes=0.005, select=False).fit(charts(200), seed=0).sample(400, seed=1)  # hardly any training
    drawn = made.linked["events"].group_by("stay").agg(pl.col("minute").n_unique())["minute"]
    assert abs(drawn.mean() - counts.mean()) < 1 and abs(drawn.std() - counts.std()) < 1


def test_what_is_charted_again_unchanged_stays_what_it_was() -> None:
    """Weights of many levels, charted each hour: one patient in five is weighed anew once."""
    rng = np.random.default_rng(0)
    weight = Column(name="weight", kind="number", low=30, high=200)
    code = CHART["events"]["code"].model_copy(update={"categories": ("weight",)})
    columns = tuple(code if c.name == "code" else c for c in CHART["events"].columns)
    events = CHART["events"].model_copy(update={"columns": columns, "variables": (weight,)})
    rows = []
    for i in range(150):
        own = round(float(rng.normal(80, 15)), 1)
        for hour in range(10):
            own = round(own + (rng.normal() if i % 5 == 0 and hour == 5 else 0.0), 1)
            rows.append((f"s{i}", 60 * hour, "weight", own))
    frame = pl.DataFrame(rows, ["stay", "minute", "code", "value"], orient="row")
    real = Cohort(CHART.model_copy(update={"tables": (CHART.table, events)}), charts(150).frame, linked={"events": frame})
    made = SequenceGAN(minutes=0.2, select=False).fit(real, seed=0).sample(150, seed=1).linked["events"]
    again = made.select((pl.col("value").diff() == 0).over("stay")).to_series().drop_nulls().mean()
    assert again > 0.9 and made["value"].n_unique() > 60


def test_a_column_that_is_always_missing_is_made_so() -> None:
    real, first = charts(60), CHART["events"].columns[:2]
    note = Column(name="note", kind="number")
    visits = CHART["events"].model_copy(update={"columns": (*first, note), "measures": None, "variables": ()})
    rows = real.linked["events"].select("stay", "minute", pl.lit(None, pl.Float64).alias("note"))
    model = SequenceGAN(minutes=0.01, select=False)
    model.fit(Cohort(CHART.model_copy(update={"tables": (CHART.table, visits)}), real.frame, linked={"events": rows}), seed=0)
    model._learned.parts["events"].net.asked_bias.fill_(20.0)  # however sure the network is that there is one
    made = model.sample(20, seed=1).linked["events"]
    assert made.height and made["note"].null_count() == made.height
