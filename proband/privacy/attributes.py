"""Attribute inference: does the synthetic table tell more of a training patient than other people's records do?

The attacker knows all of a patient's record but one value and guesses it from the synthetic patients who are most alike. That
most such guesses are right is no leak: what is true of patients like this one can be learned from anybody. So each guess stands
beside the same guess from the other real patients, and beside both guesses about patients whom the synthesizer never saw. Under no leak
the synthetic table knows nothing of who is a member; the baseline leaves out the patient, and no one else, so
that members and controls gain alike, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from proband import seeds
from proband.privacy.patients import Patients
from proband.privacy.targets import Codes, Parts, drawn_rows, targets
from proband.stats.neighbours import nearest

NEIGHBOURS = 10
TENTHS = 10  # a number is guessed right when the guess lies in the same tenth of the real values
COLUMNS = 20  # more are drawn down at random
TARGET_ROWS, REAL_ROWS, SYNTHETIC_ROWS = 2_000, 10_000, 30_000  # so are rows
RECALLS = (0.01, 0.05, 0.20, 1.0)


@dataclass(frozen=True)
class Guesses:
    """How often each value was guessed right, per attacked patient and column asked: means over the patient's rows, (patients, columns).

    columns     the names asked
    member      (patients,) bool
    synthetic   right from the synthetic table; real: right from the other real patients; blind: right by the commonest value
    closeness   how much nearer the synthetic table comes to the patient than other people do: the attacker's own confidence
    """

    columns: tuple[str, ...]
    member: np.ndarray
    synthetic: np.ndarray
    real: np.ndarray
    blind: np.ndarray
    closeness: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """(patients,) how much oftener the synthetic table is right than other people's records, mean over the columns."""
        return (self.synthetic - self.real).mean(axis=1)

    def precision(self, recall: float, *, member: bool, seed: int) -> float:
        """How often the synthetic table is right about the `recall` of members, or of controls, to whom it comes nearest."""
        chosen = np.flatnonzero(self.member == member)
        ties = seeds.generator(seed, "privacy", "attribute ties").random(len(chosen))
        count = max(1, round(recall * len(chosen)))
        right = []
        for column in range(len(self.columns)):
            surest = np.lexsort((ties, -self.closeness[chosen, column]))[:count]
            right.append(self.synthetic[chosen[surest], column].mean())
        return float(np.mean(right))


def guess(real: Patients, synthetic: pl.DataFrame, *, seed: int) -> Guesses:
    """Guess the columns that the schema calls sensitive, else all in turn (20 at most), each from all other columns.

    The 10 nearest by the other columns vote, with weights that fall with the fourth power of distance, so that a record at half of
    the usual distance outvotes all others; the guess is drawn by their votes. Counted is its chance to be right, which shows the
    same leaks as the value with the most votes and varies half as much. With one column only no columns are asked.
    """
    attacked = targets(real, TARGET_ROWS, seed=seed)
    others = drawn_rows(real.frame.height, REAL_ROWS, seed=seed, what="attribute others")
    shown = drawn_rows(synthetic.height, SYNTHETIC_ROWS, seed=seed, what="attribute shown")
    asked = [number for number, column in enumerate(real.columns) if column.sensitive] or list(range(len(real.columns)))
    if len(asked) > COLUMNS:
        asked = np.sort(seeds.generator(seed, "privacy", "attribute columns").choice(asked, COLUMNS, replace=False)).tolist()
    if len(real.columns) < 2:
        asked = []
    parts, names = Parts(real.columns, real.frame, seed=seed), [column.name for column in real.columns]
    sides = (real.frame, attacked.rows), (real.frame, others), (synthetic, shown)
    wholes = [parts(names, *side) for side in sides]
    owners = real.owner[attacked.rows], real.owner[others]
    found: dict[str, list[np.ndarray]] = {"synthetic": [], "real": [], "blind": [], "closeness": []}
    for number in asked:
        column = real.columns[number]
        name = column.name
        known, people, made = (whole - parts([name], *side) for whole, side in zip(wholes, sides, strict=True))
        codes = Codes(column, real.frame[name], TENTHS)
        everyone = codes(real.frame[name])
        truth = everyone[attacked.rows]
        near, at = nearest(known, made, NEIGHBOURS)
        far, beside = nearest(known, people, NEIGHBOURS, query_owner=owners[0], point_owner=owners[1])
        found["synthetic"].append(attacked.mean_row(_votes(codes(synthetic[name].gather(shown))[at], near, truth)))
        found["real"].append(attacked.mean_row(_votes(everyone[others][beside], far, truth)))
        found["blind"].append(attacked.mean_row(truth == np.bincount(everyone).argmax()))
        found["closeness"].append(attacked.mean_row(_log(far[:, 0]) - _log(near[:, 0])))
    shape = (len(attacked.member), len(asked))
    tables = {key: np.stack(values, axis=1) if values else np.zeros(shape) for key, values in found.items()}
    return Guesses(tuple(real.columns[number].name for number in asked), attacked.member, **tables)


def _votes(codes: np.ndarray, distances: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(rows,) the share of the neighbours' votes, (rows, k), that is for the true value."""
    found = np.isfinite(distances)
    near = np.where(found, distances, 1.0) + 1e-6
    weight = np.where(found, (near.min(axis=1, keepdims=True) / near) ** 4, 0.0)
    return (weight * (codes == truth[:, None])).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-300)


def _log(distances: np.ndarray) -> np.ndarray:
    return np.log(np.clip(distances, 1e-6, 1e6))
