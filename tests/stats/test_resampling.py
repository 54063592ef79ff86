import numpy as np

from proband.stats.resampling import Patients, around, bootstrap, dealt


def test_all_rows_of_a_patient_are_drawn_together() -> None:
    patients = Patients(np.array(["a", "b", "a", "c", "b"]))
    assert patients.count == 3
    assert patients.rows(np.array([1, 0, 1])).tolist() == [1, 4, 0, 2, 1, 4]
    drawn = patients.draw(2, np.random.default_rng(0))
    assert len(set(patients.code[drawn])) == 2


def test_bootstrap_of_patients_is_wider_than_of_rows_when_rows_repeat() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=50), 20)
    clustered = bootstrap(lambda rows: float(values[rows].mean()), Patients(np.repeat(np.arange(50), 20)), np.random.default_rng(1), 400)
    alone = bootstrap(lambda rows: float(values[rows].mean()), Patients(np.arange(1000)), np.random.default_rng(1), 400)
    assert 3.5 < clustered.std() / alone.std() < 5.5  # the square root of 20


def test_an_interval_is_centred_on_its_value_and_stays_within_its_range() -> None:
    low, high = around(0.5, np.linspace(10, 11, 101))
    assert low < 0.5 < high and np.isclose(high - low, 0.95)
    assert around(0.0, np.linspace(0, 1, 11), least=0.0)[0] == 0.0


def test_every_label_is_dealt_evenly_among_the_folds() -> None:
    labels = np.repeat([0, 1, 2], [10, 5, 3])
    fold = dealt(labels, 5, np.random.default_rng(0))
    counts = np.array([np.bincount(fold[labels == label], minlength=5) for label in range(3)])
    assert (counts[0] == 2).all() and (counts[1] == 1).all() and sorted(counts[2]) == [0, 0, 1, 1, 1]
    assert not np.array_equal(fold, dealt(labels, 5, np.random.default_rng(1)))
