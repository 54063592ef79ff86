"""Shadow models: the attacker who can fit the same synthesizer learns what it does with a patient, and what without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl
from scipy import stats

from proband import seeds
from proband.cohort import Cohort
from proband.errors import InputError
from proband.privacy.patients import Attacked, attacked, gathered
from proband.privacy.suspicion import Suspicion
from proband.stats.neighbours import nearest

FEWEST = 4  # shadows: two with and two without each patient, or nothing is known of the spread
CLOSEST = 1e-3  # of the distance to the nearest other real row: nearer than that is a copy


def shadows(
    make: Callable[[Cohort, int], pl.DataFrame],
    train: Cohort,
    unseen: Sequence[Cohort],
    synthetic: pl.DataFrame,
    *,
    seed: int,
    models: int = 8,
    patients: int = 100,
    on_step: Callable[[int, int, str, Mapping[str, float]], None] | None = None,
) -> Suspicion:
    """Suspicion about the most isolated patients, half of them from `train`, half from `unseen`, by `models` further fits.

    make       fits the synthesizer on a cohort with a seed, and samples as many rows as `synthetic` has
    train      who the synthesizer learned from when it made `synthetic`; `unseen`: cohorts it never saw
    patients   how many are attacked: fewer where members or controls are fewer than half of it

    Each shadow learns from as many patients as `train` has, drawn from all; each attacked patient is in half of the shadows, by
    chance. A table's word on a patient is how much nearer its nearest row is than the nearest other real one, as a logarithm. What
    the patient's word from `synthetic` is worth is its likelihood among the shadows with the patient over that among the shadows
    without (Carlini et al., LiRA, 2022). Eight are few: spreads are drawn half way to that of all patients, and differences between
    in and out towards the mean one (after BaVarIA, 2026). Membership decides nothing here, so without a leak members and
    controls score alike.
    """
    if models < FEWEST:
        raise InputError(f"models = {models!r}: shadows need at least {FEWEST}, two with and two without each patient. Give 8.")
    real = gathered(synthetic, train, *unseen)
    near = attacked(real, synthetic, seed=seed)
    chosen, alone = _isolated(near, patients)
    rows = np.flatnonzero(np.isin(near.owner, chosen))
    vectors, owner = near.embed.placed(near.mine[rows]), np.searchsorted(chosen, near.owner[rows])

    def word(frame: pl.DataFrame) -> np.ndarray:
        distance = nearest(vectors, near.embed(frame), 1)[0][:, 0]
        scores = np.full(len(chosen), -np.inf)
        np.maximum.at(scores, owner, -np.log(np.maximum(distance / alone[rows], CLOSEST)))
        return scores

    draw = seeds.generator(seed, "shadows")
    inside = draw.permuted(np.tile(np.arange(models) < models // 2, (len(chosen), 1)), axis=1)
    targets = near.patients[chosen]
    others = np.setdiff1d(np.arange(len(real.member)), targets)
    everyone = pl.concat([cohort.frame for cohort in (train, *unseen)])
    words = np.empty((len(chosen), models))
    for model in range(models):
        if on_step is not None:
            on_step(model, models, "shadow", {})
        count = min(len(others), max(0, int(real.member.sum()) - int(inside[:, model].sum())))
        learned = np.zeros(len(real.member), bool)
        learned[targets[inside[:, model]]] = True
        learned[draw.choice(others, count, replace=False)] = True
        cohort = Cohort(train.schema, everyone.filter(pl.Series(learned[real.owner])), train.mark)
        words[:, model] = word(make(cohort, seeds.integer(seed, "shadows", model)))
    if on_step is not None:
        on_step(models, models, "shadow", {})
    return Suspicion(near.member[chosen], likelihood_ratio(word(synthetic), words, inside))


def _isolated(near: Attacked, patients: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of those attacked, ascending, and per attacked row the distance to the nearest other real one.

    From as many members as controls, drawn at random, so that the most isolated of one are no lonelier than those of the other.
    """
    mine, theirs = near.embed.placed(near.mine), near.embed.placed(near.theirs)
    distance = nearest(mine, theirs, 5, query_owner=near.person, point_owner=near.another)[0]
    lonely = near.per_patient(distance[:, 4])
    draw = seeds.generator(near.seed, "shadows", "patients")
    groups = [np.flatnonzero(near.member), np.flatnonzero(~near.member)]
    count = min(map(len, groups))
    if min(count, patients // 2) < 2:
        raise InputError(
            f"{len(groups[0])} training and {len(groups[1])} unseen patients, patients = {patients!r}: shadows need two of each."
        )
    pool = [draw.permutation(group)[:count] for group in groups]
    chosen = np.concatenate([group[np.argsort(-lonely[group], kind="stable")[: patients // 2]] for group in pool])
    return np.sort(chosen), np.maximum(distance[:, 0], 1e-6)


def likelihood_ratio(word: np.ndarray, words: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(patients,) log likelihood of `word` (patients,) among the `words` (patients, models) with the patient `inside`, minus without.

    Student's t, whose spread is half the patient's own and half everybody's.
    """
    of, without = inside.sum(axis=1), (~inside).sum(axis=1)
    mean_in, mean_out = (words * inside).sum(axis=1) / of, (words * ~inside).sum(axis=1) / without
    own = ((words - np.where(inside, mean_in[:, None], mean_out[:, None])) ** 2).sum(axis=1) / (words.shape[1] - 2)
    variance = np.maximum((own + own.mean()) / 2, 1e-12)
    gap = mean_in - mean_out
    noise = (own.mean() * (1 / of + 1 / without)).mean()
    kept = max(0.0, 1 - noise / max(gap.var(), 1e-12))  # the share of the differences between patients that is not noise
    gap = gap.mean() + kept * (gap - gap.mean())
    out = words.mean(axis=1) - gap * of / words.shape[1]
    free, spread = 2 * (words.shape[1] - 2), np.sqrt(variance * (1 + 1 / np.minimum(of, without)))
    return stats.t.logpdf((word - out - gap) / spread, free) - stats.t.logpdf((word - out) / spread, free)
