"""The form of the findings, odd synthetic tables, and that nothing about a single patient is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.errors import InputError
from proband.schema import Column, Schema, Table
from proband.validate import detection, validate
from proband.validate.coded import tables
from proband.validate.evidence import gather
from proband.validate.fidelity import fidelity
from proband.validate.findings import Finding, Limit
from proband.validate.groups import surely_lost
from tests.validate import patients

N = 400


@pytest.fixture(autouse=True, scope="module")
def _few_judges() -> Iterator[None]:
    """The form of the findings does not depend on how hard the discriminator tries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "_REFERENCES", 1)
        patch.setattr(detection, "_TREES", 10)
        patch.setattr(detection, "_FOLDS", 2)
        yield


@pytest.fixture(scope="module")
def parts() -> list[Cohort]:
    return [patients.cohort(patients.draw(n, seed)) for seed, n in enumerate((2 * N, N, N))]


def findings(parts: list[Cohort], synthetic: object) -> dict[str, Finding]:
    train, holdout, reference = parts
    evidence, _ = gather(train, holdout, synthetic, reference=reference)
    return {finding.name: finding for finding in fidelity(evidence, seed=0)}


@pytest.fixture(scope="module")
def found(parts: list[Cohort]) -> dict[str, Finding]:
    """What is found of fresh patients."""
    return findings(parts, patients.cohort(patients.draw(N, 9)))


def test_every_finding_has_its_doubt_its_reference_and_plain_details(found: dict[str, Finding]) -> None:
    assert list(found) == [
        "columns_distance",
        "worst_column_distance",
        "pairs_distance",
        "triples_distance",
        "missingness_distance",
        "association_error",
        "dependence_lost",
        "tails_error",
        "rare_levels_error",
        "subgroups_error",
        "rules_broken",
        "format_broken",
        "detection_auc",
        "detection_auc_binned",
    ]
    for name, finding in found.items():
        assert finding.interval is not None and finding.interval[0] <= finding.value <= finding.interval[1], name
        assert finding.reference is not None, name
        json.dumps(dict(finding.detail), allow_nan=False)
    column = next(c for c in found["columns_distance"].detail["columns"] if c["name"] == "hba1c")
    assert {"kind", "distance", "reference", "floor"} <= set(column)
    assert len(column["labels"]) == len(column["real"]) == len(column["synthetic"])
    assert sum(column["real"]) == pytest.approx(1, abs=0.01)
    heat = found["association_error"].detail
    assert np.shape(heat["real"]) == np.shape(heat["synthetic"]) == (11, 11)
    assert len(found["detection_auc"].detail["columns"]) == 10
    assert set(found["detection_auc"].detail["roc"]) == {"fpr", "tpr"}


def test_the_same_seed_gives_the_same_findings(parts: list[Cohort], found: dict[str, Finding]) -> None:
    assert findings(parts, patients.cohort(patients.draw(N, 9))) == found


def test_no_cell_with_few_patients_is_shown(parts: list[Cohort]) -> None:
    train, holdout, reference = parts
    rare = holdout.frame.with_columns(rhythm=pl.Series(["flutter"] * 4 + ["sinus"] * (N - 4)))
    common = reference.frame.with_columns(rhythm=pl.lit("sinus"))
    found = findings([train, patients.cohort(rare), patients.cohort(common)], patients.cohort(patients.draw(N, 9)))
    labels = next(c for c in found["columns_distance"].detail["columns"] if c["name"] == "rhythm")["labels"]
    assert labels == ["sinus", "other"]


def test_a_column_may_be_called_count() -> None:
    column = Column(name="count", kind="category", categories=("few", "many", "none"))
    cohort = Cohort(Schema(tables=(Table(name="p", columns=(column,)),)), pl.DataFrame({"count": ["many"] * 20 + ["few"] * 10}))
    evidence, _ = gather(cohort, cohort, cohort, reference=cohort)
    assert tables(evidence, seed=0).codings[0].levels == ("many", "few", "none")


def test_ends_of_bins_have_three_significant_digits() -> None:
    column = Column(name="urine", kind="integer")
    frame = pl.DataFrame({"urine": np.arange(10_001, 10_001 + 997)})
    cohort = Cohort(Schema(tables=(Table(name="p", columns=(column,)),)), frame)
    evidence, _ = gather(cohort, cohort, cohort, reference=cohort)
    labels = tables(evidence, seed=0).codings[0].labels[2:]
    ends = {int(end) for label in labels for end in label.split(" to ")}
    assert len(labels) == 20 and all(end % 100 == 0 for end in ends)


