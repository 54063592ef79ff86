"""Pre-training: images of the kind help where real ones are few, and nobody's class is missing however few they are."""

from functools import partial

import numpy as np
import pytest

from proband import InputError
from proband.stats import small_net
from proband.stats.resampling import Patients
from proband.validate.pretraining import _every_class_first, pretraining
from tests.lungs import lungs


def test_images_of_the_kind_help_where_real_ones_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_net, "learned", partial(small_net.learned, steps=50))
    train, holdout, synthetic = lungs(200, 1), lungs(200, 2), lungs(300, 3)
    few, all_ = pretraining(train, holdout, synthetic, "finding", shares=(0.02, 1.0), networks=2, seed=0)
    assert (few.patients, all_.patients) == (4, 200)
    assert few.gain > 0.05 and few.interval[0] > 0 and few.gain == pytest.approx(few.tuned - few.real)
    assert abs(all_.gain) < few.gain


def test_every_class_has_a_patient_however_small_the_share() -> None:
    owners, truth = Patients(np.array([0, 0, 1, 2, 3])), np.array([0, 0, 0, 0, 1])
    order = _every_class_first(owners, truth, np.array([2, 1, 0, 3]))
    assert order.tolist() == [2, 3, 1, 0]


def test_a_class_that_a_side_lacks_is_refused() -> None:
    cohort = lungs(60, 1)
    ill = cohort.take(cohort.patients.filter(cohort.frame["finding"] == "sick"))
    with pytest.raises(InputError, match="classes that not every side has"):
        pretraining(cohort, cohort, ill, "finding")
