"""PrivateImageGAN: what patients' images are asked moves by no more than was declared, and nothing else of them is left."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from proband import Cohort, Images, InputError, PrivateImageGAN, ProbandError, load
from proband.contract import check
from proband.game.averages import Look, clouds
from proband.game.images import through_haar
from proband.pipeline import suited
from proband.privacy import domain
from proband.privacy.audit import replay
from proband.privacy.budget import Budget, deviation, epsilon_of, rho_of
from proband.privacy.ledger import Ledger, enter_fit
from proband.synthesizer import make
from proband.synthesizers import image_release, marginals, private_images
from proband.synthesizers.image_release import Basis, clear_of_noise, together
from tests.scans import scans

RHO = rho_of(50, 1e-5)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few parts, steps and cosines, and eyes without a network: what is audited is what is asked, not how well it is learned."""
    for module, name, value in (
        (marginals, "PARTS", 60),
        (marginals, "STEPS", 5),
        (marginals, "LAST_STEPS", 60),
        (domain, "STAND_INS", 1000),
        (private_images, "DRAWN", 500),
        (image_release, "COARSE", 20),
        (image_release, "SCORES", 80),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(private_images, "_eyes", lambda: through_haar)


def public(cohort: Cohort) -> Cohort:
    return replace(cohort, schema=cohort.schema.model_copy(update={"public": True}))


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return public(scans(400))


@pytest.fixture
def model(cohort: Cohort) -> PrivateImageGAN:
    return PrivateImageGAN(epsilon=50, minutes=0).fit(cohort, seed=1)


def pixels(made: Cohort) -> np.ndarray:
    held = made.media["images"]
    assert isinstance(held, Images)
    return held.values[:, 0].astype(float)


def test_the_contract_is_kept():
    check(lambda: PrivateImageGAN(epsilon=50, minutes=0), public(scans(200)), n=20)


def test_images_are_as_their_group_says(model: PrivateImageGAN, cohort: Cohort):
    """200 patients at epsilon 50: a bar reaches the upper edge, a disc does not."""
    made = model.sample(200, seed=2)
    bar = (made.frame["shape"] == "bar").fill_null(False).to_numpy()
    top = pixels(made)[:, :3, 8:12].mean((1, 2))
    assert top[bar].mean() > top[~bar].mean() + 40
    assert pixels(made).mean() == pytest.approx(pixels(cohort).mean(), abs=8)


def test_numbers_move_images(model: PrivateImageGAN):
    made = model.sample(400, seed=3, where="shape = 'disc'")
    light, age = pixels(made).mean((1, 2)), made.frame["age"].cast(pl.Float64).to_numpy()
    known = ~np.isnan(age)  # by noise a few lack it
    assert np.corrcoef(light[known], age[known])[0, 1] > 0.3  # .8 in the patients: the older, the larger


def test_the_generator_comes_nearer_to_the_answers(cohort: Cohort):
    asked = PrivateImageGAN(epsilon=50)._asked(cohort, Budget(RHO), 0)
    far = list[float]()
    private_images.finished(asked, minutes=0.15, seed=0, on_step=lambda done, of, what, figures: far.append(figures["distance"]))
    assert len(far) == private_images.steps_in(0.15, (0, 1, 24, 24))
    assert np.mean(far[-5:]) < np.mean(far[:5])


# --- privacy -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fit(tmp_path: Path):
    """As the auditor asks for it: a budget in, the bytes of the model folder out."""
    count = [0]

    def fitted(cohort: Cohort, budget: Budget) -> bytes:
        count[0] += 1
        model, folder = PrivateImageGAN(epsilon=50), tmp_path / str(count[0])
        model._fitted = private_images.finished(model._asked(cohort, budget, 1), minutes=0.003, seed=1)
        model.save(folder)
        return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))

    return fitted


def with_a_giant(cohort: Cohort, images: int = 300) -> Cohort:
    """One patient more: 300 images, all of them white, while nobody else has a white pixel."""
    held = cohort.media["images"]
    assert isinstance(held, Images)
    rows = np.r_[np.arange(cohort.frame.height), np.zeros(images, int)]
    giant = np.arange(len(rows)) >= cohort.frame.height
    values = np.where(giant[:, None, None, None], 255, np.minimum(held.values[rows], 200)).astype(np.uint8)
    names = [f"g{at}" if of else name for at, (name, of) in enumerate(zip(cohort.frame["image"][rows], giant, strict=True))]
    whose = ["giant" if of else name for name, of in zip(cohort.frame["patient"][rows], giant, strict=True)]
    frame = cohort.frame[rows].with_columns(image=np.array(names), patient=np.array(whose))
    return replace(cohort, frame=frame, media={"images": replace(held, values=values)})


def test_a_patient_with_three_hundred_white_images_is_one_patient(fit):
    """Replayed without them: the same questions, none moved by more than declared, and from the same answers the same bytes."""
    assert replay(fit, with_a_giant(public(scans(120))), RHO, neighbours=2) == []


