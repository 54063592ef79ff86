"""Outcomes drawn from trees: as much can be learned from them as from real ones."""

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from proband import Column
from proband.stats.discrimination import auc
from proband.synthesizers import outcomes

DIED = Column(name="died", kind="boolean")


def patients(n: int, seed: int = 0, signal: float = 0.6) -> np.ndarray:
    """Who died, and thirty figures, of which ten say so a little each."""
    rng = np.random.default_rng(seed)
    figures = rng.normal(size=(n, 30))
    died = rng.random(n) < expit(signal * figures[:, :10].sum(axis=1) - 1)
    return np.column_stack([died, figures])


def redrawn(told: outcomes.Outcome, figures: np.ndarray) -> np.ndarray:
    frame = pl.DataFrame({"died": pl.Series([None if np.isnan(d) else bool(d) for d in figures[:, 0]], dtype=pl.Boolean)})
    frame, after = outcomes.drawn([told], {"died": DIED}, frame, figures, np.random.default_rng(1))
    assert frame["died"].cast(pl.Float64).fill_null(float("nan")).to_numpy() == pytest.approx(after[:, 0], nan_ok=True)
    return after


def useful(train: np.ndarray, unseen: np.ndarray) -> float:
    """AUC of a model that learned from the one, on the other."""
    return auc(LogisticRegression().fit(train[:, 1:], train[:, 0]).decision_function(unseen[:, 1:]), unseen[:, 0])


def test_who_learns_from_drawn_outcomes_learns_as_much_as_from_real_ones():
    real, others, unseen = patients(600), patients(600, seed=1), patients(4000, seed=2)
    honest = outcomes.learned([DIED], real, seed=0)
    assert honest[0].steepness == 1
    (told,) = outcomes.steepened(honest, real, others, lambda made: np.arange(len(made)), seed=0)
    assert told.steepness > 1
    gap = lambda one: useful(others, unseen) - useful(redrawn(one, others), unseen)  # noqa: E731
    assert gap(told) < gap(honest[0])
    assert gap(told) < 0.04
    assert redrawn(told, others)[:, 0].mean() == pytest.approx(others[:, 0].mean(), abs=0.05)


def test_who_is_kept_is_who_is_learned_from():
    """Where the kept ones alone already show the outcome as clearly as real patients do, no odds need to be steeper."""
    real, made = patients(600), patients(3000, seed=1)
    honest = outcomes.learned([DIED], real, seed=0)
    clear = lambda made: np.argsort((1 - 2 * made[:, 0]) * made[:, 1:11].sum(axis=1))[:600]  # noqa: E731
    (told,) = outcomes.steepened(honest, real, made, clear, seed=0)
    assert told.steepness == 1


@pytest.mark.parametrize("made", [np.zeros((400, 31)), np.full((400, 31), np.nan)], ids=["says nothing", "has none"])
def test_steeper_odds_that_are_of_no_use_are_not_taken(made: np.ndarray):
    honest = outcomes.learned([DIED], patients(600), seed=0)
    assert outcomes.steepened(honest, patients(600), made, lambda made: np.arange(len(made)), seed=0)[0].steepness == 1


def test_what_figures_do_not_say_is_left_as_it_is():
    assert outcomes.learned([DIED], patients(600, signal=0.0), seed=0) == ()
    assert outcomes.learned([DIED], patients(30), seed=0) == (), "too few of either level"


def test_what_is_missing_stays_missing_and_nobody_learns_from_it():
    figures = patients(600)
    figures[::7, 0] = np.nan
    (told,) = outcomes.learned([DIED], figures, seed=0)
    assert (np.isnan(redrawn(told, figures)[:, 0]) == np.isnan(figures[:, 0])).all()


def test_outcomes_are_kept_as_plain_values_and_read_back():
    told = outcomes.learned([DIED], patients(300), seed=0)
    facts, arrays = outcomes.packed(told)
    (again,) = outcomes.unpacked(facts, arrays, 31)
    assert again[:2] == told[0][:2] and again[3:] == told[0][3:]
    assert all((a == b).all() for a, b in zip(again.trees, told[0].trees, strict=True))
    with pytest.raises(ValueError, match="not among the figures"):
        outcomes.unpacked([["died", 31, 1.0, 0.0]], arrays, 31)
    with pytest.raises(ValueError, match="not finite"):
        outcomes.unpacked([["died", 0, float("nan"), 0.0]], arrays, 31)
