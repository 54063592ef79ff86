"""Every synthesizer keeps the contract, and the contract catches those that do not."""

from dataclasses import replace

import polars as pl
import pytest

from proband.contract import Breach, check, checks, conditions_for
from proband.game import selection
from proband.synthesizer import Synthesizer, names, timed
from proband.synthesizer import make as build
from proband.synthesizers import marginals, private_duel
from proband.synthesizers.baselines import IndependentColumns


def make(name: str) -> Synthesizer:
    # 300 patients show what the contract asks for through little noise only.
    return build(name, minutes=0.02 if timed(name) else None, epsilon=50 if name == "marginals" else None)


@pytest.mark.parametrize("name", names())
def test_ours_keep_the_contract(name, cohort, monkeypatch):
    # The same work in fewer rounds: the contract does not ask how well it is done.
    for module, of, fewer in (
        (selection, "TREES", 60),
        (selection, "FOLDS", 2),
        (marginals, "PARTS", 200),
        (marginals, "STEPS", 30),
        (marginals, "LAST_STEPS", 150),
    ):
        monkeypatch.setattr(module, of, fewer)
    if name == "marginals":
        cohort = replace(cohort, schema=cohort.schema.model_copy(update={"public": True}))
    # Rejection makes a hundred patients for each that satisfies an equality on a number: fewer are asked for.
    check(lambda: make(name), cohort, n=20 if name == "diffusion" else 60)


def test_a_private_duel_keeps_the_contract(cohort, monkeypatch):
    for name, value in (("STEPS", 20), ("FEATURES", 64), ("FAKES", 64)):
        monkeypatch.setattr(private_duel, name, value)
    cohort = replace(cohort, schema=cohort.schema.model_copy(update={"public": True}))
    check(lambda: build("duel", epsilon=50), cohort, n=60)


def test_conditions_cover_equalities_ranges_missing_and_conjunctions(cohort):
    found = conditions_for(cohort)
    assert any("=" in c for c in found)
    assert any("BETWEEN" in c for c in found)
    assert any("IS NULL" in c for c in found)
    assert sum(" AND " in c and "BETWEEN" not in c for c in found) == 1


class Faulty(IndependentColumns):
    """Independent columns with one planted fault."""

    fault = ""
    count = 0

    def fit(self, cohort, *, seed, on_step=None):
        if self.fault == "silent":
            on_step = None
        return super().fit(cohort, seed=seed, on_step=on_step)

    def sample(self, n, *, seed, where=None):
        if self.fault == "few":
            n = max(0, n - 1)
        if self.fault == "unconditional":
            where = None
        if self.fault == "ValueError" and n < 0:
            raise ValueError
        if self.fault == "unseeded":
            Faulty.count += 1
            seed += Faulty.count
        made = super().sample(n, seed=seed, where=where)
        frame = made.frame
        if self.fault == "unmarked":
            return replace(made, mark=None)
        if self.fault == "rule":
            frame = frame.with_columns(diastolic=pl.col("systolic") + 1)
        if self.fault == "bounds":
            frame = frame.with_columns(age=pl.lit(7, pl.Int64))
        if self.fault == "full":
            frame = frame.with_columns(pl.col("creatinine").fill_null(1.0))
        if self.fault == "real":
            frame = frame.with_columns(id=pl.format("P{}", pl.int_range(pl.len())))
        return replace(made, frame=frame)


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        ("silent", "progress"),
        ("few", "shape"),
        ("unmarked", "mark"),
        ("bounds", "values"),
        ("rule", "rules"),
        ("full", "missing"),
        ("real", "identifiers"),
        ("unseeded", "seeded"),
        ("unconditional", "conditions"),
        ("ValueError", "refusals"),
    ],
)
def test_a_planted_fault_is_caught_by_its_check(fault, caught_by, cohort):
    kind = type("Planted", (Faulty,), {"fault": fault})
    parts = dict(checks(kind, cohort))
    with pytest.raises(Breach):
        parts[caught_by]()


def test_a_fault_anywhere_fails_the_whole(cohort):
    with pytest.raises(Breach, match="on_step"):
        check(type("Planted", (Faulty,), {"fault": "silent"}), cohort)
