"""impute: gaps are filled from what is known, nothing else moves, and real patients never become synthetic by it."""

import json

import polars as pl
import pytest

from proband.errors import InputError
from proband.records import find_mark
from proband.synthesizers.baselines import IndependentColumns
from proband.synthesizers.tables import TableGAN
from proband.uses.imputation import impute
from tests.uses.patients import ward


@pytest.fixture(scope="module")
def model():
    return TableGAN(minutes=0.02, select=False).fit(ward(400), seed=0)


@pytest.fixture(scope="module")
def whole(model):
    return impute(ward(200, seed=1), model, seed=3)


def test_the_gaps_are_filled_and_nothing_else_moves(whole):
    before, after = ward(200, seed=1).frame, whole.cohort.frame
    assert whole.filled == {"lactate": before["lactate"].null_count()} and after.null_count().sum_horizontal().item() == 0
    known = pl.Series(before["lactate"].is_not_null())
    assert after.filter(known).equals(before.filter(known)) and after.drop("lactate").equals(before.drop("lactate"))


def test_real_patients_get_no_label_and_the_file_says_what_was_filled(whole, tmp_path):
    whole.save(tmp_path / "whole.csv")
    assert find_mark(tmp_path / "whole.csv") is None
    said = json.loads((tmp_path / "whole.csv.imputed.json").read_text())
    assert said["real_patients"] is True and said["filled"] == whole.filled and said["seed"] == 3


def test_synthetic_patients_keep_their_mark(model, tmp_path):
    impute(model.sample(50, seed=1), model, seed=2).save(tmp_path / "whole.parquet")
    mark = find_mark(tmp_path / "whole.parquet")
    assert mark is not None and mark.synthesizer == "gan"


def test_who_cannot_fill_gaps_says_so(model):
    with pytest.raises(InputError, match="'independent' cannot fill what is missing"):
        impute(ward(200), IndependentColumns().fit(ward(200), seed=0), seed=0)
    other = ward(200).schema.model_copy(update={"rules": ()})
    with pytest.raises(InputError, match="another schema"):
        impute(ward(200, schema=other), model, seed=0)
