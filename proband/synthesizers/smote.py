"""Smote: new patients between a real one and its neighbours, by imbalanced-learn. A yardstick that leaks."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from proband import seeds
from proband.cohort import Cohort
from proband.encode import Codes, TableEncoder
from proband.errors import InputError, Unavailable
from proband.schema.model import validated
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers.drawing import counted, marked
from proband.synthesizers.rejection import kept, rows_of
from proband.synthesizers.scores import Scale

_KINDS = ("smote", "borderline", "adasyn")
_WARNING = "Every patient here lies between two real ones, so it tells much about both: use it inside, as a yardstick or to train a model."


class _Fitted(NamedTuple):
    encoder: TableEncoder
    codes: Codes  # the training rows that keep the rules
    on_synthetic: bool


class Smote:
    """New patients on the line from a training patient to one of its nearest neighbours (Chawla et al., 2002).

    kind        smote: SMOTE on numbers, SMOTENC on mixed tables, SMOTEN on categories alone; borderline and adasyn put more patients
                of the rarer classes where the classes of `target` meet, and know numbers only
    target      a column with classes: neighbours are sought within a class, whose share stays; without it the whole table is one class
    neighbours  among how many nearest neighbours the other end of the line is drawn

    Distances and lines run on normal scores of the ranks. A category is the vote of the neighbours; a number is missing where it is
    in the training row nearest to the new one, and stands in as the mean of its neighbours while distances are taken. Rows that break
    a rule, or `where`, are made again. Fitted or saved, it holds every training row, and its model folder says so.

    >>> made = Smote().fit(cohort, seed=1).sample(1000, seed=2)  # doctest: +SKIP
    """

    name: ClassVar[str] = "smote"

    def __init__(self, *, kind: str = "smote", target: str | None = None, neighbours: int = 5) -> None:
        if kind not in _KINDS:
            raise InputError(f"kind = {kind!r} is not known. Take one of: {', '.join(_KINDS)}.")
        if kind != "smote" and target is None:
            raise InputError(f"kind = {kind!r} puts patients where classes meet, and no classes are named. Give target=, or kind='smote'.")
        if not isinstance(neighbours, int) or neighbours < 1:
            raise InputError(f"neighbours = {neighbours!r} draws no line. Give a whole number, 1 or more.")
        self.kind, self.target, self.neighbours = kind, target, neighbours
        self._fitted: _Fitted | None = None

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Keep the training rows; `seed` changes nothing. Unavailable when imbalanced-learn is not installed."""
        _imblearn()
        encoder = TableEncoder.fit(cohort)
        self._classes(encoder)
        codes = encoder.encode(cohort.frame)
        sound = kept(encoder, codes, None)
        if sound.sum() < 2:
            raise InputError("Fewer than two rows keep the rules of the schema, so there is no line to draw. Mend or delete the rules.")
        self._fitted = _Fitted(encoder, Codes(codes.tokens[sound], codes.offsets[sound]), cohort.mark is not None)
        if on_step is not None:
            on_step(1, 1, "fit", {})
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients. With `where`, lines are drawn between training patients that satisfy it; InputError when too few do."""
        encoder, codes, on_synthetic = self._learned
        n = counted(n)
        chosen = np.flatnonzero(kept(encoder, codes, where))
        if len(chosen) < 2 and n:
            raise InputError(
                f"{len(chosen)} training patients satisfy {where!r}, and this synthesizer draws lines between two. Widen the condition."
            )
        space = _Space.of(encoder, Codes(codes.tokens[chosen], codes.offsets[chosen]), self._classes(encoder), self.neighbours)
        rng = seeds.generator(seed, self.name, "sample")
        rows = rows_of(encoder, n, lambda count: space.between(self.kind, count, rng), where)
        frame = encoder.decode(rows)
        return marked(frame, encoder.schema, self.name, seed, where=where, on_synthetic=on_synthetic, more={"warning": _WARNING})

    def save(self, path: str | Path) -> None:
        """Write a model folder, WITH EVERY TRAINING ROW in it."""
        encoder, codes, on_synthetic = self._learned
        plain, arrays = encoder.state()
        config = {"schema": encoder.schema.model_dump(mode="json"), "encoder": plain, "on_synthetic": on_synthetic, "warning": _WARNING}
        config |= {"kind": self.kind, "target": self.target, "neighbours": self.neighbours}
        rows = {"tokens": codes.tokens, "offsets": codes.offsets}
        write_model(path, self.name, config, {f"encoder.{key}": array for key, array in arrays.items()} | rows)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, stored: Model) -> Self:
        config = stored.config
        made = cls(kind=config["kind"], target=config["target"], neighbours=config["neighbours"])
        arrays = under("encoder.", stored.arrays)
        encoder = TableEncoder.restored(validated(config["schema"], "The model's schema"), config["encoder"], arrays)
        codes = Codes(stored.arrays["tokens"], stored.arrays["offsets"])
        levels = np.array([field.levels for field in encoder.fields])
        fits = codes.tokens.shape == codes.offsets.shape and codes.tokens.shape[1:] == levels.shape and np.isfinite(codes.offsets).all()
        if not fits or (codes.tokens < 0).any() or (codes.tokens >= levels).any():
            raise ValueError("the rows do not fit the encoder")
        made._fitted = _Fitted(encoder, codes, bool(config["on_synthetic"]))
        return made

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This Smote has not been fitted. Call fit(cohort, seed=...) or load(path) first.")
        return self._fitted

    def _classes(self, encoder: TableEncoder) -> int | None:
        """The field that holds the classes; InputError when the target is none, or the kind cannot be had on this table."""
        found = None
        if self.target is not None:
            found = encoder.index.get(encoder.schema.table[self.target].name)
            if found is None or encoder.bins(found).any() or encoder.fields[found].levels > 50:
                raise InputError(f"Target {self.target!r} has no classes to stay within. Name a category, or leave the target out.")
        words = [
            field.name for i, field in enumerate(encoder.fields) if i != found and not field.numeric and len(Scale.of(field.counts).order)
        ]
        if self.kind != "smote" and words:
            raise InputError(f"kind = {self.kind!r} knows numbers only, and column {words[0]!r} is none. Take kind='smote' (SMOTENC).")
        return found


class _Space(NamedTuple):
    """Training rows as points: normal scores of numbers, whether they are missing, and the tokens of categories."""

    encoder: TableEncoder
    scales: dict[int, Scale]  # of the number fields
    words: list[int]  # the other fields
    points: np.ndarray  # (rows, 2 x numbers): scores with gaps filled, then 1 where missing
    codes: Codes
    labels: np.ndarray  # (rows,) the class
    classes: int | None
    neighbours: int

    @staticmethod
    def of(encoder: TableEncoder, codes: Codes, classes: int | None, neighbours: int) -> _Space:
        numbers = [i for i, field in enumerate(encoder.fields) if field.numeric and i != classes]
        scales = {i: Scale.of(encoder.fields[i].counts) for i in numbers}
        scores = [scales[i].scores(codes.tokens[:, i], codes.offsets[:, i]) for i in numbers]
        missing = codes.tokens[:, numbers] == 0
        points = np.concatenate([np.stack(scores, axis=1) if scores else np.zeros((len(codes), 0)), missing.astype(float)], axis=1)
        if missing.any():
            near = _nearest(points, points, neighbours + 1)
            told = ~missing[near]
            mean = (points[near][:, :, : len(numbers)] * told).sum(axis=1) / np.maximum(told.sum(axis=1), 1)
            points[:, : len(numbers)] = np.where(missing, mean, points[:, : len(numbers)])
        words = [i for i, field in enumerate(encoder.fields) if not field.numeric and i != classes]
        labels = np.zeros(len(codes), int) if classes is None else codes.tokens[:, classes].astype(int)
        return _Space(encoder, scales, words, points, codes, labels, classes, neighbours)

    def between(self, kind: str, n: int, rng: np.random.Generator) -> Codes:
        """`n` rows, each between two of the space; classes keep their shares."""
        tokens, offsets = np.zeros((n, len(self.encoder.fields)), np.int32), np.full((n, len(self.encoder.fields)), 0.5)
        size = np.bincount(self.labels)
        size = np.where(size > 1, size, 0)  # nobody stands beside the only patient of a class
        if not size.any():
            raise InputError("No class holds two patients, so there is no line to draw. Widen the condition, or leave the target out.")
        wanted = rng.multinomial(n, size / size.sum())
        start = 0
        for label in np.flatnonzero(wanted):
            rows = slice(start, start := start + int(wanted[label]))
            how = kind if size[label] < size.max() else "smote"  # the border is where the rarer classes need patients
            points, words = self._made(how, int(label), int(wanted[label]), rng)
            own = np.flatnonzero(self.labels == label)
            nearest = own[_nearest(self.points[own], points, 1)[:, 0]]
            for k, (i, scale) in enumerate(self.scales.items()):
                if len(scale.order):
                    tokens[rows, i], offsets[rows, i] = scale.codes(points[:, k])
                    tokens[rows, i] = np.where(self.codes.tokens[nearest, i] == 0, 0, tokens[rows, i])
            tokens[rows, self.words] = words
            if self.classes is not None:
                tokens[rows, self.classes] = label
        order = rng.permutation(n)  # whoever takes the first rows takes of every class
        return Codes(tokens[order], offsets[order])

    def _made(self, kind: str, label: int, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, numbers and gaps) and tokens of categories (n, words) of one class, from imbalanced-learn."""
        imblearn = _imblearn()
        own = self.labels == label
        count, seed = int(own.sum()), int(rng.integers(2**31))
        near = min(self.neighbours, count - 1)
        words = self.codes.tokens[:, self.words]
        # One row of another class, when there is none: imbalanced-learn wants two, and looks for neighbours among its own only.
        other = np.flatnonzero(~own) if kind != "smote" else np.flatnonzero(own)[:1]
        rows = np.concatenate([np.flatnonzero(own), other])
        y = np.arange(len(rows)) >= count
        numbers, width = self.points[rows], self.points.shape[1]
        options: dict[str, Any] = {"sampling_strategy": {False: count + n}, "random_state": seed}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a class grows beyond the other is what is asked for
            if not self.words:
                found = np.zeros((0, width))
                if kind == "borderline":
                    maker = imblearn.BorderlineSMOTE(k_neighbors=near, m_neighbors=min(10, len(rows) - 1), **options)
                    found = maker.fit_resample(numbers, y)[0][len(rows) :]
                elif kind == "adasyn":
                    with contextlib.suppress(RuntimeError, ValueError):  # no patient of the class has a neighbour in another
                        found = imblearn.ADASYN(n_neighbors=near, **options).fit_resample(numbers, y)[0][len(rows) :]
                found = found[rng.permutation(len(found))[:n]]
                if len(found) < n:  # nowhere do the classes meet, or only so many patients fit there
                    more = imblearn.SMOTE(k_neighbors=near, sampling_strategy={False: count + n - len(found)}, random_state=seed)
                    found = np.concatenate([found, more.fit_resample(numbers, y)[0][len(rows) :]])
                return found, np.zeros((n, 0), np.int32)
            if not width:
                return np.zeros((n, 0)), imblearn.SMOTEN(k_neighbors=near, **options).fit_resample(words[rows], y)[0][len(rows) :]
            table = np.concatenate([numbers, words[rows]], axis=1)
            nominal = list(range(width, table.shape[1]))
            found = imblearn.SMOTENC(nominal, k_neighbors=near, **options).fit_resample(table, y)[0][len(rows) :]
            return found[:, :width].astype(float), np.rint(found[:, width:].astype(float)).astype(np.int32)


def _nearest(points: np.ndarray, asked: np.ndarray, count: int) -> np.ndarray:
    """(asked, count) row numbers of the nearest points."""
    from sklearn.neighbors import NearestNeighbors

    if not points.shape[1]:
        return np.zeros((len(asked), count), int)
    return NearestNeighbors(n_neighbors=min(count, len(points))).fit(points).kneighbors(asked, return_distance=False)


def _imblearn() -> Any:
    try:
        import imblearn.over_sampling
    except ImportError as error:
        raise Unavailable("SMOTE needs imbalanced-learn. Install it with: pip install 'proband[augment]'") from error
    return imblearn.over_sampling
