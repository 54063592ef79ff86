"""The signals of the evidence: one form for all parts, groups of records, and figures of each record as columns of its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.errors import InputError
from proband.records.images import Images
from proband.records.waveforms import Signals
from proband.schema import Column, Schema
from proband.stats import waveforms as stats
from proband.stats.resampling import Patients
from proband.validate.findings import Evidence

#: Columns that stand for the signals of a record where a table is judged, over all channels.
_COLUMNS = 120

#: A level of a discrete column whose records are compared on their own: so many on every side, of so many patients (the mean record of
#: fewer could be one patient's own), and so many levels.
FEWEST, FEWEST_PATIENTS, _LEVELS = 20, 10, 12

PARTS = ("train", "holdout", "reference", "synthetic")

Held = TypeVar("Held", Signals, Images)


def signals_of(cohort: Cohort) -> Signals | None:
    """The cohort's signals; None where it has none. InputError where it has several, or what nobody judges."""
    return one_of(cohort, Signals)


def images_of(cohort: Cohort) -> Images | None:
    """The cohort's images; None where it has none. InputError where it has several, or what nobody judges."""
    return one_of(cohort, Images)


def one_of(cohort: Cohort, kind: type[Held]) -> Held | None:
    """What the cohort's media hold of one kind."""
    if odd := [name for name, one in cohort.media.items() if not isinstance(one, Signals | Images)]:
        raise InputError(f"The cohort has {', '.join(odd)} beside its table, and nothing judges that. Judge the table's file alone.")
    held = [one for one in cohort.media.values() if isinstance(one, kind)]
    if len(held) > 1:
        raise InputError(f"The cohort has {len(held)} {kind.__name__}: {', '.join(cohort.media)}. Judge one after the other.")
    return held[0] if held else None


