"""WaveformGAN on signals whose workings a reader can see."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from proband import Cohort, Column, InputError, Schema, Signals, Table, WaveformGAN, load, read, write
from proband.contract import check
from proband.encode.waveforms import Attributes, Scale, drawn_kinds, gaussian_of, kinds_of
from proband.game.play import Pairs
from proband.stats.waveforms import between, log_power
from proband.synthesizers import waveforms
from proband.synthesizers.waveforms import _judged, _signals_of

RATE = 32.0


def clinic(patients: int = 150, seed: int = 0) -> Cohort:
    """A bump early in the record (class early) or late in it, as high as the patient is old, and a second channel that mirrors it."""
    rng = np.random.default_rng(seed)
    late, age = rng.random(patients) < 0.4, rng.integers(20, 81, patients)
    time = np.arange(32)
    bump = age[:, None] / 50 * np.exp(-(((time - np.where(late, 22, 9)[:, None] - rng.normal(0, 0.5, (patients, 1))) / 3) ** 2))
    values = np.stack([bump, -bump], axis=1) + rng.normal(0, 0.05, (patients, 2, 32))
    frame = pl.DataFrame({"id": [f"P{at}" for at in range(patients)], "age": age, "wave": np.where(late, "late", "early")})
    columns = (
        Column(name="id", kind="identifier"),
        Column(name="age", kind="integer", low=0),
        Column(name="wave", kind="category", categories=("early", "late")),
    )
    schema = Schema(tables=(Table(name="patients", columns=columns, key="id"),))
    signals = Signals(values, ("II", "V5"), ("mV", "mV"), RATE, (200.0, 200.0))
    return Cohort(schema, frame, media={"ecg": signals.on_grid()})


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return clinic()


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    """Judges of a few trees: what is asked here is not how sharp they are."""
    with pytest.MonkeyPatch.context() as patch:
        for name, fewer in (("TREES", 20), ("FOLDS", 2), ("DRAWN", 1)):
            patch.setattr(waveforms, name, fewer)
        yield


@pytest.fixture(scope="module")
def model(cohort: Cohort) -> WaveformGAN:
    return WaveformGAN(minutes=0.01).fit(cohort, seed=1)


def values(made: Cohort) -> np.ndarray:
    held = made.media["ecg"]
    assert isinstance(held, Signals)
    return held.values


def test_the_gaussian_alone_keeps_the_contract(cohort: Cohort):
    check(lambda: WaveformGAN(minutes=0), cohort, n=30)


def test_the_same_seed_gives_the_same_records_saved_or_not(model: WaveformGAN, cohort: Cohort, tmp_path: Path):
    made = model.sample(20, seed=3)
    assert made.fingerprint == model.sample(20, seed=3).fingerprint != model.sample(20, seed=4).fingerprint
    assert WaveformGAN(minutes=0.01).fit(cohort, seed=1).sample(20, seed=3).fingerprint == made.fingerprint
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.sample(20, seed=3).fingerprint == made.fingerprint and loaded.stages == model.stages  # type: ignore[attr-defined]


def test_records_are_as_their_attributes_say(model: WaveformGAN):
    early, late = (values(model.sample(60, seed=2, where=f"wave = '{wave}'")).mean(axis=0) for wave in ("early", "late"))
    assert early[0].argmax() in (8, 9, 10) and late[0].argmax() in (21, 22, 23)
    young, old = (values(model.sample(60, seed=2, where=f"wave = 'early' AND age {ages}")) for ages in ("< 40", "> 60"))
    assert old[:, 0, 9].mean() > young[:, 0, 9].mean() + 0.5  # ages around 30 and 70: .6 and 1.4 mV


def test_records_keep_unit_grid_and_bounds(model: WaveformGAN, cohort: Cohort):
    made = model.sample(200, seed=2).media["ecg"]
    assert isinstance(made, Signals) and (made.names, made.units, made.rate_hz) == (("II", "V5"), ("mV", "mV"), RATE)
    assert np.allclose(made.values * 200, np.rint(made.values * 200), atol=1e-3)
    highest = np.sort(values(cohort)[:, 0].max(axis=1))[-2]
    assert made.values[:, 0].max() <= highest + 0.0026  # half a level of the grid


def test_any_length(model: WaveformGAN):
    for seconds, samples in ((0.25, 8), (1.0, 32), (4.4, 141)):
        made = model.sample(30, seed=5, seconds=seconds)
        assert values(made).shape == (30, 2, samples)
    steps = np.abs(np.diff(values(model.sample(300, seed=5, seconds=4.4))[:, 0], axis=1)).max(axis=1)
    # The steepest real step is about .4 mV for the oldest; ends and beginnings lie near zero, so a join has no reason for one of its own.
    assert np.quantile(steps, 0.9) < 0.8
    with pytest.raises(InputError, match="less than one sample"):
        model.sample(1, seed=1, seconds=0)


def test_the_gate_turns_down_a_game_that_spoiled_the_records(model: WaveformGAN, cohort: Cohort):
    learned = model._learned
    data, given = torch.from_numpy(learned.scale.encode(values(cohort))), torch.from_numpy(learned.attributes.encode(cohort.frame))
    arrays = {key: torch.from_numpy(part) for key, part in gaussian_of(data.numpy(), given.numpy(), 3).items()}
    sound, spoiled = (waveforms._generator(arrays, learned.attributes.width, torch.Generator().manual_seed(0)) for _ in "ab")
    with torch.no_grad():
        spoiled.out.bias.fill_(1.0)
    real, unseen = Pairs(data[:100], given[:100]), Pairs(data[100:], given[100:])
    chosen, (before, after, half) = _judged(sound, spoiled, real, unseen, seed=0)
    assert chosen is sound and (before["kept"], after["kept"], half["kept"]) == (1, 0, 0)
    assert after["success"] > before["success"] + 0.1


def test_a_level_of_one_patient_is_not_learned():
    columns = (Column(name="wave", kind="category", categories=("a", "b", "c")), Column(name="age", kind="integer"))
    frame = pl.DataFrame({"wave": ["a"] * 9 + ["b", "b", "c", None, None], "age": [40] * 13 + [None]}).cast({"age": pl.Int64})
    found = Attributes.fit(Cohort(Schema(tables=(Table(name="t", columns=columns),)), frame))
    assert found.levels == {"wave": [None, "a", "b"]} and found.groups == [["a"]] and found.numbers == {}
    assert found.encode(frame)[[0, 9, 11, 12]].tolist() == [[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert Attributes.restored(found.state()) == found


def test_standardised_records_are_recognised(cohort: Cohort):
    raw = values(cohort).astype(float)
    alike = (raw - raw.mean(axis=2, keepdims=True)) / raw.std(axis=2, keepdims=True)
    signals = replace(cohort.media["ecg"], values=alike, gains=None)  # type: ignore[type-var]
    given = Attributes.fit(cohort).encode(cohort.frame)
    assert np.isfinite(gaussian_of(Scale.of(signals).encode(alike), given, 3)["level"]).all()
    assert np.isnan(gaussian_of(raw.astype(np.float32), given, 3)["level"]).all()


def test_a_group_of_two_shapes_has_two_kinds():
    rng = np.random.default_rng(0)
    high = rng.random(120) < 0.25
    records = (np.where(high, 5, -5)[:, None, None] + rng.normal(0, 0.1, (120, 1, 16))).astype(np.float32)
    given = np.ones((120, 2), np.float32)
    kind, shares = kinds_of(records, given, 1, seed=0)
    assert len(set(zip(kind, high, strict=True))) == 2 and set(kind) == {1, 2}
    assert shares[0].tolist() == [1, 0, 0] and sorted(shares[1]) == pytest.approx([0, high.mean(), 1 - high.mean()])
    drawn = drawn_kinds(np.ones((4000, 2), np.float32), shares, rng)[:, 0]
    assert (drawn == kind[high][0]).mean() == pytest.approx(high.mean(), abs=0.03)  # standard error .007


def test_nothing_is_played_where_nobody_could_judge_it(cohort: Cohort):
    """A fifth of 90 patients are 18, of 100 they are 20."""
    few, enough = (WaveformGAN(minutes=0.001).fit(cohort.take(cohort.patients.head(n)), seed=0) for n in (90, 100))
    assert few.history == few.stages == [] and enough.history and len(enough.stages) == 3


def test_a_table_that_says_nothing(cohort: Cohort):
    table = cohort.schema.table.model_copy(update={"columns": cohort.schema.table.columns[:1]})
    bare = Cohort(Schema(tables=(table,)), cohort.frame.select("id"), media=cohort.media)
    made = WaveformGAN(minutes=0.001).fit(bare, seed=0).sample(20, seed=0)
    assert made.frame.columns == ["id"] and values(made).shape == (20, 2, 32)


def test_what_cannot_be_learned_is_said(cohort: Cohort):
    with pytest.raises(InputError, match="one Signals is learned"):
        _signals_of(replace(cohort, media={}))
    with pytest.raises(InputError, match="29 records are too few"):
        WaveformGAN().fit(cohort.take(cohort.patients.head(29)), seed=0)
    with pytest.raises(InputError, match="training time"):
        WaveformGAN(minutes=-1)
    with pytest.raises(InputError, match="not learned anything"):
        WaveformGAN().sample(1, seed=0)


def eeg(patients: int = 120, seconds: float = 1.0, seed: int = 3) -> Cohort:
    """Four channels at 128 Hz: two of brain waves in uV (asleep 3 Hz, awake 10 Hz), one of the eyes in mV, and breath in L/min."""
    rng = np.random.default_rng(seed)
    awake, time = rng.random(patients) < 0.5, np.arange(int(128 * seconds)) / 128
    wave = np.sin(2 * np.pi * (np.where(awake, 10, 3)[:, None] * time + rng.random((patients, 1)))) * rng.lognormal(3, 0.2, (patients, 1))
    eyes, breath = np.sin(2 * np.pi * time + rng.normal(0, 0.2, (patients, 1))) * 0.2, 6 + 2 * np.cos(2 * np.pi * time)
    breath = breath + rng.normal(0, 0.3, (patients, 1))
    values = np.stack([wave, 0.8 * wave, eyes, breath], axis=1)
    values += rng.normal(0, 0.02, values.shape) * values.std(axis=(0, 2), keepdims=True)
    columns = (Column(name="id", kind="identifier"), Column(name="state", kind="category", categories=("asleep", "awake")))
    frame = pl.DataFrame({"id": [f"P{at}" for at in range(patients)], "state": np.where(awake, "awake", "asleep")})
    signals = Signals(values, ("C3", "C4", "EOG", "flow"), ("uV", "uV", "mV", "L/min"), 128.0)
    return Cohort(Schema(tables=(Table(name="nights", columns=columns, key="id"),)), frame, media={"signals": signals})


def test_channels_of_different_units_are_learned_and_written(tmp_path: Path):
    real = eeg()
    made = WaveformGAN(minutes=0).fit(real, seed=0).sample(80, seed=1)
    write(made, tmp_path / "made")
    back, true = read(tmp_path / "made", real.schema).media["signals"], real.media["signals"]
    assert isinstance(back, Signals) and isinstance(true, Signals)
    assert (back.names, back.units, back.rate_hz) == (true.names, true.units, true.rate_hz)
    assert back.values.std(axis=(0, 2)) == pytest.approx(true.values.std(axis=(0, 2)), rel=0.2)  # from 0.14 mV to 13 uV
    assert back.values[:, 3].mean() == pytest.approx(6, abs=0.2)
    for state, hertz in (("asleep", 3), ("awake", 10)):
        power = np.exp(log_power(back.values[(made.frame["state"] == state).to_numpy()])).mean(axis=0)
        assert [int(one.argmax()) + 1 for one in power[:2]] == [hertz, hertz]  # a record lasts one second
    assert between(back.values)[:, 0].min() > 0.9  # C3 and C4 are one wave


def test_tiles_join_without_a_step():
    """At the seams of a record eight times as long, a step is no larger than anywhere else; and units stay."""
    model = WaveformGAN(minutes=0).fit(eeg(), seed=0)
    made = model.sample(60, seed=1, seconds=8.0).media["signals"]
    loose = model.sample(480, seed=1).media["signals"]
    assert isinstance(made, Signals) and isinstance(loose, Signals) and made.seconds == 8 and made.units[3] == "L/min"
    shared = 128 // 64
    seams = [piece * (128 - shared) + at for piece in range(1, 8) for at in range(-1, shared + 1)]
    joined, strung = (np.abs(np.diff(values, axis=2)) for values in (made.values, np.concatenate(np.split(loose.values, 8), axis=2)))
    usual = joined.mean(axis=(0, 2))
    assert np.all(joined[:, :, seams].mean(axis=0).max(axis=1) < 3 * usual)
    assert np.all((strung[:, :, 127::128].mean(axis=(0, 2)) > 3 * usual)[[0, 1, 3]])  # records strung together do jump
