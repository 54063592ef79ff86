"""The auditor: a sound private fit passes, and every planted fault is caught, each by the kind of breach that it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.errors import ProbandError
from proband.privacy import budget as budgets
from proband.privacy import domain
from proband.privacy.audit import Recorder, noise, replay, standing_out
from proband.privacy.budget import Budget, rho_of
from proband.synthesizers import marginals

RHO = rho_of(3.0, 1e-5)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A generator of few parts and steps: what is audited is what it asks, not what it learns."""
    for name, value in (("PARTS", 12), ("ROUNDS", 3), ("STEPS", 3), ("LAST_STEPS", 3)):
        monkeypatch.setattr(marginals, name, value)
    monkeypatch.setattr(domain, "STAND_INS", 400)


@pytest.fixture
def fit(tmp_path):
    """PrivateMarginals as the auditor asks for it: a budget in, the bytes of its model folder out."""
    count = [0]

    def fitted(cohort: Cohort, budget: Budget) -> bytes:
        count[0] += 1
        model, folder = marginals.PrivateMarginals(epsilon=3.0), tmp_path / str(count[0])
        model._fitted = marginals.learned(cohort, budget, seed=1)
        model.save(folder)
        return b"".join(path.read_bytes() for path in sorted(Path(folder).iterdir()))

    return fitted


def test_a_sound_fit_passes(clinic, fit):
    assert replay(fit, clinic, RHO) == []
    assert noise(Budget) == []


def test_the_neighbours_lack_one_patient_each_who_stands_out(clinic):
    found = dict(standing_out(clinic, 50))
    assert all(len(other) == len(clinic) - 1 for other in found.values())
    assert found["the patient with the highest age"].frame["age"].max() < 119
    assert "C" not in found["a patient with the rarest level of diagnosis"].frame["diagnosis"]


def kinds(fit, cohort, neighbours=4):
    return {breach.kind for breach in replay(fit, cohort, RHO, neighbours=neighbours)}


# --- faults of the mechanism: the noise is measured ---------------------------------------------------------------------------------


class Silent(Budget):
    def counts(self, counts, **price):
        self._spend(budgets.Spend(price["what"], price["rho"], price.get("sensitivity", 1.0)))
        return np.asarray(counts)


class HalfNoise(Budget):
    def counts(self, counts, **price):
        return (np.asarray(counts) + super().counts(counts, **price)) // 2


class DeafToSensitivity(Budget):
    def counts(self, counts, *, sensitivity=1.0, **price):
        return super().counts(counts, **price)


class BestOfAll(Budget):
    def choose(self, scores, k, **price):
        return np.argsort(-np.asarray(scores))[:k].tolist()


@pytest.mark.parametrize("faulty", [Silent, HalfNoise, DeafToSensitivity, BestOfAll])
def test_narrow_noise_is_measured(faulty):
    assert {breach.kind for breach in noise(faulty)} == {"noise"}


def test_noise_cheaper_than_its_price_is_refused_before_it_is_drawn(monkeypatch, clinic, fit):
    monkeypatch.setattr(budgets, "deviation", lambda rho, sensitivity=1.0: 0.5 * sensitivity / np.sqrt(2 * rho))
    with pytest.raises(ProbandError, match="was charged"):
        fit(clinic, Budget(RHO))


# --- faults of what is asked: replay -----------------------------------------------------------------------------------------------


def test_a_budget_spent_twice(monkeypatch, clinic, fit):
    monkeypatch.setattr(Budget, "_spend", lambda self, spend: self.spends.append(spend))
    monkeypatch.setitem(marginals.SHARES, "pairs", 2 * marginals.SHARES["pairs"])
    assert kinds(fit, clinic) == {"price"}


def test_a_sensitivity_understated(monkeypatch, clinic, fit):
    # One patient adds one to every column: in Euclidean norm the root of their number, not one.
    counts = Recorder.counts
    monkeypatch.setattr(Recorder, "counts", lambda self, c, *, sensitivity=1.0, **more: counts(self, c, sensitivity=1.0, **more))
    from proband.privacy.audit import Replayer

    again = Replayer.counts
    monkeypatch.setattr(Replayer, "counts", lambda self, c, *, sensitivity=1.0, **more: again(self, c, sensitivity=1.0, **more))
    assert "sensitivity" in kinds(fit, clinic)


def test_rows_counted_in_place_of_patients(monkeypatch, clinic, fit):
    monkeypatch.setattr(marginals, "one_row_each", lambda cohort: cohort)
    assert "sensitivity" in kinds(fit, clinic)


def test_a_score_that_is_no_number(monkeypatch, clinic, fit):
    errors = marginals._Judge.errors
    monkeypatch.setattr(marginals._Judge, "errors", lambda self, *given: errors(self, *given) * np.nan)
    with pytest.raises(ProbandError, match="not finite"):
        fit(clinic, Budget(RHO))


