"""Attacks by counting and by trees, on tables whose counts a reader can make."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.privacy import densities
from proband.privacy.densities import block_ratio, classified, marginal_ratio
from proband.privacy.patients import Attacked, attacked, gathered
from proband.schema import Column, Schema, Table
from proband.stats.intervals import auc
from tests.privacy.planted import NUMBERS, fresh, memoriser

LEVELS = tuple("abcdef")
SCHEMA = Schema(
    tables=(Table(name="patients", columns=tuple(Column(name=name, kind="category", categories=LEVELS) for name in ("x", "y"))),)
)


def target(rows: list[tuple[str, str]], synthetic: list[tuple[str, str]]) -> Attacked:
    real, made = (Cohort(SCHEMA, pl.DataFrame(each, schema=["x", "y"], orient="row")) for each in (rows, synthetic))
    halves = [replace(real, frame=part) for part in (real.frame.head(len(rows) // 2), real.frame.slice(len(rows) // 2))]
    return attacked(gathered(made.frame, *halves), made.frame, seed=0)


def test_a_rare_pair_that_the_synthetic_table_repeats_scores_highest() -> None:
    rows = [("a", "a"), ("b", "b")] * 10 + [("a", "b"), ("b", "a")]
    scores = marginal_ratio(target(rows, [("a", "a"), ("b", "b")] * 10 + [("a", "b")]))
    assert scores.argmax() == 20  # the two odd ones differ in this: one of them stands in the synthetic table
    assert scores[20] > scores[21]


def test_a_patient_is_not_counted_among_the_others() -> None:
    """A level that nobody else has, and the synthetic table neither, says nothing: both shares are none of as many."""
    rows = [("a", "a")] * 21 + [("c", "a")]
    scores = marginal_ratio(target(rows, [("a", "a")] * 22))
    assert scores[21] == pytest.approx(0, abs=0.2)
    assert np.ptp(scores[:21]) == 0


def test_blocks_see_columns_that_were_copied_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two patients glued together, each giving half of the columns: no row is near anybody, every block is somebody's."""
    monkeypatch.setattr(densities, "BLOCK", 3)
    evidence = fresh(3, (300, 150, 150))
    train = evidence.train.frame
    other = train[np.random.default_rng(3).permutation(300)]
    glued = train.with_columns(other[name] for name in NUMBERS[:4])
    found = attacked(gathered(glued, evidence.train, evidence.holdout, evidence.reference), glued, seed=0)
    scores = block_ratio(found)
    assert auc(scores[found.member], scores[~found.member]).low > 0.55


def test_trees_that_score_a_patient_never_saw_the_patient() -> None:
    evidence = memoriser(4, 0.05, (120, 60, 60))
    real = gathered(evidence.synthetic.frame, evidence.train, evidence.holdout, evidence.reference)
    found = attacked(real, evidence.synthetic.frame, seed=0)
    before = classified(found)
    changed = found.theirs.copy()
    changed[7] = 1000.0  # what the trees are shown of patient 7, who is scored as ever
    moved = classified(replace(found, theirs=changed)) != before
    assert not moved[7]
    assert 0.3 < moved.mean() < 0.6  # only the other half's trees learned from patient 7
