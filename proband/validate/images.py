"""Images of a cohort, judged: how near their features come to those of unseen patients, what they cover, their spectra and variety."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import ndtri

from proband import seeds
from proband.stats import images as stats
from proband.stats.resampling import Patients, around, percentiles
from proband.validate import contact_sheets
from proband.validate.findings import Evidence, Finding
from proband.validate.gallery import IMAGES, MANY, OWN, PUBLIC, SMALL_SIDE, Gallery, Seen, seen
from proband.validate.image_classes import image_classes
from proband.validate.recordings import FEWEST, PARTS, images_of
from proband.validate.trials import REPEATS, Trials
from proband.validate.whose_image import whose_image

_DRAWS = 200  # bootstrap samples: each is a product of matrices
LEVEL = 0.95

Step = Callable[[int, int, str, Mapping[str, float]], None]


def has_images(evidence: Evidence) -> bool:
    """Whether any part holds images: every part is asked, for what nobody judges does not pass."""
    return any(images_of(getattr(evidence, name)) is not None for name in PARTS)


def images(evidence: Evidence, *, seed: int, on_step: Step | None = None) -> list[Finding]:
    """Nine findings of faithfulness, three of use and five of privacy (docs/images.md); not judged yet.

    Synthetic images against those of unseen patients, beside real against real. The floor is the unseen images themselves blurred by four.
    Unavailable without the extra `images`: the public network's weights come with it.
    """
    step = on_step or (lambda done, total, what, figures: None)
    step(0, 4, "images: features", {})
    held = Gallery.of_evidence(evidence, seed=seed, most=IMAGES)
    many = Gallery.of_evidence(evidence, seed=seed, most=MANY, side=SMALL_SIDE)
    public, own, own_many = seen(held, many, seed=seed)
    turns = (
        lambda: faithful(held, public, own, evidence.target, seed),
        lambda: image_classes(many, evidence.train.schema, evidence.target, seed=seed),
        lambda: whose_image(held, public, many, own_many, seed=seed),
    )
    found: list[Finding] = []
    for at, judge in enumerate(turns):
        step(at + 1, 4, "images", {})
        found += judge()
    step(4, 4, "images", {})
    return found


def faithful(held: Gallery, public: Seen, own: Seen, target: str | None, seed: int) -> list[Finding]:
    """The nine findings of faithfulness, of features that `gallery.seen` made."""
    kids = {look.network: _Kids(held, look, seed) for look in (public, own)}
    groups = kids[PUBLIC].by_group()
    covers = {look.network: _covers(held, look, seed) for look in (public, own)}
    classes = _classes(held, target)
    variety = _Variety(held, public.features, classes, seed)
    for one in groups:
        one["diversity"] = variety.ratios.get(one["name"])
        one |= _cover_of(held, public.features, one["name"])
    told = [_kid_finding(kids[network], held, groups if network == PUBLIC else []) for network in (PUBLIC, OWN)]
    told[0].detail["sheets"] = contact_sheets.of_groups(held, classes, seeds.generator(seed, "sheets"))  # type: ignore[index]
    told += _cover_findings(covers)
    return [*told, _spectrum(held, seed), variety.finding(), _worst(groups)]


def _classes(held: Gallery, target: str | None) -> list[str]:
    """The groups that are the target's levels; without them those of all discrete columns; without any, all images together."""
    named = [name for name in held.groups if target is not None and name.startswith(f"{target} = ")]
    return named or [name for name in held.groups if name != "all"] or ["all"]


# --- KID ------------------------------------------------------------------------------------------------------------------------


