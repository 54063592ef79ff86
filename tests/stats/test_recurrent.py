"""A network that reads histories step by step sees the order that a row of figures cannot hold."""

import numpy as np
import pytest

from proband.stats.discrimination import auc
from proband.stats.recurrent import echoes, told_apart
from proband.stats.sequences import Events, summaries

STEADY = (0, -1, -1, -1, 1, 1, 1, 1, 1, 1, -1, -1, -1, 0)
RESTLESS = (0, -1, 1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, 0)  # the same values; both are their own mirror, so that neither has a slope


def courses(course: tuple[int, ...], gaps: tuple[int, ...], patients: int, seed: int) -> Events:
    """Every patient goes the same course, with noise, around a level of their own."""
    level, noise = np.random.default_rng(seed).normal(size=(patients, 1)), np.random.default_rng(seed + 1).normal(size=(patients, 14))
    owner, time = np.repeat(np.arange(patients), 14), np.tile(np.cumsum(gaps), patients)
    return Events(owner, time.astype(float), np.zeros(len(owner), int), (course + level + 0.3 * noise).ravel(), patients, ("x",))


def success(made: Events, real: Events) -> float:
    states, labels = np.concatenate([echoes(one, real, seed=1) for one in (made, real)]), np.repeat([1, 0], [made.patients, real.patients])
    return auc(told_apart(states, labels, seed=1), labels)


EVEN = (1,) * 14


def test_the_same_values_in_another_order() -> None:
    bare = [Events(np.zeros(14, int), np.arange(14.0), np.zeros(14, int), np.array(one, float), 1, ("x",)) for one in (STEADY, RESTLESS)]
    assert summaries(bare[0]).tolist() == summaries(bare[1]).tolist()  # no judge of figures can see it
    assert success(courses(RESTLESS, EVEN, 100, 1), courses(STEADY, EVEN, 100, 3)) > 0.95


def test_the_same_gaps_in_another_order() -> None:
    first, second = (1, 1, 1, 1, 1, 1, 1, 9, 9, 9, 9, 9, 9, 9), (1, 9, 1, 9, 1, 9, 1, 9, 1, 9, 1, 9, 1, 9)
    assert success(courses(STEADY, first, 100, 1), courses(STEADY, second, 100, 3)) > 0.95


@pytest.mark.parametrize("patients", [3, 10, 13, 40])
def test_few_patients_who_differ_wholly_are_told_apart_wholly(patients: int) -> None:
    """Every fold has as many of either side, so that ranks within a fold are alike in all of them."""
    labels = np.repeat([1, 0], patients)
    states = labels[:, None] + 0.01 * np.random.default_rng(1).normal(size=(2 * patients, 3))
    assert auc(told_apart(states, labels, seed=1), labels) == 1


def test_two_draws_of_the_same_patients_are_told_apart_by_chance() -> None:
    found = [success(courses(STEADY, EVEN, 100, at), courses(STEADY, EVEN, 100, at + 2)) for at in range(1, 21, 4)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)  # five of 100 v 100: 3 x .05 / sqrt(5), and the fit's own doubt


def test_a_patients_states_are_their_own_and_nobody_moves_without_events() -> None:
    one = courses(STEADY, EVEN, 3, 1)
    more = Events(one.patient, one.time, one.variable, one.value, 400, one.names)  # 397 without events
    states = echoes(more, one, seed=1)
    assert states.shape == (400, 768) and not states[3:].any() and states[:3].any(axis=1).all()
    assert states[:3] == pytest.approx(echoes(one, one, seed=1), abs=1e-6)
    assert (echoes(one, one, seed=1) != echoes(one, one, seed=2)).any()
    none = Events(np.empty(0, int), np.empty(0), np.empty(0, int), np.empty(0), 2, ("x",))
    assert not echoes(none, none, seed=1).any()
