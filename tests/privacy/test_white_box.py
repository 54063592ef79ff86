"""The attack by the model's own word, on models whose word is known."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from proband.errors import InputError
from proband.privacy.white_box import white_box
from proband.synthesizers import diffusion, duel
from proband.synthesizers.diffusion import TableDiffusion
from proband.synthesizers.duel import DuelGAN
from tests.privacy.planted import fresh


def nearest_train(train):
    known = train.frame["lab_1"].to_numpy()
    return lambda cohort: -np.abs(cohort.frame["lab_1"].to_numpy()[:, None] - known).min(axis=1)


def test_a_model_that_knows_its_patients_by_heart_gives_them_away():
    evidence = fresh(1)
    found = white_box(nearest_train(evidence.train), evidence.train, (evidence.holdout, evidence.reference))
    assert found.member.sum() == 600 and len(found.score) == 1000
    assert found.auc.low > 0.6
    assert found.true_positive_rate(0.01) is not None and found.true_positive_rate(0.001) is None  # 400 controls
    assert found.tail(seed=1)[-1].p < 1e-3


def test_a_model_of_other_patients_says_nothing():
    evidence = fresh(1)
    found = white_box(nearest_train(evidence.synthetic), evidence.train, (evidence.holdout, evidence.reference))
    assert found.auc.low < 0.5 < found.auc.high
    assert min(row.p for row in found.tail(seed=1)) > 0.01


def test_a_patient_counts_by_the_highest_row(clinic):
    train, unseen = clinic.take(clinic.patients[:100]), clinic.take(clinic.patients[100:])
    found = white_box(lambda cohort: cohort.frame["age"].to_numpy().astype(float), train, [unseen])
    assert found.member.sum() == len(train)
    for cohort, own in ((train, found.score[found.member]), (unseen, found.score[~found.member])):
        assert np.array_equal(np.sort(own), np.sort(cohort.frame.group_by("patient").agg(pl.col("age").max())["age"].to_numpy()))


def test_no_score_is_shown_and_a_wrong_one_is_refused(clinic):
    cohort = replace(clinic, frame=clinic.frame.head(20))
    assert "score" not in repr(white_box(lambda cohort: np.arange(20.0), cohort, [cohort]))
    with pytest.raises(InputError, match="one number for each row"):
        white_box(lambda cohort: np.zeros((20, 2)), cohort, [cohort])
    with pytest.raises(InputError, match="NaN"):
        white_box(lambda cohort: np.full(20, np.nan), cohort, [cohort])
    with pytest.raises(InputError, match="two of each"):
        white_box(lambda cohort: np.zeros(cohort.frame.height), cohort, [])


# --- a model that is trained far too long on sixty patients knows them by heart; after one round it knows nobody --------------------


def judged(rounds, patch):
    patch.setattr(duel, "SIZES", {"latent": 32, "width": 64, "blocks": 2})
    patch.setattr(duel, "steps_in", lambda minutes, layout, rows: rounds)
    return DuelGAN()


def denoised(rounds, patch):
    patch.setattr(diffusion, "BATCH", 60)
    patch.setattr(diffusion, "CALIBRATED", 100)
    patch.setattr(diffusion, "rounds_in", lambda minutes, net, rows: rounds)
    return TableDiffusion()


WORDS = {
    judged: (lambda model: model.discriminator_score, lambda model: lambda cohort: -model.gradient_norm(cohort)),
    denoised: (lambda model: lambda cohort: -model.denoising_loss(cohort),),
}


@pytest.mark.parametrize("make", WORDS)
def test_training_far_too_long_is_seen_and_not_training_is_not(make, monkeypatch):
    evidence = fresh(1, (60, 100, 100))
    for rounds in (1, 200):
        model = make(rounds, monkeypatch).fit(evidence.train, seed=1)
        for word in WORDS[make]:
            score = word(model)
            found = white_box(score, evidence.train, (evidence.holdout, evidence.reference))
            assert np.array_equal(score(evidence.holdout), score(evidence.holdout))
            assert found.auc.low > 0.75 if rounds == 200 else found.auc.low < 0.5 < found.auc.high
