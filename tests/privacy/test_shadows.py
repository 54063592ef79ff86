"""Shadow models, on synthesizers of which it is known what they give away."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from proband.errors import InputError
from proband.privacy.shadows import likelihood_ratio, shadows
from proband.seeds import generator
from tests.privacy.planted import bootstrap, fresh, population


def copier(share):
    """Strangers, and copies of a share of the patients that it was given."""

    def make(cohort, seed):
        draw = generator(seed, "copier")
        copied = cohort.frame.sample(round(share * len(cohort)), seed=int(draw.integers(2**31)))
        strangers = population(600 - len(copied), draw).frame if share < 1 else copied.head(0)
        return pl.concat([strangers, copied])

    return make


def attacked_by(make, synthetic=None, seed=1, **settings):
    evidence = fresh(seed)
    made = make(evidence.train, 99) if synthetic is None else synthetic
    return shadows(make, evidence.train, (evidence.holdout, evidence.reference), made, seed=seed, **{"models": 6} | settings)


def test_a_copier_of_some_is_seen():
    found = attacked_by(copier(0.4))
    assert len(found.score) == 100 and found.member.sum() == 50
    assert found.auc.low > 0.5
    assert found.auc.value == pytest.approx(0.7, abs=0.12)  # 40 % are surely copied, the others are a guess: .7; .053 from run to run


def test_a_copier_of_all_is_seen_in_all():
    assert attacked_by(copier(1.0)).auc.value == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_strangers_say_nothing(seed):
    found = attacked_by(copier(0.0), seed=seed)
    assert found.auc.low < 0.5 < found.auc.high


def test_shadows_that_copy_do_not_make_a_table_leak_that_does_not():
    found = attacked_by(copier(1.0), fresh(1).synthetic.frame)
    assert found.auc.low < 0.5 < found.auc.high


def test_shadows_are_of_the_size_of_train_and_know_half_of_the_attacked():
    evidence, seen = fresh(1), []

    def make(cohort, seed):
        seen.append(cohort)
        return evidence.synthetic.frame

    steps = []
    attacked_by(make, on_step=lambda *step: steps.append(step[:2]))
    assert len(seen) == 7  # the table, then six shadows
    assert {len(cohort) for cohort in seen} == {600}
    everyone = pl.concat([evidence.train.frame, evidence.holdout.frame, evidence.reference.frame])
    for number, one in enumerate(seen[1:]):
        assert one.frame.join(everyone, on=one.frame.columns, how="anti", nulls_equal=True).height == 0
        for another in seen[1:number]:
            assert not one.frame.equals(another.frame)
    assert steps == [(step, 6) for step in range(7)]


def test_all_rows_of_a_patient_are_one_target_and_go_together(clinic):
    train, unseen = clinic.take(clinic.patients[:80]), clinic.take(clinic.patients[80:])

    def make(cohort, seed):
        whole = clinic.frame.filter(pl.col("patient").is_in(cohort.frame["patient"].implode()))
        assert whole.height == cohort.frame.height
        return cohort.frame

    found = shadows(make, train, [unseen], train.frame, seed=1, models=4, patients=40)
    assert len(found.score) == 40 and found.auc.low > 0.8


def test_the_same_seed_gives_the_same_guesses_and_none_is_shown():
    one, again = attacked_by(copier(0.4), models=4), attacked_by(copier(0.4), models=4)
    assert np.array_equal(one.score, again.score)
    assert "score" not in repr(one)


def test_a_ratio_favours_what_the_shadows_with_the_patient_said():
    inside = np.tile([True, True, False, False], (2, 1))
    words = np.array([[5.0, 5.2, 0.0, 0.2], [7.0, 7.2, 2.0, 2.2]])
    ratio = likelihood_ratio(np.array([5.1, 2.1]), words, inside)
    assert ratio[0] > 2 and ratio[1] == pytest.approx(-ratio[0])
    assert likelihood_ratio(np.array([2.6, 4.6]), words, inside) == pytest.approx(0, abs=1e-9)  # half way


def test_too_few_are_refused():
    with pytest.raises(InputError, match="at least 4"):
        attacked_by(copier(1.0), models=3)
    with pytest.raises(InputError, match="two of each"):
        attacked_by(copier(1.0), patients=2)
    evidence = bootstrap(1)
    none = replace(evidence.holdout, frame=evidence.holdout.frame.head(0))
    with pytest.raises(InputError, match="two of each"):
        shadows(copier(1.0), evidence.train, [none], evidence.synthetic.frame, seed=1)
