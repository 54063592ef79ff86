"""Whose image is it? Copies of training images, moved by pixels or not, and an attacker who guesses by them who was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import binom

from proband import seeds
from proband.stats import images as stats
from proband.stats import intervals
from proband.stats.discrimination import auc
from proband.validate import contact_sheets
from proband.validate.excess import LEVEL, excess, numbers, shares, sizes
from proband.validate.findings import Finding
from proband.validate.gallery import Gallery, Seen
from proband.validate.rounding import percentiles, rounded, share_of

#: A patient's image is copied where a synthetic one is this many times nearer than any other real patient's. Lower than for signals, since
#: a copy that was moved by half a pixel is not that near; the rate among patients never seen says what it gives without any copy.
NEARER = 2.0

#: Of the distances from unseen images to the nearest training image: what is nearer is nearer than strangers come.
PERCENTILE = 1.0

#: Fakes that are this many times nearer to each other than a real image is to its nearest, as a rule, are one: they say one thing.
_ONE = 2.0

_PIXELS = 24  # a side: what is finer says nothing of who it is, and noise would hide a copy
_MOVED = (1, 2)  # pixels of these
_NEIGHBOURS = (1, 5)
_PERMUTATIONS = 200
_RATE = 0.01  # of false alarms
_SHOWN = 6


class View(NamedTuple):
    """Distances under one way of looking, float32: of synthetic images to training ones and to unseen ones, of real ones to each other
    (training first), of synthetic ones to each other; and of unseen ones to training ones, moved as the synthetic ones were."""

    name: str
    to_train: np.ndarray
    to_unseen: np.ndarray
    real: np.ndarray
    made: np.ndarray
    across: np.ndarray


def whose_image(held: Gallery, public: Seen, many: Gallery, own: Seen, *, seed: int) -> list[Finding]:
    """`image_nearer_train`, `image_near_copies_excess`, `image_copies_excess`, `image_membership_auc`, `image_membership_tpr_at_1pct`.

    Distances are of the pixels, the lowest over shifts of up to two of 24 pixels and free of brightness and contrast, and of features: of
    the public network in the images `held`, of the own one in `many`. Where shares are compared as many training as unseen images are
    asked: a larger bank is nearer by chance alone.
    """
    generator = seeds.generator(seed, "whose_image")
    views = [_pixels(many.small(_PIXELS)), _features(own)]
    banks, few = _banks(many, generator), _banks(held, generator)
    near = [(public.network, _nearer(_features(public), few)), *((view.name, _nearer(view, banks)) for view in views)]
    counts = [_near_copies(view, banks) for view in views]
    scores, copied, member = _patients(many, views)
    found = [_nearer_finding(near), _near_finding(views, counts, many, banks), _copies(copied, member)]
    return [*found, *_membership(scores, member, seed)]


def _pixels(values: Mapping[str, np.ndarray]) -> View:
    plain = {side: _standard(images) for side, images in values.items()}
    real = np.concatenate([plain["train"], plain["unseen"]])
    found, cut = _moved(values["synthetic"], real), len(plain["train"])
    across = _moved(values["unseen"], plain["train"])
    return View("pixels", found[:, :cut], found[:, cut:], _apart(real, real), _apart(plain["synthetic"], plain["synthetic"]), across)


def _moved(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(images, others) the distance at the shift of each image that brings it nearest."""
    found = _apart(_standard(images), others)
    for most in _MOVED:
        for one in stats.shifts(images, most)[1:]:  # the first is the image as it is
            np.minimum(found, _apart(_standard(one), others), out=found)
    return found


