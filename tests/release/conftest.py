"""Twelve made-up patients, a report that passes and a small policy: enough for every question about a release."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proband.cohort import Cohort, Mark
from proband.release.policy import Policy
from proband.schema import Column, Schema, Table
from proband.validate.findings import Finding
from proband.validate.report import Report


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(autouse=True)
def own_key_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the key of whoever runs it."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.delenv("PROBAND_KEY", raising=False)
    return folder


@pytest.fixture
def real() -> Cohort:
    columns = (
        Column(name="age", kind="integer", stored="Int64", unit="years", low=0, high=120),
        Column(name="creatinine", kind="number", stored="Float64", unit="mg/dL"),
        Column(name="sex", kind="category", categories=("F", "M")),
        Column(name="died", kind="boolean", stored="Boolean"),
        Column(name="seen", kind="date", stored="Date"),
    )
    frame = pl.DataFrame(
        {
            "age": [20, 31, 42, 53, 64, 75, 86, 27, 38, None, 50, 61],
            "creatinine": [0.7, 0.8, None, 1.2, 1.1, 0.9, 2.5, 0.75, 0.8, 0.9, 1.0, 1.3],
            "sex": ["F", "M", "M", None] * 3,
            "died": [True, False, False] * 4,
            "seen": ["2020-01-02", "2021-03-04", None] * 4,
        },
        schema_overrides={"age": pl.Int64},
    ).with_columns(pl.col("seen").str.to_date())
    return Cohort(Schema(tables=(Table(name="patients", columns=columns),)), frame)


@pytest.fixture
def synthetic(real: Cohort) -> Cohort:
    mark = Mark(synthesizer="forest", version="0.1.0", seed=7, schema_hash=real.schema.hash, details={"trees": "8"})
    return Cohort(real.schema, real.frame, mark)


@pytest.fixture
def report(synthetic: Cohort) -> Report:
    findings = (
        Finding(
            "faithful", "detection_auc", "A judge's success", 0.55, "Nothing gives the fakes away.", interval=(0.53, 0.58), reference=0.51
        ),
        Finding("private", "copies", "Copies of real patients", 0.0, "None was found.", interval=(0.0, 0.004)),
        Finding("useful", "utility_gap", "What a model loses", 0.01, "Almost nothing.", interval=(-0.01, 0.03)),
    )
    sizes = {"train": 600, "holdout": 200, "reference": 200, "synthetic": 12}
    context = {"title": "Twelve patients", "sizes": sizes, "subject": {"sha256": synthetic.fingerprint}, "synthesizer": "forest"}
    return Report(findings, context)


@pytest.fixture
def policy() -> Policy:
    return Policy.model_validate(
        {
            "name": "ward",
            "version": 3,
            "audience": "the ward",
            "required": ["detection_auc", "copies"],
            "limits": {
                "detection_auc": {"at_most": 0.75, "why": "A judge may be right three times in four."},
                "copies": {"at_most": 0.01, "why": "Copies are real patients."},
                "utility_gap": {"at_most": 0.05, "why": "A model must still learn."},
            },
        }
    )
