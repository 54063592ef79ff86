"""More of a rare class, subgroup or edge case: real training patients, and synthetic ones beside them that never pass as real."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.errors import InputError
from proband.records import mark as marks
from proband.records.tables import write
from proband.schema import Column, Schema
from proband.synthesizer import Synthesizer
from proband.uses.features import met


@dataclass(frozen=True)
class Augmented:
    """Two cohorts: the `real` training patients, and `synthetic` ones, marked, that all satisfy `where`."""

    real: Cohort
    synthetic: Cohort
    where: str

    @property
    def together(self) -> Cohort:
        """Real rows, then synthetic ones; the first column, `_synthetic`, says which is which. No mark: it holds real patients."""
        label = Column(name=marks.COLUMN, kind="boolean", stored="Boolean")
        content = self.real.schema.model_dump()
        content["tables"][0]["columns"] = [label.model_dump(), *content["tables"][0]["columns"]]
        frame = pl.concat([self.real.frame, self.synthetic.frame])
        made = np.arange(frame.height) >= self.real.frame.height
        return Cohort(Schema.model_validate(content), frame.insert_column(0, pl.Series(marks.COLUMN, made)))

    @property
    def prevalence(self) -> tuple[float, float]:
        """The share of rows that satisfy `where`: among the real ones, and among all."""
        found, rows, more = np.nansum(met(self.where, self.real)), self.real.frame.height, self.synthetic.frame.height
        return float(found / rows), float((found + more) / (rows + more))

    def save(self, path: str | Path) -> None:
        """Write `together` (.csv, .csv.gz, .parquet), and beside it `<file>.augmented.json`, which says what made the synthetic rows.

        Such a file holds real patients: guard it as the training data. `proband.read` refuses it, as it refuses every mixture.
        """
        path = Path(path)
        assert self.synthetic.mark is not None
        before, after = self.prevalence
        facts = {
            "where": self.where, "real_rows": self.real.frame.height, "synthetic_rows": self.synthetic.frame.height,
            "prevalence_before": round(before, 6), "prevalence_after": round(after, 6), "mark": marks.to_text(self.synthetic.mark),
        }  # fmt: skip
        write(self.together, path)
        path.with_name(path.name + ".augmented.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def augment(
    train: Cohort, synthesizer: Synthesizer, *, where: str, prevalence: float | None = None, n: int | None = None, seed: int
) -> Augmented:
    """The training patients, and beside them synthetic ones that satisfy `where`.

    train        real patients; never the holdout, which has to judge what comes of it
    synthesizer  fitted on `train`
    where        the rare class, subgroup or edge case (SQL conjunction), such as "diagnosis = 'R'" or "age > 85 AND sex = 'F'"
    prevalence   the share of all rows that shall satisfy it; above the share they have
    n            or the number of synthetic rows

    More cases teach a model to say "case" too often: judge it with `evaluate_augmentation`, and recalibrate. InputError when
    the condition cannot be met, the prevalence is reached already, or the synthesizer was fitted under another schema.

    >>> augment(train, model, where="died = 1", prevalence=0.5, seed=1).prevalence  # doctest: +SKIP
    (0.152, 0.5)
    """
    train.one_table("augment")
    if train.mark is not None:
        raise InputError("The training patients carry the mark of synthetic ones. Give the real ones that the synthesizer learned from.")
    if (prevalence is None) == (n is None):
        raise InputError(f"prevalence = {prevalence} and n = {n}: give one of the two.")
    if n is None:
        assert prevalence is not None
        n = rows_needed(met(where, train), prevalence, where)
    made = synthesizer.sample(n, seed=seed, where=where)
    if made.schema != train.schema:
        raise InputError("The synthesizer was fitted under another schema than that of the training patients. Read both with one schema.")
    assert made.mark is not None, "every synthesizer marks what it makes"
    key = train.schema.table.key
    if key is not None and made.frame[key].is_in(train.frame[key].implode()).any():
        raise InputError(
            f"Synthetic patients bear real patients' identifiers in column {key!r}. Report it to whoever wrote the synthesizer."
        )
    return Augmented(train, made, where)


def rows_needed(found: np.ndarray, prevalence: float, where: str) -> int:
    """Rows to add so that `prevalence` of all satisfy the condition; `found` says which do now (NaN: unknown, counted as not)."""
    if not 0 < prevalence < 1:
        raise InputError(f"prevalence = {prevalence!r} is no share. Give a number between 0 and 1, such as 0.5.")
    have, rows = float(np.nansum(found)), len(found)
    if prevalence * rows <= have:
        raise InputError(
            f"{have / rows:.1%} of the rows satisfy {where!r} already, and prevalence = {prevalence:g} asks for no more. Ask for more."
        )
    return math.ceil((prevalence * rows - have) / (1 - prevalence) - 1e-9)
