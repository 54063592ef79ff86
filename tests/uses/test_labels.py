import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import proband
from proband.cohort import Cohort, Mark
from proband.errors import InputError
from proband.schema import Column, Schema, Table
from proband.uses.labels import ROW, Labelled, Labeller, agreed, fit_labeller, label, read_queue, write_queue
from tests.test_journey import command

#: A tumour is benign when small, malignant when large, and anybody's guess between; every tenth small one is rare.
SCHEMA = Schema(
    tables=(
        Table(
            name="tumours",
            columns=(
                Column(name="size_mm", kind="number", low=0),
                Column(name="site", kind="category", categories=("left", "right")),
                Column(name="spread", kind="boolean", spelling=("no", "yes"), stored="String"),
                Column(name="grade", kind="category", categories=("benign", "malignant", "rare")),
            ),
        ),
    ),
    rules=({"sql": "NOT (spread AND grade = 'benign')"},),  # type: ignore[arg-type]
)


def tumours(n: int, seed: int, *, few: int = 5) -> Cohort:
    rng = np.random.default_rng(seed)
    size = np.round(rng.uniform(0, 40, n), 1)
    malignant = rng.random(n) < 1 / (1 + np.exp(-(size - 20) / 1.5))
    grade = np.where(malignant, "malignant", "benign").astype(object)
    grade[:few] = "rare"
    frame = pl.DataFrame(
        {"size_mm": size, "site": rng.choice(["left", "right"], n), "spread": malignant & (rng.random(n) < 0.2), "grade": list(grade)}
    )
    return Cohort(SCHEMA, frame.cast({c.name: c.dtype for c in SCHEMA.table.columns}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def labeller() -> Labeller:
    return fit_labeller(tumours(900, 1), "grade", seed=0)


@pytest.fixture(scope="module")
def synthetic() -> Cohort:
    """Patients whose drawn grade is always wrong or empty."""
    made = tumours(150, 2, few=0)
    wrong = pl.Series("grade", ["rare", None] * 75, dtype=pl.String)
    return replace(made, frame=made.frame.with_columns(wrong, spread=False), mark=Mark("forest", "1", 3, SCHEMA.hash, {"where": "x"}))


@pytest.fixture
def labelled(labeller: Labeller, synthetic: Cohort) -> Labelled:
    return label(synthetic, labeller, agree=0.9)


def test_models_agree_when_all_choose_one_level_surely() -> None:
    told = np.array([[[0.95, 0.05], [0.95, 0.05], [0.8, 0.2]], [[0.91, 0.09], [0.3, 0.7], [0.95, 0.05]]])  # (models, rows, levels)
    best, sure = agreed(told, 0.9, levels=2)
    assert best.tolist() == [0, 0, 0] and sure.tolist() == [True, False, False]
    assert not agreed(told, 0.9, levels=0)[1].any()  # the pool of rare levels is no label


def test_it_is_right_as_often_as_it_says_and_leaves_rare_levels_to_people(labeller: Labeller) -> None:
    assert set(labeller.levels) == {"benign", "malignant"}  # five rare ones are too few to learn from
    tested = labeller.tested(0.9)
    assert tested.right is not None and tested.right.high > 0.9  # every label was given with at least this calibrated probability
    assert 0.5 < tested.share < 0.9  # a tumour of 14 to 26 mm, three in ten, is anybody's guess
    assert labeller.tested(1.0).right is None and labeller.tested(1.0).share == 0


def test_sure_rows_get_the_models_label_and_the_rest_waits(labelled: Labelled, synthetic: Cohort) -> None:
    size, grade = synthetic.frame["size_mm"], labelled.cohort.frame["grade"]
    by_model = labelled.origin == "model"
    assert (grade.filter(by_model & (size > 30)) == "malignant").all() and (grade.filter(by_model & (size < 10)) == "benign").all()
    assert by_model.filter((size < 8) | (size > 32)).mean() > 0.8  # type: ignore[operator]
    assert by_model.filter((size > 18) & (size < 22)).sum() == 0
    assert (labelled.probability.filter(by_model) >= 0.9).all()
    # An unsure row keeps what was drawn, and says so.
    drawn = synthetic.frame["grade"]
    assert grade.filter(~by_model).equals(drawn.filter(~by_model))
    assert set(labelled.origin.filter(~by_model & drawn.is_not_null())) == {"generated"}
    assert set(labelled.origin.filter(~by_model & drawn.is_null())) == {"none"}
    assert labelled.unsure.tolist() == np.flatnonzero(~by_model.to_numpy()).tolist()
    assert labelled.cohort.mark is not None
    details = labelled.cohort.mark.details
    assert (
        details["where"] == "x" and details["label_column"] == "grade" and json.loads(details["label_origins"])["model"] == by_model.sum()
    )


def test_a_label_that_breaks_a_rule_is_not_given(labeller: Labeller, synthetic: Cohort) -> None:
    small_but_spread = replace(synthetic, frame=synthetic.frame.with_columns(size_mm=pl.lit(3.0), spread=True))
    made = label(small_but_spread, labeller, agree=0.5)
    assert not (made.cohort.frame["grade"] == "benign").any()


def test_a_person_answers_and_the_record_says_so(tmp_path: Path, labelled: Labelled) -> None:
    write_queue(labelled, tmp_path / "queue.csv")
    queue = pl.read_csv(tmp_path / "queue.csv", infer_schema=False)
    assert queue.columns == ["_synthetic", ROW, "grade", "size_mm", "site", "spread"]
    assert queue["grade"].is_null().all()  # neither the model's word nor what was drawn
    answers = ["benign", "malignant", None, *["rare"] * (queue.height - 3)]
    filled = queue.with_columns(pl.Series("grade", answers, dtype=pl.String))
    # A spreadsheet spells numbers and truth values its own way, and people sort.
    filled = filled.with_columns(size_mm=pl.col("size_mm").cast(pl.Float64).cast(pl.String) + "0", _synthetic=pl.lit("TRUE")).reverse()
    filled.write_csv(tmp_path / "filled.csv")
    made = read_queue(tmp_path / "filled.csv", labelled)
    first, second, third = labelled.unsure[:3]
    assert made.cohort.frame["grade"].gather([first, second]).to_list() == ["benign", "malignant"]
    assert (made.origin == "person").sum() == queue.height - 1
    assert made.unsure.tolist() == [third]
    assert made.cohort.mark is not None and json.loads(made.cohort.mark.details["label_origins"])["person"] == queue.height - 1
    made.save(tmp_path / "made.csv")
    again = proband.read(tmp_path / "made.csv", SCHEMA)
    assert again.mark == made.cohort.mark and again.frame.equals(made.cohort.frame)
    assert pl.read_csv(tmp_path / "made.csv.labels.csv")["origin"].equals(made.origin)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda q: q.with_columns(grade=pl.lit("malign")), "'malign' is no level of 'grade'. Give one of 'benign', 'malignant', 'rare'"),
        (lambda q: q.slice(1), "is missing"),
        (lambda q: pl.concat([q, q.head(1)]), "stands twice"),
        (lambda q: pl.concat([q, q.head(1).with_columns(pl.lit("999").alias(ROW))]), "row 999 was not in the queue"),
        (lambda q: q.with_columns(size_mm=pl.lit("7")), "was changed in column 'size_mm'"),
        (lambda q: q.drop("site"), "lacks column 'site'"),
    ],
)
def test_a_queue_that_is_not_as_it_was_is_refused(tmp_path: Path, labelled: Labelled, change, complaint: str) -> None:  # type: ignore[no-untyped-def]
    write_queue(labelled, tmp_path / "queue.csv")
    change(pl.read_csv(tmp_path / "queue.csv", infer_schema=False)).write_csv(tmp_path / "queue.csv")
    with pytest.raises(InputError, match=r"Queue '.*queue\.csv'") as refused:
        read_queue(tmp_path / "queue.csv", labelled)
    assert complaint in str(refused.value)


