"""Labels for synthetic patients: by models of real patients where they agree, else by a person; whose label it is stays with the row."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from proband import seeds
from proband.cohort import Cohort
from proband.errors import InputError
from proband.records import mark as marks
from proband.records.tables import like, read_frame, write
from proband.schema import Column, rules
from proband.schema.values import spell
from proband.stats.classifiers import CLASSIFIERS, Classifier, random_trees
from proband.stats.intervals import Estimate, clopper_pearson
from proband.stats.prediction import calibration_line, log_odds, risks
from proband.synthesizer import OnStep
from proband.uses.features import Features, folds, owners
from proband.uses.image_labels import FOLDS, ImageModels, fitted
from proband.validate.coded import words
from proband.validate.recordings import images_of

#: Whose label a row bears: the models', a person's, or what the synthesizer drew ("none" where it drew nothing).
ORIGINS = ("model", "person", "generated", "none")
#: The column of a queue that names the row, counted from 1.
ROW = "_row"
MODELS: Mapping[str, Classifier] = {**CLASSIFIERS, "random trees": random_trees}
_FOLDS = 5
_FEWEST = 20  # patients with a level below which no model can tell it: such rows go to a person


class Tested(NamedTuple):
    """What the models did with real patients they had not seen: the `share` they label, and how many of those labels are `right`."""

    share: float
    right: Estimate | None


@dataclass(frozen=True)
class Labeller:
    """Models of one column, calibrated on patients they had not seen. It holds training patients: keep it as you keep them.

    `levels` are the labels that models give, as text; a further code stands for all rarer levels.
    """

    target: Column
    levels: tuple[str, ...]
    features: Features | None  # of a table; None where images are read
    values: np.ndarray  # (rows, columns)
    codes: np.ndarray  # (rows,) the level of each training row
    lines: Mapping[str, np.ndarray]  # model -> (codes, 2): intercept and slope of each level's calibration line
    across: np.ndarray  # (models, rows, codes): calibrated probabilities of training rows by models that never saw their patients
    images: ImageModels | None = None

    def tested(self, agree: float = 0.9) -> Tested:
        """How it would have labelled the training patients at this agreement, each by models that never saw the patient."""
        best, sure = agreed(self.across, agree, len(self.levels))
        right, labelled = int((best == self.codes)[sure].sum()), int(sure.sum())
        return Tested(labelled / len(sure), Estimate(right / labelled, *clopper_pearson(right, labelled)) if labelled else None)

    def told(self, cohort: Cohort) -> np.ndarray:
        """(models, rows, codes) calibrated probabilities of a cohort's rows."""
        size = self.across.shape[2]
        if self.images is not None:
            raw = dict(zip(self.lines, self.images(cohort), strict=True))
        else:
            assert self.features is not None
            test, known = self.features(cohort.frame), self.features.levels
            raw = {name: _told(MODELS[name], self.values, self.codes, test, known, size) for name in self.lines}
        return np.stack([_calibrated(raw[name], line) for name, line in self.lines.items()])


@dataclass(frozen=True)
class Labelled:
    """Synthetic patients with labels. `cohort` carries the record in its mark; `origin` and `probability` are a row's own.

    origin       one of ORIGINS
    probability  the models' least calibrated probability of the likeliest level; null for rows without a model's word
    unsure       numbers of the rows (from 0) that wait for a person
    """

    cohort: Cohort
    target: Column
    origin: pl.Series
    probability: pl.Series
    unsure: np.ndarray

    @property
    def kept(self) -> float:
        """The share of rows that bear a label on which the models agreed."""
        return int((self.origin == "model").sum()) / max(len(self.origin), 1)

    def save(self, path: str | Path) -> None:
        """Write the patients, and beside them `<file>.labels.csv`: row, origin and probability.

        A table as .csv, .csv.gz or .parquet; patients with images into a new folder.
        """
        path = Path(path)
        write(self.cohort, path)
        rows = pl.DataFrame([pl.int_range(1, len(self.origin) + 1, eager=True).alias(ROW), self.origin, self.probability.round(4)])
        rows.insert_column(0, pl.Series(marks.COLUMN, ["true"] * rows.height)).write_csv(path.with_name(path.name + ".labels.csv"))


