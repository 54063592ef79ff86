"""Signals keep to their patients, and WFDB files say what they hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from proband import Cohort, Column, InputError, Mark, Schema, Signals, Table, read_wfdb, write, write_wfdb

MARK = Mark("waves", "0.1.0", 7, "abc", {"where": "age > 60"})


def ramp(records: int = 3) -> Signals:
    """Record r has r, r + 1, ... in mV and the same in mmHg backwards, on a grid of .005 mV and 1 mmHg."""
    up = np.arange(6.0) + np.arange(records)[:, None]
    return Signals(np.stack([up / 200, -up], axis=1), ("II", "ABP"), ("mV", "mmHg"), 2.0, (200.0, 1.0))


def visits() -> Cohort:
    columns = (Column(name="patient", kind="identifier"), Column(name="age", kind="integer"))
    schema = Schema(tables=(Table(name="visits", columns=columns, key="patient"),))
    return Cohort(schema, pl.DataFrame({"patient": ["a", "b", "a"], "age": [50, 60, 51]}), media={"ecg": ramp()})


def test_signals_stay_with_their_patients():
    cohort = visits()
    assert cohort.take(["a"]).media["ecg"].values[:, 1, 0].tolist() == [0, -2]
    assert cohort.take(["b"]).frame["age"].to_list() == [60] and len(cohort.take(["b"]).media["ecg"]) == 1
    with pytest.raises(InputError, match="2 records for the 3 rows"):
        replace(cohort, media={"ecg": ramp(2)})


def test_the_fingerprint_sees_one_sample():
    cohort, other = visits(), ramp()
    other.values[2, 1, 5] += 1
    assert cohort.fingerprint == visits().fingerprint
    assert cohort.fingerprint != replace(cohort, media={"ecg": other}).fingerprint != replace(cohort, media={}).fingerprint


@pytest.mark.parametrize(
    ("rate", "gains"), [(2, (200, 1)), (np.float64(2), (np.float32(200), np.float32(1))), (np.float32(2), np.array([200.0, 1.0]))]
)
def test_any_spelling_of_rate_and_gains_is_one_cohort(tmp_path: Path, rate, gains):
    signals = replace(ramp(), rate_hz=rate, gains=gains)
    assert signals.content() == ramp().content()
    (header, *_) = write_wfdb(signals, tmp_path / "out")
    assert header.read_text().startswith("record_1 2 2.0 6\n") and read_wfdb(header)[0].gains == (200.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((3, 4))}, r"shape \(3, 4\)"),
        ({"values": np.zeros((3, 2, 0))}, "a channel and a sample"),
        ({"values": np.full((1, 2, 3), np.nan)}, "'II', record 0: a sample is missing"),
        ({"values": np.full((1, 2, 3), np.inf)}, "missing or infinite"),
        ({"names": ("II",)}, "names: 1 for 2 channels"),
        ({"names": ("II", "II")}, "share one"),
        ({"rate_hz": 0.0}, "no sampling rate"),
        ({"gains": (200.0, 0.0)}, "above 0"),
    ],
)
def test_what_is_no_regular_signal_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(ramp(), **change)


def test_records_of_unequal_lengths_are_refused():
    with pytest.raises(InputError, match=r"\(1, 4\), \(1, 5\)"):
        Signals.of([np.zeros((1, 4)), np.zeros((1, 5))], ["II"], ["mV"], 250)
    with pytest.raises(InputError, match="no record at all"):
        Signals.of([], ["II"], ["mV"], 250)
    assert len(Signals.of([np.zeros((1, 4))] * 2, ["II"], ["mV"], 250)) == 2


def test_a_record_is_cut_into_pieces_in_time():
    pieces = ramp().cut(1.0)  # two samples
    assert pieces.values[:3, 1].tolist() == [[0, -1], [-2, -3], [-4, -5]] and len(pieces) == 9 and pieces.seconds == 1
    assert len(ramp().cut(2.0)) == 3  # the last two samples are dropped
    with pytest.raises(InputError, match=r"0\.5 to 3"):
        ramp().cut(4.0)


def test_stretches_around_places():
    one = ramp().take(np.array([0]))
    found = one.around([0, 2, 5, 6], before_s=0.5, after_s=1.0)  # one sample before, two from the place on
    assert found.values[:, 1].tolist() == [[-1, -2, -3]]  # around 0, 5 and 6 there is not enough
    assert len(one.around([0], 1, 1)) == 0
    with pytest.raises(InputError, match="there are 3"):
        ramp().around([2], 1, 1)


def test_wfdb_gives_back_the_same_values_and_the_mark(tmp_path: Path):
    headers = write_wfdb(ramp(), tmp_path / "out", mark=MARK, name="visit")
    assert [path.name for path in headers] == ["visit_1.hea", "visit_2.hea", "visit_3.hea"]
    back, mark = read_wfdb(tmp_path / "out" / "visit_3")
    assert np.array_equal(back.values[0], ramp().values[2]) and mark == MARK
    assert (back.names, back.units, back.rate_hz, back.gains) == (("II", "ABP"), ("mV", "mmHg"), 2.0, (200.0, 1.0))
    write_wfdb(ramp(), tmp_path / "real")
    assert read_wfdb(tmp_path / "real" / "record_1.hea")[1] is None


def test_without_gains_a_value_moves_by_half_a_level_at_most(tmp_path: Path):
    values = np.random.default_rng(0).normal(5000, 1, (1, 1, 50))
    signals = Signals(values, ("ABP",), ("mmHg",), 125.0)
    (header,) = write_wfdb(signals, tmp_path / "out")
    assert np.abs(read_wfdb(header)[0].values - signals.values).max() < np.ptp(values) / 65_000 + 5e-4  # float32 at 5000 keeps .0005
    with pytest.raises(InputError, match="16 bits hold"):
        write_wfdb(replace(signals, gains=(1e6,)), tmp_path / "fine")
    with pytest.raises(InputError, match="exists"):
        write_wfdb(signals, tmp_path / "out")


def written(folder: Path, header: str, content: bytes) -> Path:
    (folder / "r.dat").write_bytes(content)
    (folder / "r.hea").write_text(header)
    return folder / "r"


def test_format_212_to_the_bit(tmp_path: Path):
    # 1 and -1 are 0x001 and 0xFFF: bytes 01, F0 (upper four bits of the second, then of the first), FF. Then 2047 and -2047.
    path = written(tmp_path, "r 2 360 2\nr.dat 212 200(1)/mV 11 0 0 0 0 II\nr.dat 212 0\n", bytes([0x01, 0xF0, 0xFF, 0xFF, 0x87, 0x01]))
    signals, _ = read_wfdb(path)
    assert np.allclose(signals.values[0], [[0, 2046 / 200], [-1 / 200, -2047 / 200]])  # the second has neither gain nor baseline
    assert signals.names == ("II", "signal 1") and signals.units == ("mV", "mV")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("r 1 360 2\nr.dat 80 200 8 0 0 0 0 II\n", "format '80'"),
        ("r 1 360 2\nr.dat 16x2 200 8 0 0 0 0 II\n", "format '16x2'"),
        ("r/2 1 360 2\na 1\nb 1\n", "several segments"),
        ("r 1 360 9\nr.dat 16 200 16 0 0 0 0 II\n", "holds 2 samples of 1 signals, 9 are declared"),
        ("r 1 360 2\nr.dat 16 200 16 0 0 0 0 II\n", "a sample is missing"),
        ("r 1 360 2\n../r.dat 16 200 16 0 0 0 0 II\n", "lies elsewhere"),
        ("r 1 360 2\nq.dat 16 200 16 0 0 0 0 II\n", "not beside it"),
        ("r two 360 2\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, header: str, message: str):
    path = written(tmp_path, header, bytes([1, 0, 0, 0x80]))  # the second sample of format 16 is "missing"
    with pytest.raises(InputError, match=message):
        read_wfdb(path)


def test_a_table_does_not_lose_its_signals(tmp_path: Path):
    frame = pl.DataFrame({"age": [50, 60, 70]})
    cohort = Cohort(Schema.guess(frame).accept(), frame, media={"ecg": ramp()})
    with pytest.raises(InputError, match="ecg beside it"):
        write(cohort, tmp_path / "table.csv")
    write(replace(cohort, media={}), tmp_path / "table.csv")


def test_no_header_is_said(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_wfdb(tmp_path / "nothing")
