"""TableGAN on tables small enough to know the answer; the general contract is tested in test_contract.py."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.errors import InputError
from proband.game.play import deterministic
from proband.schema import Column, Rule, Schema, Table
from proband.synthesizer import read_model, write_model
from proband.synthesizers import chain as chains
from proband.synthesizers import completer, tables
from proband.synthesizers.tables import TableGAN


def cohort_of(frame, columns, rules=(), key=None):
    schema = Schema(tables=(Table(name="patients", columns=tuple(columns), key=key),), rules=tuple(Rule(sql=r) for r in rules))
    return Cohort(schema, frame.select(pl.col(c.name).cast(c.dtype) for c in columns))


def scored(rows=900, seed=0):
    """Two markers, a score that is their mean to within 1 %, and whether it is high; the score is missing in a fifth."""
    rng = np.random.default_rng(seed)
    one, other = np.round(rng.normal(50, 10, rows), 1), np.round(rng.normal(50, 10, rows), 1)
    score = np.round((one + other) / 2 + rng.normal(0, 0.5, rows), 1)
    frame = pl.DataFrame({"score": score, "one": one, "other": other, "high": np.where(score > 50, "yes", "no")}).with_columns(
        score=pl.when(pl.Series(rng.random(rows) < 0.2)).then(None).otherwise(pl.col("score"))
    )
    numbers = [Column(name=name, kind="number") for name in ("score", "one", "other")]
    return cohort_of(frame, [*numbers, Column(name="high", kind="category", categories=("no", "yes"))])


@pytest.fixture(scope="module")
def real():
    return scored()


@pytest.fixture(scope="module")
def steps():
    """What `model` said while it learned: (stage, done, total)."""
    return []


@pytest.fixture(scope="module")
def model(real, steps):
    return TableGAN(minutes=0.1).fit(real, seed=0, on_step=lambda done, total, what, figures: steps.append((what, done, total)))


@pytest.fixture(scope="module")
def plain_model(real):
    """Without critics, and little trained."""
    return TableGAN(minutes=0.02, select=False).fit(real, seed=0)


def test_a_score_is_told_last_by_prediction_and_residual(real, model):
    """The score follows its markers: independent columns would leave a residual of 5 in the median, the real one is .3."""
    assert model._fitted.encoder.fields[model._fitted.chain.order[-1]].name == "score"
    made = model.sample(2000, seed=1).frame
    residual = made.select(pl.col("score") - (pl.col("one") + pl.col("other")) / 2).drop_nulls().to_series()
    assert residual.abs().median() < 1.5
    assert made["score"].null_count() / 2000 == pytest.approx(0.2, abs=0.05)  # three standard errors of both tables
    known = made.drop_nulls()
    assert ((known["score"] > 50) == (known["high"] == "yes")).mean() > 0.9


@pytest.mark.parametrize("direct", [tables.DIRECT, 0], ids=["among patients drawn as ever", "told first by the network"])
def test_a_condition_on_any_column_is_exact_and_the_rest_follows(model, direct, monkeypatch):
    monkeypatch.setattr(tables, "DIRECT", direct)
    made = model.sample(500, seed=1, where="high = 'yes' AND score >= 60").frame
    assert (made["high"] == "yes").all() and (made["score"] >= 60).all()
    # The markers of such patients are about 63 on average, 50 in all: their mean is the score.
    assert made.select((pl.col("one") + pl.col("other")).mean() / 2).item() == pytest.approx(made["score"].mean(), abs=2.5)


def test_a_condition_too_rare_for_the_pilot_is_met_all_the_same(real, model, monkeypatch):
    monkeypatch.setattr(tables, "PILOT", 1)
    high = real.frame["score"].drop_nulls().sort()[-5]
    assert (model.sample(20, seed=1, where=f"score >= {high}").frame["score"] >= high).all()


def test_patients_of_a_kind_that_come_in_batches_have_identifiers_of_their_own(monkeypatch):
    monkeypatch.setattr(tables, "AT_ONCE", 300)
    real = scored(300)
    frame = real.frame.with_columns(id=pl.int_range(300).cast(pl.String))
    model = TableGAN(minutes=0.02, select=False).fit(
        cohort_of(frame, [Column(name="id", kind="identifier"), *real.schema.table.columns]), seed=0
    )
    made = model.sample(200, seed=1, where="high = 'yes'").frame
    assert made["id"].n_unique() == 200 and (made["high"] == "yes").all()


def test_imputation_fills_what_is_missing_and_touches_nothing_else(real, model):
    whole = model.impute(real, seed=1)
    assert whole.frame["score"].null_count() == 0
    missing = real.frame["score"].is_null()
    assert whole.frame.filter(~missing).equals(real.frame.filter(~missing))
    filled = whole.frame.filter(missing)
    # By the mean of all, the filled scores would be off by 5.6 in the median; by the markers, far less.
    assert filled.select((pl.col("score") - (pl.col("one") + pl.col("other")) / 2).abs().median()).item() < 4
    assert whole.frame.equals(model.impute(real, seed=1).frame)


def test_stages_tell_how_the_game_went(model):
    assert model.stages[0]["round"] == 0 and model.stages[0]["kept"] == 1
    assert all(0 <= stage[name] <= 1 for stage in model.stages for name in ("success", "membership", "effective"))
    kept = [stage["success"] for stage in model.stages if stage["kept"]]
    assert kept == sorted(kept, reverse=True), "a round stays only if the judges are fooled more often"
    assert len(model._fitted.critics) == len(kept) - 1
    assert model.history == [(stage["round"], stage["success"]) for stage in model.stages]


def test_same_seed_same_patients_and_a_saved_model_says_the_same(real, model, tmp_path):
    again = TableGAN(minutes=0.1).fit(real, seed=0)
    expected = model.sample(200, seed=3).frame
    assert again.sample(200, seed=3).frame.equals(expected)
    model.save(tmp_path / "model")
    loaded = TableGAN.load(tmp_path / "model")
    assert loaded.sample(200, seed=3).frame.equals(expected)
    assert loaded.stages == model.stages
    assert loaded.impute(real, seed=1).frame.equals(model.impute(real, seed=1).frame)


def test_parts_that_do_not_fit_are_refused(model, tmp_path):
    model.save(tmp_path / "model")
    stored = read_model(tmp_path / "model")
    trees = next(name for name in stored.arrays if name.startswith("chain.") and name.endswith("trees.left"))
    wrongs = {
        "net.read": stored.arrays["net.read"][:-1],
        "net.tell.bias": np.full_like(stored.arrays["net.tell.bias"], np.nan),
        trees: np.zeros_like(stored.arrays[trees]),
        "critic.0.0.feature" if "critic.0.0.feature" in stored.arrays else "net.read_waves": np.full(7, 99, np.int32),
    }
    for number, (name, wrong) in enumerate(wrongs.items()):
        write_model(tmp_path / str(number), "gan", stored.config, stored.arrays | {name: np.ascontiguousarray(wrong)})
        with pytest.raises(InputError, match="cannot be trusted"):
            TableGAN.load(tmp_path / str(number))


def test_interrupted_it_stays_as_it_was(real, model):
    before = model.sample(20, seed=1).frame

    def stop(done, total, what, figures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(real, seed=9, on_step=stop)
    assert model.sample(20, seed=1).frame.equals(before)


def test_progress_names_every_part_of_the_work(model, steps):
    assert {what for what, _, _ in steps} >= {"learn", "select", "columns"}
    assert all(0 <= done <= total for _, done, total in steps)


def test_weights_come_from_patients_that_the_predictors_did_not_see():
    """A predictor that knows its own rows by heart and nothing else gets no weight on other rows."""
    said = np.column_stack([np.full(500, 0.3), np.full(500, 1e-6)])
    assert chains.mixture(said).tolist() == pytest.approx([1, 0], abs=1e-3)
    useful = np.column_stack([np.full(500, 0.3), np.where(np.arange(500) % 2, 0.9, 0.1)])
    assert 0.2 < chains.mixture(useful)[1] < 0.8


def test_the_network_alone_speaks_where_the_chain_cannot(real, model):
    """Drawn first, a column that the chain tells last comes from the network, whose shares are those of the table."""
    fitted = model._fitted
    last = fitted.chain.order[-1]
    nothing = np.full((1, len(fitted.encoder.fields)), -1, np.int32)
    with deterministic():
        told = completer.told(fitted.net, last, nothing)[0]
    shares = fitted.encoder.fields[last].counts / fitted.encoder.fields[last].counts.sum()
    assert abs(told - shares).sum() / 2 < 0.1


def test_rules_and_pairs_hold(tmp_path):
    rng = np.random.default_rng(1)
    systolic = np.round(rng.normal(130, 15, 400))
    frame = pl.DataFrame({"diastolic": np.minimum(systolic, np.round(systolic * rng.uniform(0.5, 1, 400))), "systolic": systolic})
    frame = frame.with_columns(copy=pl.col("diastolic"))
    columns = [Column(name=name, kind="number") for name in ("diastolic", "systolic", "copy")]
    model = TableGAN(minutes=0.02).fit(cohort_of(frame, columns, rules=["diastolic <= systolic", "copy = diastolic"]), seed=0)
    made = model.sample(500, seed=1).frame
    assert (made["diastolic"] <= made["systolic"]).all() and (made["copy"] == made["diastolic"]).all()


@pytest.mark.parametrize("rows", [1, 2, 30])
def test_a_handful_of_patients_is_enough_to_run(rows):
    frame = pl.DataFrame({"x": [float(row % 7) for row in range(rows)], "group": ["a" if row % 2 else "b" for row in range(rows)]})
    columns = [Column(name="x", kind="number"), Column(name="group", kind="category", categories=("a", "b"))]
    made = TableGAN(minutes=0.01).fit(cohort_of(frame, columns), seed=0).sample(10, seed=1)
    assert made.frame.height == 10


def test_nothing_to_learn_is_said():
    with pytest.raises(InputError, match="nothing to learn"):
        TableGAN().fit(cohort_of(pl.DataFrame({"id": ["a", "b"]}), [Column(name="id", kind="identifier")], key="id"), seed=0)
    with pytest.raises(InputError, match="not a training time"):
        TableGAN(minutes=0)
    with pytest.raises(InputError, match="has not learned"):
        TableGAN().sample(1, seed=0)


@pytest.mark.parametrize("choose", [True, False])
def test_nobody_who_is_alone_in_being_so_comes_out_again(choose):
    """400 patients, 625 kinds that all can be drawn: about a third of the patients are alone in theirs, so that chance would copy many."""
    rng = np.random.default_rng(3)
    names = ["one", "two", "three", "four"]
    frame = pl.DataFrame({name: rng.integers(0, 5, 400).astype(str) for name in names})
    columns = [Column(name=name, kind="category", categories=tuple("01234")) for name in names]
    model = TableGAN(minutes=0.02, select=choose).fit(cohort_of(frame, columns), seed=0)
    alone = frame.group_by(names).len().filter(pl.col("len") == 1)
    assert alone.height > 100
    assert model.sample(400, seed=1).frame.join(alone, on=names, how="semi").height == 0


def test_critics_may_be_left_out(plain_model):
    assert plain_model.stages == [] and plain_model._fitted.critics == ()
    assert plain_model.sample(50, seed=1).frame.height == 50


def test_the_network_may_play_the_duel_too(real, plain_model, tmp_path, monkeypatch):
    monkeypatch.setattr(completer, "DUEL_ROUNDS", 3)
    seen = []
    played = TableGAN(minutes=0.02, select=False, duel=True).fit(
        real, seed=0, on_step=lambda at, of, stage, _: seen.append((stage, at, of))
    )
    assert [(at, of) for stage, at, of in seen if stage == "game"] == [(1, 3), (2, 3), (3, 3)]
    assert not torch.equal(played._fitted.net.tell.weight, plain_model._fitted.net.tell.weight)
    played.save(tmp_path / "model")
    assert TableGAN.load(tmp_path / "model").duel
    assert TableGAN.load(tmp_path / "model").sample(50, seed=1).frame.equals(played.sample(50, seed=1).frame)


def test_the_chain_ignores_what_it_tells_later(real, model):
    """What is drawn later than a field in the chain's order does not change its distribution."""
    fitted = model._fitted
    encoder: TableEncoder = fitted.encoder
    codes = encoder.encode(real.frame[:50])
    places = codes.tokens + codes.offsets.astype(float)
    first = fitted.chain.order[0]
    other = places.copy()
    other[:, [f for f in range(places.shape[1]) if f != first]] = -1
    assert np.array_equal(fitted.chain.propose(first, places, None), fitted.chain.propose(first, other, None))
    assert replace(fitted, critics=()).critics == ()


def test_the_network_finds_a_row_unlikely_whose_columns_contradict_one_another(real, model):
    own = model.likelihood(real)
    assert own.shape == (900,) and (own < 0).all() and np.array_equal(own, model.likelihood(real))
    flipped = real.frame.with_columns(high=pl.when(pl.col("high") == "yes").then(pl.lit("no")).otherwise(pl.lit("yes")))
    clear = real.frame.select((pl.col("score") - 50).abs() > 5).to_series().fill_null(False).to_numpy()
    assert (model.likelihood(replace(real, frame=flipped)) < own)[clear].mean() > 0.99
