"""Schema files: saved, read again, named by a hash; every mistake in one sentence."""

from pathlib import Path

import polars as pl
import pytest

from proband.errors import InputError
from proband.schema import Column, Grid, Proposal, Rule, Schema, Table
from proband.schema.model import keep_bits

SCHEMA = Schema(
    tables=(
        Table(
            name="patients",
            key="pid",
            columns=(
                Column(name="pid", kind="identifier", stored="Int64"),
                Column(name="age", kind="integer", low=0, high=120, outside="missing", missing=("?",), stored="Int64"),
                Column(name="crea", kind="number", unit="mg/dL", grid=Grid(step=0.1, decimals=1, bits=12, truncated=True)),
                Column(name="sex", kind="category", categories=("F", "M"), sensitive=True),
                Column(name="sick", kind="boolean", spelling=("f", "t")),
                Column(name="seen", kind="date", layout="%d.%m.%Y"),
            ),
        ),
    ),
    rules=(Rule(sql="age >= 18 OR sex = 'F'", why="children's ward"),),
    proposals=(Proposal(table="patients", column="sex", change={"missing": ["X"], "categories": ["F"]}, why="because"),),
)


def test_saved_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    SCHEMA.save(tmp_path / "schema.toml")
    again = Schema.load(tmp_path / "schema.toml")
    assert again == SCHEMA and again.hash == SCHEMA.hash
    assert [path.name for path in tmp_path.iterdir()] == ["schema.toml"]


def test_the_hash_names_the_content() -> None:
    changed = SCHEMA.model_copy(update={"rules": ()})
    assert changed.hash != SCHEMA.hash
    assert len(SCHEMA.hash) == 64


def test_accepting_changes_columns_and_clears_what_the_old_kind_meant() -> None:
    proposals = (Proposal(table="patients", column="sick", change={"kind": "category", "categories": ["f", "t"]}, why="", accept=True),)
    reviewed = SCHEMA.model_copy(update={"proposals": (*SCHEMA.proposals, *proposals)}).reviewed()
    assert (reviewed.table["sick"].kind, reviewed.table["sick"].spelling) == ("category", None)
    assert [proposal.column for proposal in reviewed.proposals] == ["sex"]
    assert reviewed.accept().table["sex"].categories == ("F",)


FILES = {
    "syntax": ("proband_schema = \n", "not valid TOML"),
    "rule on an unknown column": ("RULE hair = 'red'", "names column 'hair'"),
    "rule that is not SQL": ("RULE age >=", "cannot be read as SQL"),
    "rule that is no test": ("RULE age + 1", "not true or false"),
    "unknown field": ("COLUMN colour = 'red'", "colour"),
    "unknown kind": ("COLUMN kind = 'colour'", "kind"),
    "bounds": ("COLUMN low = 9\nhigh = 1", "low = 9 is above high = 1"),
    "twice": ("[[tables.columns]]\nname = 'age'\nkind = 'integer'", "declared twice"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    wrong, words = FILES[case]
    column = "[[tables]]\nname = 'patients'\n[[tables.columns]]\nname = 'age'\n"
    if wrong.startswith("RULE "):
        text = f"{column}kind = 'integer'\n[[rules]]\nsql = \"{wrong.removeprefix('RULE ')}\"\n"
    elif wrong.startswith("COLUMN "):
        text = column + ("" if "kind" in wrong else "kind = 'integer'\n") + wrong.removeprefix("COLUMN ") + "\n"
    else:
        text = f"{column}kind = 'integer'\n{wrong}\n"
    (tmp_path / "schema.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        Schema.load(tmp_path / "schema.toml")
    assert "schema.toml" in str(caught.value) and words in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="proband schema DATA"):
        Schema.load(tmp_path / "schema.toml")


def test_keep_bits() -> None:
    assert keep_bits(pl.Series([1.2, -1.2]).to_numpy(), 12, truncate=True).tolist() == [1.199951171875, -1.199951171875]
    assert keep_bits(pl.Series([0.1]).to_numpy(), 23, truncate=False)[0] == pl.Series([0.1], dtype=pl.Float32).cast(pl.Float64)[0]