def fit_labeller(train: Cohort, target: str, *, seed: int = 0, on_step: OnStep | None = None) -> Labeller:
    """Learn to label the column `target` (category, ordinal, boolean) from real patients.

    A logistic regression, boosted trees and random trees tell each level against the rest; every one is calibrated by a logistic line on
    five folds of the patients. Patients with images are told from these alone, by three small networks on four folds. InputError when the
    column has no levels, or fewer than two that 20 rows bear.

    >>> fit_labeller(train, "died").tested(agree=0.9)  # doctest: +SKIP
    Tested(share=0.71, right=Estimate(value=0.97, low=0.96, high=0.98))
    """
    if train.mark is not None:
        raise InputError("These patients carry the mark of synthetic ones; labels are learned from real ones. Give the training patients.")
    pictures = images_of(train)
    column = (train if pictures is not None and not train.linked else train.one_table("label")).schema.table[target]
    if not column.discrete:
        raise InputError(
            f"Column {target!r} is {column.kind}, and labels are levels. Declare it a category, ordinal or boolean in the schema."
        )
    rows = np.flatnonzero(train.frame[target].is_not_null().to_numpy())
    known = replace(train, frame=train.frame[rows], media={})
    text = words(known.frame[target])
    counts = text.value_counts().filter(pl.col("count") >= _FEWEST).sort(["count", target], descending=[True, False])
    levels = tuple(counts[target].to_list())
    if len(levels) < 2:
        raise InputError(
            f"Column {target!r} has {len(levels)} levels that {_FEWEST} patients bear; a model needs two. Bring more patients."
        )
    codes = text.replace_strict(list(levels), np.arange(len(levels)), default=len(levels), return_dtype=pl.Int64).to_numpy()
    size = int(codes.max()) + 1
    if pictures is not None:
        models, told, lines = fitted(train, rows, codes, size, seed=seed, on_step=on_step)
        across = np.stack([_calibrated(one, line) for one, line in zip(told, lines.values(), strict=True)])
        return Labeller(column, levels, None, np.empty((len(rows), 0)), codes, lines, across, models)
    features = Features(train, target=[target])
    values = features(known.frame)
    fold = folds(owners(known), _FOLDS, seeds.generator(seed, "labels", "folds"))
    raw, lines = np.empty((len(MODELS), len(codes), size)), {}
    for m, (name, model) in enumerate(MODELS.items()):
        for k in range(_FOLDS):
            raw[m, fold == k] = _told(model, values[fold != k], codes[fold != k], values[fold == k], features.levels, size)
            if on_step is not None:
                on_step(m * _FOLDS + k + 1, len(MODELS) * _FOLDS, "labels: models", {})
        lines[name] = np.array([calibration_line(raw[m, :, code], (codes == code).astype(float)) for code in range(size)])
    across = np.stack([_calibrated(raw[m], lines[name]) for m, name in enumerate(MODELS)])
    return Labeller(column, levels, features, values, codes, lines, across)


def label(synthetic: Cohort, labeller: Labeller, *, agree: float = 0.9) -> Labelled:
    """Label synthetic patients: where every model gives the same level a calibrated probability of at least `agree`.

    Of images, which are made to bear a label, it is kept only where it is the level that the models give. The other rows keep what the
    synthesizer drew and wait for a person (`write_queue`, `read_queue`); so do rows whose label would break a rule of the
    schema. InputError when the patients carry no mark, or have another schema.
    """
    if not 0.5 <= agree <= 1:
        raise InputError(f"agree = {agree!r} is no agreement. Give a probability from 0.5 to 1, such as 0.9.")
    if synthetic.mark is None:
        raise InputError(
            "These patients carry no mark of synthetic ones, and a real patient's label is not a model's to give. Mark them first."
        )
    target = labeller.target
    if target.name not in synthetic.schema.table or synthetic.schema.table[target.name] != target:
        raise InputError(f"Column {target.name!r} is not what it was for the training patients. Read both with one schema.")
    told = labeller.told(synthetic)
    best, sure = agreed(told, agree, len(labeller.levels))
    least = np.take_along_axis(told, best[None, :, None], axis=2)[..., 0].min(axis=0)
    texts = pl.Series([*labeller.levels, None], dtype=pl.String)
    proposed = texts.gather(np.where(sure, best, len(labeller.levels)))
    drawn = synthetic.frame[target.name]
    if labeller.images is not None:
        sure &= ((words(drawn) == proposed) | drawn.is_null()).fill_null(False).to_numpy()
        proposed = texts.gather(np.where(sure, best, len(labeller.levels)))
    frame = _with(synthetic.frame, target, proposed)
    broken = _broken(synthetic, frame, target.name)
    sure &= ~broken
    frame = _with(synthetic.frame, target, proposed.to_frame("x").select(pl.when(pl.Series(sure)).then("x")).to_series())
    origin = pl.Series("origin", np.where(sure, "model", np.where(drawn.is_not_null().to_numpy(), "generated", "none")), dtype=pl.String)
    tested = labeller.tested(agree)
    facts = {
        "label_column": target.name,
        "label_models": f"{', '.join(labeller.lines)}; learned from {len(labeller.codes)} real rows, logistic calibration on "
        f"{_FOLDS if labeller.images is None else FOLDS} folds",
        "label_agree": f"{agree:g}",
        "label_right": "unknown" if tested.right is None else f"{tested.right.value:.3f} of the {tested.share:.3f} labelled, real rows",
    }
    assert synthetic.mark is not None
    marked = replace(synthetic.mark, details={**synthetic.mark.details, **facts})
    made = replace(synthetic, frame=frame, mark=marked)
    return _recorded(Labelled(made, target, origin, pl.Series("probability", least), np.flatnonzero(~sure)))


