"""Two patients whose every figure can be worked out on paper."""

import numpy as np
import pytest

from proband.stats import sequences as stats
from proband.stats.sequences import Events


@pytest.fixture
def two() -> Events:
    """Patient 0: pulse 60, 70, 80 at 0, 10, 30, with temperature 37 at 10. Patient 1: pulse 90 at 5. Patient 2 has no event."""
    return Events(
        patient=np.array([0, 0, 0, 0, 1]),
        time=np.array([0.0, 10, 10, 30, 5]),
        variable=np.array([0, 0, 1, 0, 0]),
        value=np.array([60.0, 70, 37, 80, 90]),
        patients=3,
        names=("pulse", "temperature"),
    )


def test_counts_gaps_and_rates(two: Events) -> None:
    assert two.counts.tolist() == [[3, 1], [1, 0], [0, 0]]
    assert stats.gaps(two).tolist() == [10, 20]
    assert stats.rates(two).tolist() == [4 / 3, 1 / 3] and stats.holders(two).tolist() == [2, 1]
    assert stats.log_rate_r2(two, two) == 1


def test_what_goes_together(two: Events) -> None:
    assert stats.together(two) == pytest.approx(np.array([[2, 1], [1, 1]]) / 3)
    assert stats.at_once(two) == pytest.approx(np.array([[1, 1 / 4], [1, 1]]))  # 1 of 4 moments with a pulse has a temperature
    assert stats.transitions(two) == pytest.approx(np.array([[1, 1 / 2], [1, 0]]))  # of the 2 that go on, 1 is followed by a temperature
    assert stats.apart(np.array([[1, 0.5], [0.5, 1]]), np.eye(2)) == 0.5


def test_a_row_of_figures_a_patient(two: Events) -> None:
    pulse = stats.summaries(two).reshape(3, 2, 7)[:, 0]
    # Slope of 60, 70, 80 at 0, 10, 30: times less their mean -40/3, -10/3, 50/3; 2000/3 * 1 / (4200/9 ...) = 300 / 466.67
    assert pulse[0] == pytest.approx([3, 70, 60, 80, 60, 80, 300 / (1400 / 3)])
    assert pulse[1, :6] == pytest.approx([1, 90, 90, 90, 90, 90]) and np.isnan(pulse[1, 6])
    assert pulse[2, 0] == 0 and np.isnan(pulse[2, 1:]).all()
    at_once = Events(np.zeros(7, int), np.full(7, 0.05), np.zeros(7, int), np.arange(7.0), 1, ("x",))  # 7 * 0.05 / 7 is not 0.05
    assert np.isnan(stats.summaries(at_once)[0, 6])


def test_moments_know_what_was_before_and_no_other_patient(two: Events) -> None:
    patient, now, before = stats.moments(two)
    assert patient.tolist() == [0, 0, 0, 1]
    assert now[:, 0].tolist() == [60, 70, 80, 90]
    assert before[1:3].tolist() == [[60, pytest.approx(np.nan, nan_ok=True)], [70, 37]]
    assert np.isnan(before[[0, 3]]).all()


def test_persistence_with_and_without_the_patients_own_mean() -> None:
    """Two patients who alternate around 0 and 100: values go with the one before between patients, and against it within."""
    value = np.array([-1.0, 1, -1, 1, 99, 101, 99, 101] * 10)
    patient = np.repeat(np.arange(20), 4)
    events = Events(patient, np.tile(np.arange(4.0), 20), np.zeros(80, int), value, 20, ("x",))
    assert stats.persistence(events)[0] > 0.99
    assert stats.persistence(events, within=True)[0] == pytest.approx(-1)
    assert np.isnan(stats.persistence(events, least=61)).all()  # there are 60 pairs


def test_values_that_never_change_persist_between_patients_and_tell_nothing_within() -> None:
    """Two hundred patients with seven equal values each; what is left of 36.1 less the mean of seven such is rounding."""
    value = np.repeat(np.arange(361, 561) / 10, 7)
    still = Events(np.repeat(np.arange(200), 7), np.tile(np.arange(7.0), 200), np.zeros(1400, int), value, 200, ("x",))
    assert stats.persistence(still)[0] == pytest.approx(1) and stats.persistence(still, within=True)[0] == 0
    equal = Events(still.patient, still.time, still.variable, np.full(1400, 0.1), 200, ("x",))
    assert stats.persistence(equal)[0] == 0


