"""What synthetic images teach: a small network learns the target from them, and is asked about images of unseen patients."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from proband import seeds
from proband.schema import Schema
from proband.stats.discrimination import auc
from proband.stats.resampling import Patients, percentiles
from proband.validate.findings import Finding
from proband.validate.gallery import Gallery
from proband.validate.recordings import FEWEST
from proband.validate.waveforms import classes_of

_SEEDS = 3  # networks of each kind: their mean is told
_BINS = 10  # of the calibration error

GAP, PAIR, CALIBRATION = "tstr_images_gap", "tstr_images_worst_pair_gap", "tstr_images_calibration_gap"
_TITLES = {
    GAP: "AUC lost by training a network on synthetic images",
    PAIR: "AUC lost in the two classes that lose most",
    CALIBRATION: "Calibration lost by training a network on synthetic images",
}


def image_classes(held: Gallery, schema: Schema, target: str | None, *, seed: int) -> list[Finding]:
    """`tstr_images_gap`, with more than two classes `tstr_images_worst_pair_gap`, and `tstr_images_calibration_gap`.

    Trained on synthetic images and on as many real ones, both beside each other, tested on unseen patients: AUC of each pair of classes.
    The reference is what a second network of other training patients loses; the floor learned from synthetic images with shuffled labels.
    """
    if target is None:
        return [Finding("useful", name, title, None, "Not asked: no target was named.") for name, title in _TITLES.items() if name != PAIR]
    frames = held.frames
    both = {side: classes_of(frames[side], schema, target, frames["train"]) for side in frames}
    # A class that somebody could learn and be asked about: enough of it on every side.
    counted = [k for k in range(int(both["train"].max(initial=-1)) + 1) if min((one == k).sum() for one in both.values()) >= FEWEST]
    if len(counted) < 2:
        why = f"Fewer than two levels of '{target}' have {FEWEST} images on every side: too few to learn from, or to ask about."
        return [Finding("useful", name, title, None, why) for name, title in _TITLES.items() if name != PAIR]
    names = _names(held, schema, target, counted)
    rows = {side: np.flatnonzero(np.isin(one, counted)) for side, one in both.items()}
    truth = {side: np.searchsorted(counted, both[side][rows[side]]) for side in both}
    values = {side: images[rows[side]] for side, images in held.small().items()}
    generator = seeds.generator(seed, GAP)
    told = _trained(values, truth, len(counted), held.patients["train"].code[rows["train"]], generator)
    patients = Patients(held.patients["unseen"].code[rows["unseen"]])
    return _findings(told, truth["unseen"], names, target, patients, generator)


def _names(held: Gallery, schema: Schema, target: str, counted: list[int]) -> list[str]:
    if schema.table[target].numeric:
        return [("low", "high")[k] for k in counted]
    levels = held.frames["train"][target].cast(str).drop_nulls().unique().sort().to_list()
    return [levels[k] for k in counted]


def _trained(
    values: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], size: int, owner: np.ndarray, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """By what the networks learned from: (seeds, unseen images, classes) probabilities."""
    from proband.stats.small_net import each_told

    n = min(len(truth["train"]), len(truth["synthetic"]))
    jobs: list[tuple[np.ndarray, np.ndarray, int]] = []
    kinds: list[str] = []

    def ask(kind: str, images: np.ndarray, classes: np.ndarray) -> None:
        jobs.append((images, classes, int(generator.integers(2**62))))
        kinds.append(kind)

    for at in range(_SEEDS):
        some = {side: generator.permutation(len(truth[side]))[:n] for side in ("train", "synthetic")}
        real, made = ((values[side][one], truth[side][one]) for side, one in some.items())
        ask("real", *real)
        ask("synthetic", *made)
        ask("both", *(np.concatenate(pair) for pair in zip(real, made, strict=True)))
        if at == 0:
            ask("floor", made[0], generator.permutation(made[1]))
    # Two halves of the training patients against each other: what other patients alone would change, if anything too much of it.
    first = np.isin(owner, generator.permutation(np.unique(owner))[: len(np.unique(owner)) // 2])
    ask("half", values["train"][first], truth["train"][first])
    ask("other half", values["train"][~first], truth["train"][~first])
    told = each_told(jobs, size, values["unseen"])
    return {kind: told[[at for at, one in enumerate(kinds) if one == kind]] for kind in dict.fromkeys(kinds)}


def pair_aucs(told: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(seeds, pairs) the AUC of each pair of classes by their odds (Hand and Till, Machine Learning 2001).

    told   (seeds, images, classes) probabilities
    """
    found = []
    for one in told:
        each = []
        for a, b in combinations(range(one.shape[1]), 2):
            rows = (truth == a) | (truth == b)
            each.append(auc(np.log(one[rows, b] + 1e-12) - np.log(one[rows, a] + 1e-12), truth[rows] == b))
        found.append(each)
    return np.array(found)