def write_queue(labelled: Labelled, path: str | Path) -> None:
    """Write the rows that wait for a person as CSV: the row's number, the target's column left empty to be filled, and the rest of the row.

    Neither what the synthesizer drew nor what the models thought is shown: who sees an answer tends to give it.
    """
    _queue(labelled).write_csv(path)


def read_queue(path: str | Path, labelled: Labelled) -> Labelled:
    """The labels that a person filled in, set; a row left empty goes on waiting.

    InputError names the row of the queue at fault: missing, unknown, there twice, changed in another column, a level that the
    target does not have, or a label that breaks a rule of the schema. A number spelled otherwise (7.10 as 7.1) is no change.
    """
    expected, target = _queue(labelled), labelled.target.name
    found = read_frame(path, as_text=expected.columns)
    if absent := [name for name in expected.columns if name not in found.columns]:
        raise InputError(f"Queue '{path}' lacks column {absent[0]!r}. Give back the file as it was written, with {target!r} filled in.")
    found = found.select(pl.col(expected.columns).cast(pl.String).str.strip_chars())
    wanted, given = expected[ROW], found[ROW]
    twice, strange, lost = (
        given.filter(given.is_duplicated()),
        given.filter(~given.is_in(wanted.implode())),
        wanted.filter(~wanted.is_in(given.implode())),
    )
    for rows, what in ((twice, "stands twice"), (strange, "was not in the queue"), (lost, "is missing")):
        if len(rows):
            many = f" ({rows.n_unique():,} such rows)" if rows.n_unique() > 1 else ""
            raise InputError(
                f"Queue '{path}': row {rows[0]} {what}{many}. Give back every row once; leave {target!r} empty where you cannot tell."
            )
    found = expected.select(ROW).join(found, on=ROW, how="left", maintain_order="left")
    for name in expected.columns:
        changed = _changed(expected[name], found[name]) if name != target else np.zeros(1, bool)
        if changed.any():
            row = wanted[int(np.argmax(changed))]
            raise InputError(f"Queue '{path}': row {row} was changed in column {name!r}. Restore it; only {target!r} is to be filled in.")
    allowed = _spellings(labelled.target)
    answers = found[target].replace("", None)
    if labelled.target.kind == "boolean" and not set(answers.drop_nulls()) <= set(allowed):  # a spreadsheet turns true into TRUE
        allowed, answers = {word.lower(): level for word, level in allowed.items()}, answers.str.to_lowercase()
    bad = (~answers.is_in(list(allowed)) & answers.is_not_null()).to_numpy()
    if bad.any():
        at = int(np.argmax(bad))
        some = ", ".join(map(repr, list(allowed)[:20])) + (", ..." if len(allowed) > 20 else "")
        raise InputError(
            f"Queue '{path}': row {wanted[at]}: {answers[at]!r} is no level of {target!r}. Give one of {some}, or leave it empty."
        )
    filled = answers.is_not_null().to_numpy()
    rows = labelled.unsure[filled]
    told = pl.Series([None], dtype=pl.String).new_from_index(0, len(labelled.origin))
    if len(rows):
        told = told.scatter(rows, answers.drop_nulls().replace_strict(allowed, return_dtype=pl.String))
    frame = _with(labelled.cohort.frame, labelled.target, told)
    broken = _broken(labelled.cohort, frame, target)
    if broken.any():
        raise InputError(
            f"Queue '{path}': row {int(np.argmax(broken)) + 1}: this label breaks a rule of the schema. Give another, or none."
        )
    origin = labelled.origin.scatter(rows, "person") if len(rows) else labelled.origin
    return _recorded(replace(labelled, cohort=replace(labelled.cohort, frame=frame), origin=origin, unsure=labelled.unsure[~filled]))


