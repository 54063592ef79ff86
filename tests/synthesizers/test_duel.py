"""DuelGAN on tables small enough to know the answer; the general contract is tested in test_contract.py."""

import copy

import numpy as np
import polars as pl
import pytest
import torch

from proband import seeds
from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Rule, Schema, Table
from proband.synthesizers import duel, private_duel
from proband.synthesizers.duel import DuelGAN
from proband.synthesizers.tables import TableGAN


def cohort_of(frame, columns, rules=(), key=None):
    schema = Schema(tables=(Table(name="patients", columns=tuple(columns), key=key),), rules=tuple(Rule(sql=r) for r in rules))
    return Cohort(schema, frame.select(pl.col(c.name).cast(c.dtype) for c in columns))


def two_columns(rows=1200, seed=0):
    """A marker that is high exactly in the sick, who are 40 %; a tenth of the markers is missing, only among the well."""
    rng = np.random.default_rng(seed)
    sick = rng.random(rows) < 0.4
    marker = np.round(rng.normal(np.where(sick, 30, 10), 2), 1)
    missing = ~sick & (rng.random(rows) < 1 / 6)
    frame = pl.DataFrame({"sick": np.where(sick, "yes", "no"), "marker": marker}).with_columns(
        marker=pl.when(pl.Series(missing)).then(None).otherwise(pl.col("marker"))
    )
    return cohort_of(frame, [Column(name="sick", kind="category", categories=("no", "yes")), Column(name="marker", kind="number")])


@pytest.fixture
def quick(monkeypatch):
    """A short game; how many rounds a minute holds is tested on its own."""
    monkeypatch.setattr(duel, "steps_in", lambda minutes, layout, rows: round(30 * minutes))