def test_a_persons_label_keeps_the_rules_too(tmp_path: Path, labeller: Labeller, synthetic: Cohort) -> None:
    made = label(replace(synthetic, frame=synthetic.frame.with_columns(size_mm=pl.lit(3.0), spread=True)), labeller)
    write_queue(made, tmp_path / "queue.csv")
    queue = pl.read_csv(tmp_path / "queue.csv", infer_schema=False)
    queue.with_columns(grade=pl.lit("benign")).write_csv(tmp_path / "queue.csv")
    with pytest.raises(InputError, match="row 1: this label breaks a rule"):
        read_queue(tmp_path / "queue.csv", made)


def test_what_cannot_be_labelled_is_refused(labeller: Labeller, synthetic: Cohort) -> None:
    with pytest.raises(InputError, match="is number, and labels are levels"):
        fit_labeller(tumours(100, 0), "size_mm")
    with pytest.raises(InputError, match="learned from real ones"):
        fit_labeller(synthetic, "grade")
    with pytest.raises(InputError, match="a model needs two"):
        fit_labeller(tumours(30, 0), "grade")
    with pytest.raises(InputError, match="carry no mark"):
        label(tumours(10, 0), labeller)
    with pytest.raises(InputError, match="no agreement"):
        label(synthetic, labeller, agree=90)
    other = SCHEMA.table.columns[3].model_copy(update={"sensitive": True})
    table = SCHEMA.table.model_copy(update={"columns": (*SCHEMA.table.columns[:3], other)})
    with pytest.raises(InputError, match="not what it was"):
        label(replace(synthetic, schema=SCHEMA.model_copy(update={"tables": (table,)})), labeller)


def test_the_command(tmp_path: Path, synthetic: Cohort, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    train, made, schema = tmp_path / "train.csv", tmp_path / "made.csv", tmp_path / "schema.toml"
    SCHEMA.save(schema)
    proband.write(tumours(300, 1, few=0), train)
    proband.write(synthetic, made)
    words = "label", made, "--train", train, "--target", "grade", "--schema", schema, "--agree", 0.8
    assert command(monkeypatch, *words, "--out", tmp_path / "out.csv", "--queue", tmp_path / "queue.csv", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    queue = pl.read_csv(tmp_path / "queue.csv", infer_schema=False)
    assert told["model"] + told["unsure"] == 150 and queue.height == told["unsure"] > 0
    queue.with_columns(grade=pl.lit("rare")).write_csv(tmp_path / "queue.csv")
    assert command(monkeypatch, *words, "--out", tmp_path / "all.csv", "--answers", tmp_path / "queue.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["person"] == queue.height
    assert command(monkeypatch, *words, "--out", tmp_path / "all.csv") == 2  # nothing is overwritten
