"""Images are judged: real against real passes, and each planted fault is caught by the finding that is there for it."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from proband import Cohort, Evidence, Finding, Images, InputError, Report, validate
from proband.records.images import resized
from proband.stats import images as stats
from proband.stats import own_features, small_net
from proband.validate import gallery, image_classes, image_plates
from proband.validate import images as judge
from proband.validate.limits import LIMITS
from proband.validate.whose_image import clusters, whose_image
from tests.lungs import lungs

PUBLIC_FEATURES = own_features.public_features
TRAIN, HOLDOUT, REFERENCE, FRESH = lungs(300, 1), lungs(150, 2), lungs(150, 3), lungs(300, 4)


def coarse(images: np.ndarray, *, side: int = 0) -> np.ndarray:
    """Stands in for the public network where it is not the question: means of squares, and how rough each is."""
    means = resized(images, 6, 6).reshape(len(images), -1)
    rough = resized(np.abs(np.diff(images, axis=3, append=0)), 6, 6).reshape(len(images), -1)
    return np.asarray(np.hstack([means, 3 * rough]) * 4)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """What is asked here is not how sharp the networks are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_features, "public_features", coarse)
        patch.setattr(own_features, "own_encoder", partial(own_features.own_encoder, steps=30))
        patch.setattr(small_net, "each_told", partial(small_net.each_told, steps=60))
        patch.setattr(image_classes, "_SEEDS", 1)
        yield


def values(cohort: Cohort) -> np.ndarray:
    return cohort.media["images"].values  # type: ignore[attr-defined]


def altered(cohort: Cohort, change: Callable[[np.ndarray], np.ndarray]) -> Cohort:
    made = np.clip(np.rint(change(values(cohort).astype(float))), 0, 255).astype(np.uint8)
    return replace(cohort, media={"images": Images(made)})


def evidence(made: Cohort) -> Evidence:
    return Evidence(TRAIN, HOLDOUT, REFERENCE, made, "finding")


def moved(images: np.ndarray) -> np.ndarray:
    """A pixel down, one to the left, with noise of two grey levels."""
    shifted = np.roll(images.astype(float), (1, -1), axis=(2, 3))
    return shifted + np.random.default_rng(7).normal(0, 2, images.shape)


def of(made: Cohort, *wanted: str) -> Mapping[str, Finding]:
    """The findings of faithfulness and privacy, those of use only where they are asked for."""
    one = evidence(made)
    held = gallery.Gallery.of_evidence(one, seed=0)
    public, own, own_many = gallery.seen(held, held, seed=0)
    found = [] if wanted == ("private",) else judge.faithful(held, public, own, "finding", 0)
    found += [] if wanted == ("faithful",) else whose_image(held, public, held, own_many, seed=0)
    return {f.name: f.judged(LIMITS.get(f.name)) for f in found}


@pytest.fixture(scope="module")
def fresh() -> Mapping[str, Finding]:
    return of(FRESH)


def test_fresh_images_are_faithful_and_copy_nobody(fresh: Mapping[str, Finding]) -> None:
    assert {f.name for f in fresh.values() if f.question == "faithful" and f.passed is False} == set()
    for name in ("image_near_copies_excess", "image_copies_excess"):
        low, high = fresh[name].interval or (1, 0)
        assert low <= 0 <= high and fresh[name].value == pytest.approx(0, abs=0.02), name
    low, high = fresh["image_nearer_train"].interval or (1, 0)
    assert low < 0.5 < high and fresh["image_membership_auc"].interval[0] < 0.5  # type: ignore[index]
    assert fresh["image_kid"].floor == 1 and fresh["image_recall"].floor < 0.6  # type: ignore[operator]


def test_blur_is_seen() -> None:
    found = of(altered(FRESH, lambda images: stats.blurred(images)), "faithful")
    assert {"image_kid", "image_spectrum_distance", "image_diversity"} <= {f.name for f in found.values() if f.passed is False}
    assert found["image_kid"].value == pytest.approx(1, abs=0.2)  # other images, blurred as those that count as 1


def test_a_collapsed_model_lacks_recall_and_variety_and_its_images_count_once() -> None:
    """Ten images, each made thirty times with a little noise: each looks real."""
    rng = np.random.default_rng(3)
    found = of(altered(FRESH, lambda images: np.resize(images[:10], images.shape) + rng.normal(0, 1, images.shape)))
    assert found["image_recall"].passed is found["image_diversity"].passed is False
    assert found["image_nearer_train"].detail["clusters"]["pixels"] == 10
    assert np.ptp(found["image_nearer_train"].interval) > 0.4  # ten images cannot tell more


def test_images_under_the_wrong_label_are_far_off_in_their_class() -> None:
    wrong = FRESH.frame.with_columns(finding=np.where(FRESH.frame["finding"] == "sick", "normal", "sick"))
    found = of(replace(FRESH, frame=wrong.cast(FRESH.frame.schema)), "faithful")  # type: ignore[arg-type]
    groups = {one["name"]: one["kid"] for one in found["image_kid"].detail["groups"]}
    assert found["image_kid"].passed and groups["finding = sick"] > 3 * abs(found["image_kid"].value)  # type: ignore[arg-type]
    assert "finding = " in found["image_worst_group_kid"].why


def test_a_memoriser_is_caught_though_its_copies_are_moved_and_noisy() -> None:
    found = of(replace(altered(TRAIN, moved), frame=FRESH.frame), "private")
    for name in ("image_near_copies_excess", "image_copies_excess", "image_membership_auc"):
        assert found[name].passed is False and found[name].interval[0] > 0.5, name  # type: ignore[index]
    assert found["image_nearer_train"].detail["views"]["pixels"] > 0.9


