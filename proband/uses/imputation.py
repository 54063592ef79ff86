"""What is missing, drawn given what the patient has. The patients stay who they were: real ones do not become synthetic by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proband.cohort import Cohort
from proband.errors import InputError
from proband.records.tables import write
from proband.synthesizer import Synthesizer


@dataclass(frozen=True)
class Imputed:
    """The `cohort` with its gaps filled, how many values were `filled` in each column, and the `synthesizer` and `seed` that drew them."""

    cohort: Cohort
    filled: Mapping[str, int]
    synthesizer: str
    seed: int

    def save(self, path: str | Path) -> None:
        """Write the cohort (.csv, .csv.gz, .parquet), and beside it `<file>.imputed.json`: which columns were filled, and by what.

        Real patients are written as such, without the mark of synthetic ones: guard the file as the data it came from. A cohort
        that was synthetic keeps its mark.
        """
        path = Path(path)
        facts = {
            "rows": self.cohort.frame.height, "real_patients": self.cohort.mark is None, "filled": dict(self.filled),
            "synthesizer": self.synthesizer, "seed": self.seed, "schema_hash": self.cohort.schema.hash,
        }  # fmt: skip
        write(self.cohort, path)
        path.with_name(path.name + ".imputed.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def impute(cohort: Cohort, synthesizer: Synthesizer, *, seed: int) -> Imputed:
    """`cohort` with every missing value drawn given what the patient has; known values stay as they are.

    cohort       patients under the schema that the synthesizer was fitted with
    synthesizer  fitted, and able to fill gaps: `TableGAN`

    One draw is no observation: a study that takes it for one is too sure of itself. Draw with several seeds, and combine what
    comes of each (Rubin 1987). InputError when the synthesizer cannot fill gaps, or was fitted under another schema.

    >>> impute(train, model, seed=1).filled  # doctest: +SKIP
    {'lactate': 812}
    """
    fill = getattr(synthesizer, "impute", None)
    if fill is None:
        raise InputError(
            f"Synthesizer {synthesizer.name!r} cannot fill what is missing: it samples whole patients only. Fit the synthesizer gan."
        )
    if synthesizer.sample(0, seed=seed).schema != cohort.schema:
        raise InputError("The synthesizer was fitted under another schema than that of these patients. Read them with the model's schema.")
    made = fill(cohort, seed=seed)
    gaps = {c.name: cohort.frame[c.name].null_count() - made.frame[c.name].null_count() for c in cohort.schema.table.columns}
    return Imputed(made, {name: count for name, count in gaps.items() if count}, synthesizer.name, seed)