def test_images_counted_in_place_of_patients_are_refused(monkeypatch: pytest.MonkeyPatch, fit):
    def summed(told: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
        found = np.zeros((groups, told.shape[1]))
        np.add.at(found, group, told)
        return found.ravel()

    monkeypatch.setattr(image_release, "_mean", summed)
    with pytest.raises(ProbandError, match="adds more than was declared"):
        fit(with_a_giant(public(scans(120))), Budget(RHO))


def test_a_scale_that_is_read_off_the_patients_is_found(monkeypatch: pytest.MonkeyPatch, fit):
    """White is what the whitest image has: without that patient everybody is lighter."""
    to_canvas = private_images.on_canvas

    def stretched(images: Images) -> np.ndarray:
        values = to_canvas(images)
        return (values + 1) / (values.max() + 1) * 2 - 1 if len(values) else values

    monkeypatch.setattr(private_images, "on_canvas", stretched)
    found = replay(fit, with_a_giant(public(scans(120))), RHO, neighbours=1)
    assert "sensitivity" in {breach.kind for breach in found}


def test_after_the_release_the_patients_may_be_deleted(fit):
    cohort = public(scans(120))
    held = cohort.media["images"]
    assert isinstance(held, Images)
    asked = PrivateImageGAN(epsilon=50)._asked(cohort, Budget(RHO), 1)
    assert not len(asked.like)
    weights = []
    for _ in range(2):
        learned = private_images.finished(asked, minutes=0.01, seed=1)
        weights.append(torch.cat([part.flatten() for part in learned.generator.state_dict().values()]))
        held.values[:] = 0  # the same memory, were any of it kept
    assert torch.equal(*weights)


def test_what_a_patient_adds_hangs_on_nobody_else(cohort: Cohort, monkeypatch: pytest.MonkeyPatch):
    """To the last bit: the vectors of the first ten patients, alone and among two hundred."""
    told: dict[int, list[np.ndarray]] = {}

    class Listening(Budget):
        def total(self, vectors, **more):  # type: ignore[no-untyped-def]
            held = list(vectors)
            told.setdefault(id(self), []).extend(held[:10])
            return super().total(held, **more) * 0  # the same answer to both

    sketch, few = Basis.of((1, 24, 24)), 20
    look = Look.of(through_haar, (1, 24, 24))
    values = private_images.on_canvas(cohort.media["images"])  # type: ignore[arg-type]
    given = np.zeros((len(values), 2), np.float32)
    budgets = Listening(1.0), Listening(1.0)
    for rows, budget in zip((len(values), few), budgets, strict=True):
        whose = [np.arange(at, at + 2) for at in range(0, rows, 2)]
        image_release.released(values[:rows], values[:rows], given[:rows], whose, 1, [1], sketch, look, budget)
    assert len(told[id(budgets[0])]) == 40
    assert all((a == b).all() for a, b in zip(*(told[id(budget)] for budget in budgets), strict=True))


def test_all_is_charged_once_and_entered_in_the_ledger(model: PrivateImageGAN, cohort: Cohort, tmp_path: Path):
    spent = sum(spend.rho for spend in model.spends)
    assert spent == pytest.approx(model.rho, rel=1e-6) and epsilon_of(spent, 1e-5) == pytest.approx(50, rel=1e-3)
    assert {"means of images", "spread of images", "looks of images", "numbers of images"} <= {spend.what for spend in model.spends}
    ledger = tmp_path / "scans.ledger"
    Ledger.begin(ledger, "scans", epsilon=60)
    assert enter_fit(ledger, model, cohort.schema)
    entry = Ledger(ledger).entries[0]
    assert entry.what == "private-images, epsilon 50, delta 1e-05" and entry.rho == model.rho
    mark = model.sample(1, seed=0).mark
    assert mark is not None and (mark.details["epsilon"], mark.details["unit"]) == ("50", "patient")


def test_the_sum_over_patients_has_the_noise_that_it_paid_for():
    noisy = Budget(1.0).total(iter([np.zeros(4000)]), width=4000, rho=0.02, what="nothing")
    assert deviation(0.02) == pytest.approx(5)
    assert noisy.std() == pytest.approx(5, rel=5 / np.sqrt(2 * 4000))  # five standard errors
    for wrong in (np.full(4, 0.51), np.full(4, np.nan), np.zeros(3)):
        with pytest.raises(ProbandError, match="more than was declared"):
            Budget(1.0).total(iter([wrong]), width=4, rho=0.02, what="a vector")


# --- parts ---------------------------------------------------------------------------------------------------------------------


def test_cosines_are_orthonormal_and_scores_no_longer_than_an_image():
    basis = Basis.of((2, 8, 12))
    assert np.allclose(basis.cosines @ basis.cosines.T, np.eye(len(basis.cosines)))
    assert np.linalg.norm(basis.scores(np.ones((1, 2, 8, 12)))) == pytest.approx(1)
    assert basis.band[0] == 0 and (np.diff(basis.band) >= 0).all()


def test_what_noise_drowns_is_taken_from_everybody():
    rng = np.random.default_rng(0)
    counts, truth = np.array([1000.0, 1000.0, 2.0]), np.repeat([[1.0], [3.0], [9.0]], 50, axis=1)
    found = together(counts[:, None] * truth + rng.normal(0, 40, truth.shape), counts, 40.0, np.zeros(50, int))
    assert found[0].mean() == pytest.approx(1, abs=0.05) and found[1].mean() == pytest.approx(3, abs=0.05)
    assert found[2].mean() == pytest.approx(2, abs=0.5)  # two patients in noise of 40
    nothing = together(rng.normal(0, 40, truth.shape), counts, 40.0, np.zeros(50, int))
    assert np.sqrt((nothing**2).mean()) < 0.02  # half of the noise in the mean of a thousand


def test_directions_that_stand_out_are_kept_and_the_others_are_filled():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, (40, 40))
    noisy = np.diag([9.0, 4.0] + [0.01] * 38) + (noise + noise.T) / 2**0.5
    found = np.linalg.eigvalsh(clear_of_noise(noisy, 0.1, np.full(40, 0.01)))
    assert found[-2:] == pytest.approx([4, 9], rel=0.1) and (found[:-2] > 0).all() and found[:-2].max() < 0.05


