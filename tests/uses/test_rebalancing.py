import sys

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort, Mark
from proband.errors import InputError, Unavailable
from proband.synthesizers import Bootstrap, IndependentColumns
from proband.uses import rebalancing
from proband.uses.rebalancing import FIGURES, Rebalancing, evaluate_augmentation, smotenc
from tests.uses.patients import ward

DIED = "died = 'yes'"


@pytest.fixture(scope="module")
def found() -> Rebalancing:
    """A synthesizer that knows nothing of how columns hang together: the planted fault. 60 draws are enough for ends that nobody quotes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebalancing, "_REPEATS", 60)
        groups = ["sex", "age"]
        return evaluate_augmentation(
            ward(900), ward(900, seed=9), target=DIED, prevalence=0.7, synthesizer=IndependentColumns, subgroups=groups, seed=1
        )


def one(found: Rebalancing, method: str, figure: str, model: str = "logistic regression") -> dict[str, float]:
    return found.frame.row(
        by_predicate=(pl.col("model") == model) & (pl.col("method") == method) & (pl.col("figure") == figure), named=True
    )


def test_every_method_is_there_with_every_figure(found: Rebalancing) -> None:
    arms = ["class weights", "SMOTENC", "synthetic (independent)"]
    methods = ["nothing", "threshold shift", "nothing, recalibrated"]
    methods += [f"{arm}{then}" for arm in arms for then in ("", ", prior shift", ", recalibrated")]
    assert found.frame["method"].unique(maintain_order=True).to_list() == methods
    assert found.frame.height == 2 * len(methods) * len(FIGURES)
    assert found.frame["value"].is_finite().all()
    assert (found.frame["low"] <= found.frame["high"]).all()
    assert found.notes["groups"] == ["sex = F", "sex = M", "age up to 47", "age above 47 to 72", "age above 72"]


def test_rebalancing_ruins_the_risks_and_recalibration_mends_them(found: Rebalancing) -> None:
    share = found.notes["cases"] / 900
    for arm in ("class weights", "SMOTENC"):
        raw = one(found, arm, "calibration intercept")
        # With 70 % of the rows cases the log odds are too high by the ratio of the odds; 0.3 is two standard errors with 195 cases.
        assert raw["value"] == pytest.approx(np.log(share / (1 - share) * 0.3 / 0.7), abs=0.3)
        for then in ("prior shift", "recalibrated"):
            mended = one(found, f"{arm}, {then}", "calibration intercept")
            assert mended["value"] == pytest.approx(0, abs=0.3)
            assert one(found, f"{arm}, {then}", "Brier score")["value"] < one(found, arm, "Brier score")["low"]


def test_moving_the_threshold_finds_more_cases_with_the_same_risks(found: Rebalancing) -> None:
    assert one(found, "threshold shift", "sensitivity")["gain_low"] > 0
    assert one(found, "threshold shift", "specificity")["gain_high"] < 0
    assert one(found, "threshold shift", "AUROC")["gain"] == 0 == one(found, "threshold shift", "Brier score")["gain"]


def test_synthetic_patients_without_any_relation_do_harm_and_it_shows(found: Rebalancing) -> None:
    assert one(found, "synthetic (independent)", "AUROC", "boosted trees")["gain_high"] < 0
    assert one(found, "class weights", "AUROC", "boosted trees")["gain_high"] > 0


def test_table_and_picture(found: Rebalancing) -> None:
    lines = found.table().splitlines()
    assert len(lines) == 2 + 24 and all(line.count("|") == 2 + 2 + len(FIGURES) - 1 for line in lines)
    picture = found.picture()
    assert picture.startswith("<svg ") and 'xmlns="http://www.w3.org/2000/svg"' in picture and "var(--" not in picture
    assert "synthetic (independent)" in picture and picture == found.picture()


def test_more_of_a_subgroup_has_no_prior_to_shift_and_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalancing, "_REPEATS", 5)  # intervals are of no interest here
    train, holdout = ward(350), ward(350, seed=9)
    made = [
        evaluate_augmentation(
            train, holdout, target=DIED, where="age > 75 AND sex = 'F'", prevalence=0.3, synthesizer=Bootstrap, seed=seed
        ).frame
        for seed in (3, 3)
    ]
    assert made[0].equals(made[1])
    assert not made[0]["method"].str.contains("prior shift").any()
    assert made[0].filter(pl.col("figure").str.contains("worst"))["value"].is_null().all()  # no groups were named


def test_what_cannot_judge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    train, holdout = ward(400), ward(400, seed=9)
    with pytest.raises(InputError, match="overlap"):
        evaluate_augmentation(train, train, target=DIED)
    with pytest.raises(InputError, match="different schemas"):
        evaluate_augmentation(train, ward(400, schema=train.schema.model_copy(update={"rules": ()})), target=DIED)
    with pytest.raises(InputError, match="Only real patients can judge"):
        evaluate_augmentation(train, Cohort(holdout.schema, holdout.frame, Mark("x", "1", 0, "")), target=DIED)
    with pytest.raises(InputError, match="it takes 20 of each"):
        evaluate_augmentation(train, holdout, target="died = 'yes' AND age < 30")
    monkeypatch.setitem(sys.modules, "imblearn.over_sampling", None)
    with pytest.raises(Unavailable, match=r"pip install 'proband\[augment\]'"):
        evaluate_augmentation(train, holdout, target=DIED)


def test_smotenc_stays_among_the_cases() -> None:
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(size=300), 1000 * rng.normal(size=300), rng.integers(0, 3, 300)])
    group = np.arange(300) < 30
    values[:30, 0] += 10  # cases stand apart
    values[:30, 2] = np.where(rng.random(30) < 0.5, 1, np.nan)
    values[rng.random(300) < 0.3, 1] = np.nan
    made, outcomes = smotenc(values, group.astype(float), group.astype(float), np.array([False, False, True]), 200, seed=1)
    assert made.shape == (200, 3) and (outcomes == 1).all()
    assert made[:, 0].min() >= values[:30, 0].min() and made[:, 0].max() <= values[:30, 0].max()
    assert set(np.unique(made[~np.isnan(made[:, 2]), 2])) == {1.0} and np.isnan(made[:, 2]).any()
    # Missing as often as among the neighbours, who decide by majority: between none and twice as often.
    assert 0 < np.isnan(made[:, 1]).mean() < 0.6
    only_levels = smotenc(values[:, 2:], group.astype(float), group.astype(float), np.array([True]), 5, seed=1)[0]
    assert only_levels.shape == (5, 1)
