"""The bench of stays: what it reads, and that its judge sees copies and charts that cannot be."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench" / "peers"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import pandas as pd
import sequences as bench
import stays as peers

from proband.cohort import Cohort
from proband.synthesizers.baselines import Bootstrap


def test_stays_are_read_and_what_is_unknown_or_a_slip_is_left_out(tmp_path: Path) -> None:
    rows = [
        *[(1, 0, name, value) for name, value in (("Age", 54), ("Gender", 0), ("Height", -1), ("ICUType", 4), ("Weight", 80))],
        *[(1, 7, "HR", 73), (1, 7, "pH", 735), (1, 37, "pH", 7.35), (1, 40, "Weight", -1), (1, 45, "Weight", 79.5)],
        *[(2, 0, name, value) for name, value in (("Age", 70), ("Gender", -1), ("Height", 175.3), ("ICUType", 1), ("Weight", -1))],
    ]
    frame = pl.DataFrame(rows, ["RecordID", "minute", "Parameter", "Value"], orient="row", strict=False).cast({"Value": pl.Float32})
    frame.write_parquet(tmp_path / "set-a.parquet")
    (tmp_path / "Outcomes-a.txt").write_text("RecordID,SAPS-I,In-hospital_death\n1,6,1\n2,7,0\n")
    cohort = bench.read(tmp_path)
    assert cohort.frame.rows() == [("1", 54, "female", None, "surgical", True)]  # the other was never measured
    assert cohort.linked["events"].rows() == [("1", 7, "HR", 73.0), ("1", 37, "pH", 7.35), ("1", 45, "Weight", 79.5)]


def stays(n: int, seed: int) -> Cohort:
    """Twenty pressures a stay around the patient's own; who has a high one dies more often."""
    draw = np.random.default_rng(seed)
    level = draw.normal(120, 15, n)
    names, minute = np.repeat([f"{seed}-{i}" for i in range(n)], 20), np.sort(draw.integers(0, 2880, (n, 20)), axis=1).ravel()
    systolic = np.round(level[:, None] + draw.normal(0, 5, (n, 20))).ravel()
    sides = (("SysABP", systolic), ("DiasABP", np.round(0.6 * systolic + draw.normal(0, 2, 20 * n))))
    events = pl.concat(pl.DataFrame({"RecordID": names, "minute": minute, "parameter": what, "value": value}) for what, value in sides)
    root = {"RecordID": [f"{seed}-{i}" for i in range(n)], "Age": draw.integers(30, 90, n), "Gender": draw.choice(["female", "male"], n)}
    root |= {
        "Height": np.full(n, 170.0),
        "ICUType": draw.choice(bench.UNITS, n),
        "died": draw.random(n) < 1 / (1 + np.exp(-(level - 125) / 5)),
    }
    frame, charted = pl.DataFrame(root), events.sort("RecordID", "minute", maintain_order=True)
    return Cohort(bench.schema(frame, charted), frame, linked={"events": charted})


def test_rows_of_one_time_and_cells_of_one_length_give_the_same_events_back() -> None:
    rows = [("a", 5, "HR", 80.0), ("a", 5, "pH", 7.4), ("a", 9, "HR", 81.0), ("a", 9, "HR", 82.0), ("b", 0, "pH", 7.3)]
    events = pd.DataFrame(rows, columns=["RecordID", "minute", "parameter", "value"])
    steps = peers.wide(events)
    assert steps.fillna(0).to_numpy().tolist() == [["a", 5, 80, 7.4], ["a", 9, 81, 0], ["a", 9, 82, 0], ["b", 0, 0, 7.3]]
    assert peers.long(steps).equals(events)
    cells, columns = peers.stacked(pd.DataFrame({"RecordID": ["a", "b"]}), steps, 4)
    assert columns == ["gap", "HR", "pH"] and cells[0, :, 0].tolist()[:3] == [5, 4, 0] and np.isnan(cells[1, 1:]).all()
    assert peers.unstacked(pd.Series(["a", "b"]), cells, columns).astype({"minute": int}).equals(events)


def test_ranks_come_back_as_values_of_the_training_patients() -> None:
    ranks = peers.Ranks(pd.Series([1.0, 2.0, 2.0, 9.0, np.nan]))
    assert ranks.told(np.array([1.0, 2.0, 9.0])).tolist() == [0.125, 0.5, 0.875]
    back = ranks.values(np.array([-0.1, 0.125, 0.5, 0.875, 1.0, np.nan]))
    assert back[:5].tolist() == [1, 1, 2, 9, 9] and np.isnan(back[5])


def test_what_a_peer_made_is_kept_by_the_clock_and_not_made_again(tmp_path: Path) -> None:
    made = pd.DataFrame({"RecordID": ["s0", "s1"]}), pd.DataFrame({"RecordID": ["s0"]})
    clock = peers.Clock("peer", tmp_path, [60, 0], seed=1)
    assert clock.due()
    clock.write(lambda: made)
    assert not clock.due() and not clock.over and not (tmp_path / "peer-60").exists()
    clock.write(lambda: made, early=True)
    assert clock.over and pd.read_csv(tmp_path / "peer-60" / "stays.csv").equals(made[0])
    told = bench.costs(tmp_path / "peer-0")
    assert set(told) == set(bench.COSTS) and 0 <= told["fit_s"] < 60 and bench.costs(tmp_path) == {}
    (tmp_path / "mostly-0").mkdir()
    assert bench.made_by("mostly", stays(2, 0), tmp_path, tmp_path, [0, 60], 2, 1) == [tmp_path / "mostly-0"]  # there is no environment


@pytest.mark.slow
def test_the_judge_sees_copies_and_what_cannot_be() -> None:
    train, holdout, reference, fresh = (stays(n, seed) for seed, n in enumerate((400, 200, 200, 200)))
    same = bench.judge(train, holdout, reference, fresh, 1)
    assert set(same) == set(bench.FIGURES)
    assert abs(same["two_sample_auc"] - 0.5) < 0.1 and same["tstr"] > 0.7 and abs(same["membership"] - 0.5) < 0.08
    assert same["lag1"] < 0.05 and same["diastolic"] == same["outside"] == same["backwards"] == same["out_of_range"] == 0
    copies = Bootstrap().fit(train, seed=1).sample(400, seed=1)
    assert bench.judge(train, holdout, reference, copies, 1)["membership"] > 0.7
    wrong = fresh.linked["events"].with_columns(pl.col("minute") - 100, pl.col("value") - 130)
    found = bench.judge(train, holdout, reference, Cohort(fresh.schema, fresh.frame, linked={"events": wrong}), 1)
    assert (
        found["outside"] > 0.02
        and found["negative"] > 0.3
        and found["out_of_range"] == found["negative"]
        and found["two_sample_auc"] > 0.95
    )