# --- faults around the budget: replay ----------------------------------------------------------------------------------------------


def test_the_number_of_patients_taken_as_public(monkeypatch, clinic, fit):
    # As a library did that divides by the length of the data set.
    def expected(layout, logits, total, real=marginals.game.expected):
        return real(layout, logits, fit.patients)

    def fitted(cohort, budget):
        fit.patients = float(len(cohort))
        return fit(cohort, budget)

    monkeypatch.setattr(marginals.game, "expected", expected)
    assert "output" in kinds(fitted, clinic)


def _asked_of(monkeypatch, change):
    """The column that is asked about, changed by a look at its values."""
    asked = domain._asked
    monkeypatch.setattr(domain, "_asked", lambda series, column, budget, rho: asked(series, change(series, column), budget, rho))


def test_bounds_read_off_the_patients(monkeypatch, clinic, fit):
    def change(series, column):
        if not column.numeric:
            return column
        return column.model_copy(update={"low": float(series.min()), "high": float(series.max())})

    _asked_of(monkeypatch, change)
    assert kinds(fit, clinic, neighbours=12) & {"flow", "output", "sensitivity"}


def test_levels_read_off_the_patients(monkeypatch, clinic, fit):
    def change(series, column):
        if column.kind != "category":
            return column
        return column.model_copy(update={"categories": tuple(sorted(series.drop_nulls().unique()))})

    _asked_of(monkeypatch, change)
    assert "flow" in kinds(fit, clinic, neighbours=12)


def test_levels_kept_when_a_noisy_count_of_those_present_is_five_or_more(monkeypatch, clinic, fit):
    # As an engine does that calls it pure differential privacy: a level that one patient has can be there only with them.
    def asked(series, column, budget, rho, real=domain._asked):
        if column.kind == "category":
            present = series.drop_nulls().value_counts().sort(series.name)
            noisy = budget.counts(present["count"].to_numpy().astype(int), rho=rho / 2, what=f"which levels of {column.name}")
            kept = tuple(present[series.name].filter(pl.Series(noisy >= 5)))
            column, rho = column.model_copy(update={"categories": kept or column.categories}), rho / 2
        return real(series, column, budget, rho)

    monkeypatch.setattr(domain, "_asked", asked)
    assert "flow" in kinds(fit, clinic, neighbours=12)


def test_a_stop_on_the_raw_loss(monkeypatch, clinic, fit):
    of = marginals._Judge.of

    def noted(tokens, groups):
        fit.judge = of(tokens, groups)
        return fit.judge

    def learn(layout, logits, known, *, steps, real=marginals.game.learn, **more):
        wrong = np.abs(fit.judge.pairs - marginals.game.expected(layout, logits, 200.0)[1].numpy()).sum()
        return real(layout, logits, known, steps=steps + int(wrong * 1_000) % 7, **more)

    monkeypatch.setattr(marginals._Judge, "of", staticmethod(noted))
    monkeypatch.setattr(marginals.game, "learn", learn)
    assert "output" in kinds(fit, clinic) or "flow" in kinds(fit, clinic)


def test_a_generator_that_reads_patients(monkeypatch, clinic, fit):
    of = marginals._Judge.of

    def noted(tokens, groups):
        fit.judge = of(tokens, groups)
        return fit.judge

    fresh = marginals.game.fresh

    def warm(layout, shares, **more):
        import torch

        return fresh(layout, torch.from_numpy((fit.judge.single + 0.5) / 200.0), **more)

    monkeypatch.setattr(marginals._Judge, "of", staticmethod(noted))
    monkeypatch.setattr(marginals.game, "fresh", warm)
    assert kinds(fit, clinic) & {"output", "flow"}


def test_an_encoder_that_learns_from_patients(monkeypatch, clinic, fit):
    monkeypatch.setattr(marginals, "private_encoder", lambda cohort, budget, *, rho, rng: TableEncoder.learnable(cohort))
    assert kinds(fit, clinic) & {"output", "flow"}


def test_shares_within_cells_counted_without_noise(monkeypatch, clinic, fit):
    real = marginals.private_encoder

    def counted(cohort, budget, *, rho, rng):
        encoder = real(cohort, budget, rho=rho, rng=rng)
        tokens = encoder.encode(cohort.frame).tokens
        counts = tuple(np.bincount(tokens[:, f], minlength=field.levels) for f, field in enumerate(encoder.fields))
        return replace(encoder, counts=counts)

    monkeypatch.setattr(marginals, "private_encoder", counted)
    assert kinds(fit, clinic) & {"output", "flow"}


def test_tuning_that_nobody_charged(clinic, fit):
    def tuned(cohort, budget):
        fit(cohort, budget)
        return fit(cohort, Budget(RHO))  # the better of two, and only the other was paid for

    assert kinds(tuned, clinic) == {"output"}
