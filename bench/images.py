"""ImageGAN on real medical images: faithful, useful, nobody's; beside the Gaussian that it begins with, real patients and blur.

    python bench/images.py --data DIR [--set kermany_cxr] [--side 64] [--minutes 30] [--seeds 1 2 3] [--sheets DIR]

DIR holds kermany_cxr, busi_ultrasound, cxr_nih_covid or pneumoniamnist. A quarter of the patients is held out and judges; no seed chose it.
"""

from __future__ import annotations

import argparse
import io
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import torch

from proband import Cohort, Column, ImageGAN, Images, Schema, Table, __version__
from proband.records.images import resized
from proband.records.pictures import save_grid
from proband.stats.discrimination import auc
from proband.stats.images import blurred, calibrated, cover, nearer
from proband.stats.intervals import clopper_pearson
from proband.stats.lite import features
from proband.stats.small_net import each_told

COLUMNS = [
    "KID-cal",
    "precision",
    "recall",
    "density",
    "coverage",
    "nearer",
    "interval",
    "TSTR",
    "accuracy",
    "obeyed",
    "seconds",
    "processor",
]
MANY = 800  # images a side that are compared
MADE = 3000
BANKS = 20  # of training patients, among whom the nearest is sought
NETS = 3  # that learn from each set: their probabilities are averaged


def cohort(folder: Path, name: str, side: int) -> tuple[Cohort, str]:
    """A set's images at a size, and its target."""
    frame, images, target, categories = _SETS[name](folder / name)
    small = np.rint(resized(images, side, side)).astype(np.uint8)[:, None] if images.shape[-1] != side else images[:, None]
    columns = [Column(name="image", kind="identifier"), Column(name="patient", kind="identifier")]
    for column in frame.columns[2:]:
        if column in categories:
            columns.append(Column(name=column, kind="category", categories=tuple(sorted(frame[column].drop_nulls().unique()))))
        else:
            columns.append(Column(name=column, kind="number", low=0))
    schema = Schema(tables=(Table(name=name, columns=tuple(columns), key="patient"),))
    return Cohort(schema, frame, media={"images": Images(small)}), target


def _kermany(folder: Path) -> tuple[pl.DataFrame, np.ndarray, str, set[str]]:
    from PIL import Image

    held = np.load(folder / "kermany_128_jpeg.npz", allow_pickle=False)
    ends, jpeg = held["offsets"], held["jpeg"]
    images = [np.asarray(Image.open(io.BytesIO(jpeg[a:b].tobytes())).convert("L")) for a, b in pairwise(ends)]
    finding = np.array(["normal", "bacteria", "virus"])[held["labels"]]
    patient = [str(one) for one in held["patient"]]
    frame = pl.DataFrame({"image": [f"i{at}" for at in range(len(images))], "patient": patient, "finding": finding})
    return frame, np.stack(images), "finding", {"finding"}


def _busi(folder: Path) -> tuple[pl.DataFrame, np.ndarray, str, set[str]]:
    """No patient is named: every image counts as one, although some are of the same."""
    label = pl.read_csv(folder / "labels.csv")["label"]
    held = np.load(folder / "images_128.npz", allow_pickle=False)
    name = [f"i{at}" for at in range(len(label))]
    return pl.DataFrame({"image": name, "patient": name, "finding": label}), held[held.files[0]], "finding", {"finding"}


def _nih(folder: Path) -> tuple[pl.DataFrame, np.ndarray, str, set[str]]:
    """The images of ChestX-ray14, whose age, sex and view are known."""
    table = pl.read_csv(folder / "labels.csv", infer_schema_length=None)
    held = np.load(folder / "images_128.npz", allow_pickle=False)
    known = (table["patient_id"].is_not_null() & table["age"].is_not_null() & table["view"].is_not_null()).to_numpy()
    some = table.filter(pl.Series(known))
    frame = some.select(
        pl.format("i{}", pl.int_range(pl.len())).alias("image"),
        pl.col("patient_id").cast(pl.String).alias("patient"),
        pl.col("folder_class").alias("finding"),
        pl.col("age").cast(pl.Float64),
        "sex",
        "view",
    )
    return frame, held[held.files[0]][known], "view", {"finding", "sex", "view"}


def _pneumonia(folder: Path) -> tuple[pl.DataFrame, np.ndarray, str, set[str]]:
    held = np.load(folder / "pneumoniamnist.npz", allow_pickle=False)
    images = np.concatenate([held["train_images"], held["val_images"]])
    label = np.concatenate([held["train_labels"], held["val_labels"]]).ravel()
    name = [f"i{at}" for at in range(len(images))]
    return (
        pl.DataFrame({"image": name, "patient": name, "finding": np.array(["normal", "pneumonia"])[label]}),
        images,
        "finding",
        {"finding"},
    )


_SETS = {"kermany_cxr": _kermany, "busi_ultrasound": _busi, "cxr_nih_covid": _nih, "pneumoniamnist": _pneumonia}


def scaled(part: Cohort) -> np.ndarray:
    held = part.media["images"]
    assert isinstance(held, Images)
    return held.scaled()


