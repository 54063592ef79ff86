"""Events at irregular times: how many, how far apart, what is measured with what, how values go on, and a row of figures a patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: What a patient's series of one variable is summed up by; `slope` is that of the least-squares line, per unit of time.
SUMMARIES = ("count", "mean", "min", "max", "first", "last", "slope")


@dataclass(frozen=True)
class Events:
    """Events in order: by patient, then by time, those of one time as they stood.

    patient, variable  (events,) codes from 0 on; time, value: (events,) float64, NaN where there is no value
    patients, names    how many patients there are (some may have no event), and what the variables are called
    """

    patient: np.ndarray
    time: np.ndarray
    variable: np.ndarray
    value: np.ndarray
    patients: int
    names: tuple[str, ...]

    @cached_property
    def moment(self) -> np.ndarray:
        """(events,) the moment of each event, from 0 on: events of one patient at one time share it."""
        fresh = np.ones(len(self.patient), bool)
        fresh[1:] = (np.diff(self.patient) != 0) | (np.diff(self.time) != 0)
        return np.cumsum(fresh) - 1

    @cached_property
    def series(self) -> tuple[np.ndarray, np.ndarray]:
        """The events that have a value, by patient and variable in order of time, and where each series begins among them."""
        whole = np.flatnonzero(~np.isnan(self.value))
        owner = self.patient[whole] * len(self.names) + self.variable[whole]
        order = np.argsort(owner, kind="stable")
        starts = np.flatnonzero(np.append(True, np.diff(owner[order]) != 0)) if len(order) else np.empty(0, np.int64)
        return whole[order], starts

    @cached_property
    def counts(self) -> np.ndarray:
        """(patients, variables) how many events of each variable a patient has."""
        cells = self.patient * len(self.names) + self.variable
        return np.bincount(cells, minlength=self.patients * len(self.names)).reshape(self.patients, len(self.names))


def gaps(events: Events) -> np.ndarray:
    """The times from one moment of a patient to the next, all above 0.

    >>> one = Events(np.array([0, 0, 0]), np.array([5.0, 5.0, 9.0]), np.zeros(3, int), np.zeros(3), 1, ("pulse",))
    >>> gaps(one).tolist()
    [4.0]
    """
    first = np.append(True, np.diff(events.moment) != 0)[: len(events.patient)]
    patient, time = events.patient[first], events.time[first]
    return np.diff(time)[np.diff(patient) == 0]


def rates(events: Events) -> np.ndarray:
    """(variables,) events of each variable per patient."""
    return np.bincount(events.variable, minlength=len(events.names)) / max(events.patients, 1)


def holders(events: Events) -> np.ndarray:
    """(variables,) patients with an event of each variable."""
    width = max(len(events.names), 1)
    return np.bincount(np.unique(events.patient * width + events.variable) % width, minlength=len(events.names))


def log_rate_r2(real: Events, made: Events) -> float:
    """How much of the spread of the real variables' log rates the made ones reproduce (R2, 1 at best); a count of 0 counts as a half."""
    found = [np.log(np.maximum(one.counts.sum(axis=0), 0.5) / max(one.patients, 1)) for one in (real, made)]
    spread = ((found[0] - found[0].mean()) ** 2).sum()
    return float(1 - ((found[0] - found[1]) ** 2).sum() / spread) if spread else float("nan")


def together(events: Events) -> np.ndarray:
    """(variables, variables) the share of patients who have an event of both."""
    seen = (events.counts > 0).astype(np.float32)
    return np.asarray(seen.T @ seen / max(len(seen), 1))


def at_once(events: Events) -> np.ndarray:
    """(variables, variables) of the moments with the row's variable, the share with the column's too; 0 where there are none."""
    seen = np.zeros((int(events.moment.max(initial=-1)) + 1, len(events.names)), np.float32)
    seen[events.moment, events.variable] = 1
    return np.asarray(seen.T @ seen / np.maximum(seen.sum(axis=0), 1)[:, None])


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """The mean absolute difference of two square matrices off the diagonal."""
    other = ~np.eye(len(first), dtype=bool)
    return float(np.abs(first - second)[other].mean()) if other.any() else 0.0