@pytest.fixture(scope="module")
def learned():
    """A model of `two_columns` after 300 rounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duel, "steps_in", lambda minutes, layout, rows: 300)
        return DuelGAN().fit(two_columns(), seed=0)


def test_it_learns_what_independent_columns_miss(learned):
    """Independent columns put 52 % of the known markers on the wrong side of 20; so few is learned, not chance."""
    made = learned.sample(2000, seed=1).frame
    known = made.drop_nulls()
    wrong = ((known["marker"] > 20) != (known["sick"] == "yes")).mean()
    assert wrong < 0.08
    # Shares within .06: four standard errors of 2,000 draws are .044, and 300 rounds leave a little more.
    assert (made["sick"] == "yes").mean() == pytest.approx(0.4, abs=0.06)
    assert made["marker"].null_count() / 2000 == pytest.approx(0.1, abs=0.06)
    assert made.filter(pl.col("sick") == "yes")["marker"].null_count() / 800 < 0.03  # missing is a value, and it depends


def test_before_the_game_columns_are_independent_with_the_right_shares(monkeypatch):
    monkeypatch.setattr(duel, "steps_in", lambda minutes, layout, rows: 1)
    made = DuelGAN().fit(two_columns(), seed=0).sample(4000, seed=1).frame
    assert (made["sick"] == "yes").mean() == pytest.approx(0.4, abs=0.05)
    wrong = made.drop_nulls().select((pl.col("marker") > 20) != (pl.col("sick") == "yes")).to_series().mean()
    assert wrong == pytest.approx(0.49, abs=0.06)  # .4 * .5 / .9 + .6 * .4 / .9


def test_the_history_is_of_held_out_pairs(learned):
    steps, rates = zip(*learned.history, strict=True)
    assert steps[-1] == 300 and list(steps) == sorted(steps)
    assert all(0 <= rate <= 1 for rate in rates) and len(set(rates)) > 5


@pytest.mark.parametrize("where", ["sick = 'yes'", "marker > 25", "marker IS NULL", "sick = 'no' AND marker BETWEEN 8 AND 12"])
def test_where_is_exact(learned, where):
    made = learned.sample(300, seed=3, where=where)
    assert made.frame.height == 300
    assert made.frame.filter(pl.sql_expr(where)).height == 300


def test_a_condition_moves_the_other_column(learned):
    sick = learned.sample(1000, seed=4, where="marker > 25").frame["sick"]
    well = learned.sample(1000, seed=4, where="marker < 15").frame["sick"]
    assert (sick == "yes").mean() > 0.85 and (well == "yes").mean() < 0.15


def test_rules_hold_in_every_row(quick):
    rng = np.random.default_rng(0)
    low = rng.integers(50, 90, 400)
    frame = pl.DataFrame({"diastolic": low, "systolic": low + rng.integers(0, 60, 400), "copy": low})
    columns = [Column(name=name, kind="integer") for name in frame.columns]
    model = DuelGAN(minutes=1).fit(cohort_of(frame, columns, rules=["diastolic <= systolic", "copy = diastolic"]), seed=0)
    for where in (None, "systolic < 100"):
        made = model.sample(500, seed=1, where=where).frame
        assert (made["diastolic"] <= made["systolic"]).all() and (made["copy"] == made["diastolic"]).all()


def test_same_seed_same_patients(quick):
    def patients(fit, draw):
        return DuelGAN(minutes=0.3).fit(two_columns(300), seed=fit).sample(50, seed=draw).frame

    first = patients(1, 1)
    assert first.equals(patients(1, 1))
    assert not first.equals(patients(2, 1)) and not first.equals(patients(1, 2))


def test_saved_and_loaded_it_samples_the_same(learned, tmp_path):
    learned.save(tmp_path / "model")
    again = DuelGAN.load(tmp_path / "model")
    assert again.history == learned.history
    for where in (None, "marker > 25"):
        assert again.sample(100, seed=5, where=where).frame.equals(learned.sample(100, seed=5, where=where).frame)


def test_the_discriminator_takes_a_contradiction_for_made(learned):
    real = two_columns(400, seed=5)
    flipped = Cohort(
        real.schema, real.frame.with_columns(sick=pl.when(pl.col("sick") == "yes").then(pl.lit("no")).otherwise(pl.lit("yes")))
    )
    known = real.frame["marker"].is_not_null().to_numpy()
    own = learned.discriminator_score(real)
    assert own.shape == (400,) and (own > learned.discriminator_score(flipped))[known].mean() > 0.95
    # What is taken for made has the steeper loss: softplus(D(fake) - D(row)) falls with D(row), and its slope with it.
    norms = learned.gradient_norm(real)
    assert norms.shape == (400,) and (norms > 0).all() and (norms < learned.gradient_norm(flipped))[known].mean() > 0.95


def test_a_gradient_norm_is_that_of_one_backward_pass(learned):
    row = two_columns(1, seed=5)
    norm = learned.gradient_norm(row)[0]
    fitted, layout = learned._fitted, learned._fitted.generator.layout
    codes = layout.codes(duel._cells(fitted, row))
    judge = copy.deepcopy(fitted.discriminator).requires_grad_(True)
    rng = torch.Generator().manual_seed(seeds.integer(0, "duel", "gradient norm"))
    fakes = judge(fitted.generator(fitted.generator.noise(duel.FAKES, rng))).detach()
    torch.nn.functional.softplus(fakes - judge(codes)).mean().backward()
    assert torch.cat([weight.grad.flatten() for weight in judge.parameters()]).norm().item() == pytest.approx(norm, rel=1e-4)


def test_a_model_folder_holds_no_discriminator(learned, tmp_path):
    learned.save(tmp_path / "model")
    again = DuelGAN.load(tmp_path / "model")
    for word in (again.discriminator_score, again.gradient_norm):
        with pytest.raises(InputError, match="holds no discriminator"):
            word(two_columns(5))
    with pytest.raises(InputError, match="not learned anything"):
        DuelGAN().discriminator_score(two_columns(5))


def test_weights_that_do_not_fit_are_refused(learned, tmp_path):
    from proband.synthesizer import read_model, write_model

    learned.save(tmp_path / "model")
    stored = read_model(tmp_path / "model")
    name = "generator.head.weight"
    for number, wrong in enumerate((stored.arrays[name][:-1], stored.arrays[name] * np.nan, stored.arrays[name].astype(np.float64))):
        write_model(tmp_path / str(number), "duel", stored.config, stored.arrays | {name: np.ascontiguousarray(wrong)})
        with pytest.raises(InputError):
            DuelGAN.load(tmp_path / str(number))


def test_an_interrupt_leaves_the_model_as_it_was(quick):
    def stop(step, total, what, figures):
        if step == 3:
            raise KeyboardInterrupt

    model = DuelGAN(minutes=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(two_columns(300), seed=0, on_step=stop)
    with pytest.raises(InputError, match="has not learned anything yet"):
        model.sample(1, seed=0)


def test_progress_comes_with_figures(quick):
    seen = []
    DuelGAN(minutes=0.2).fit(two_columns(300), seed=0, on_step=lambda *step: seen.append(step))
    assert [step[0] for step in seen] == [1, 2, 3, 4, 5, 6] and all(step[1] == 6 for step in seen)
    assert set(seen[-1][3]) == {"discriminator loss", "generator loss", "success"}


def test_all_rows_of_a_patient_are_held_out_together(quick, monkeypatch):
    frame = pl.DataFrame({"id": [f"p{i // 4}" for i in range(200)], "mood": ["good", "bad"] * 100})
    columns = [Column(name="id", kind="identifier"), Column(name="mood", kind="category", categories=("good", "bad"))]
    cohort = cohort_of(frame, columns, key="id")
    told = duel._rows_of(cohort, cohort.patients.sort()[:5])
    assert told.sum() == 20 and cohort.frame.filter(pl.Series(told.numpy()))["id"].n_unique() == 5


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_handful_of_patients_is_enough_to_run(quick, rows):
    columns = [Column(name="sick", kind="boolean"), Column(name="marker", kind="number")]
    frame = pl.DataFrame({"sick": [True] * rows, "marker": [None] * rows})
    made = DuelGAN(minutes=0.1).fit(cohort_of(frame, columns), seed=0).sample(20, seed=1).frame
    assert made["sick"].all() and made["marker"].null_count() == 20  # nothing else was ever seen


def test_identifiers_alone_teach_nothing():
    frame = pl.DataFrame({"id": ["a", "b"]})
    with pytest.raises(InputError, match="nothing to learn"):
        DuelGAN().fit(cohort_of(frame, [Column(name="id", kind="identifier")], key="id"), seed=0)


def test_minutes_give_rounds_by_a_fixed_sum():
    narrow, wide = duel.Layout((10,) * 10, (0,) * 10), duel.Layout((10,) * 100, (0,) * 100)
    many = 1_000_000
    assert duel.steps_in(2, narrow, many) == pytest.approx(2 * duel.steps_in(1, narrow, many), abs=1)
    assert duel.steps_in(2, narrow, many) > duel.steps_in(2, wide, many) > 100
    assert duel.steps_in(1e-9, wide, many) == 1


def test_a_small_table_is_not_played_by_heart():
    layout = duel.Layout((10,) * 10, (0,) * 10)
    assert duel.steps_in(60, layout, 2560) == 10 * duel.PASSES  # a pass is ten batches of 256
    assert duel.steps_in(60, layout, 50) == duel.FEWEST_ROUNDS


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_impossible_minutes_are_refused(minutes):
    with pytest.raises(InputError, match="is not a training time"):
        DuelGAN(minutes=minutes)


# --- under differential privacy; that it keeps its promise is tested in tests/privacy/test_zoo.py ----------------------------------


@pytest.fixture
def brief(monkeypatch):
    """Few rounds of few weights."""
    for name, value in (("STEPS", 40), ("FEATURES", 64), ("FAKES", 64)):
        monkeypatch.setattr(private_duel, name, value)


def public(cohort):
    return Cohort(cohort.schema.model_copy(update={"public": True}), cohort.frame)


def test_a_private_fit_learns_what_independent_columns_miss(brief, tmp_path):
    """At epsilon 50 there is little noise; independent columns put 49 % of the known markers on the wrong side of 20."""
    model = DuelGAN(epsilon=50).fit(public(two_columns(3000)), seed=0)
    made = model.sample(2000, seed=1)
    wrong = made.frame.drop_nulls().select((pl.col("marker") > 20) != (pl.col("sick") == "yes")).to_series().mean()
    assert wrong < 0.35
    assert made.mark.details["epsilon"] == "50" and made.mark.details["unit"] == "patient"
    assert abs(model.patients - 3000) < 20  # noise of a few patients
    assert model.history == []  # a success rate on real patients would leak
    assert sum(spend.rho for spend in model.spends) == pytest.approx(model.rho)
    model.save(tmp_path / "model")
    again = DuelGAN.load(tmp_path / "model")
    assert again.sample(50, seed=5).frame.equals(model.sample(50, seed=5).frame)
    assert (again.epsilon, again.delta, again.rho, again.spends) == (model.epsilon, model.delta, model.rho, model.spends)
    for word in (model.discriminator_score, model.gradient_norm):
        told = word(two_columns(100, seed=5))
        assert told.shape == (100,) and len(np.unique(told)) > 3  # of cells, five a column at most


def test_a_private_fit_has_no_seed(brief):
    cohort = public(two_columns(300))
    first, second = (DuelGAN(epsilon=3).fit(cohort, seed=1).sample(200, seed=1).frame for _ in range(2))
    assert not first.equals(second)


def test_what_epsilon_cannot_bear_is_refused_and_said_why():
    with pytest.raises(InputError, match="public schema"):
        DuelGAN(epsilon=3).fit(two_columns(100), seed=0)
    with pytest.raises(InputError, match="number of rounds"):
        DuelGAN(minutes=2, epsilon=3)
    with pytest.raises(InputError, match="belongs to a guarantee"):
        DuelGAN(delta=1e-5)
    with pytest.raises(InputError, match="critic"):
        TableGAN(epsilon=3)


def test_cells_that_do_not_fit_are_refused(brief, tmp_path):
    from proband.synthesizer import read_model, write_model

    DuelGAN(epsilon=3).fit(public(two_columns(200)), seed=0).save(tmp_path / "model")
    stored = read_model(tmp_path / "model")
    for number, wrong in enumerate((stored.arrays["cell"][:-1], stored.arrays["cell"] - 1, stored.arrays["cell"] + 9)):
        write_model(tmp_path / str(number), "duel", stored.config, stored.arrays | {"cell": np.ascontiguousarray(wrong)})
        with pytest.raises(InputError):
            DuelGAN.load(tmp_path / str(number))
