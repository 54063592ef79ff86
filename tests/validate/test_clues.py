"""What gives synthetic patients away: one planted fault at a time is named, in words, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

import proband
from proband import seeds
from proband.cohort import Cohort
from proband.validate.clues import clues
from proband.validate.coded import tables
from proband.validate.evidence import gather

N = 800


def draw(n: int, seed: int) -> pl.DataFrame:
    """Creatinine in tenths, survival at 6 months a power of that at 2 months set by the ward, the ward's class, ages of two spouses."""
    random = np.random.default_rng(seed)
    ward = random.choice(["cardiac", "renal", "trauma"], n)
    two = random.uniform(0.05, 0.95, n).round(6)
    power = np.select([ward == "cardiac", ward == "renal"], [1.5, 2.5], 4.0)
    age = random.integers(30, 80, n)
    creatinine = np.where(random.random(n) < 0.3, np.nan, random.lognormal(0.5, 0.6, n).round(1))
    return pl.DataFrame(
        {
            "ward": ward,
            "class": np.where(ward == "trauma", "acute", "chronic"),
            "creatinine": pl.Series(creatinine).fill_nan(None),
            "surv2m": two,
            "surv6m": (two**power).round(6),
            "age": age,
            "age_of_spouse": age + random.integers(-6, 7, n),
        }
    )


@pytest.fixture(scope="module")
def parts() -> list[Cohort]:
    schema = proband.Schema.guess(draw(4 * N, 0)).accept()
    assert [rule.why for rule in schema.rules if "class" in rule.sql] == ["class follows from ward"]
    return [proband.read(draw(n, seed), schema) for seed, n in enumerate((2 * N, N, N), start=1)]


def told(parts: list[Cohort], made: pl.DataFrame) -> tuple[list[dict[str, Any]], dict[str, float]]:
    train, holdout, reference = parts
    evidence, _ = gather(train, holdout, made, reference=reference)
    coded = tables(evidence, seed=0)
    random = seeds.generator(0, "test")
    rows = [part.patients.draw(coded.matched, random) for part in (coded.synthetic, coded.unseen)]
    found, alone = clues(coded, train.schema, *rows, seed=0)
    return found, dict(zip(coded.names, alone, strict=True))


def test_real_patients_leave_no_clue(parts: list[Cohort]) -> None:
    found, alone = told(parts, draw(2 * N, 7))
    assert found == []
    assert max(alone.values()) < 0.53  # 1,600 on either side: the standard error of an AUC is .01


def unrounded(frame: pl.DataFrame) -> pl.DataFrame:
    noise = pl.Series(np.random.default_rng(1).uniform(-0.049, 0.049, frame.height))
    return frame.with_columns(pl.col("creatinine") + noise)


def another_power(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.when(pl.col("ward") == "renal").then(pl.col("surv2m") ** 2.2).otherwise("surv6m").round(6).alias("surv6m"))


def wrong_class(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.when(pl.int_range(frame.height) % 4 == 0).then(pl.lit("acute")).otherwise("class").alias("class"))


def strangers(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("age_of_spouse").shuffle(seed=1))


def always_measured(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("creatinine").forward_fill().backward_fill())


def older(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("age") + 10, pl.col("age_of_spouse") + 10)


@pytest.mark.parametrize(
    ("plant", "kind", "words"),
    [
        (unrounded, "format", "100% of real values of 'creatinine' lie on its format, "),
        (another_power, "law", "'surv6m' is a power of 'surv2m' within each 'ward'; the table breaks it in 3"),
        (wrong_class, "rule", "class follows from ward; the table breaks it in 1"),
        (strangers, "pair", "'age' and 'age_of_spouse' do not go together as in real patients: "),
        (always_measured, "column", "'creatinine' is missing in 3"),
        (older, "column", "the values of 'age' are distributed otherwise: "),
    ],
)
def test_a_planted_fault_is_told_in_words(
    parts: list[Cohort], plant: Callable[[pl.DataFrame], pl.DataFrame], kind: str, words: str
) -> None:
    found, _ = told(parts, plant(draw(2 * N, 7)))
    mine = [clue for clue in found if clue["text"].startswith(words)]
    assert [clue["kind"] for clue in mine] == [kind], found
    assert mine[0]["auc"] > 0.55
    assert {clue["name"] for clue in found if clue["kind"] == "format"} <= {"creatinine"}


def test_words_quote_no_patient(parts: list[Cohort]) -> None:
    made = draw(2 * N, 7).with_columns(creatinine=pl.lit(77.777), ward=pl.lit("nowhere"))
    found, _ = told(parts, made)
    assert found and not any("77.7" in clue["text"] or "nowhere" in clue["text"] for clue in found)