def calibration_error(told: np.ndarray, truth: np.ndarray) -> float:
    """Mean gap between how sure and how often right, over ten equal groups by sureness (Guo et al., ICML 2017); told (images, classes)."""
    sure, right = told.max(axis=1), (told.argmax(axis=1) == truth).astype(float)
    order = np.argsort(sure, kind="stable")
    gaps = [(abs(sure[part].mean() - right[part].mean()), len(part)) for part in np.array_split(order, _BINS) if len(part)]
    return float(np.average([gap for gap, _ in gaps], weights=[n for _, n in gaps]))


def _findings(
    told: Mapping[str, np.ndarray], truth: np.ndarray, names: list[str], target: str, patients: Patients, generator: np.random.Generator
) -> list[Finding]:
    pairs = [f"{names[a]} v {names[b]}" for a, b in combinations(range(len(names)), 2)]
    every = np.arange(len(truth))
    samples = [every, *(patients.redraw(generator) for _ in range(100))]
    # (samples, pairs): the mean over networks, of all unseen patients first, then of bootstrap samples of them
    aucs = {kind: np.array([pair_aucs(one[:, rows], truth[rows]).mean(axis=0) for rows in samples]) for kind, one in told.items()}
    errors = {
        kind: np.array([np.mean([calibration_error(net[rows], truth[rows]) for net in one]) for rows in samples])
        for kind, one in told.items()
    }
    lost = aucs["real"] - aucs["synthetic"]
    other = np.concatenate([aucs["half"] - aucs["other half"], aucs["other half"] - aucs["half"]])  # (2 x samples, pairs)
    worst = int(lost[0].argmax())
    rows = [
        {
            "pair": pair,
            "trtr": aucs["real"][0, at],
            "tstr": aucs["synthetic"][0, at],
            "both": aucs["both"][0, at],
            "floor": aucs["floor"][0, at],
            "interval": list(percentiles(aucs["synthetic"][1:, at])),
        }
        for at, pair in enumerate(pairs)
    ]
    mean = {kind: one.mean(axis=1) for kind, one in aucs.items()}
    made = [
        _finding(
            GAP,
            lost.mean(axis=1),
            np.abs(other.mean(axis=1)),
            float((mean["real"] - mean["floor"])[0]),
            f"A small network tells '{target}' of unseen patients: mean AUC {mean['real'][0]:.3f} when it learned from real images, "
            f"{mean['synthetic'][0]:.3f} from as many synthetic ones, {mean['both'][0]:.3f} from both (means of {_SEEDS}).",
            {"readers": rows},
        )
    ]
    if len(pairs) > 1:
        why = f"{pairs[worst]}: AUC {rows[worst]['trtr']:.3f} learned from real images, {rows[worst]['tstr']:.3f} from synthetic ones."
        made.append(_finding(PAIR, lost[:, worst], other.max(axis=1), float((aucs["real"] - aucs["floor"])[0].max()), why, {}))
    why = (
        f"How sure the network is differs from how often it is right by {errors['real'][0]:.3f} when it learned from real images, "
        f"{errors['synthetic'][0]:.3f} from synthetic ones, {errors['both'][0]:.3f} from both."
    )
    apart = np.abs(errors["half"] - errors["other half"])
    floor = float((errors["floor"] - errors["real"])[0])
    made.append(_finding(CALIBRATION, errors["synthetic"] - errors["real"], apart, floor, why, {}))
    return made


def _finding(name: str, found: np.ndarray, reference: np.ndarray, floor: float, why: str, detail: dict[str, Any]) -> Finding:
    """found, reference: of all unseen patients first, then of bootstrap samples."""
    low, high = percentiles(found[1:])
    value = float(found[0])
    return Finding(
        "useful",
        name,
        _TITLES[name],
        value,
        why,
        interval=(min(low, value), max(high, value)),
        reference=float(reference.mean()),
        reference_interval=percentiles(reference),
        floor=floor,
        detail=detail,
    )