def test_a_look_is_no_longer_than_one():
    look = Look.of(through_haar, (1, 24, 24))
    for images in (clouds(5, (1, 24, 24), torch.Generator().manual_seed(3)), torch.ones(2, 1, 24, 24), -torch.ones(2, 1, 24, 24)):
        seen = look(images)
        assert seen.shape == (len(images), look.width) and (seen.norm(dim=1) <= 1 + 1e-6).all()


# --- edges ---------------------------------------------------------------------------------------------------------------------


def test_saved_it_is_the_same_and_a_hostile_file_is_refused(model: PrivateImageGAN, tmp_path: Path):
    made = model.sample(12, seed=4)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, PrivateImageGAN) and again.sample(12, seed=4).fingerprint == made.fingerprint
    assert again.spends == model.spends and again.patients == model.patients
    path = tmp_path / "model" / "model.json"
    stored = path.read_text()
    for old, new in (
        ('"canvas":[1,24,24]', '"canvas":[1,24,32]'),
        ('"size":[24,20]', '"size":[24,2000]'),
        ('"groups":[', '"groups":[["x"],'),
        ('"dtype":"uint8"', '"dtype":"object"'),
    ):
        text = json.dumps(json.loads(stored), separators=(",", ":")).replace(old, new, 1)
        assert new in text
        path.write_text(text)
        with pytest.raises(InputError):
            load(tmp_path / "model")


def test_what_is_not_public_is_refused(cohort: Cohort):
    held = cohort.media["images"]
    assert isinstance(held, Images)
    fit = PrivateImageGAN(epsilon=50, minutes=0).fit
    for wrong, message in (
        (scans(20), "public = true"),
        (replace(cohort, media={}), "one Images is learned"),
        (replace(cohort, media={"images": replace(held, high=203.0)}), r"range=\(0, 4095\)"),
        (replace(cohort, media={"images": Images(np.zeros((400, 1, 300, 8), np.uint8))}), "--size 128"),
    ):
        with pytest.raises(InputError, match=message):
            fit(wrong, seed=0)
    for arguments, message in (
        ({"epsilon": 0}, "epsilon"),
        ({"minutes": -1}, "not a training time"),
        ({"range": (5, 5)}, "range"),
    ):
        with pytest.raises(InputError, match=message):
            PrivateImageGAN(**arguments)
    with pytest.raises(InputError, match="has not learned"):
        PrivateImageGAN().sample(1, seed=0)


def test_a_range_that_is_told_is_public(cohort: Cohort):
    held = cohort.media["images"]
    assert isinstance(held, Images)
    decimal = replace(held, values=held.values.astype(np.float32), high=203.0)
    made = PrivateImageGAN(epsilon=50, minutes=0, range=(0, 255)).fit(replace(cohort, media={"images": decimal}), seed=0).sample(3, seed=0)
    images = made.media["images"]
    assert isinstance(images, Images) and (images.low, images.high, images.values.dtype) == (0, 255, np.float32)


def test_a_folder_of_images_and_epsilon_choose_it(tmp_path: Path):
    from proband.records.image_folder import write_images

    write_images(replace(scans(4), mark=None), tmp_path / "scans", "csv")
    assert suited(tmp_path / "scans") == "images" and suited(tmp_path / "scans", private=True) == "private-images"
    assert make("private-images", epsilon=2).rho == rho_of(2, 1e-5)  # type: ignore[attr-defined]
