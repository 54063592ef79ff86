"""Labels of images: kept where networks that learned from real patients agree, the others wait for a person."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import proband
from proband import InputError, Mark
from proband.stats import small_net
from proband.uses.labels import Labeller, fit_labeller, label, read_queue, write_queue
from tests.lungs import SCHEMA, lungs

MARK = Mark("by hand", "1", 0, SCHEMA.hash)


@pytest.fixture(scope="module")
def labeller() -> Labeller:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_net, "learned", partial(small_net.learned, steps=80))
        return fit_labeller(lungs(300, 1, each=2), "finding", seed=0)


def test_labels_are_kept_where_the_networks_agree_and_wrong_ones_wait(labeller: Labeller, tmp_path: Path) -> None:
    """A third of the images bear the other class's label, one bears none."""
    made = replace(lungs(90, 5), mark=MARK)
    right = made.frame["finding"].to_list()
    drawn = [{"sick": "normal", "normal": "sick"}[one] if at % 3 == 0 else one for at, one in enumerate(right)]
    drawn[1] = None  # type: ignore[call-overload]
    labelled = label(
        replace(made, frame=made.frame.with_columns(finding=pl.Series(drawn, dtype=made.frame.schema["finding"]))), labeller, agree=0.6
    )
    kept = np.flatnonzero(labelled.origin == "model")
    assert 0.1 < labelled.kept == len(kept) / 90 < 0.67
    assert np.mean([at % 3 == 0 for at in kept]) < 0.15, "a third of the images bear a wrong label, few of those that are kept"
    tested = labeller.tested(0.6)
    assert tested.right is not None and tested.right.value > 0.8 and labelled.cohort.mark is not None
    assert labelled.cohort.mark.details["label_kept"] == f"{labelled.kept:.3f}"
    write_queue(labelled, tmp_path / "queue.csv")
    queue = pl.read_csv(tmp_path / "queue.csv", infer_schema=False)
    assert len(queue) == len(labelled.unsure) and queue["image"].str.starts_with("5_").all()  # whose file a person opens
    queue.with_columns(finding=pl.lit("sick")).write_csv(tmp_path / "filled.csv")
    labelled = read_queue(tmp_path / "filled.csv", labelled)
    labelled.save(tmp_path / "labelled")
    back = proband.read(tmp_path / "labelled", SCHEMA)
    assert back.fingerprint == labelled.cohort.fingerprint and (tmp_path / "labelled.labels.csv").exists()


def test_images_of_another_size_and_tables_alone_are_refused(labeller: Labeller) -> None:
    made = replace(lungs(20, 5), mark=MARK)
    images = made.media["images"].resized(16, 16)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="24 x 24"):
        label(replace(made, media={"images": images}), labeller)
    with pytest.raises(InputError, match="no images"):
        label(replace(made, media={}), labeller)