class Judge:
    """What is asked of made images, and what real ones answer. Nothing of it was used to train or to choose."""

    def __init__(self, train: Cohort, unseen: Cohort, target: str, seed: int) -> None:
        self.target, self.levels = target, sorted(train.frame[target].unique())
        self.train, self.unseen, self.rng = train, unseen, np.random.default_rng(seed)
        # As many patients on either side, one image of each: else the larger side is nearer by chance. Of the training patients, who are
        # more, several such banks: which were drawn should not matter.
        other = self._one_each(unseen)
        self.known = self._seen(scaled(train)[(rows := self._one_each(train, most=len(train)))])
        self.stranger = self._seen(scaled(unseen)[other[: len(rows)]])
        self.seen = [self._seen(self._some(scaled(part))) for part in (train, unseen)]
        self.blurred = self._seen(blurred(self._some(scaled(unseen))))

    def _one_each(self, part: Cohort, most: int = MANY) -> np.ndarray:
        key = part.schema.table.key
        order = self.rng.permutation(part.frame.height)
        _, first = np.unique(part.frame[key].to_numpy()[order], return_index=True)
        return self.rng.permutation(order[first])[:most]

    def _some(self, images: np.ndarray) -> np.ndarray:
        return images[self.rng.permutation(len(images))[:MANY]]

    @staticmethod
    def _seen(images: np.ndarray) -> np.ndarray:
        return features(torch.from_numpy(np.ascontiguousarray(images, np.float32))).numpy()

    def _classes(self, part: Cohort) -> np.ndarray:
        return np.array([self.levels.index(level) for level in part.frame[self.target]])

    def probabilities(self, part: Cohort, asked: Cohort) -> np.ndarray:
        jobs = [(scaled(part), self._classes(part), seed) for seed in range(NETS)]
        return each_told(jobs, len(self.levels), scaled(asked)).mean(axis=0)

    def use(self, part: Cohort) -> dict[str, float]:
        """The worst pair of classes' AUC on unseen patients, and the accuracy, of nets that learned from `part`."""
        told, truth = self.probabilities(part, self.unseen), self._classes(self.unseen)
        pairs = []
        for one in range(len(self.levels)):
            for other in range(one):
                rows = np.isin(truth, (one, other))
                pairs.append(auc(told[rows, one] / (told[rows, one] + told[rows, other]), (truth[rows] == one).astype(int)))
        return {"TSTR": min(pairs), "accuracy": float((told.argmax(axis=1) == truth).mean())}

    def __call__(self, made: Cohort) -> dict[str, float | str]:
        """One row of the table."""
        seen = self._seen(self._some(scaled(made)))
        shares = cover(self.seen[1], seen)
        near, of = np.mean([nearer(seen, self.known, self.stranger, self.rng) for _ in range(BANKS)], axis=0)
        low, high = clopper_pearson(round(near), round(of))
        own = self.probabilities(self.train, made).argmax(axis=1) == self._classes(made)
        return {
            "KID-cal": calibrated(seen, *self.seen, self.blurred),
            **shares._asdict(),
            "nearer": near / of,
            "interval": f"{low:.2f}-{high:.2f}",
            **self.use(made),
            "obeyed": float(own.mean()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=sorted(_SETS), default="kermany_cxr")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--sheets", type=Path, help="a folder for pictures of made images")
    asked = parser.parse_args()
    if not (asked.data / asked.set).is_dir():
        raise SystemExit(f"'{asked.data / asked.set}' is not there. Give --data the folder that holds {asked.set}.")
    everybody, target = cohort(asked.data, asked.set, asked.side)
    print(f"{asked.set} at {asked.side} x {asked.side}, {asked.minutes:g} minutes, proband {__version__}, torch {torch.__version__}")
    print(f"{'':<28}" + "".join(f"{name:>11}" for name in COLUMNS), flush=True)
    for seed in asked.seeds:
        patients = everybody.patients.sort()
        order = np.random.default_rng(seed).permutation(len(patients))
        held = patients.gather(order[: len(patients) // 4])
        unseen, train = everybody.take(held), everybody.take(patients.gather(order[len(patients) // 4 :]))
        judge = Judge(train, unseen, target, seed)
        told = judge.use(train)
        shares = cover(judge.seen[1], judge.seen[0])
        show(f"seed {seed}: real", {"KID-cal": 0.0, **shares._asdict(), **told})
        for name, minutes in (("Gaussian", 0.0), ("ImageGAN", asked.minutes)):
            began, busy = time.time(), time.process_time()
            model = ImageGAN(minutes=minutes).fit(train, seed=seed)
            seconds, busy = time.time() - began, time.process_time() - busy
            made = model.sample(MADE, seed=seed)
            kept = "" if not model.stages else " (kept)" if model.stages[1]["kept"] else " (turned down)"
            show(f"seed {seed}: {name}{kept}", judge(made) | {"seconds": seconds, "processor": busy})
            if asked.sheets:
                asked.sheets.mkdir(parents=True, exist_ok=True)
                rows = np.concatenate([np.flatnonzero((made.frame[target] == level).to_numpy())[:24] for level in judge.levels])
                images = made.media["images"]
                assert isinstance(images, Images)
                save_grid(images.take(rows), asked.sheets / f"{asked.set}-{asked.side}-{seed}-{name}.png")


def show(name: str, figures: dict[str, float | str]) -> None:
    cells = (figures.get(column, "") for column in COLUMNS)
    print(
        f"{name:<28}"
        + "".join(f"{cell if isinstance(cell, str) else format(cell, '.3f' if abs(cell) < 10 else '.0f'):>11}" for cell in cells),
        flush=True,
    )


if __name__ == "__main__":
    main()