def test_near_duplicates_of_twenty_patients_are_found() -> None:
    """Of 300 synthetic images 20 are moved and noisy copies; the others are nobody's."""

    def planted(images: np.ndarray) -> np.ndarray:
        return np.concatenate([moved(values(TRAIN)[:20]), images[20:]])

    found = of(altered(FRESH, planted), "private")
    assert found["image_copies_excess"].value == pytest.approx(20 / 300, abs=0.01)
    for name in ("image_near_copies_excess", "image_copies_excess"):
        assert found[name].passed is False and found[name].interval[0] > 0, name  # type: ignore[index]
    assert found["image_near_copies_excess"].detail["neighbours"]["inside"]["train"]["distance"][5] < 0.3


def test_what_images_teach() -> None:
    """Learned from images under the wrong label a network is wrong; the reference and the floor say what chance gives."""
    held = gallery.Gallery.of_evidence(evidence(FRESH), seed=0)
    schema = TRAIN.schema
    right = {f.name: f for f in image_classes.image_classes(held, schema, "finding", seed=0)}
    assert right["tstr_images_gap"].value < 0.1 and right["tstr_images_gap"].floor > 0.15  # type: ignore[operator]
    assert [row["pair"] for row in right["tstr_images_gap"].detail["readers"]] == ["normal v sick"]
    wrong = np.where(held.frames["synthetic"]["finding"] == "sick", "normal", "sick")
    frames = {**held.frames, "synthetic": held.frames["synthetic"].with_columns(finding=wrong)}
    gap = image_classes.image_classes(replace(held, frames=frames), schema, "finding", seed=0)[0]
    assert gap.judged(LIMITS[gap.name]).passed is False and gap.value > 0.25  # type: ignore[operator]
    assert image_classes.image_classes(held, schema, None, seed=0)[0].value is None


def test_pairs_and_calibration_that_can_be_worked_out() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2])
    told = np.full((1, 6, 3), 0.1)
    told[0, np.arange(6), truth] = 0.8
    told[0, [1, 3]] = told[0, [3, 1]]  # an image of each of the first two classes is taken for one of the other
    assert image_classes.pair_aucs(told, truth).round(3).tolist() == [[0.5, 1, 1]]
    assert image_classes.calibration_error(np.tile([0.8, 0.2], (10, 1)), np.repeat([0, 1], [8, 2])) == pytest.approx(0.32)


def test_near_identical_images_are_one_cluster() -> None:
    apart = np.array([[0, 1, 9, 9], [1, 0, 1, 9], [9, 1, 0, 9], [9, 9, 9, 0]], float)
    assert clusters(apart, 1.0).tolist() == [0, 0, 0, 1]  # the third is one with the first through the second


def test_images_of_another_form_are_refused() -> None:
    for images, word in (
        (Images(np.zeros((300, 1, 12, 12), np.uint8)), "size in pixels"),
        (Images(np.zeros((300, 3, 24, 24), np.uint8), channels=("red", "green", "blue")), "channels"),
        (Images(np.zeros((300, 1, 24, 24), np.uint8), high=100), "range from black to white"),
    ):
        with pytest.raises(InputError, match=f"synthetic have another {word}"):
            gallery.Gallery.of_evidence(evidence(replace(FRESH, media={"images": images})), seed=0)
    with pytest.raises(InputError, match="those of synthetic have none"):
        gallery.Gallery.of_evidence(evidence(replace(FRESH, media={})), seed=0)


def test_large_images_are_read_smaller_and_no_more_than_asked() -> None:
    big = altered(FRESH, lambda images: images)
    big = replace(big, media={"images": Images(np.kron(values(FRESH), np.ones((4, 4), np.uint8)))})
    one = Evidence(big, big, big, big)
    held = gallery.Gallery.of_evidence(one, seed=0, most={"train": 40, "unseen": 30, "synthetic": 20}, side=48)
    assert held.values["train"].shape == (40, 1, 48, 48) and len(held.values["synthetic"]) == 20 and held.of["unseen"] == 600


def test_pictures_and_what_leaves(fresh: Mapping[str, Finding]) -> None:
    """The report shows real images beside synthetic ones; what leaves shows synthetic ones only."""
    report = Report(tuple(fresh.values()))
    assert report.shows_patients and not report.outside().shows_patients
    inside, outside = report.html(), report.outside().html()
    assert "Keep it inside" in inside and "Keep it inside" not in outside
    assert inside.count('class="sheet real"') == 4 and inside.count('class="sheet fake"') == 3  # two classes, and the neighbours
    assert 'class="sheet real"' not in outside and outside.count('class="sheet fake"') == 3
    real = fresh["image_kid"].detail["sheets"][0]["inside"]["real"]
    assert real in inside and real not in outside and real not in report.outside().json()
    assert "Power of the images by frequency" in outside and "Images by class and subgroup" in outside
    with pytest.raises(ValueError, match="no picture"):
        image_plates.sheets([{"name": "x", "synthetic": '"><script>'}])


@pytest.mark.slow
def test_the_whole_with_the_public_network() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_features, "public_features", PUBLIC_FEATURES)
        for name, most in (("IMAGES", 60), ("MANY", 150)):
            patch.setattr(judge, name, dict.fromkeys(("train", "unseen", "synthetic"), most))
        reports = [validate(TRAIN, HOLDOUT, FRESH, reference=REFERENCE, target="finding", seed=0) for _ in range(2)]
    assert reports[0].json() == reports[1].json()
    names = {f.name for f in reports[0].findings}
    assert {"columns_distance", "image_kid", "tstr_images_gap", "image_copies_excess"} <= names
    assert re.search("EfficientNet-lite2", next(f.why for f in reports[0].findings if f.name == "image_kid"))