@pytest.mark.parametrize("broken", ["missing", "extra", "level", "bounds", "text", "everything"])
def test_an_odd_synthetic_table_is_judged_not_refused(parts: list[Cohort], broken: str) -> None:
    frame = patients.draw(N, 9)
    if broken == "missing":
        frame = frame.drop("creatinine")
    elif broken == "extra":
        frame = frame.with_columns(shoe_size=pl.lit(42))
    elif broken == "level":
        frame = frame.with_columns(ward=pl.lit("pharmacy"))
    elif broken == "bounds":
        frame = frame.with_columns(age=pl.lit(300))
    elif broken == "text":
        frame = frame.with_columns(
            bmi=pl.concat_str(pl.col("bmi"), pl.when(pl.col("sex") == "F").then(pl.lit(" heavy")).otherwise(pl.lit("")))
        )
    else:
        frame = pl.DataFrame({name: ["?!"] * N for name in frame.columns})
    found = findings(parts, frame)
    share = {"extra": 0.0, "text": float((frame["sex"] == "F").mean())}.get(broken, 1.0)
    assert found["format_broken"].value == pytest.approx(share)
    column = {"missing": "creatinine", "level": "ward", "bounds": "age"}.get(broken)
    if column:
        assert found["worst_column_distance"].detail["column"] == column
        assert found["worst_column_distance"].value > 0.8
        assert found["format_broken"].detail["columns"] == [{"name": column, "synthetic": 1.0}]


def test_a_handful_of_synthetic_rows_is_judged(parts: list[Cohort]) -> None:
    assert findings(parts, patients.cohort(patients.draw(5, 9)))["columns_distance"].value is not None


def test_one_column_has_no_pairs_and_loses_nothing() -> None:
    schema = Schema(tables=(Table(name="p", columns=(Column(name="age", kind="integer"),)),))
    train, holdout, reference, synthetic = (Cohort(schema, patients.draw(200, seed).select("age")) for seed in range(4))
    found = findings([train, holdout, reference], synthetic)
    assert found["pairs_distance"].value == found["dependence_lost"].value == 0
    assert found["columns_distance"].judged(Limit(at_most=0.05, over_reference=True)).passed


def test_rows_of_one_patient_are_drawn_together() -> None:
    schema = Schema(
        tables=(Table(name="visits", key="id", columns=(Column(name="id", kind="identifier"), Column(name="hr", kind="integer"))),)
    )

    def visits(seed: int) -> Cohort:
        rng = np.random.default_rng(seed)
        level = np.repeat(rng.normal(80, 20, 150), 6)
        ids = np.repeat([f"{seed}-{at}" for at in range(150)], 6)
        return Cohort(schema, pl.DataFrame({"id": ids, "hr": np.round(level + rng.normal(0, 1, 900)).astype(int)}))

    train, holdout, reference, synthetic = (visits(seed) for seed in range(4))
    found = findings([train, holdout, reference], synthetic)
    # 900 rows but 150 patients: by rows the real-against-real distance would be about half of this.
    assert found["columns_distance"].reference > 0.08
    assert found["detection_auc"].interval[0] < 0.55
    with pytest.raises(InputError, match="both in train and in holdout"):
        gather(train, train, synthetic, reference=reference)


def test_what_is_surely_lost() -> None:
    # 30 expected and none there: at least 1 - 0.23 is gone (upper Clopper-Pearson bound at 5 % of 0 among 30 is 0.095, so odds 0.105).
    assert surely_lost(np.array([0]), np.array([30]), 100, 100)[0] == pytest.approx(1 - 0.105, abs=0.001)
    assert surely_lost(np.array([25]), np.array([30]), 100, 100)[0] == 0
    assert surely_lost(np.array([60]), np.array([30]), 200, 100)[0] == 0  # twice the rows, the same rate


def test_validate_reads_files_and_frames_alike(parts: list[Cohort], tmp_path: Path) -> None:
    frames = [cohort.frame for cohort in parts] + [patients.draw(N, 9)]
    for name, frame in zip(("train", "holdout", "reference", "synthetic"), frames, strict=True):
        frame.write_csv(tmp_path / f"{name}.csv")
    limits = {"columns_distance": Limit(at_most=0.03, over_reference=True)}
    by_path = validate(*(tmp_path / f"{n}.csv" for n in ("train", "holdout", "synthetic")), limits=limits, context={"title": "A test"})
    assert by_path.context["title"] == "A test"
    assert by_path.context["sizes"] == {"train": 2 * N, "holdout": N // 2, "reference": N // 2, "synthetic": N}
    assert by_path.context["subject"]["file"] == "synthetic.csv"
    assert {f.name for f in by_path.findings if f.limit} == {"columns_distance"}
    assert all(f.limit is None for f in validate(*frames[:2], frames[3]).findings if f.question == "useful")
    by_frame = validate(*(frames[at].to_pandas() for at in (0, 1, 3)), limits=limits)
    assert [f.value for f in by_path.findings] == [f.value for f in by_frame.findings]


def test_too_few_real_patients_are_refused(parts: list[Cohort]) -> None:
    with pytest.raises(InputError, match="at least 20"):
        validate(parts[0], patients.cohort(patients.draw(12, 0)), parts[1])
