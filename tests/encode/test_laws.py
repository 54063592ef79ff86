"""Laws within the levels of another column: found when planted, not when chance, and kept in every row."""

import numpy as np
import polars as pl
import pytest

from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.errors import InputError
from proband.schema import Column, Grid, Schema, Table
from proband.synthesizers.drawing import draw

LEVELS = ("ARF", "CHF", "Coma")
CONSTANTS = {"power": (1.4, 1.75, 1.2), "multiple": (0.5, 2.0, 3.1), "difference": (-3.0, 4.5, 10.0)}


def planted(form: str, rows: int = 900, seed: int = 0, noise: float = 0.003) -> Cohort:
    """`late` follows from `early` by a law whose constant the diagnosis sets, but in a few rows; it is missing in some."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, rows)
    early = np.round(rng.uniform(0.05, 1.0, rows), 3)
    constant = np.array(CONSTANTS[form])[group]
    late = early**constant if form == "power" else early * constant if form == "multiple" else early + constant
    late = np.where(rng.random(rows) < noise, late + 0.1, late).round(3)
    known = rng.random(rows) < 0.9
    frame = pl.DataFrame({"early": early, "diagnosis": [LEVELS[i] for i in group], "late": pl.Series(late).set(pl.Series(~known), None)})
    grid = Grid(step=0.001, decimals=3)
    columns = (
        Column(name="early", kind="number", grid=grid),
        Column(name="diagnosis", kind="category", categories=LEVELS),
        Column(name="late", kind="number", grid=grid),
    )
    return Cohort(Schema(tables=(Table(name="t", columns=columns),)), frame)


def sample(encoder: TableEncoder, n: int, where: str | None = None, order: list[int] | None = None) -> pl.DataFrame:
    def propose(field, tokens, latent):
        counts = encoder.fields[field].counts
        return np.tile(counts / counts.sum(), (len(tokens), 1))

    return draw(encoder, n, propose=propose, order=order or range(len(encoder.fields)), where=where, rng=np.random.default_rng(0))


def off(frame: pl.DataFrame, form: str) -> np.ndarray:
    """How far `late` is from its law, in rows that have it."""
    known = frame.drop_nulls()
    constant = known["diagnosis"].replace_strict(LEVELS, CONSTANTS[form], return_dtype=pl.Float64).to_numpy()
    early = known["early"].to_numpy()
    told = early**constant if form == "power" else early * constant if form == "multiple" else early + constant
    return np.abs(known["late"].to_numpy() - told)


@pytest.mark.parametrize("form", list(CONSTANTS))
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_a_planted_law_is_found_and_kept_in_every_row(form, order):
    cohort = planted(form)
    encoder = TableEncoder.fit(cohort)
    pair = encoder.books[2].pair
    assert pair is not None and (pair.base, pair.form, pair.group) == ("early", form, "diagnosis")
    assert pair.constants[1:] == pytest.approx(CONSTANTS[form], abs=0.01)
    assert encoder.fields[2].levels == 2  # there or not
    made = sample(encoder, 3000, order=order)
    # The nearest thousandth, or a few further where one patient holds it; the constant adds half of one.
    assert np.quantile(off(made, form), 0.99) < 0.005 and off(made, form).max() < 0.05
    assert made["late"].null_count() / 3000 == pytest.approx(0.1, abs=0.02)
    assert made["late"].drop_nulls().is_in(cohort.frame["late"].value_counts().filter(pl.col("count") == 1)["late"].implode()).sum() == 0


@pytest.mark.parametrize("where", ["late > 0.9", "late BETWEEN 0.30 AND 0.31 AND diagnosis = 'CHF'", "late IS NULL", "late < 0.6 * early"])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_conditions_on_a_column_told_by_a_law(where, order):
    encoder = TableEncoder.fit(planted("power"))
    made = sample(encoder, 200, where, order)
    assert made.height == made.sql(f"SELECT * FROM self WHERE {where}").height == 200


def test_conditions_that_the_law_forbids():
    with pytest.raises(InputError, match="No synthetic patient can satisfy"):
        sample(TableEncoder.fit(planted("power")), 10, "late > early + 0.01")


def test_no_law_by_chance():
    """A tenth of the rows off the law, or a column of its own: no law; nor from fewer than three values a level."""
    rng = np.random.default_rng(1)
    related = planted("power").frame.with_columns(late=pl.Series(np.round(rng.uniform(0, 1, 900), 3)))
    near = planted("power", noise=0.1).frame
    for frame in (related, near):
        assert not any(book.pair for book in TableEncoder.fit(Cohort(planted("power").schema, frame)).books)


def test_a_level_without_law_tells_the_column_by_itself():
    """Of Coma there are three patients with one early value: any constant fits them, so it is no law, and they are told alone."""
    frame = planted("power").frame.filter(pl.col("diagnosis") != "Coma")
    coma = pl.DataFrame({"early": [0.5] * 6, "diagnosis": ["Coma"] * 6, "late": [0.111] * 4 + [0.222] * 2})
    cohort = Cohort(planted("power").schema, pl.concat([frame, coma]))
    encoder = TableEncoder.fit(cohort)
    assert encoder.books[2].pair.constants[3] is None
    made = sample(encoder, 2000, "diagnosis = 'Coma'", order=[2, 1, 0])
    assert set(made["late"].drop_nulls()) == {0.111, 0.222}
    assert encoder.decode(encoder.encode(coma)).equals(coma)


def test_restored():
    cohort = planted("multiple")
    encoder = TableEncoder.fit(cohort)
    config, arrays = encoder.state()
    codes = encoder.encode(cohort.frame)
    assert TableEncoder.restored(cohort.schema, config, arrays).decode(codes).equals(encoder.decode(codes))
    config["books"][2]["pair"]["constants"] = [None, 1.0]
    with pytest.raises(ValueError, match="do not fit together"):
        TableEncoder.restored(cohort.schema, config, arrays)
