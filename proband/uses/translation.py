"""Cases translated by a model that never saw them, and how well: MRI to CT, split by patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from proband import __version__, seeds
from proband.cohort import Mark
from proband.errors import InputError
from proband.records.images import Images
from proband.records.pairs import Case, masks_together, together
from proband.stats.intervals import Estimate
from proband.stats.translation import TISSUES_HU, figures, on_average
from proband.synthesizer import OnStep
from proband.synthesizers.translation import Translator

ALL_BUT_ONE = 10  # cases up to which each is left out alone
FOLDS = 5  # with more


class Translated(NamedTuple):
    """One case: what was made, how far off it may be, and its figures where the case has the target's images."""

    case: Case
    made: Images
    doubt: Images
    figures: dict[str, float] | None


def fit_cases(cases: Sequence[Case], *, minutes: float | None = None, seed: int, on_step: OnStep | None = None) -> Translator:
    """A translator that learned from all slices of these cases in which the mask has a pixel. InputError where a case has no target."""
    lacks = [case.name for case in cases if case.target is None]
    if lacks:
        raise InputError(f"Case '{lacks[0]}' has no image of the target, and {len(lacks)} cases in all. Add it, or give a fitted --model.")
    masks = [np.ones((len(case.source), *case.source.size), bool) if case.mask is None else case.mask for case in cases]
    mask = masks_together(masks)
    rows = np.flatnonzero(mask.any(axis=(1, 2)))
    names = np.repeat([case.name for case in cases], [len(case.source) for case in cases])
    source, target = together([case.source for case in cases]), together([case.target for case in cases if case.target is not None])
    model = Translator(minutes=minutes)
    return model.fit(source.take(rows), target.take(rows), cases=names[rows], mask=mask[rows], paired=True, seed=seed, on_step=on_step)


def translated(case: Case, model: Translator) -> Translated:
    """A case, translated; outside its mask it is the target's black."""
    made, doubt = model.translate(case.source), model.uncertainty(case.source)
    mask = np.ones((len(made), *made.size), bool) if case.mask is None else case.mask
    made = replace(made, values=np.where(mask[:, None], made.values, np.array(made.low, made.values.dtype)))
    found = None
    if case.target is not None:
        tissues = TISSUES_HU if made.unit == "HU" else {}
        found = figures(made.values[:, 0], case.target.values[:, 0], mask, low=made.low, high=made.high, tissues=tissues)
    return Translated(case, made, doubt, found)


def cross_translated(
    cases: Sequence[Case], *, folds: int | None = None, minutes: float | None = None, seed: int, on_step: OnStep | None = None
) -> Iterator[Translated]:
    """Each case as a model makes it that learned from the cases of the other folds, fold by fold.

    folds    how many; unless told every case is one with up to 10 cases, and 5 with more
    minutes  training time of each fold
    """
    if folds is None:
        folds = len(cases) if len(cases) <= ALL_BUT_ONE else FOLDS
    if not 2 <= folds <= len(cases):
        raise InputError(f"folds = {folds} with {len(cases)} cases: give at least 2 and no more than there are cases.")
    fold = np.empty(len(cases), int)
    fold[seeds.generator(seed, "translator", "folds").permutation(len(cases))] = np.arange(len(cases)) % folds
    for at in range(folds):
        told = None if on_step is None else _named(on_step, f"fold {at + 1} of {folds}")
        model = fit_cases([case for case, of in zip(cases, fold, strict=True) if of != at], minutes=minutes, seed=seed, on_step=told)
        for case, of in zip(cases, fold, strict=True):
            if of == at:
                yield translated(case, model)


def summary(found: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """Each figure's mean over patients with its 95 % interval."""
    return {name: on_average(np.array([one[name] for one in found])) for name in (found[0] if found else {})}


def mark_of(seed: int, source: str, target: str, *, unseen: bool) -> Mark:
    """The label of a made volume."""
    details = {"from": source, "to": target, "learned from this patient": "no" if unseen else "unknown"}
    return Mark("translator", __version__, seed, "none", details)


def _named(on_step: OnStep, what: str) -> OnStep:
    return lambda done, total, _, figures: on_step(done, total, what, figures)
