"""Linkage: two halves of a record that lead to the same synthetic row."""

from dataclasses import replace

import numpy as np
import polars as pl

from proband.cohort import Cohort
from proband.privacy.linkage import link
from proband.privacy.patients import gathered
from proband.schema import Column, Schema, Table
from proband.validate.findings import Evidence
from tests.privacy.planted import bootstrap, fresh, memoriser


def shares(evidence: Evidence, seed: int = 0) -> tuple[float, float]:
    made = evidence.synthetic.frame
    links = link(gathered(made, evidence.train, evidence.holdout, evidence.reference), made, seed=seed)
    assert links is not None
    return float(links.linked[links.member].mean()), float(links.linked[~links.member].mean())


def numbers(values: list[list[float]]) -> Cohort:
    names = [f"c{number}" for number in range(len(values[0]))]
    schema = Schema(tables=(Table(name="p", columns=tuple(Column(name=name, kind="number") for name in names)),))
    return Cohort(schema, pl.DataFrame(np.array(values, float), schema=names))


def test_both_halves_of_a_copied_patient_meet_and_those_of_a_swapped_one_do_not() -> None:
    train = numbers([[1, 1], [2, 2], [3, 3], [4, 4]])
    synthetic = numbers([[1, 1], [2, 2], [3, 4], [4, 3]])  # the last two with their second values exchanged
    links = link(gathered(synthetic.frame, train, numbers([[1, 4], [4, 1]])), synthetic.frame, seed=0)
    assert links is not None
    assert links.blocks == (("c0",), ("c1",)) and links.blind == 1 / 4
    assert links.linked.tolist() == [True, True, False, False, False, False]
    assert links.member.tolist() == [True] * 4 + [False] * 2


def test_copies_are_linked_and_strangers_are_not() -> None:
    stranger, control = shares(fresh(0))
    assert abs(stranger - control) < 0.02  # 3 standard errors at 600 and 400 patients, of whom .6 % meet by chance
    copied, control = shares(memoriser(0, 0.2))
    assert 0.17 < copied < 0.25 and control < 0.02
    assert shares(bootstrap(0))[0] > 0.4


def test_equal_rows_do_not_link_by_their_order() -> None:
    """Half of the columns say nothing: every synthetic row is the nearest, so a half finds the right one in 200 by chance alone."""
    rows = [[float(number), 0.0, 0.0, 0.0] for number in range(200)]
    train, unseen = numbers(rows), numbers([[number + 0.5, 0.0, 0.0, 0.0] for number in range(200)])
    links = link(gathered(train.frame, train, unseen), train.frame, seed=0)
    assert links is not None
    assert links.linked.mean() < 0.03


def test_columns_are_dealt_so_that_both_files_tell_as_much() -> None:
    draw = np.random.default_rng(0)
    frame = pl.DataFrame({name: draw.integers(0, levels, 500) for name, levels in (("a", 100), ("b", 50), ("c", 4), ("d", 2))})
    schema = Schema(tables=(Table(name="p", columns=tuple(Column(name=name, kind="integer") for name in "abcd")),))
    cohort = Cohort(schema, frame)
    links = link(gathered(frame, cohort, cohort), frame, seed=0)
    assert links is not None
    assert sorted(sorted(block) for block in links.blocks) == [["a", "d"], ["b", "c"]]


def test_one_column_cannot_be_dealt_to_two_files() -> None:
    one = numbers([[1.0], [2.0]])
    assert link(gathered(one.frame, one, one), one.frame, seed=0) is None


def test_a_patient_is_linked_by_any_row() -> None:
    table = Table(name="p", key="id", columns=(Column(name="id", kind="identifier"), *numbers([[1, 1]]).schema.table.columns))
    rows = [["a", 1.0, 1.0], ["a", 9.0, 5.0], ["b", 5.0, 9.0], ["b", 9.0, 1.0]]
    keyed = Cohort(Schema(tables=(table,)), pl.DataFrame(rows, schema=["id", "c0", "c1"], orient="row"))
    synthetic = numbers([[1, 1], [5, 5], [9, 9]])
    links = link(replace(gathered(synthetic.frame, keyed), member=np.array([True, False])), synthetic.frame, seed=0)
    assert links is not None
    assert links.linked.tolist() == [True, False]
