"""The visual Turing test: two images, one of a real patient and one of nobody. Which is real? A page for people, and what they answered.

A share right of .5 says that a reader cannot tell. It says nothing about copies, nor about what a model learns from the images: those are
asked elsewhere. Two-alternative forced choice: Green and Swets, *Signal Detection Theory and Psychophysics*, 1966.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from proband import seeds
from proband.cohort import Cohort
from proband.errors import InputError, Unavailable
from proband.records.images import Images
from proband.records.tables import replacing
from proband.stats.intervals import Estimate, wilson
from proband.validate.page import environment

KIND = "proband turing 1"
PAIRS = 50  # about ten minutes; the interval of 25 right is .37 to .63
FEWEST = 10
LARGEST_ANSWERS_BYTES = 5_000_000


@dataclass(frozen=True)
class Turing:
    """What one reader answered: the share right with Wilson's interval (95 %), median seconds of right and of wrong answers.

    told     whether the interval lies above .5: the reader can tell real from made
    """

    reader: str
    page: str
    pairs: int
    right: int
    share: Estimate
    seconds_right: float | None
    seconds_wrong: float | None

    @property
    def told(self) -> bool:
        return self.share.low > 0.5

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data, for machines."""
        return {**asdict(self), "share": self.share._asdict(), "told": self.told}

    def __str__(self) -> str:
        who = self.reader or "The reader"
        seconds = [f"{what} in {value:.1f} s" for what, value in (("right", self.seconds_right), ("wrong", self.seconds_wrong)) if value]
        verdict = "can tell real from made" if self.told else "was not shown to tell real from made"
        return (
            f"{who}: {self.right} of {self.pairs} right, {self.share.value:.0%} (95 % interval {self.share.low:.0%} to "
            f"{self.share.high:.0%}; 50 % is chance); median answer {', '.join(seconds) or 'unknown'}. {who} {verdict}."
        )


def turing(
    real: Cohort, synthetic: Cohort, out: str | Path, *, pairs: int = PAIRS, by: str | None = None, title: str = "", seed: int = 0
) -> int:
    """Write the page of a visual Turing test; how many pairs it shows. The same cohorts and seed give the same bytes.

    real       held-out patients' images: of those that were learned from, a copy would pass for real. At most one of each patient is shown
    synthetic  images without stamp and watermark, which would give them away
    out        the page (.html): one file that asks nothing of any network. It shows real patients: guard it as their data
    pairs      at most so many; as many as both have, if they have fewer
    by         a column whose level both images of a pair share, so that the finding does not tell

    InputError when either has no images, sizes, channels or ranges differ, real ones are marked as synthetic or synthetic ones are not,
    the fakes are stamped, or there are fewer than ten pairs.
    """
    out = Path(out)
    if out.suffix.lower() != ".html":
        raise InputError(f"'{out}' is no page. Give a name that ends in .html.")
    held = _images(real, "real"), _images(synthetic, "synthetic")
    _check(real, synthetic, *held)
    rng = seeds.generator(seed, "turing")
    chosen = _pairs(real, synthetic, by, pairs, rng)
    if len(chosen) < FEWEST:
        raise InputError(f"{len(chosen)} pairs are too few: an interval would say nothing. Bring at least {FEWEST} images of each kind.")
    left_is_real = rng.permutation(np.arange(len(chosen)) % 2 == 0)  # each side as often
    shown = [images.take(np.array(rows)).shown() for images, rows in zip(held, zip(*chosen, strict=True), strict=True)]
    trials = []
    for left, one, other in zip(left_is_real, *shown, strict=True):
        first, second = (one, other) if left else (other, one)
        trials.append({"left": _png(first), "right": _png(second), "real": "left" if left else "right"})
    content = json.dumps(trials)
    page = environment().get_template("turing.html.jinja")
    known = {"kind": KIND, "page": hashlib.sha256(content.encode()).hexdigest()[:16], "seed": seed}
    text = page.render(title=title or "Which one is real?", pairs=len(chosen), trials=content, known=json.dumps(known), fewest=FEWEST)
    with replacing(out) as file:
        file.write(text.encode())
    return len(chosen)


