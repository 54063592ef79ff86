"""Signals are judged: real against real passes, and each planted fault is caught by the finding that is there for it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from proband import Cohort, Column, Evidence, Finding, InputError, Schema
from proband.records.images import Images
from proband.stats import waveforms as stats
from proband.validate import strips, waveforms
from proband.validate.gallery import Gallery
from proband.validate.images import has_images
from proband.validate.limits import LIMITS
from proband.validate.recordings import Recordings, with_figures
from proband.validate.waveforms import _detection, _likeness, _some, _strips, _usefulness
from proband.validate.whose_record import whose_record
from tests.hearts import SCHEMA, hearts

TRAIN, HOLDOUT, REFERENCE, FRESH = hearts(300, 1), hearts(150, 2), hearts(150, 3), hearts(300, 4)


def values(cohort: Cohort) -> np.ndarray:
    return cohort.media["signals"].values  # type: ignore[attr-defined]


def altered(cohort: Cohort, change: Callable[[np.ndarray], np.ndarray]) -> Cohort:
    return replace(cohort, media={"signals": replace(cohort.media["signals"], values=change(values(cohort)))})  # type: ignore[type-var]


def evidence(made: Cohort) -> Evidence:
    return Evidence(TRAIN, HOLDOUT, REFERENCE, made, "beat")


def told(found: list[Finding]) -> Mapping[str, Finding]:
    return {one.name: one.judged(LIMITS[one.name]) for one in found}


def noisy(wave: np.ndarray) -> np.ndarray:
    return wave + np.random.default_rng(5).normal(0, 0.03, wave.shape)


def smooth(wave: np.ndarray) -> np.ndarray:
    return sum(np.roll(wave, at, axis=2) for at in (-1, 0, 1)) / 3  # type: ignore[return-value]


def exchanged(wave: np.ndarray) -> np.ndarray:
    """The second lead is another patient's."""
    return np.stack([wave[:, 0], np.roll(wave[:, 1], 7, axis=0)], axis=1)


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    """What is asked here is not how sharp the discriminator is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waveforms, "_TREES", 30)
        patch.setattr(waveforms, "_REFERENCES", 2)
        yield


@pytest.fixture(scope="module")
def fresh() -> Mapping[str, Finding]:
    held = Recordings.of(evidence(FRESH))
    return told([*_likeness(held, 0), _detection(held, 0), _usefulness(held, SCHEMA, "beat", 0), *whose_record(held, seed=0)])


def test_fresh_patients_pass(fresh: Mapping[str, Finding]):
    assert {name: one.passed for name, one in fresh.items()} == dict.fromkeys(fresh, True) and len(fresh) == 8
    assert fresh["tstr_signals_gap"].floor > 0.2 and fresh["spectrum_distance"].floor > 1  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (noisy, {"spectrum_distance"}),
        (smooth, {"spectrum_distance"}),
        (lambda wave: 1.5 * wave, {"amplitude_distance"}),
        (exchanged, {"channels_error"}),
        (lambda wave: wave[:, :, ::-1], set()),  # the same power and rhythm: left to the discriminator
    ],
)
def test_what_was_done_to_the_signals_is_seen(change: Callable[[np.ndarray], np.ndarray], names: set[str]):
    found = told(_likeness(Recordings.of(evidence(altered(FRESH, change))), 0))
    assert names <= {name for name, one in found.items() if one.passed is False}
    if not names:
        assert found["spectrum_distance"].passed and found["autocorrelation_error"].passed


def test_the_discriminator_sees_a_record_that_runs_backwards(fresh: Mapping[str, Finding]):
    assert _detection(Recordings.of(evidence(altered(FRESH, lambda wave: wave[:, :, ::-1]))), 0).value > 0.95  # type: ignore[operator]
    assert fresh["signal_auc"].value < 0.6  # type: ignore[operator]


@pytest.mark.parametrize("moved", [0, 3])
def test_copies_are_found_even_moved_in_time_and_noisy(moved: int):
    """A tenth of the synthetic records are copies of training patients."""
    rng = np.random.default_rng(6)

    def planted(wave: np.ndarray) -> np.ndarray:
        copies = np.roll(values(TRAIN)[:30], moved, axis=2)
        return np.concatenate([copies + rng.normal(0, 0.002, copies.shape), wave[30:]])

    copies, member = whose_record(Recordings.of(evidence(altered(FRESH, planted))), seed=0)
    assert copies.judged(LIMITS[copies.name]).passed is False and copies.interval[0] > 0.02  # type: ignore[index]
    assert copies.detail["synthetic_share_holdout"] < 0.02 and member.value > 0.53  # type: ignore[operator]


def test_a_memoriser_is_not_private():
    copies, member = (one.judged(LIMITS[one.name]) for one in whose_record(Recordings.of(evidence(TRAIN)), seed=0))
    assert copies.value > 0.95 and member.value > 0.95 and copies.passed is member.passed is False  # type: ignore[operator]


def test_records_of_the_wrong_class_teach_nothing():
    wrong = FRESH.frame.with_columns(beat=np.where(FRESH.frame["beat"] == "broad", "normal", "broad"))
    held = Recordings.of(evidence(replace(FRESH, frame=wrong.cast(FRESH.frame.schema))))
    found = told([*_likeness(held, 0), _usefulness(held, SCHEMA, "beat", 0)])
    assert found["tstr_signals_gap"].value > 0.8 and found["tstr_signals_gap"].passed is False  # type: ignore[operator]
    assert found["spectrum_distance"].passed is False  # by group, though all together have the right spectrum
    groups = {one["name"]: one["distance"] for one in found["spectrum_distance"].detail["groups"]}
    assert groups["all"] < 0.3 < groups["beat = broad"]


def test_records_without_a_class_teach_nothing_that_could_be_told():
    """Without one class on the synthetic side a classifier is right about nobody, and so would one be without one among real ones."""
    blank = replace(FRESH, frame=FRESH.frame.with_columns(beat=pl.lit(None, FRESH.frame.schema["beat"])))
    found = _usefulness(Recordings.of(evidence(blank)), SCHEMA, "beat", 0)
    assert found.value is None and "Of the synthetic records fewer than 20 have a 'beat'" in found.why
    assert found.judged(LIMITS[found.name]).passed is None


def test_signals_of_another_form_are_refused():
    cohort = FRESH.media["signals"]
    for change, word in (
        ({"units": ("mV", "uV")}, "units"),
        ({"rate_hz": 250.0}, "samples a second"),
        ({"names": ("I", "II")}, "channels"),
    ):
        with pytest.raises(InputError, match=f"synthetic have other {word}"):
            Recordings.of(evidence(replace(FRESH, media={"signals": replace(cohort, **change)})))  # type: ignore[type-var]
    with pytest.raises(InputError, match="those of synthetic have none"):
        Recordings.of(evidence(replace(FRESH, media={})))


def test_signals_or_images_that_nobody_would_judge_do_not_pass():
    """What real patients have no like of would leave with a report that is not about it."""
    real = Evidence(*(replace(part, media={}) for part in (TRAIN, HOLDOUT, REFERENCE)), FRESH, "beat")
    with pytest.raises(InputError, match="those of train have none"):
        with_figures(real)
    pictures = replace(real, synthetic=replace(FRESH, media={"images": Images(np.zeros((FRESH.frame.height, 1, 4, 4), np.uint8))}))
    assert has_images(pictures)
    with pytest.raises(InputError, match="those of train have none"):
        Gallery.of_evidence(pictures, seed=0)
    odd = replace(FRESH, media={"words": pl.Series(["a"] * FRESH.frame.height)})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="nothing judges that"):
        with_figures(replace(real, synthetic=odd))


def test_the_mean_record_of_few_patients_is_not_shown():
    """Twenty-five unseen beats are paced, of ten patients or of nine. Called `count`, the column is read all the same."""

    def paced(part: Cohort, patients: int) -> Cohort:
        at = np.arange(part.frame.height)
        kind, owner = np.where((at < 25) & (patients > 0), "paced", "own"), np.where(at < 25, at % max(patients, 1), at)
        names = pl.Series([f"{part.frame['id'][0]} {one}" for one in owner])
        column = Column(name="count", kind="category", categories=("own", "paced"))
        table = SCHEMA.table.model_copy(update={"columns": (*SCHEMA.table.columns, column)})
        return replace(part, schema=Schema(tables=(table,)), frame=part.frame.with_columns(id=names, count=pl.Series(kind)))

    for patients in (10, 9):
        held = Recordings.of(Evidence(paced(TRAIN, 25), paced(HOLDOUT, patients), paced(REFERENCE, 0), paced(FRESH, 25)))
        shown = {one["name"] for one in told(_likeness(held, 0))["spectrum_distance"].detail["strips"]}
        assert ("count = paced" in shown) == (patients == 10)
        few = Recordings.of(Evidence(TRAIN, HOLDOUT.take(HOLDOUT.patients[:patients]), REFERENCE.take([]), FRESH))
        assert [one["name"] for one in _strips(few)] == ["all"] * (patients == 10)


def test_tables_are_judged_with_the_figures_of_their_records():
    wide = with_figures(evidence(FRESH))
    assert wide.synthetic.frame.columns == wide.train.frame.columns and not wide.train.media
    assert {"II deviation", "V5 peak to peak", "II course 1", "V5 power 1"} <= set(wide.train.frame.columns)


def test_pictures(fresh: Mapping[str, Finding]):
    """A group's strips, real mean above; no patient's own record is among the detail."""
    detail = fresh["spectrum_distance"].detail
    shown = [*strips.strips(detail["strips"]), *strips.spectra(detail["spectra"])]
    assert [plate.title for plate in shown][:2] == ["Strips: beat = normal", "Strips: beat = broad"]
    assert all("<svg" in plate.svg for plate in shown) and "0.2 s and 0.5 mV" in shown[0].caption
    with pytest.raises(ValueError, match="unequal"):
        strips.strips([detail["strips"][0] | {"synthetic": [[[1.0]]]}])


def test_the_caption_tells_the_squares_that_are_drawn():
    """Beats of 1 s and a rhythm of 10 s; one channel of 1 mV, of 6 mV, or beside another in mmHg."""

    def caption(seconds: int, high: float, *units: str) -> str:
        wave = [[0.0, high] * (5 * seconds)] * len(units)
        group = {"name": "all", "rate_hz": 10, "channels": units, "units": units, "synthetic": [wave]}
        return strips.strips([group | {"real": {"middle": wave, "spread": np.zeros_like(wave).tolist()}}])[0].caption

    assert "A large square is 0.2 s and 0.5 mV." in caption(1, 1.0, "mV")
    assert "A large square is 1 s and 2.5 mV." in caption(10, 6.0, "mV")
    assert "A large square is 0.2 s." in caption(1, 40.0, "mV")  # eighty times 0.5 mV: whatever suits
    assert "square" not in caption(1, 1.0, "mV", "mmHg") and "square" not in caption(20, 1.0, "mV")


def test_no_more_than_two_thousand_records_are_read():
    rows = np.arange(3_000)
    some = _some(rows, np.random.default_rng(0))
    assert len(set(some)) == 2_000 and _some(some, np.random.default_rng(0)) is some


def test_figures_of_a_wave_that_can_be_worked_out():
    time = np.arange(64)
    wave = np.stack([np.sin(2 * np.pi * 8 * time / 64), np.cos(2 * np.pi * 8 * time / 64)])[None]
    power = stats.log_power(wave)
    assert power.shape == (1, 2, 32) and power[0, 0].argmax() == 7  # 8 periods a record
    assert stats.between(wave)[0, 0] == pytest.approx(0, abs=1e-9)
    assert stats.amplitude(wave)[0, 0] == pytest.approx([0, 0.5**0.5, 2, np.sin(np.pi / 4)], abs=1e-9)
    there = stats.autocorrelation(wave)[0, 0]
    assert there[list(stats.lags(64)).index(4)] < -0.8  # half a period later
    still = stats.autocorrelation(np.ones((1, 1, 8)))
    assert np.all(still == 0) and stats.course(wave, 4).shape == (1, 2, 4)