def persistence(events: Events, *, within: bool = False, least: int = 30) -> np.ndarray:
    """(variables,) the correlation of a value with the patient's value before; 0 where nothing varies, NaN below `least` pairs.

    within  a patient's own mean is taken off first: what is left of the correlation is the course, not who the patient is
    """
    rows, starts = events.series
    found = np.full(len(events.names), np.nan)
    if not len(rows):
        return found
    value, of = events.value[rows], np.cumsum(np.isin(np.arange(len(rows)), starts)) - 1
    if within:
        still = (np.minimum.reduceat(value, starts) == np.maximum.reduceat(value, starts))[of]  # less its mean, it would be rounding
        value = np.where(still, 0.0, value - (np.bincount(of, value) / np.bincount(of))[of])
    pairs = np.flatnonzero(of[1:] == of[:-1])
    variable = events.variable[rows][pairs]
    for at in range(len(found)):
        mine = pairs[variable == at]
        before, after = value[mine], value[mine + 1]
        if len(mine) >= least:
            found[at] = np.corrcoef(before, after)[0, 1] if np.ptp(before) > 0 and np.ptp(after) > 0 else 0.0
    return found


def wasserstein(real: Events, made: Events) -> np.ndarray:
    """(variables,) the Wasserstein distance of the values over the real standard deviation; NaN where either has none or all are equal."""
    from scipy.stats import wasserstein_distance

    found = np.full(len(real.names), np.nan)
    for at in range(len(found)):
        values = [one.value[(one.variable == at) & ~np.isnan(one.value)] for one in (real, made)]
        if min(map(len, values)) and (spread := values[0].std()) > 0:
            found[at] = wasserstein_distance(*values) / spread
    return found


def summaries(events: Events) -> np.ndarray:
    """(patients, variables x 7) the SUMMARIES of every patient's series of every variable; NaN but for the count where there is none."""
    rows, starts = events.series
    found = np.full((events.patients, len(events.names), len(SUMMARIES)), np.nan)
    found[..., 0] = events.counts
    if not len(rows):
        return found.reshape(events.patients, len(events.names) * len(SUMMARIES))
    value, time = events.value[rows], events.time[rows]
    n = np.diff(np.append(starts, len(rows)))
    mean, middle = np.add.reduceat(value, starts) / n, np.add.reduceat(time, starts) / n
    away = time - np.repeat(middle, n)
    goes_on = time[starts + n - 1] > time[starts]  # of equal times the mean is off by rounding, and the squares are not 0
    square = np.where(goes_on, np.add.reduceat(away**2, starts), np.nan)
    slope = np.add.reduceat(away * (value - np.repeat(mean, n)), starts) / square
    columns = [mean, np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)]
    columns += [value[starts], value[starts + n - 1], slope]
    found[events.patient[rows[starts]], events.variable[rows[starts]], 1:] = np.column_stack(columns)
    return found.reshape(events.patients, len(events.names) * len(SUMMARIES))


def not_below(events: Events, low: str, high: str) -> tuple[int, int]:
    """In how many moments with both `low` is not below `high`, and in how many both were measured (of several, the last counts)."""
    moments = int(events.moment.max(initial=-1)) + 1
    seen = np.full((2, moments), np.nan)
    for row, name in zip(seen, (low, high), strict=True):
        mine = events.variable == events.names.index(name)
        row[events.moment[mine]] = events.value[mine]
    both = ~np.isnan(seen).any(axis=0)
    return int((seen[0, both] >= seen[1, both]).sum()), int(both.sum())


def taken(events: Events, patients: np.ndarray) -> Events:
    """The events of these patients, in their order; one who is named twice is two patients with the same events."""
    each = np.bincount(events.patient, minlength=events.patients)
    starts = np.cumsum(each) - each
    many = each[patients]
    owner = np.repeat(np.arange(len(patients)), many)
    rows = np.repeat(starts[patients] - (np.cumsum(many) - many), many) + np.arange(len(owner))
    return Events(owner, events.time[rows], events.variable[rows], events.value[rows], len(patients), events.names)