def read_turing(path: str | Path) -> Turing:
    """What a reader answered, from the file that the page gave. InputError for a file that is no such answers, or has fewer than ten."""
    path = Path(path)
    where = f"Answers '{path}'"
    try:
        if path.stat().st_size > LARGEST_ANSWERS_BYTES:
            raise InputError(f"{where}: {path.stat().st_size:,} bytes are no answers of a page. Give the file that the page saved.")
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != KIND:
            raise InputError(f"{where} is of kind {content['kind']!r}, expected {KIND!r}. Give the file that the page saved.")
        answers = [(one["pair"], one["chosen"] == one["real"], float(one["milliseconds"])) for one in content["answers"]]
        reader, page = str(content.get("reader", "")), str(content["page"])
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror}. Give the file that the page saved.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where} cannot be read: {error!r}. Give the file that the page saved.") from error
    if len({pair for pair, _, _ in answers}) < len(answers):
        raise InputError(f"{where} answers a pair twice. Give the file that the page saved, unchanged.")
    if len(answers) < FEWEST:
        raise InputError(f"{where} has {len(answers)} answers, and {FEWEST} are the fewest. Answer more pairs.")
    right = sum(good for _, good, _ in answers)
    median = [float(np.median(some)) / 1000 if (some := [ms for _, ok, ms in answers if ok is good]) else None for good in (True, False)]
    return Turing(reader, page, len(answers), right, wilson(right, len(answers)), *median)


def _images(cohort: Cohort, what: str) -> Images:
    images = next((held for held in cohort.media.values() if isinstance(held, Images)), None)
    if images is None:
        raise InputError(f"The {what} cohort has no images. Give a folder of images, read with proband.read.")
    if images.values.shape[1] not in (1, 3):
        raise InputError(f"The {what} images have the channels {', '.join(images.channels)}; one or three are shown. Take one channel.")
    return images


def _check(real: Cohort, synthetic: Cohort, ours: Images, made: Images) -> None:
    if real.mark is not None:
        raise InputError("The real images are marked as synthetic. Give images of held-out patients first, synthetic ones second.")
    if synthetic.mark is None:
        raise InputError(
            "The synthetic images carry no mark: they count as real. Give images of held-out patients first, synthetic ones second."
        )
    if made.burned_in:
        raise InputError(
            f"The synthetic images carry {' and '.join(word.split(':')[0] for word in made.burned_in)} in their pixels, a give-away. "
            "Write them without (proband sample --no-stamp --no-watermark; stamp=False, watermark=False)."
        )
    for what in ("size", "channels", "low", "high", "unit"):
        if (one := getattr(ours, what)) != (other := getattr(made, what)):
            raise InputError(
                f"{what} is {one} in the real images and {other} in the synthetic ones, which gives them away. Read both alike."
            )


def _pairs(real: Cohort, synthetic: Cohort, by: str | None, most: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Rows of real and of synthetic images: one of each patient, of one level of `by`."""
    rows = []
    for cohort, what in ((real, "real"), (synthetic, "synthetic")):
        if by is not None and by not in cohort.frame.columns:
            raise InputError(f"Column {by!r} is not in the {what} table ({', '.join(cohort.frame.columns)}). Name one of both.")
        key = cohort.schema.table.key
        order = rng.permutation(cohort.frame.height)
        frame = pl.DataFrame({"row": order, "level": cohort.frame[by].cast(pl.String)[order.tolist()] if by else [""] * len(order)})
        if key is not None:
            frame = frame.with_columns(key=cohort.frame[key][order.tolist()]).unique("key", keep="first", maintain_order=True)
        rows.append({level[0]: part["row"].to_list() for level, part in frame.drop_nulls().group_by("level", maintain_order=True)})
    found = [pair for level in sorted(rows[0]) for pair in zip(rows[0][level], rows[1].get(level, ()), strict=False)]
    return [found[at] for at in rng.permutation(len(found))[:most]]


def _png(values: np.ndarray) -> str:
    """(channels, height, width) uint8 as the source of an image inside the page."""
    try:
        from PIL import Image
    except ImportError as error:
        raise Unavailable("The page needs pillow. Run: pip install 'proband[images]'") from error
    held = io.BytesIO()
    Image.fromarray(values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)).save(held, "PNG")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