def agreed(told: np.ndarray, agree: float, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Per row: the first model's likeliest level, and whether all models choose it with at least `agree`. told: (models, rows, codes)."""
    choices = told.argmax(axis=2)  # (models, rows)
    sure = (choices == choices[0]).all(axis=0) & (told.max(axis=2).min(axis=0) >= agree) & (choices[0] < levels)
    return choices[0], sure


def _told(model: Classifier, values: np.ndarray, codes: np.ndarray, test: np.ndarray, levels: np.ndarray, size: int) -> np.ndarray:
    """(test rows, codes): each level against the rest; of two levels one tells the other."""
    if size == 2:
        yes = model(values, (codes == 1).astype(float), test, levels)
        return np.column_stack([1 - yes, yes])
    return np.column_stack([model(values, (codes == code).astype(float), test, levels) for code in range(size)])


def _calibrated(raw: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """(rows, codes): each level's probability on its calibration line, and their sum 1. A line that could not be found changes nothing."""
    intercept, slope = (np.where(np.isnan(lines[:, at]), start, lines[:, at]) for at, start in ((0, 0.0), (1, 1.0)))
    made = risks(intercept + slope * log_odds(raw))
    return made / made.sum(axis=1, keepdims=True)


def _with(frame: pl.DataFrame, target: Column, told: pl.Series) -> pl.DataFrame:
    """The frame with the labels in `told` (text; null: as it was)."""
    values = told == "true" if target.kind == "boolean" else told
    return frame.with_columns(pl.coalesce(values.cast(target.dtype), pl.col(target.name)).alias(target.name))


def _broken(cohort: Cohort, frame: pl.DataFrame, target: str) -> np.ndarray:
    """Rows of `frame` that break a rule which reads the target; (rows,)."""
    table, found = cohort.schema.table, np.zeros(frame.height, bool)
    for rule in cohort.schema.rules:
        if target in rules.columns(rule.sql, table):
            found |= (rules.holds(rule.sql, frame, table) == False).fill_null(False).to_numpy()  # noqa: E712
    return found


def _recorded(labelled: Labelled) -> Labelled:
    """With the number of labels of each origin in the mark."""
    assert labelled.cohort.mark is not None
    counts = {name: int((labelled.origin == name).sum()) for name in ORIGINS}
    told = {"label_origins": json.dumps(counts), "label_kept": f"{labelled.kept:.3f}"}
    mark = replace(labelled.cohort.mark, details={**labelled.cohort.mark.details, **told})
    return replace(labelled, cohort=replace(labelled.cohort, mark=mark))


def _queue(labelled: Labelled) -> pl.DataFrame:
    """The queue as text, as CSV spells it: the label of synthetic patients, row, target (empty), the other columns."""
    target, waiting = labelled.target.name, replace(labelled.cohort, frame=labelled.cohort.frame[labelled.unsure], media={})
    frame = like(waiting, pl.DataFrame()).drop(target)
    text = pl.read_csv(io.BytesIO(frame.write_csv().encode()), infer_schema=False) if frame.width else frame
    first = [
        pl.Series(marks.COLUMN, ["true"] * len(labelled.unsure), dtype=pl.String),
        pl.Series(ROW, labelled.unsure + 1).cast(pl.String),
        pl.Series(target, [None] * len(labelled.unsure), dtype=pl.String),
    ]
    return pl.DataFrame([*first, *text.get_columns()])


def _spellings(target: Column) -> dict[str, str]:
    """How the file spells each level -> the level as text."""
    levels = ["false", "true"] if target.kind == "boolean" else list(target.categories or ())
    values = pl.Series([level == "true" for level in levels]) if target.kind == "boolean" else pl.Series(levels, dtype=pl.String)
    return dict(zip(spell(target, values).cast(pl.String).to_list(), levels, strict=True))


def _changed(expected: pl.Series, found: pl.Series) -> np.ndarray:
    """Where cells differ, but for the spelling of a number or of letters: a spreadsheet turns 7.10 into 7.1 and true into TRUE; (rows,)."""
    one, other = (text.fill_null("").str.strip_chars().str.to_lowercase() for text in (expected, found))
    number = (one.cast(pl.Float64, strict=False) == other.cast(pl.Float64, strict=False)).fill_null(False)
    return ((one != other) & ~number).to_numpy()
