"""ImageGAN on scans whose workings a reader can see."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from proband import Cohort, ImageGAN, Images, InputError, load, read, write
from proband.contract import check
from proband.encode.images import from_canvas, sketched, to_canvas
from proband.game.images import Discriminator, drawn_shake, haar, multiple, shaken, through_haar, through_lite, unhaar
from proband.synthesizers import images
from tests.scans import scans


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return scans()


@pytest.fixture(scope="module")
def model(cohort: Cohort) -> ImageGAN:
    return ImageGAN(minutes=0.06).fit(cohort, seed=1)


def pixels(made: Cohort) -> np.ndarray:
    held = made.media["images"]
    assert isinstance(held, Images)
    return held.values[:, 0].astype(float)


def test_the_gaussian_alone_keeps_the_contract(cohort: Cohort):
    check(lambda: ImageGAN(minutes=0), cohort)


def test_the_game_is_played_and_judged(model: ImageGAN):
    gaussian, game = model.stages
    assert gaussian["kept"] + game["kept"] == 1 and 0 <= game["membership"] <= 1
    assert model.history[-1][0] == images.steps_in(0.06, (0, 1, 24, 24))


def test_images_are_as_their_attributes_say(model: ImageGAN):
    made = model.sample(300, seed=2)
    bar = (made.frame["shape"] == "bar").to_numpy()
    assert bar.mean() == pytest.approx(0.4, abs=0.12)  # half of the images of 100 patients: a standard error of .05
    middle, side = pixels(made)[:, :3, 8:12].mean((1, 2)), pixels(made)[:, 9:15, :2].mean((1, 2))
    assert middle[bar].mean() > middle[~bar].mean() + 40  # a bar reaches the upper edge
    light, age = pixels(made).mean((1, 2)), made.frame["age"].to_numpy()
    assert np.corrcoef(light[~bar], age[~bar])[0, 1] > 0.5  # the older, the larger
    assert side.mean() < 100


def test_a_condition_holds_for_row_and_image(model: ImageGAN):
    made = model.sample(40, seed=3, where="shape = 'bar' AND age > 50")
    assert set(made.frame["shape"]) == {"bar"} and made.frame["age"].min() > 50
    assert pixels(made)[:, :3, 8:12].mean() > 90


def test_the_same_seed_gives_the_same_images_saved_or_not(model: ImageGAN, cohort: Cohort, tmp_path: Path):
    made = model.sample(20, seed=4)
    assert model.sample(20, seed=4).fingerprint == made.fingerprint != model.sample(20, seed=5).fingerprint
    assert ImageGAN(minutes=0.06).fit(cohort, seed=1).sample(20, seed=4).fingerprint == made.fingerprint
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.sample(20, seed=4).fingerprint == made.fingerprint and again.stages == model.stages
    write(made, tmp_path / "made", format="csv", stamp=False, watermark=False)
    assert read(tmp_path / "made", made.schema).fingerprint == made.fingerprint


def test_killed_it_goes_on_to_the_same_model(model: ImageGAN, cohort: Cohort, tmp_path: Path):
    """Interrupted after the fourth round, it begins at the last look and ends with the same bytes."""

    def stop(step: int, of: int, what: str, figures: object) -> None:
        if what == "game" and step == 4:
            raise KeyboardInterrupt

    kept, seen = tmp_path / "kept", list[int]()
    with pytest.raises(KeyboardInterrupt):
        ImageGAN(minutes=0.06).fit(cohort, seed=1, on_step=stop, unfinished=kept)
    again = ImageGAN(minutes=0.06).fit(cohort, seed=1, on_step=lambda step, *_: seen.append(step), unfinished=kept)
    assert seen[0] == 5
    assert again.sample(5, seed=0).fingerprint == model.sample(5, seed=0).fingerprint


def test_the_picture_is_there_while_it_learns(cohort: Cohort, tmp_path: Path):
    from PIL import Image

    seen = list[bool]()
    ImageGAN(minutes=0.02).fit(
        cohort, seed=0, watch=tmp_path / "seen.png", on_step=lambda *_: seen.append((tmp_path / "seen.png").exists())
    )
    with Image.open(tmp_path / "seen.png") as sheet:
        assert all(seen) and sheet.size == (12 * 60, 2 * 72) and "SYNTHETIC" in sheet.text["Description"]  # enlarged three times


def test_the_gate_turns_down_a_game_that_spoiled_the_images(model: ImageGAN, cohort: Cohort):
    learned = model._learned
    spoiled = images.copy.deepcopy(learned.generator)
    with torch.no_grad():
        spoiled.out.weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
    told = learned.attributes.encode(cohort.frame)
    told[:, 0] = 0
    known = images.Pairs(torch.from_numpy(to_canvas(cohort.media["images"], 8)), torch.from_numpy(told))
    unseen = images.Pairs(torch.from_numpy(to_canvas(scans(80, seed=9).media["images"], 8)), torch.from_numpy(told[:80]))
    gaussian, game = images._judged(learned.generator, spoiled, known, unseen, through_haar, 0)
    assert gaussian["kept"] == 1 and game["kid"] > gaussian["kid"]


def test_bands_and_canvas_come_back():
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(unhaar(haar(x)), x, atol=1e-6)
    held = scans(4).media["images"]
    assert isinstance(held, Images)
    canvas = to_canvas(held, 8)
    assert canvas.shape == (4, 1, 24, 24) and canvas.min() >= -1
    assert (from_canvas(canvas, held).values == held.values).all()
    assert sketched(np.zeros((1, 1, 128, 128), np.float32)).shape == (1, 1, 64, 64)
    assert [multiple(side) for side in (28, 64, 128, 256)] == [8, 8, 16, 32]


def test_nobody_is_mirrored():
    """A shaken image keeps its bright side: a heart on the right would be another disease."""
    x = torch.zeros(200, 1, 32, 32)
    x[:, :, :, 20:] = 1
    shake = drawn_shake(200, 0.5, torch.Generator().manual_seed(0))
    moved = shaken(x, shake)
    assert (moved[:, :, :, 16:].mean((1, 2, 3)) > moved[:, :, :, :16].mean((1, 2, 3))).all()
    still = (shake == 0).all(1)
    assert 60 < int(still.sum()) < 140 and torch.equal(moved[still], x[still])


@pytest.mark.parametrize("eyes", [through_haar, through_lite])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_eyes_see_any_channels(eyes, channels):
    x = torch.rand(3, channels, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    judge = Discriminator(eyes, x, 4, torch.Generator().manual_seed(0))
    assert judge(judge.scaled(eyes(x)), torch.ones(3, 5)).shape == (3,)


def test_colour_and_large_images_are_learned():
    """Three channels, sides that no power of two divides, and a sketch smaller than its image."""
    small = scans(120, height=90, width=70)
    grey = small.media["images"]
    assert isinstance(grey, Images)
    colour = Images(np.repeat(grey.values, 3, axis=1), channels=("red", "green", "blue"))
    made = ImageGAN(minutes=0.001).fit(replace(small, media={"photos": colour}), seed=0).sample(3, seed=0)
    held = made.media["photos"]
    assert isinstance(held, Images) and held.values.shape == (3, 3, 90, 70) and held.values.dtype == np.uint8


def test_what_cannot_be_learned_is_said(cohort: Cohort):
    rare = cohort.frame.with_columns(shape=pl.when(pl.int_range(pl.len()) < 4).then(pl.lit("bar")).otherwise(pl.lit("disc")))
    same = cohort.frame.with_columns(patient=pl.lit("P"))
    large = Images(np.zeros((200, 1, 300, 8), np.uint8))
    for wrong, message in (
        (replace(cohort, media={}), "one Images is learned"),
        (cohort.take(cohort.patients[:10]), "20 images are too few"),
        (replace(cohort, media={"images": large}), "--size 128"),
        (replace(cohort, frame=rare), "level 'bar' has images of 2 patients"),
        (replace(cohort, frame=same), "of 1 patients"),
    ):
        with pytest.raises(InputError, match=message):
            ImageGAN(minutes=0).fit(wrong, seed=0)
    with pytest.raises(InputError, match="not a training time"):
        ImageGAN(minutes=-1)
    with pytest.raises(InputError, match="has not learned"):
        ImageGAN().sample(1, seed=0)


def test_a_model_that_was_tampered_with_is_refused(model: ImageGAN, tmp_path: Path):
    import json

    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    stored = json.loads(path.read_text())
    text = json.dumps(stored).replace('"canvas": [1, 24, 24]', '"canvas": [1, 24, 25]')
    assert text != json.dumps(stored)
    path.write_text(text)
    with pytest.raises(InputError):
        load(tmp_path / "model")
