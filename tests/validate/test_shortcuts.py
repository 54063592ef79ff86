"""Shortcuts: what gives a class away is found where it was planted, and nowhere else."""

import numpy as np
import polars as pl
import pytest
from scipy.ndimage import gaussian_filter

from proband import Cohort, Column, Images, Schema, Table
from proband.validate.shortcuts import shortcuts, words

COLUMNS = (
    Column(name="image", kind="identifier"),
    Column(name="finding", kind="category", categories=("ill", "well")),
    Column(name="site", kind="category", categories=("A", "B")),
)


def cohort(values: np.ndarray, finding: np.ndarray, site: np.ndarray, native: np.ndarray | None = None, key: str = "image") -> Cohort:
    frame = pl.DataFrame({"image": [f"i{at}" for at in range(len(values))], "finding": finding, "site": site})
    columns = COLUMNS
    if key == "patient":
        frame = frame.with_columns(patient=pl.Series([f"p{at // 10}" for at in range(len(values))]))
        columns = (*COLUMNS, Column(name="patient", kind="identifier"))
    schema = Schema(tables=(Table(name="xrays", columns=columns, key=key),))
    return Cohort(schema, frame, media={"images": Images(values[:, None], native=native)})


def plain(n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth images that tell nothing, a finding and a site."""
    rng = np.random.default_rng(0)
    values = np.stack([gaussian_filter(rng.normal(size=(32, 32)), 3) for _ in range(n)])
    values = 60 + 130 * (values - values.min()) / np.ptp(values) + rng.normal(0, 2, values.shape)
    return np.rint(values).astype(np.uint8), rng.choice(["ill", "well"], n), rng.choice(["A", "B"], n)


def test_where_nothing_gives_the_class_away_nothing_is_said() -> None:
    values, finding, site = plain()
    native = np.random.default_rng(1).integers(100, 400, (len(values), 2))
    assert shortcuts(cohort(values, finding, site, native)) == []
    assert shortcuts(Cohort(Schema(tables=(Table(name="t", columns=COLUMNS[1:2]),)), pl.DataFrame({"finding": ["ill"]}))) == []


@pytest.mark.parametrize("kind", ["size", "border", "text", "source"])
def test_what_was_planted_is_found_for_both_classes_and_nothing_else(kind: str) -> None:
    values, finding, site = plain()
    ill, native = finding == "ill", np.full((len(values), 2), 300)
    rng = np.random.default_rng(2)
    if kind == "size":
        native[ill] = rng.integers(350, 500, (ill.sum(), 2))
    elif kind == "border":
        values[ill, :, :4] = 0
    elif kind == "text":
        values[ill, 25:30, 3] = values[ill, 25:30, 6] = 255  # two strokes of a letter in the lower left corner
    else:
        site = np.where(rng.random(len(values)) < 0.9, np.where(ill, "A", "B"), site)
    found = shortcuts(cohort(values, finding, site, native))
    of_finding = [one for one in found if one.column == "finding"]
    assert {one.kind for one in of_finding} == {kind} and {one.level for one in of_finding} == {"ill", "well"}
    assert min(one.auc for one in of_finding) > 0.85
    said = words(of_finding)[0]
    expected = {"size": "size of its files", "border": "empty border at the left", "text": "in the lower left", "source": "column 'site'"}
    assert said.startswith("finding 'ill'") and (expected[kind] in said or (kind == "text" and "small bright details" in said))


def test_few_patients_say_nothing_however_many_images_they_have() -> None:
    values, finding, site = plain()
    values[finding == "ill", :, :4] = 0
    assert shortcuts(cohort(values, finding, site)) != []
    assert shortcuts(cohort(values, finding, site, key="patient")) == [], "20 patients of ten images each"
    alone = np.array(["ill"] * 3 + ["well"] * 197)
    values[:3, :, :8] = 0
    assert shortcuts(cohort(values, alone, site)) == [], "a class of three images"
