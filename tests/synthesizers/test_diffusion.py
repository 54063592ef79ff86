"""TableDiffusion: untrained it knows the marginals, trained it knows what goes with what."""

import numpy as np
import polars as pl
import pytest
import torch

from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.errors import InputError
from proband.game.play import deterministic
from proband.schema import Column, Schema, Table
from proband.synthesizers.diffusion import BATCH, Parts, TableDiffusion, _net, denoised, rounds_in

ROWS = 1200


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Two clouds on a diagonal, a word that names the cloud for those who were asked, and a number that only the second cloud has."""
    rng = np.random.default_rng(0)
    second = rng.random(ROWS) < 0.4
    x = np.where(second, 5, 0) + rng.normal(size=ROWS)
    frame = pl.DataFrame(
        {
            "x": np.round(x, 2),
            "y": np.round(np.where(second, 5, 0) + rng.normal(size=ROWS), 2),
            "cloud": pl.Series(np.where(second, "second", "first")).set(pl.Series(rng.random(ROWS) < 0.3), None),
            "only": pl.Series(np.round(rng.normal(size=ROWS), 2)).set(pl.Series(~second), None),
        }
    )
    columns = (
        Column(name="x", kind="number"),
        Column(name="y", kind="number"),
        Column(name="cloud", kind="category", categories=("first", "second")),
        Column(name="only", kind="number"),
    )
    return Cohort(Schema(tables=(Table(name="patients", columns=columns),)), frame)


@pytest.fixture(scope="module")
def model(cohort) -> TableDiffusion:
    """Three seconds of training."""
    return TableDiffusion(minutes=0.1).fit(cohort, seed=1)


def test_numbers_diffuse_and_the_rest_is_masked(cohort):
    parts = Parts.of(TableEncoder.fit(cohort).fields)
    assert parts.smooth == (0, 1, 3)
    assert parts.words == (2, 3) and parts.levels == (3, 2)  # missing, first, second; and whether `only` is there


def test_untrained_it_gives_the_marginals(cohort):
    """What the network adds is zero at the start: scores stay standard normal, tokens come in their shares."""
    encoder = TableEncoder.fit(cohort)
    rng = torch.Generator().manual_seed(0)
    parts = Parts.of(encoder.fields)
    net = _net(encoder, parts, rng)
    with deterministic():
        scores, tokens = denoised(net, 3, 2000, rng)
        assert scores.std(axis=0) == pytest.approx(np.ones(3), abs=0.05)  # standard error .016
    share = np.bincount(tokens[:, 0], minlength=3) / 2000
    assert share == pytest.approx(encoder.fields[2].counts / ROWS, abs=0.03)
    assert tokens[:, 1].mean() == pytest.approx(0.4, abs=0.05)


def test_it_learns_what_goes_with_what(model):
    made = model.sample(1000, seed=2).frame
    high = made["x"] > 2.5
    assert high.mean() == pytest.approx(0.4, abs=0.06)  # standard error .02 twice, and a short training
    agree = (made["y"] > 2.5) == high
    # .52 for independent columns, .99 among real patients; .87 to .92 after so few rounds (ranks leave no gap between the clouds).
    assert agree.mean() > 0.8
    assert ((made["cloud"] == "second") == high).drop_nulls().mean() > 0.8
    assert (made["only"].is_not_null() == high).mean() > 0.8


def test_a_row_that_contradicts_itself_has_the_higher_loss(cohort, model):
    cohort = Cohort(cohort.schema, cohort.frame.head(200))
    own = model.denoising_loss(cohort)
    assert own.shape == (200,) and (own > 0).all() and np.array_equal(own, model.denoising_loss(cohort))
    crossed = Cohort(cohort.schema, cohort.frame.with_columns(y=pl.col("y").reverse()))
    moved = ((crossed.frame["y"] - cohort.frame["y"]).abs() > 4).to_numpy()
    assert (model.denoising_loss(crossed) > own)[moved].mean() > 0.9
    assert model.denoising_loss(Cohort(cohort.schema, cohort.frame.clear())).shape == (0,)


def test_a_condition_is_met_and_moves_the_others(model):
    made = model.sample(100, seed=2, where="x > 5").frame
    assert (made["x"] > 5).all() and (made["y"] > 2.5).mean() > 0.8
    with pytest.raises(InputError, match="Too few synthetic patients"):
        model.sample(100, seed=2, where="x > 5 AND only = 0.01 AND cloud = 'first'")


def test_minutes_decide_the_rounds_and_a_small_table_ends_early(cohort):
    encoder = TableEncoder.fit(cohort)
    net = _net(encoder, Parts.of(encoder.fields), torch.Generator())
    assert rounds_in(0.2, net, 100_000) == pytest.approx(2 * rounds_in(0.1, net, 100_000), abs=1)
    assert rounds_in(100, net, ROWS) * BATCH <= 200 * ROWS
    with pytest.raises(InputError, match="training time"):
        TableDiffusion(minutes=0)
