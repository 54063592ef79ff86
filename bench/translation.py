"""MRI to CT: real pairs split by case, and a phantom whose truth is known, beside the usual recipes at equal minutes.

    python bench/translation.py real --data DIR [--minutes 0.7] [--size 96] [--seed 0] [--cases 2 20] [--picture FILE.png]
    python bench/translation.py phantom [--minutes 4] [--size 64] [--seeds 0 1 2] [--picture FILE.png]

DIR holds paired_ct_mri (index.csv, ct_mri_256.npz): 130 slices of seven heads, the CT cut to a window of 8 bits, so no figure is in HU.
Each case is translated by what learned from the six others. Minutes are sums of steps, not clock time: `seconds` is what they took.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from translation_peers import applied, cycle, paired

import proband
from proband.game.flows import spread
from proband.records.images import Images, resized
from proband.records.phantom import CT_RANGE, phantom
from proband.stats.translation import TISSUES_HU, figures, moved, on_average
from proband.synthesizers.translation import Translator

#: Seconds of a step for each pixel of an image and what each step costs beside, on the core that our own sums were taken on.
PEERS = {"L1 U-Net": 3.0e-5, "pix2pix": 3.6e-5, "CycleGAN": 25e-5}
#: Of 8 bits: the CT's window ends below bone, so bone is what is white; the brain is about 90.
TISSUES = {"bone": (230.0, np.inf), "body": (40.0, np.inf), "air": (-np.inf, 40.0)}


def steps_in(minutes: float, size: int, name: str) -> int:
    return round(minutes * 60 / (0.03 + PEERS[name] * size**2))


def heads(folder: Path, size: int) -> tuple[Images, Images, np.ndarray, np.ndarray]:
    """MRI, CT, the head in either, and whose it is."""
    stored = np.load(folder / "paired_ct_mri" / "ct_mri_256.npz")
    with open(folder / "paired_ct_mri" / "index.csv", encoding="utf-8") as rows:
        cases = np.array([row["case"] for row in csv.DictReader(rows)])
    mri, ct = (resized(stored[name], size, size)[:, None] for name in ("mri", "ct"))
    return Images(mri), Images(ct), np.array([head(a[0], b[0]) for a, b in zip(mri, ct, strict=True)]), cases


def head(mri: np.ndarray, ct: np.ndarray) -> np.ndarray:
    """The largest thing in either, without holes: not the couch."""
    label, _ = ndimage.label(ndimage.binary_opening((mri > 20) | (ct > 40)))
    return np.asarray(ndimage.binary_fill_holes(label == np.bincount(label.ravel())[1:].argmax() + 1))


def scaled(images: Images) -> np.ndarray:
    return images.scaled()[:, 0]


def real(folder: Path, *, minutes: float, size: int, seed: int, only: list[str] | None, picture: Path | None) -> None:
    mri, ct, mask, cases = heads(folder, size)
    ends = {"low": 0.0, "high": 255.0}
    found: dict[str, dict[str, dict[str, float]]] = {}
    shown: list[np.ndarray] = []
    covered: list[tuple[float, float]] = []
    for case in only or sorted(set(cases), key=int):
        train, test = np.flatnonzero(cases != case), np.flatnonzero(cases == case)
        made: dict[str, np.ndarray] = {"identity": mri.values[test, 0].astype(float)}
        made["mean of the others"] = np.repeat(ct.values[train, 0].mean(axis=0)[None], len(test), axis=0)
        took: dict[str, float] = {}
        for name, game in (("L1 U-Net", False), ("pix2pix", True)):
            begun = time.process_time()
            net = paired(scaled(mri)[train], scaled(ct)[train], mask[train], steps_in(minutes, size, name), seed, game=game)
            made[name], took[name] = (applied(net, scaled(mri)[test]) + 1) * 127.5, time.process_time() - begun
        begun = time.process_time()
        model = Translator(minutes=minutes).fit(mri.take(train), ct.take(train), cases=cases[train], mask=mask[train], seed=seed)
        made["proband"], took["proband"] = model.translate(mri.take(test)).values[:, 0], time.process_time() - begun
        ratio = np.abs(made["proband"] - ct.values[test, 0])[mask[test]] / model.uncertainty(mri.take(test)).values[:, 0][mask[test]]
        covered.append((float((ratio < np.log(2)).mean()), float((ratio < np.log(20)).mean())))
        for name, values in made.items():
            told = figures(values, ct.values[test, 0], mask[test], tissues=TISSUES, **ends)
            found.setdefault(name, {})[case] = told | {"seconds": took.get(name, 0.0)}
        middle = len(test) // 2
        doubt = model.uncertainty(mri.take(test[middle : middle + 1])).values[0, 0] * 4
        row = [made[name][middle] for name in made if name != "mean of the others"]
        shown.append(np.concatenate([*row, ct.values[test[middle], 0], doubt], axis=1))
        print(f"case {case}: {model.mode}, common shift {model.common:.2f} pixels", flush=True)
        table(found)
        if picture is not None:
            draw(np.concatenate(shown), picture)
    halves, most = np.mean(covered, axis=0)
    print(f"Errors within the scale's half: {halves:.2f} (should be .50), within its 95 %: {most:.2f} (should be .95)")


def ghosts(seed: int, minutes: float, size: int) -> tuple[dict[str, dict[str, float]], np.ndarray]:
    """Unpaired slices of other patients, all CTs bent alike: how far each way lies from the truth, which is not bent."""
    bend = size / 16  # pixels
    mris, cts = phantom(12, 4, size, seed=seed), phantom(12, 4, size, seed=seed + 100, bend=bend)
    unseen = phantom(6, 4, size, seed=seed + 200, bend=bend)
    made = {"the truth, bent": unseen.ct.values[:, 0]}
    began = {"CycleGAN": time.process_time()}
    net = cycle(scaled(mris.mr), scaled(cts.ct), steps_in(minutes, size, "CycleGAN"), seed)
    made["CycleGAN"] = unseen.ct.unscaled(applied(net, scaled(unseen.mr))[:, None]).values[:, 0]
    began["proband"] = time.process_time()
    model = Translator(minutes=minutes).fit(mris.mr, cts.ct, cases=mris.cases, paired=False, seed=seed)
    began["end"] = time.process_time()
    made["proband"] = model.translate(unseen.mr).values[:, 0]
    truth, mask = unseen.truth.values[:, 0], unseen.mask
    ends = dict(zip(("low", "high"), CT_RANGE, strict=True))
    found = {}
    for name, values in made.items():
        off = moved(truth, values, mask, other_range=CT_RANGE, **ends)
        # A made CT that was bent as its domain's are looks like truth(x + shift(x)), so its edges lie at minus the shift.
        asked = -unseen.shift[:, off.places[:, 1], off.places[:, 2]].T
        along = (off.shift * asked).sum() / (asked**2).sum()
        told = figures(values, truth, mask, tissues=TISSUES_HU, **ends)
        found[name] = told | {"drift along the bend": float(along)}
    assert model.shift is not None
    learned = spread(torch.from_numpy(model.shift)[None], size, size)[0].numpy()
    inside = mask.any(axis=0)
    found["proband"]["bend not found, pixels"] = float(np.hypot(*(learned - unseen.shift))[inside].mean())
    found["the truth, bent"]["bend not found, pixels"] = float(np.hypot(*unseen.shift)[inside].mean())
    found["CycleGAN"]["seconds"] = began["proband"] - began["CycleGAN"]
    found["proband"]["seconds"] = began["end"] - began["proband"]
    rows = [0, 5, 9, 14]
    columns = [unseen.mr.shown()[rows, 0], unseen.truth.shown()[rows, 0]]
    for values in made.values():
        columns.append(unseen.ct.unscaled((values[:, None] - 250) / 1250).shown()[rows, 0])
        columns.append(np.clip(np.abs(values - truth)[rows] / 4, 0, 255).astype(np.uint8))
    return found, np.concatenate([np.concatenate(list(part)) for part in columns], axis=1)


def table(found: dict[str, dict[str, dict[str, float]]]) -> None:
    """One line a method: the mean over cases (or seeds) and its 95 % interval."""
    names = list(dict.fromkeys(figure for cases in found.values() for told in cases.values() for figure in told))
    print("| | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    for method, cases in found.items():
        cells = []
        for name in names:
            values = np.array([told.get(name, np.nan) for told in cases.values()])
            mean, low, high = on_average(values)
            cells.append("" if np.isnan(mean) else f"{mean:.3g}" if len(values) < 2 else f"{mean:.3g} [{low:.3g}, {high:.3g}]")
        print(f"| {method} | " + " | ".join(cells) + " |", flush=True)


def draw(values: np.ndarray, into: Path, larger: int = 1) -> None:
    from PIL import Image

    picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    picture.resize((picture.width * larger, picture.height * larger), Image.Resampling.NEAREST).save(into, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["real", "phantom"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--size", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"proband {proband.__version__}, torch {torch.__version__}, numpy {np.__version__}")
    if given.what == "real":
        if given.data is None or not (given.data / "paired_ct_mri").is_dir():
            raise SystemExit("The real pairs are not here: give --data DIR, a folder that holds paired_ct_mri. Not run.")
        minutes = given.minutes or 0.7
        size = given.size or 96
        print(f"{size} pixels a side, {minutes:g} minutes a fit, seed {given.seed}")
        real(given.data, minutes=minutes, size=size, seed=given.seed, only=given.cases, picture=given.picture)
        return
    found: dict[str, dict[str, dict[str, float]]] = {}
    for seed in given.seeds:
        told, picture = ghosts(seed, given.minutes or 4.0, given.size or 64)
        for method, figures_of in told.items():
            found.setdefault(method, {})[str(seed)] = figures_of
        print(f"{given.size or 64} pixels a side, {given.minutes or 4.0:g} minutes a fit, seeds to {seed}")
        table(found)
        if given.picture is not None:
            draw(picture, given.picture)


if __name__ == "__main__":
    main()