def _features(look: Seen) -> View:
    train, unseen, made = (look.features[side] for side in ("train", "unseen", "synthetic"))
    real = np.concatenate([train, unseen])
    within = _apart(real, real)
    return View(look.network, _apart(made, train), _apart(made, unseen), within, _apart(made, made), within[len(train) :, : len(train)])


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(ones, others) Euclidean distances as float32: there are millions. Of features whose mean was taken off, so that digits last."""
    centre = other.mean(axis=0)
    one, other = (np.ascontiguousarray(side - centre, np.float32) for side in (one, other))
    found = np.einsum("ij,ij->i", one, one)[:, None] + np.einsum("ij,ij->i", other, other)[None] - 2 * one @ other.T
    return np.sqrt(np.maximum(found, 0, out=found), out=found)


def _standard(images: np.ndarray) -> np.ndarray:
    """(images, pixels): each of mean 0 and norm 1: a copy that was made brighter is a copy."""
    flat = images.reshape(len(images), -1).astype(float)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def _banks(held: Gallery, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """As many training images as unseen ones, at random."""
    count = {side: len(held.values[side]) for side in ("train", "unseen")}
    return {side: np.sort(generator.permutation(n)[: min(count.values())]) for side, n in count.items()}


# --- fakes ----------------------------------------------------------------------------------------------------------------------


def clusters(made: np.ndarray, closest: float) -> np.ndarray:
    """(images,) the number of the cluster of near-identical images that each belongs to: linked where nearer than `closest`."""
    return np.asarray(connected_components(csr_matrix(made <= closest), directed=False)[1])


def _own_cluster(view: View) -> np.ndarray:
    cut = view.to_train.shape[1]
    between = view.real[cut:, :cut].min(axis=1)
    return clusters(view.made, float(np.median(between)) / _ONE)


def _ones(cluster: np.ndarray) -> np.ndarray:
    """One image of each cluster, the first."""
    return np.unique(cluster, return_index=True)[1]


class _Near(NamedTuple):
    nearer: int  # clusters whose first image is nearer to a training image
    of: int


def _nearer(view: View, banks: Mapping[str, np.ndarray]) -> _Near:
    one = _ones(_own_cluster(view))
    train, unseen = (apart[np.ix_(one, banks[side])].min(axis=1) for side, apart in (("train", view.to_train), ("unseen", view.to_unseen)))
    told = train != unseen
    return _Near(int((train < unseen)[told].sum()), int(told.sum()))


def _nearer_finding(near: list[tuple[str, _Near]]) -> Finding:
    """By the public network; what the other views say stands beside it, and copies have findings of their own."""
    name, title = "image_nearer_train", "Synthetic images that are nearer to a training image than to any unseen one"
    asked = [(view, one) for view, one in near if one.of]
    if not asked or asked[0][0] != near[0][0]:
        return Finding("private", name, title, None, "No synthetic image is nearer to one side than to the other.")
    one = asked[0][1]
    value, ends = one.nearer / one.of, intervals.clopper_pearson(one.nearer, one.of, level=LEVEL)
    by_chance = np.asarray(binom.ppf([0.025, 0.975], one.of, 0.5)) / one.of
    told = ", ".join(f"by {view} {other.nearer / other.of:.3f} of {other.of}" for view, other in asked)
    return Finding(
        "private",
        name,
        title,
        rounded(value),
        f"Half is what images give that remember nobody: {told} (clusters of near-identical synthetic images, banks of one size).",
        interval=(rounded(ends[0]), rounded(ends[1])),
        reference=0.5,
        reference_interval=(rounded(by_chance[0]), rounded(by_chance[1])),
        detail={"views": {view: rounded(other.nearer / other.of) for view, other in asked}, "clusters": {v: o.of for v, o in asked}},
    )


class _Copies(NamedTuple):
    train: int  # clusters of fakes with an image nearer to a training image than strangers come
    unseen: int  # ... to an unseen one than training patients come
    of: int
    near: np.ndarray  # (images,) how near to its nearest training image, over what strangers come: below 1 is a hit


def _near_copies(view: View, banks: Mapping[str, np.ndarray]) -> _Copies:
    """Each side against the nearest of the other: the same rule for training and unseen images, so that without a copy both rates agree."""
    cluster, across = _own_cluster(view), view.across[np.ix_(banks["unseen"], banks["train"])]
    ends = {"train": np.percentile(across.min(axis=1), PERCENTILE), "unseen": np.percentile(across.min(axis=0), PERCENTILE)}
    apart = {"train": view.to_train[:, banks["train"]].min(axis=1), "unseen": view.to_unseen[:, banks["unseen"]].min(axis=1)}
    hits = {side: len(np.unique(cluster[apart[side] <= ends[side]])) for side in apart}
    return _Copies(hits["train"], hits["unseen"], int(cluster.max()) + 1, view.to_train.min(axis=1) / max(float(ends["train"]), 1e-12))


def _near_finding(views: list[View], counts: list[_Copies], held: Gallery, banks: Mapping[str, np.ndarray]) -> Finding:
    estimates = [intervals.share_difference((c.train, c.unseen), (c.of, c.of), level=1 - (1 - LEVEL) / len(counts)) for c in counts]
    worst = max(range(len(views)), key=lambda at: estimates[at].value)
    count, view, found = counts[worst], views[worst], estimates[worst]
    nearest = np.argsort(count.near, kind="stable")[:_SHOWN]
    advice = "Some are copies: look at them below, and fit with fewer steps, more patients or noise." if found.low > 0 else ""
    return Finding(
        "private",
        "image_near_copies_excess",
        "Synthetic images nearer to a training image than strangers come, beyond the same of unseen images",
        rounded(found.value),
        f"By {view.name}: {share_of(count.train / count.of)} of the synthetic images are nearer to a training image than 99 of 100 unseen "
        f"ones are, {share_of(count.unseen / count.of)} as near to an unseen one ({count.of} clusters). {advice}".strip(),
        interval=(rounded(found.low), rounded(max(one.high for one in estimates))),
        reference=0.0,
        detail={
            "views": {
                one.name: {"train": rounded(c.train / c.of), "unseen": rounded(c.unseen / c.of), "clusters": c.of}
                for one, c in zip(views, counts, strict=True)
            },
            "neighbours": contact_sheets.of_neighbours(held, nearest, view.to_train, view.to_unseen, banks),
        },
    )


# --- patients -------------------------------------------------------------------------------------------------------------------


def _patients(held: Gallery, views: list[View]) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """By attack a score of each real patient, who has a copy, and who is a training patient. The image that says most counts."""
    real = held.real
    member = np.arange(real.count) < held.patients["train"].count
    scores: dict[str, np.ndarray] = {}
    copied = np.zeros(real.count, bool)
    for view in views:
        others = _nearest(np.where(real.code[:, None] == real.code[None], np.float32(np.inf), view.real))
        near = _nearest(np.concatenate([view.to_train, view.to_unseen], axis=1).T)
        known = others[np.isfinite(others) & (others > 0)]
        least = 1e-4 * float(np.median(known)) if len(known) else 1e-4
        for k in _NEIGHBOURS:
            if k > near.shape[1]:
                continue
            ratio = np.log(np.clip(others[:, k - 1], least, 1e30)) - np.log(np.clip(near[:, k - 1], least, 1e30))
            told = np.full(real.count, -np.inf)
            np.maximum.at(told, real.code, ratio)
            scores[f"{view.name}, {k} nearest"] = told
            if k == 1:
                copied |= told > np.log(NEARER)
    return scores, copied, member


def _nearest(apart: np.ndarray) -> np.ndarray:
    """(images, 5 at most) the smallest distances, ascending."""
    most = min(max(_NEIGHBOURS), apart.shape[1])
    return np.sort(np.partition(apart, most - 1, axis=1)[:, :most], axis=1)


def _copies(copied: np.ndarray, member: np.ndarray) -> Finding:
    beyond = excess(copied, member)
    advice = "The synthesizer memorised images." if beyond.low > 0 else f"An excess above {share_of(beyond.high)} is excluded."
    return Finding(
        "private",
        "image_copies_excess",
        "Training patients whose image is copied, beyond the rate of patients never seen",
        why=f"{share_of(float(copied[member].mean()))} of the training patients have a synthetic image {NEARER:g} times nearer than any "
        f"other real patient's, by pixels or by a network, against {share_of(float(copied[~member].mean()))} of the patients never seen. "
        f"{advice}",
        detail=shares(copied, member),
        **numbers(beyond, copied, member),
    )


def _membership(scores: dict[str, np.ndarray], member: np.ndarray, seed: int) -> list[Finding]:
    """The strongest of the attacks; the lower end is corrected for their number, the reference is what chance gives the luckiest."""
    found = {name: intervals.auc(one[member], one[~member], level=LEVEL) for name, one in scores.items()}
    strongest = max(found, key=lambda name: found[name].value)
    level = 1 - (1 - LEVEL) / len(scores)
    low = max(intervals.auc(one[member], one[~member], level=level).low for one in scores.values())
    drawn = [seeds.generator(seed, "image_membership", at).permutation(member) for at in range(_PERMUTATIONS)]
    by_chance = np.array([max(auc(one, some) for one in scores.values()) for some in drawn])
    value = found[strongest].value
    whole = Finding(
        "private",
        "image_membership_auc",
        "Guessing by the images who was in the training data",
        rounded(value),
        f"The strongest of {len(scores)} attacks ({strongest}) tells a training patient from a stranger in {value:.1%} of pairs; the "
        f"luckiest of as many guesses {np.median(by_chance):.1%}.",
        interval=(rounded(min(low, value)), rounded(max(one.high for one in found.values()))),
        reference=rounded(float(np.median(by_chance))),
        reference_interval=percentiles(by_chance),
        detail={"images": {name: rounded(one.value) for name, one in found.items()}} | sizes(member),
    )
    return [whole, _tail(scores, member, level)]


def _tail(scores: dict[str, np.ndarray], member: np.ndarray, level: float) -> Finding:
    name, title = "image_membership_tpr_at_1pct", "Training patients recognised by their images at 1 % false alarms"
    found: dict[str, Any] = {
        one: intervals.true_positive_rate(told[member], told[~member], _RATE, level=level) for one, told in scores.items()
    }
    if any(one is None for one in found.values()):
        needed = intervals.controls_needed(_RATE)
        return Finding("private", name, title, None, f"{int((~member).sum())} unseen patients are too few: {needed} are needed.")
    strongest = max(found, key=lambda one: found[one].value)
    value = found[strongest].value
    return Finding(
        "private",
        name,
        title,
        rounded(value),
        f"The strongest of {len(scores)} attacks ({strongest}) recognises {share_of(value)} of the training patients where it accuses one "
        "stranger in a hundred; 1 % is what chance gives one attack.",
        interval=(rounded(max(one.low for one in found.values())), rounded(max(one.high for one in found.values()))),
        reference=_RATE,
    )
