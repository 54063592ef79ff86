"""What a table is made of: its own patients, mixtures of two, or neither."""

import numpy as np
import polars as pl

from proband.privacy.origin import Origin, origin
from proband.privacy.patients import attacked, gathered
from proband.validate.findings import Evidence
from tests.privacy.planted import NUMBERS, bootstrap, fresh, with_synthetic


def made_of(evidence: Evidence) -> Origin:
    real = gathered(evidence.synthetic.frame, evidence.train, evidence.holdout, evidence.reference)
    return origin(attacked(real, evidence.synthetic.frame, seed=0), real.member)


def mixed(evidence: Evidence, share: float) -> Evidence:
    """Every row `share` of the way from one training patient to the nearest other."""
    frame = evidence.train.frame.drop_nulls()
    points = frame.select(NUMBERS).to_numpy()
    gaps = ((points[:, None] - points[None]) ** 2).sum(axis=2) + np.diag(np.full(len(points), np.inf))
    other = frame[gaps.argmin(axis=1)]
    return with_synthetic(evidence, frame.with_columns(pl.col(name) + share * (other[name] - pl.col(name)) for name in NUMBERS))


def test_strangers_are_made_of_nobody_in_particular() -> None:
    found = made_of(fresh(0))
    assert found.copied == found.copied_unseen == 0
    assert abs(found.between - found.between_unseen) < 0.06


def test_a_bootstrap_is_made_of_copies() -> None:
    found = made_of(bootstrap(0))
    assert found.copied > 0.5 and found.copied_unseen == 0  # compared with as many training patients as there are controls


def test_mixtures_lie_between_training_patients() -> None:
    found = made_of(mixed(fresh(1), 0.3))
    assert found.between > 0.5 > 0.25 > found.between_unseen
    assert found.copied == 0