@dataclass(frozen=True)
class Recordings:
    """The records of the evidence in standard units of each channel, by part: train, unseen, real (all three) and synthetic.

    values    (records, channels, samples) float32
    patients  whose each record is
    groups    name -> by part, which records belong to it (records,) bool: all of them, and the levels of discrete columns that many
              records of ten patients or more have on every side
    """

    like: Signals
    scale: np.ndarray  # (channels,) a standard deviation in physical units
    values: Mapping[str, np.ndarray]
    patients: Mapping[str, Patients]
    frames: Mapping[str, pl.DataFrame]
    groups: Mapping[str, Mapping[str, np.ndarray]]

    @staticmethod
    def of(evidence: Evidence) -> Recordings:
        """InputError where a part has no signals, or others than the training patients: other channels, units, rate or length."""
        cohorts = {name: getattr(evidence, name) for name in PARTS}
        held = {name: _alike(name, signals_of(cohort), signals_of(evidence.train)) for name, cohort in cohorts.items()}
        train = held["train"].values.astype(float)
        centre, scale = train.mean(axis=(0, 2)), train.std(axis=(0, 2))
        scale = np.where(scale > 0, scale, 1.0)
        scaled = {name: ((one.values - centre[:, None]) / scale[:, None]).astype(np.float32) for name, one in held.items()}
        frames = {name: cohort.frame for name, cohort in cohorts.items()}
        table = evidence.train.schema.table
        owners = {name: owners_of(cohort) for name, cohort in cohorts.items()}
        sides = {"train": ("train",), "unseen": ("holdout", "reference"), "real": PARTS[:3], "synthetic": ("synthetic",)}
        values = {side: np.concatenate([scaled[part] for part in parts]) for side, parts in sides.items()}
        whole = {side: pl.concat([frames[part] for part in parts]) for side, parts in sides.items()}
        patients = {}
        for side, parts in sides.items():
            codes = [owners[part] for part in parts]
            starts = np.cumsum([0, *(int(one.max(initial=-1)) + 1 for one in codes)])
            patients[side] = Patients(np.concatenate([one + start for one, start in zip(codes, starts, strict=False)]))
        return Recordings(held["train"], scale, values, patients, whole, groups_of(table.columns, whole, patients))

    @property
    def matched(self) -> int:
        """Patients that each side of a comparison holds."""
        return max(1, min(self.patients["synthetic"].count, self.patients["unseen"].count, self.patients["real"].count // 2))


def _alike(name: str, found: Signals | None, train: Signals | None) -> Signals:
    if found is None or train is None:
        raise InputError(f"Some patients have signals, and those of {name} have none. Give a folder with their records.")
    for what, mine, theirs in (
        ("channels", found.names, train.names),
        ("units", found.units, train.units),
        ("samples a second", found.rate_hz, train.rate_hz),
        ("samples a record", found.values.shape[2], train.values.shape[2]),
    ):
        if mine != theirs:
            raise InputError(f"The signals of {name} have other {what} than those of train: {mine}, not {theirs}. Bring them to one form.")
    return found


def owners_of(cohort: Cohort) -> np.ndarray:
    key = cohort.schema.table.key
    return np.unique(cohort.frame[key].to_numpy(), return_inverse=True)[1] if key else np.arange(cohort.frame.height)


def groups_of(
    columns: tuple[Column, ...], frames: Mapping[str, pl.DataFrame], patients: Mapping[str, Patients]
) -> dict[str, dict[str, np.ndarray]]:
    found = {"all": {side: np.ones(frame.height, bool) for side, frame in frames.items()}}
    for column in columns:
        if column.discrete:
            words = {side: frame[column.name].cast(pl.String) for side, frame in frames.items()}
            levels = words["real"].drop_nulls().value_counts(sort=True, name="(n)")
            for level in levels[column.name].to_list()[:_LEVELS]:
                rows = {side: (one == level).fill_null(False).to_numpy() for side, one in words.items()}
                who = [len(np.unique(patients[side].code[one])) for side, one in rows.items()]
                if min(int(one.sum()) for one in rows.values()) >= FEWEST and min(who) >= FEWEST_PATIENTS:
                    found[f"{column.name} = {level}"] = rows
    return found


def with_figures(evidence: Evidence) -> Evidence:
    """The evidence with figures of each record as columns of its table: mean, deviation, peak to peak, course, power by band.

    What judges tables (discriminators, attacks, predictions) judges whole patients in this form. Without signals it stays as it is.
    """
    if all(signals_of(getattr(evidence, name)) is None for name in PARTS):  # every part is asked: what nobody judges does not pass
        return evidence
    held = Recordings.of(evidence)
    parts = {}
    for name in PARTS:
        cohort: Cohort = getattr(evidence, name)
        signals = signals_of(cohort)
        assert signals is not None
        parts[name] = _figures((signals.values / held.scale[:, None]).astype(np.float32), held.like.names)
    told = {name for name, values in parts["train"].items() if len(np.unique(values)) > 1}
    schema = evidence.train.schema
    added = tuple(Column(name=name, kind="number") for name in parts["train"] if name in told)
    table = schema.table.model_copy(update={"columns": schema.table.columns + added})
    wide = Schema(tables=(table,), rules=schema.rules)
    made = {
        name: replace(
            getattr(evidence, name),
            schema=wide,
            frame=getattr(evidence, name).frame.with_columns(pl.Series(key, part[key]) for key in part if key in told),
            media={},
        )
        for name, part in parts.items()
    }
    return replace(evidence, **made)


def _figures(values: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    each = max(4, _COLUMNS // max(1, len(names)) // 2)
    parts = {"level": stats.amplitude(values)[:, :, :3], "course": stats.course(values, each), "power": stats.spectrum(values)[:, :, :each]}
    found = {}
    for at, channel in enumerate(names):
        for place, title in enumerate(("mean", "deviation", "peak to peak")):
            found[f"{channel} {title}"] = parts["level"][:, at, place]
        for what in ("course", "power"):
            for place, column in enumerate(parts[what][:, at].T, start=1):
                found[f"{channel} {what} {place}"] = column
    return {name: np.round(column.astype(float), 5) for name, column in found.items()}