def thinned(events: Events, most: int) -> Events:
    """Patients at even distances, with about `most` events in all; everybody where there are no more."""
    if len(events.time) <= most:
        return events
    return taken(events, np.linspace(0, events.patients - 1, max(events.patients * most // len(events.time), 1)).astype(int))


def blocks(events: Events, most: int) -> Iterator[Events]:
    """The patients in turn, some at a time: about `most` events, and one patient at least."""
    ends = np.cumsum(np.bincount(events.patient, minlength=events.patients))
    start = 0
    while start < events.patients:
        stop = max(int(np.searchsorted(ends, (ends[start - 1] if start else 0) + most, side="right")), start + 1)
        yield taken(events, np.arange(start, stop))
        start = stop


def scattered(events: Events, generator: np.random.Generator) -> Events:
    """As many events a patient as before; the time of each, and its variable with its value, dealt out anew among all events."""
    time, what = events.time[generator.permutation(len(events.time))], generator.permutation(len(events.time))
    order = np.lexsort((time, events.patient))
    return Events(events.patient, time[order], events.variable[what], events.value[what], events.patients, events.names)


def moments(events: Events) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every moment as a row: (patient, values measured then, values known from the patient's moments before), NaN where there is none.

    Of several values of one variable at one moment the last counts. Shapes (moments,), (moments, variables), (moments, variables).
    """
    count = int(events.moment.max(initial=-1)) + 1
    patient = np.zeros(count, np.int64)
    patient[events.moment] = events.patient
    now = np.full((count, len(events.names)), np.nan)
    now[events.moment, events.variable] = events.value
    first = np.searchsorted(patient, patient)  # the row of the patient's first moment
    place = np.maximum.accumulate(np.where(np.isnan(now), -1, np.arange(count)[:, None]), axis=0) if count else np.zeros(now.shape, int)
    before = np.full(now.shape, np.nan)
    known = place[:-1] >= first[1:, None]
    rows, columns = np.nonzero(known)
    before[rows + 1, columns] = now[place[rows, columns], columns]
    return patient, now, before


def correlations(first: np.ndarray, second: np.ndarray, least: int = 100) -> np.ndarray:
    """(columns, columns) the correlation of each column of `first` with each of `second`, over the rows with both; NaN below `least`."""
    sides = []
    for side in (first, second):
        known = ~np.isnan(side)
        n = np.maximum(known.sum(axis=0), 1)
        centre = np.where(known, side, 0).sum(axis=0) / n
        away = np.where(known, side - centre, 0)
        sides.append((known.astype(float), away / np.maximum(np.sqrt((away**2).sum(axis=0) / n), 1e-12)))
    (a, x), (b, y) = sides
    n = np.maximum(a.T @ b, 1)
    mean_x, mean_y = (x.T @ b) / n, (a.T @ y) / n
    spread = np.maximum((x**2).T @ b / n - mean_x**2, 0) * np.maximum(a.T @ y**2 / n - mean_y**2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (x.T @ y / n - mean_x * mean_y) / np.sqrt(spread)
    return np.where((n >= least) & (spread > 1e-9), np.clip(found, -1, 1), np.nan)


def transitions(events: Events) -> np.ndarray:
    """(variables, variables) of the moments with the row's variable but a patient's last, the share whose next has the column's."""
    seen = np.zeros((int(events.moment.max(initial=-1)) + 1, len(events.names)), np.float32)
    seen[events.moment, events.variable] = 1
    patient = np.zeros(len(seen), np.int64)
    patient[events.moment] = events.patient
    goes_on = np.flatnonzero(np.diff(patient) == 0)
    before, after = seen[goes_on], seen[goes_on + 1]
    return np.asarray(before.T @ after / np.maximum(before.sum(axis=0), 1)[:, None])


def event_free(events: Events, grid: np.ndarray, whole: Events | None = None) -> np.ndarray:
    """(variables, times) the Kaplan-Meier share of patients who had no event of a variable up to each time of `grid`, from time 0 on.

    A patient without one is watched until their last moment of any kind, in `whole` where `events` are some of the kinds only. Kaplan
    and Meier, JASA 1958.
    """
    last, all_kinds = np.full(events.patients, -np.inf), whole or events
    np.maximum.at(last, all_kinds.patient, all_kinds.time)
    first = np.full((events.patients, len(events.names)), np.inf)
    np.minimum.at(first, (events.patient, events.variable), events.time)
    found = np.ones((len(events.names), len(grid)))
    for mine, curve in zip(first.T, found, strict=True):
        happened = np.isfinite(mine)
        until = np.where(happened, mine, last)
        watched = np.sort(until[np.isfinite(until)])
        times, deaths = np.unique(mine[happened], return_counts=True)
        at_risk = len(watched) - np.searchsorted(watched, times)
        survived = np.append(1.0, np.cumprod(1 - deaths / np.maximum(at_risk, 1)))
        curve[:] = survived[np.searchsorted(times, grid, side="right")]
    return found


def joined(first: Events, second: Events) -> Events:
    """Both sides' patients, the second's after the first's."""
    columns = [np.concatenate([getattr(first, name), getattr(second, name)]) for name in ("time", "variable", "value")]
    patient = np.concatenate([first.patient, second.patient + first.patients])
    return Events(patient, columns[0], columns[1], columns[2], first.patients + second.patients, first.names)


def only(events: Events, variables: np.ndarray) -> Events:
    """The events of these variables, which are numbered anew in this order."""
    place = np.full(len(events.names), -1)
    place[variables] = np.arange(len(variables))
    kept = place[events.variable] >= 0
    names = tuple(events.names[at] for at in variables)
    return Events(events.patient[kept], events.time[kept], place[events.variable[kept]], events.value[kept], events.patients, names)
