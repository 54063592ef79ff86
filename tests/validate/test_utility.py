from __future__ import annotations

import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.validate.coded import tables
from proband.validate.evidence import gather
from proband.validate.findings import Evidence, Finding
from proband.validate.utility import binary, utility
from tests.validate import patients


@pytest.fixture(scope="module")
def parts() -> list[Cohort]:
    return [patients.cohort(patients.draw(n, seed)) for seed, n in enumerate((800, 400, 400))]


def evidence(parts: list[Cohort], target: str | None, synthetic: pl.DataFrame | None = None) -> Evidence:
    made = patients.draw(800, 9) if synthetic is None else synthetic
    return gather(parts[0], parts[1], made, reference=parts[2], target=target)[0]


def by_name(parts: list[Cohort], target: str | None, synthetic: pl.DataFrame | None = None) -> dict[str, Finding]:
    return {finding.name: finding for finding in utility(evidence(parts, target, synthetic), seed=0)}


def test_without_a_target_nothing_is_asked(parts: list[Cohort]) -> None:
    found = by_name(parts, None)
    assert len(found) == 6
    assert all(f.value is None and f.limit is None and f.why.startswith("Not asked") for f in found.values())


def test_other_real_patients_teach_as_much_as_the_training_patients(parts: list[Cohort]) -> None:
    found = by_name(parts, "death")
    gap = found["tstr_auroc_gap"]
    assert gap.interval[0] < 0.02 and abs(gap.value) < 0.06  # two standard errors of an AUROC difference with 800 patients
    assert gap.floor > 0.15
    models = gap.detail["models"]
    assert {(row["model"], row["measure"]) for row in models} >= {("logistic regression", "AUROC"), ("boosted trees", "Brier score")}
    auroc = next(row for row in models if row["measure"] == "AUROC")
    assert auroc["trtr"] > 0.75 and auroc["interval"][0] < auroc["tstr"] < auroc["interval"][1]


def test_flipped_outcomes_turn_every_model_upside_down(parts: list[Cohort]) -> None:
    found = by_name(parts, "death", patients.flipped(parts[0].frame, 800))
    assert found["tstr_auroc_gap"].interval[0] > 0.3
    assert found["tstr_calibration_slope"].interval[1] < 0
    assert found["tstr_brier_gap"].value > 0.1


def test_synthetic_patients_of_one_class_teach_nothing_and_are_judged(parts: list[Cohort]) -> None:
    found = by_name(parts, "death", patients.draw(800, 9).with_columns(death=pl.lit(False)))
    assert found["tstr_auroc_gap"].value > 0.2
    assert found["tstr_calibration_slope"].value == 0


@pytest.mark.parametrize(
    ("target", "meaning"),
    [("death", "death"), ("sex", "sex = F"), ("rhythm", "rhythm other than sinus"), ("systolic", "systolic above 12")],
)
def test_every_target_becomes_a_yes_or_no_question(parts: list[Cohort], target: str, meaning: str) -> None:
    given = evidence(parts, target)
    assert binary(target, tables(given, seed=0)).meaning.startswith(meaning)


def test_missing_outcomes_are_left_out(parts: list[Cohort]) -> None:
    found = by_name(parts, "hba1c")
    assert found["tstr_auroc_gap"].value is not None


def test_a_target_of_one_class_or_an_unknown_one_is_refused(parts: list[Cohort]) -> None:
    dead = [patients.cohort(part.frame.with_columns(death=pl.lit(True))) for part in parts]
    with pytest.raises(InputError, match="one class"):
        utility(evidence(dead, "death"), seed=0)
    with pytest.raises(InputError, match="'alive' is not in table"):
        evidence(parts, "alive")
