"""Planted generators: each fault is caught by the metric meant for it, and patients of the same population pass everything.

The table in docs/validate.md is this one.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from proband.validate import detection
from proband.validate.evidence import gather
from proband.validate.fidelity import fidelity
from proband.validate.findings import Finding
from proband.validate.limits import LIMITS
from proband.validate.utility import utility
from tests.validate import patients

N = 1400

#: What each fault must fail, and what it must pass: a metric that fails on everything names no fault.
CAUGHT: list[tuple[Callable[[pl.DataFrame, int], pl.DataFrame], set[str], set[str]]] = [
    (
        patients.independent,
        {"dependence_lost", "association_error", "detection_auc", "tstr_auroc_gap"},
        {"columns_distance", "tails_error"},
    ),
    (
        patients.constant,
        {"columns_distance", "worst_column_distance", "detection_auc", "tstr_auroc_gap"},
        {"rules_broken", "format_broken"},
    ),
    (patients.collapsed, {"pairs_distance", "triples_distance", "detection_auc"}, {"rules_broken", "format_broken"}),
    (patients.majority, {"subgroups_error", "columns_distance", "rare_levels_error"}, {"format_broken"}),
    (patients.flipped, {"tstr_auroc_gap", "tstr_calibration_slope"}, {"missingness_distance", "rare_levels_error"}),
    (patients.dropped, {"subgroups_error"}, {"columns_distance", "pairs_distance", "dependence_lost", "detection_auc", "tstr_auroc_gap"}),
    (patients.imputed, {"missingness_distance", "worst_column_distance"}, {"subgroups_error", "tails_error"}),
    (patients.clipped, {"tails_error"}, {"columns_distance", "pairs_distance", "subgroups_error"}),
    (patients.without_rare, {"rare_levels_error"}, {"columns_distance", "pairs_distance", "dependence_lost"}),
    (patients.rounded, {"format_broken"}, {"columns_distance", "rules_broken"}),
    (patients.rule_breaking, {"rules_broken"}, {"columns_distance", "pairs_distance", "format_broken"}),
]


@pytest.fixture(autouse=True)
def _few_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real against real scores a half: one discriminator shows that as well as four, in a quarter of the time."""
    monkeypatch.setattr(detection, "_REFERENCES", 1)


@pytest.fixture(scope="module")
def train() -> pl.DataFrame:
    return patients.draw(N, seed=1)


def findings_of(synthetic: pl.DataFrame, train: pl.DataFrame, *, utility_too: bool = True) -> dict[str, Finding]:
    holdout, reference = patients.draw(N // 2, seed=2), patients.draw(N // 2, seed=3)
    cohorts = [patients.cohort(frame) for frame in (train, holdout, synthetic)]
    evidence, _ = gather(*cohorts, reference=patients.cohort(reference), target="death" if utility_too else None)
    found = fidelity(evidence, seed=0) + (utility(evidence, seed=0) if utility_too else [])
    return {finding.name: finding.judged(LIMITS.get(finding.name)) for finding in found}


def test_patients_of_the_same_population_pass_everything(train: pl.DataFrame) -> None:
    found = findings_of(patients.fresh(train, N), train)
    not_passed = {name: (f.value, f.interval, str(f.limit)) for name, f in found.items() if f.limit is not None and f.passed is not True}
    assert not not_passed


@pytest.mark.parametrize(("generator", "fails", "passes"), CAUGHT, ids=[entry[0].__name__ for entry in CAUGHT])
def test_every_fault_fails_by_the_metric_meant_for_it(
    train: pl.DataFrame,
    generator: Callable[[pl.DataFrame, int], pl.DataFrame],
    fails: set[str],
    passes: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "detection_auc" not in fails | passes:
        monkeypatch.setattr(detection, "_TREES", 5)
    found = findings_of(generator(train, N), train, utility_too=any(name.startswith("tstr") for name in fails | passes))
    assert {name for name in fails if found[name].passed is False} == fails
    assert {name for name in passes if found[name].passed is True} == passes