def test_the_correlation_of_every_two_columns_over_the_rows_that_have_both() -> None:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(400, 2))
    x[:, 1] += x[:, 0]
    x[draw.random((400, 2)) < 0.2] = np.nan
    both = ~np.isnan(x).any(axis=1)
    assert stats.correlations(x, x)[0, 1] == pytest.approx(np.corrcoef(x[both].T)[0, 1])
    assert np.isnan(stats.correlations(x[:50], x[:50])).all()


def test_event_free_shares_are_those_of_kaplan_and_meier() -> None:
    """Of three patients one has a stroke at 2, one leaves at 1, one has it at 4: 1, then 1/2 after 2, then 0."""
    events = Events(np.array([0, 1, 2]), np.array([2.0, 1, 4]), np.array([0, 1, 0]), np.full(3, np.nan), 3, ("stroke", "fall"))
    assert stats.event_free(events, np.array([0.5, 1, 2, 3, 4]))[0].tolist() == [1, 1, 0.5, 0.5, 0]
    longer = Events(events.patient, np.array([2.0, 3, 4]), events.variable, events.value, 3, events.names)  # the fall at 3, not at 1
    strokes = stats.only(longer, np.array([0]))
    assert stats.event_free(strokes, np.array([2.0]), longer)[0, 0] == pytest.approx(2 / 3)


def test_events_of_drawn_patients_are_theirs_and_a_patient_drawn_twice_is_two(two: Events) -> None:
    drawn = stats.taken(two, np.array([1, 0, 1]))
    assert drawn.patient.tolist() == [0, 1, 1, 1, 1, 2] and drawn.value.tolist() == [90, 60, 70, 37, 80, 90]
    assert stats.joined(two, two).counts.tolist() == two.counts.tolist() * 2
    assert stats.only(two, np.array([1])).value.tolist() == [37]


def test_blocks_are_the_patients_in_turn(two: Events) -> None:
    parts = list(stats.blocks(two, 4))
    assert [part.patients for part in parts] == [1, 2] and [len(part.time) for part in parts] == [4, 1]
    assert [part.patients for part in stats.blocks(two, 1)] == [1, 2] and [part.patients for part in stats.blocks(two, 99)] == [3]


def test_of_too_many_events_patients_at_even_distances_are_kept_whole() -> None:
    events = Events(np.repeat(np.arange(10), 5), np.tile(np.arange(5.0), 10), np.zeros(50, int), np.repeat(np.arange(10.0), 5), 10, ("x",))
    assert stats.thinned(events, 50) is events
    some = stats.thinned(events, 20)
    assert some.patients == 4 and some.value.tolist() == np.repeat([0.0, 3, 6, 9], 5).tolist()


def test_scattered_events_keep_counts_and_values_and_lose_the_rest() -> None:
    value = np.repeat(np.arange(50.0), 10)
    events = Events(np.repeat(np.arange(50), 10), np.tile(np.arange(10.0), 50), np.zeros(500, int), value, 50, ("x",))
    loose = stats.scattered(events, np.random.default_rng(1))
    assert sorted(loose.value) == sorted(value) and (loose.counts == events.counts).all()
    assert stats.persistence(events)[0] == pytest.approx(1) and abs(stats.persistence(loose)[0]) < 0.15  # 450 pairs: 3 x .047


def test_diastolic_pressure_below_systolic() -> None:
    events = Events(np.zeros(4, int), np.array([0.0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([80.0, 120, 90, 90]), 1, ("low", "high"))
    assert stats.not_below(events, "low", "high") == (1, 2)


def test_nobody_has_an_event() -> None:
    none = Events(np.empty(0, int), np.empty(0), np.empty(0, int), np.empty(0), 2, ("x", "y"))
    assert len(stats.gaps(none)) == 0 and stats.summaries(none).shape == (2, 14)
    assert stats.at_once(none).shape == stats.transitions(none).shape == (2, 2)
    assert [len(part) for part in stats.moments(none)] == [0, 0, 0]
    assert np.isnan(stats.persistence(none)).all() and (stats.event_free(none, np.array([1.0])) == 1).all()