class _Kids:
    """KID under one network, calibrated, with its bootstrap: from one kernel of all images of all sides."""

    def __init__(self, held: Gallery, look: Seen, seed: int) -> None:
        self.held, self.network = held, look.network
        self.order = ("train", "unseen", "synthetic", "blurred")
        self.kernel = stats.kernel(*(np.concatenate([look.features[side] for side in self.order]),) * 2)
        ends = np.cumsum([0, *(len(look.features[side]) for side in self.order)])
        self.place = {side: slice(*ends[at : at + 2]) for at, side in enumerate(self.order)}
        generator = seeds.generator(seed, "image_kid", look.network)
        self.drawn = {side: drawn(held.patients[side], generator) for side in ("train", "unseen", "synthetic")}
        self.drawn["blurred"] = self.drawn["unseen"]  # the same images
        everyone = {side: np.ones(len(look.features[side]), bool) for side in self.order}
        self.raw = {name: float(one[0]) for name, one in self._told(everyone).items()}
        # One scale for all groups and draws: of a few images it would be as uncertain as what it measures.
        self.scale = max(self.raw["far"] - self.raw["near"], 1e-12)
        self.calibrated = self._calibrated(everyone)
        self.reference = self._real(generator)

    def _told(self, chosen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """(1 + draws,) KID of each side and the unseen images among the chosen ones; the first of all as they are."""
        weights = {}
        for side in self.order:
            weights[side] = np.zeros((len(self.drawn[side]), len(self.kernel)))
            weights[side][:, self.place[side]] = self.drawn[side] * chosen[side]
        sides = {"near": "train", "made": "synthetic", "far": "blurred"}
        return {name: stats.weighted_kids(self.kernel, weights[side], weights["unseen"]) for name, side in sides.items()}

    def _calibrated(self, chosen: Mapping[str, np.ndarray]) -> np.ndarray:
        found = self._told(chosen)
        return np.asarray((found["made"] - found["near"]) / self.scale)

    def _real(self, generator: np.random.Generator) -> np.ndarray:
        """(repeats,) what two halves of all real patients are apart, on the same scale."""
        real, n = self.held.real, min(len(self.held.values["synthetic"]), len(self.held.values["unseen"]))
        found = []
        for first, second in halves(real, n, generator, REPEATS):
            sides = np.zeros((2, len(self.kernel)))
            sides[0, first] = sides[1, second] = 1
            kid = stats.weighted_kids(self.kernel, sides[:1], sides[1:])[0]
            found.append((kid - self.raw["near"]) / self.scale)
        return np.array(found)

    def by_group(self) -> list[dict[str, Any]]:
        """Every group but all together: its images, KID, and the ends of an interval corrected for the number of groups."""
        names = [name for name in self.held.groups if name != "all"]
        width = float(ndtri(1 - (1 - LEVEL) / 2 / max(len(names), 1)))
        told = []
        for name in names:
            chosen = dict(self.held.groups[name])
            found = self._calibrated(chosen | {"blurred": chosen["unseen"]})
            spread = width * float(np.nanstd(found[1:]))
            sizes = {side: int(chosen[side].sum()) for side in ("unseen", "synthetic")}
            told.append({"name": name, "kid": float(found[0]), "low": found[0] - spread, "high": found[0] + spread, **sizes})
        return told


def _kid_finding(kids: _Kids, held: Gallery, groups: list[dict[str, Any]]) -> Finding:
    own = kids.network == OWN
    name, title = "image_kid_own" if own else "image_kid", "a network of their own" if own else "a public network"
    title = f"Distance of the images, as {title} sees them (0: real, 1: blurred)"
    if kids.raw["far"] <= max(0.0, kids.raw["near"]):
        why = "The network cannot tell unseen images from the same blurred by four, so there is no scale. Bring more or larger images."
        return Finding("faithful", name, title, None, why, detail={"kid": kids.raw})
    value = float(kids.calibrated[0])
    low, high = percentiles(kids.calibrated[1:][np.isfinite(kids.calibrated[1:])])
    whose = (
        "a small network that learned from the unseen images alone, without labels"
        if own
        else "EfficientNet-lite2, a public network that nothing is trained against"
    )
    read = {side: (len(values), held.of[side]) for side, values in held.values.items()}
    sample = ", ".join(f"{n:,} of {of:,} {side}" for side, (n, of) in read.items())
    return Finding(
        "faithful",
        name,
        title,
        value,
        f"Kernel distance (KID) of features of {whose}: 0 is as near to unseen images as the training images are, 1 as far as the unseen "
        f"ones blurred by four. Read: {sample} images.",
        interval=(min(low, value), max(high, value)),
        reference=float(kids.reference.mean()),
        reference_interval=percentiles(kids.reference),
        floor=1.0,
        detail={"kid": kids.raw, "images": {side: n for side, (n, _) in read.items()}} | ({"groups": groups} if groups else {}),
    )


def _worst(groups: list[dict[str, Any]]) -> Finding:
    """`image_worst_group_kid`: a lower bound, corrected for the number of groups: what some group is off by beyond doubt."""
    name, title = "image_worst_group_kid", "Distance of the images in the group that they suit least, beyond doubt"
    told = [one for one in groups if np.isfinite(one["low"])]
    if not told:
        return Finding("faithful", name, title, None, f"No level of a discrete column has {FEWEST} images of ten patients on every side.")
    worst = max(told, key=lambda one: one["low"])
    value = max(0.0, float(worst["low"]))
    farthest = max(told, key=lambda one: one["kid"])
    why = (
        f"On the scale of image_kid, corrected for {len(told)} groups. Farthest: '{farthest['name']}', {farthest['kid']:.2f} "
        f"({farthest['low']:.2f} to {farthest['high']:.2f})."
    )
    return Finding("faithful", name, title, value, why, interval=(value, value))


# --- cover ----------------------------------------------------------------------------------------------------------------------

_COVER = {
    "precision": ("Synthetic images that lie among real ones", "Share of synthetic images within the ball of some unseen image."),
    "recall": ("Real images that lie among synthetic ones", "Share of unseen images within the ball of some synthetic image."),
    "density": ("How deep synthetic images lie among real ones", "Unseen images' balls that a synthetic image lies in, over five."),
    "coverage": ("Real images with a synthetic one near", "Share of unseen images whose ball holds a synthetic image."),
}


def _covers(held: Gallery, look: Seen, seed: int) -> dict[str, dict[str, Any]]:
    """By figure: value, interval, reference, reference_interval and floor, both sides of one size."""
    generator = seeds.generator(seed, "image_cover", look.network)
    features, real = look.features, held.real
    n = min(len(features["synthetic"]), len(features["unseen"]), len(real.code) // 2)
    rows = {side: np.sort(generator.permutation(len(features[side]))[:n]) for side in ("synthetic", "unseen")}
    found = stats.covered(features["unseen"][rows["unseen"]], features["synthetic"][rows["synthetic"]])
    weights = {side: drawn(Patients(held.patients[side].code[one]), generator) for side, one in rows.items()}
    together = np.concatenate([features["train"], features["unseen"]])
    reference = [stats.cover(together[one], together[other]) for one, other in halves(real, n, generator, REPEATS // 2)]
    floor = stats.cover(features["unseen"][rows["unseen"]], features["blurred"][rows["unseen"]])
    told = {}
    for name in _COVER:
        each, side = getattr(found, name), "synthetic" if name in ("precision", "density") else "unseen"
        draws = (weights[side] @ each) / weights[side].sum(axis=1)
        beside = np.array([getattr(one, name) for one in reference])
        told[name] = {
            "value": float(each.mean()),
            "interval": around(float(each.mean()), draws[1:], least=0.0, most=np.inf if name == "density" else 1.0),
            "reference": float(beside.mean()),
            "reference_interval": percentiles(beside),
            "floor": float(getattr(floor, name)),
        }
    return told


def _cover_of(held: Gallery, features: Mapping[str, np.ndarray], group: str) -> dict[str, float]:
    """Precision and recall within one group."""
    own = {side: features[side][held.groups[group][side]] for side in ("unseen", "synthetic")}
    n = min(len(one) for one in own.values())
    found = stats.cover(own["unseen"][:n], own["synthetic"][:n])
    return {"precision": found.precision, "recall": found.recall}


def _cover_findings(covers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Finding]:
    made = []
    for name, (title, why) in _COVER.items():
        other = covers[OWN][name]
        beside = f"The ball of an image reaches to its fifth neighbour. As the network of their own sees them: {other['value']:.2f}"
        why = f"{why} {beside} (real against real {other['reference']:.2f})."
        made.append(Finding("faithful", f"image_{name}", title, why=why, **covers[PUBLIC][name]))
    return made


# --- spectrum and variety -------------------------------------------------------------------------------------------------------


def _spectrum(held: Gallery, seed: int) -> Finding:
    """`image_spectrum_distance`: mean difference of the log10 power, ring by ring, over all images and each group."""
    generator = seeds.generator(seed, "image_spectrum")
    power = {side: stats.powers(values) for side, values in held.values.items()}
    power["real"] = np.concatenate([power["train"], power["unseen"]])
    power["blurred"] = stats.powers(stats.blurred(held.values["unseen"]))
    groups = {name: {**rows, "real": np.concatenate([rows["train"], rows["unseen"]])} for name, rows in held.groups.items()}
    groups = {name: {**rows, "blurred": rows["unseen"]} for name, rows in groups.items()}
    n = min(len(power["synthetic"]), len(power["unseen"]))

    def apart(one: tuple[str, np.ndarray], other: tuple[str, np.ndarray]) -> np.ndarray:
        """(groups, rings)"""
        found = []
        for rows in groups.values():
            sides = [power[side][at[rows[side][at]]] for side, at in (one, other)]
            few = min(len(side) for side in sides) < FEWEST // 2
            logs = [np.log10(side.mean(axis=0) + 1e-12) for side in sides] if not few else [np.full(power["real"].shape[1], np.nan)] * 2
            found.append(logs[0] - logs[1])
        return np.array(found)

    whole = {side: np.arange(len(values)) for side, values in power.items()}
    trials = Trials(
        apart(("synthetic", whole["synthetic"]), ("unseen", whole["unseen"])),
        np.array([apart(*((side, held.patients[side].redraw(generator)) for side in ("synthetic", "unseen"))) for _ in range(REPEATS)]),
        np.array([apart(("real", one), ("real", other)) for one, other in halves(held.real, n, generator, REPEATS)]),
        np.array([apart(("blurred", whole["unseen"]), ("unseen", whole["unseen"]))]),
    )
    cycles = np.arange(1, power["real"].shape[1] + 1)
    farthest = int(np.abs(trials.value[0]).argmax())
    more = "more" if trials.value[0, farthest] > 0 else "less"
    shown = {side: np.round(np.log10(power[side].mean(axis=0) + 1e-12), 4).tolist() for side in ("unseen", "synthetic", "blurred")}
    return Finding(
        "faithful",
        "image_spectrum_distance",
        "Distance of the power spectra of the images",
        why="Mean difference of the decimal logarithm of power, from coarse to fine, over all images and each group. Farthest: "
        f"{cycles[farthest]} cycles a side, {abs(trials.value[0, farthest]):.2f} {more} than in real images.",
        detail={"rings": {"cycles": cycles.tolist()} | shown},
        **trials.summary(lambda one: float(np.nanmean(np.abs(one)))),
    )


class _Variety:
    """Mean distance of two images of a class: synthetic over real. Pairs of one patient's images are no pairs."""

    def __init__(self, held: Gallery, features: Mapping[str, np.ndarray], classes: list[str], seed: int) -> None:
        generator = seeds.generator(seed, "image_diversity")
        real, codes = held.real, {"synthetic": held.patients["synthetic"], "unseen": held.patients["unseen"]}
        pairs = {side: _pairs(features[side], one.code) for side, one in codes.items()}
        weights = {side: drawn(one, generator) for side, one in codes.items()}

        def mean(side: str, group: str) -> np.ndarray:
            return _mean_apart(*pairs[side], weights[side] * held.groups[group][side])

        self.draws = {name: mean("synthetic", name) / mean("unseen", name) for name in held.groups}
        self.ratios = {name: float(one[0]) for name, one in self.draws.items()}
        self.worst = min(classes, key=lambda name: self.ratios[name])
        both, among = _pairs(np.concatenate([features["train"], features["unseen"]]), real.code), []
        n = min(len(features["synthetic"]), len(features["unseen"]))
        for one, other in halves(real, n, generator, REPEATS // 2):
            sides = np.zeros((2, len(real.code)))
            sides[0, one] = sides[1, other] = 1
            rows = {name: np.concatenate([held.groups[name][side] for side in ("train", "unseen")]) for name in classes}
            told = [_mean_apart(*both, sides * rows[name]) for name in classes]
            among.append(min(float(first / second) for first, second in told))
        self.reference = np.array(among)
        floor = _pairs(features["blurred"], codes["unseen"].code)
        blurred = [
            _mean_apart(*floor, held.groups[name]["unseen"][None].astype(float))
            / _mean_apart(*pairs["unseen"], held.groups[name]["unseen"][None].astype(float))
            for name in classes
        ]
        self.floor = float(np.min(blurred))

    def finding(self) -> Finding:
        value = self.ratios[self.worst]
        where = "" if self.worst == "all" else f" The least varied class: '{self.worst}'."
        return Finding(
            "faithful",
            "image_diversity",
            "Variety of the synthetic images within a class, beside real ones",
            value,
            f"Mean distance of two images of a class in features of a public network, synthetic over real; 1 is as varied.{where}",
            interval=around(value, self.draws[self.worst][1:], least=0.0),
            reference=float(self.reference.mean()),
            reference_interval=percentiles(self.reference),
            floor=self.floor,
            detail={"classes": self.ratios},
        )


def _pairs(features: np.ndarray, code: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(images, images) distances, 0 within a patient; and which are of two patients."""
    two = (code[:, None] != code[None]).astype(float)
    return stats.distances(features, features) * two, two


def _mean_apart(apart: np.ndarray, two: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draws,) the mean over pairs, each image counted as often as it was drawn."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(((weights @ apart) * weights).sum(axis=1) / ((weights @ two) * weights).sum(axis=1))


def drawn(patients: Patients, generator: np.random.Generator, draws: int = _DRAWS) -> np.ndarray:
    """(1 + draws, images) how often each image is drawn when patients are drawn with replacement; the first row: all once."""
    each = generator.multinomial(patients.count, np.full(patients.count, 1 / patients.count), size=draws)
    return np.vstack([np.ones(len(patients.code)), each[:, patients.code]])


def halves(real: Patients, n: int, generator: np.random.Generator, repeats: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of two groups of real patients who share nobody, `n` images each at most; so many times."""
    found = []
    for _ in range(repeats):
        order = generator.permutation(real.count)
        found.append(tuple(real.rows(half)[:n] for half in np.array_split(order, 2)))
    return found  # type: ignore[return-value]
