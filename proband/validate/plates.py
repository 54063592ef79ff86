"""Plates: the details of findings as pictures with a headline, what to look for, and a text alternative; and as tables.

Each function takes the plain data under a finding's `detail`. One that it cannot show raises KeyError, TypeError or ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from proband.validate import histograms, pictures
from proband.validate.pictures import numbers, percent
from proband.validate.words import count, number

Rows = Sequence[Mapping[str, Any]]

_MOST_ROWS = 8
"""Rows of a picture that is a list: what a reader takes in at a glance."""

_BEST = {"brier": "Lower is better.", "slope": "1 is best.", "auroc": "Higher is better; 0.5 is a coin.", "precision": "Higher is better."}


@dataclass(frozen=True)
class Plate:
    """One picture with its headline and what to look for; `wide` ones stand side by side, `note` below them."""

    title: str
    caption: str
    svg: Markup
    wide: bool = False
    note: str = ""


@dataclass(frozen=True)
class Grid:
    """A table that scrolls in its own box."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


# Faithful.


def column(i: int, cell: Mapping[str, Any]) -> dict[str, Any]:
    """The small picture of one column and the words under it."""
    reference = cell.get("reference")
    return {
        "name": str(cell["name"]),
        "distance": number(cell.get("distance")),
        "reference": None if reference is None else number(reference),
        "aside": _aside(cell),
        "svg": Markup(histograms.marginal(f"column-{i}", cell)),
    }


def _aside(cell: Mapping[str, Any]) -> str:
    """What a picture of numbers leaves out: missing values, values that are not allowed, bins with few patients."""
    if not histograms.on_a_scale(cell):
        return ""
    told = (
        f"{label} {percent(real)} v {percent(synthetic)}"
        for label, real, synthetic in zip(*histograms.cells(cell), strict=True)
        if label in histograms.ASIDE
    )
    return ", ".join(told)


def associations(detail: Mapping[str, Any]) -> list[Plate]:
    """Three heat maps: real, synthetic, and how they differ."""
    names = [str(name) for name in detail["names"]]
    real, synthetic = (np.array([numbers(row) for row in detail[key]]) for key in ("real", "synthetic"))
    if len(names) < 2 or real.shape != (len(names), len(names)) or synthetic.shape != real.shape:
        raise ValueError("no square matrices")
    gap = synthetic - real
    above = np.triu_indices(len(names), 1)
    sizes = np.abs(np.nan_to_num(gap[above]))
    largest = [(int(above[0][k]), int(above[1][k])) for k in np.argsort(-sizes, kind="stable")[:3]]
    listed = "; ".join(f"{names[a]} and {names[b]} ({number(real[a, b])} real, {number(synthetic[a, b])} synthetic)" for a, b in largest)
    note = f"Largest differences: {listed}. Mean absolute difference: {number(float(sizes.mean()))}."
    order = _neighbours(real)
    drawn = (
        ("real", "What goes with what: real", "Strength of association between every two columns; like columns stand together.", real),
        ("synthetic", "What goes with what: synthetic", "The same order, the same scale: it should be the same picture.", synthetic),
        ("difference", "The difference", "Blue: stronger in the synthetic patients; red: weaker. Full colour: 0.3 or more.", gap),
    )
    made = []
    for key, title, caption, values in drawn:
        label = f"Heat map of associations, {key}, {len(names)} by {len(names)} columns. {note}"
        picture = pictures.matrix(
            f"associations-{key}", [names[i] for i in order], values[np.ix_(order, order)], label, difference=key == "difference"
        )
        made.append(Plate(title, caption, Markup(picture), wide=True, note=note if key == "difference" else ""))
    return made


def _neighbours(values: np.ndarray) -> list[int]:
    """Columns so that like stands by like: each next one is the strongest partner of the three before it."""
    strength = np.abs(np.nan_to_num(values))
    np.fill_diagonal(strength, 0)
    order = [int(strength.sum(axis=1).argmax())]
    rest = [i for i in range(len(strength)) if i != order[0]]
    while rest:
        near = strength[order[-3:]].max(axis=0)
        order.append(max(rest, key=lambda i: (near[i], -i)))
        rest.remove(order[-1])
    return order


def success(history: Sequence[Sequence[float]]) -> Plate:
    """The discriminator's curve. history: [step, success rate] pairs."""
    points = np.array([numbers(point) for point in history])
    points = points[np.isfinite(points).all(axis=1)]
    first, last = percent(points[0, 1]), percent(points[-1, 1])
    label = f"Success of the discriminator from {first} to {last} over {int(points[-1, 0]):,} training steps; 50 % is guessing."
    return Plate(
        "The discriminator runs out of clues",
        "Success of the network that was trained to tell real from synthetic, on pairs it never saw. At 50 % it can only guess.",
        Markup(pictures.curve("history", _thin(points), label)),
    )


def detection(curves: Mapping[str, Any]) -> Plate:
    """ROC of the judge that tells real from synthetic."""
    points = _thin(np.column_stack([numbers(curves["fpr"]), numbers(curves["tpr"])]))
    area = number(float(np.trapezoid(points[:, 1], points[:, 0])))
    label = f"ROC curve of the real-or-synthetic classifier, area {area}; 0.5 is guessing."
    return Plate(
        "Can a judge tell them apart?",
        "A classifier trained to tell real from synthetic, on patients it never saw. On the dashed line it can only guess.",
        Markup(pictures.roc("detection", points[:, 0], points[:, 1], label)),
    )


def giveaways(rows: Rows) -> Plate:
    """The clues by which synthetic patients are told from real ones, each alone."""
    ranked = sorted(((_clue(row), float(row["auc"])) for row in rows), key=lambda row: -row[1])[:_MOST_ROWS]
    if not ranked:
        raise ValueError("nothing gives them away")
    listed = ", ".join(f"{name} {number(value)}" for name, value in ranked)
    return Plate(
        "What gives the synthetic patients away",
        "How often a judge who sees this alone finds the synthetic one of two patients; 0.5 is a guess. In words below.",
        Markup(pictures.bars("giveaways", ranked, f"What gives the synthetic patients away most: {listed}.", zero=0.5)),
    )


def _clue(row: Mapping[str, Any]) -> str:
    return str(row["name"]) if row["kind"] == "column" else f"{row['name']} ({row['kind']})"


def clues(rows: Rows) -> Grid:
    """The same clues in words."""
    return _grid(
        "What gives them away, in words", ("Clue", "Told apart by it alone"), [(str(row["text"]), percent(row["auc"])) for row in rows]
    )


def missing(columns: Rows) -> Plate:
    """Share of missing values, real and synthetic."""
    return _two("missing", "How much is missing", "Share of missing values per column, largest differences first.", columns)


def groups(rows: Rows) -> Plate:
    """Share of patients in each group, real and synthetic."""
    return _two("groups", "Groups of patients", "Share of patients in each group, largest differences first.", rows)


def _two(key: str, title: str, caption: str, rows: Rows) -> Plate:
    known = [(str(row["name"]), row["real"], row["synthetic"]) for row in rows if None not in (row["real"], row["synthetic"])]
    shown = sorted((row for row in known if row[1] or row[2]), key=lambda row: -abs(row[2] - row[1]))[:_MOST_ROWS]
    if not shown:
        raise ValueError("nothing to show")
    listed = "; ".join(f"{name}: {percent(real)} real, {percent(synthetic)} synthetic" for name, real, synthetic in shown)
    more = f" {len(known) - len(shown)} more differ less." if len(known) > len(shown) else ""
    return Plate(title, caption + more, Markup(pictures.beside(key, shown, f"{title}. {listed}.")))


def rules(rows: Rows, title: str = "Rules, and the share of patients who break them") -> Grid:
    """Every rule with the share that breaks it."""
    ranked = sorted(rows, key=lambda rule: -(rule.get("synthetic") or 0))
    cells = [(str(rule["sql"]), percent(rule.get("synthetic")), percent(rule.get("real"))) for rule in ranked]
    return _grid(title, ("Rule", "Synthetic", "Real"), cells)


def pairs(rows: Rows) -> Grid:
    """The pairs of columns that differ most."""
    cells = [(" and ".join(map(str, row["columns"])), *_told(row, "distance", "reference", "floor")) for row in rows[:20]]
    return _grid("Pairs of columns that differ most", ("Pair", "Distance", "Real v real", "Floor"), cells)


def columns(rows: Rows) -> Grid:
    """Every column in numbers."""
    cells = [(str(row["name"]), str(row.get("kind", "–")), *_told(row, "distance", "reference", "floor")) for row in rows]
    return _grid("Every column in numbers", ("Column", "Kind", "Distance", "Real v real", "Floor"), cells)


def signal_groups(rows: Rows) -> Grid:
    """How far the power spectra of every group of records lie from the real ones."""
    cells = [(str(row["name"]), *_told(row, "distance", "reference")) for row in rows]
    return _grid("Power spectra by group of records", ("Records", "Distance", "Real against real"), cells)


# Useful.


def usefulness(rows: Rows) -> list[Plate]:
    """Trained on real and on synthetic patients, tested on real ones: a plate for every measure."""
    made = []
    for i, measure in enumerate(dict.fromkeys(str(row["measure"]) for row in rows)):
        mine = [row for row in rows if str(row["measure"]) == measure]
        listed = "; ".join(
            f"{row.get('model')}: {number(row.get('trtr'))} trained on real, {number(row.get('tstr'))} on synthetic" for row in mine
        )
        hint = next((best for word, best in _BEST.items() if word in measure.lower()), "")
        picture = pictures.usefulness(f"useful-{i}", mine, f"{measure}, tested on real patients. {listed}.")
        made.append(Plate(f"Tested on real patients: {measure}", hint, Markup(picture)))
    return made


def subgroups(rows: Rows) -> Plate:
    """AUROC by group of patients."""
    known = [(str(row["name"]), row["trtr"], row["tstr"]) for row in rows if None not in (row["trtr"], row["tstr"])]
    shown = sorted(known, key=lambda row: row[2] - row[1])[:_MOST_ROWS]
    if not shown:
        raise ValueError("nothing to show")
    listed = "; ".join(f"{name}: {number(real)} trained on real, {number(synthetic)} on synthetic" for name, real, synthetic in shown)
    return Plate(
        "For whom is it useful?",
        "AUROC by group of patients, largest loss first. A group left behind shows as a long line.",
        Markup(pictures.beside("subgroups", shown, f"AUROC by group. {listed}.", share=False)),
    )


def models(rows: Rows) -> Grid:
    """Every model in numbers."""
    cells = [(str(row.get("model", "–")), str(row.get("measure", "–")), *_told(row, "trtr", "tstr", "both", "floor")) for row in rows]
    return _grid("Every model in numbers", ("Model", "Measure", "On real", "On synthetic", "On both", "Floor"), cells)


# Private.


def membership(curves: Mapping[str, Any], power: str) -> Plate:
    """ROC of the membership attack with its band, and what the evidence could have seen."""
    names = [name for name in ("fpr", "tpr", "band_low", "band_high") if curves.get(name)]
    points = _thin(np.column_stack([numbers(curves[name]) for name in names]))
    arrays = {name: points[:, i] for i, name in enumerate(names)}
    found = percent(float(np.interp(0.01, arrays["fpr"], arrays["tpr"])))
    label = f"ROC curve of the membership attack on logarithmic axes: {found} of members recognised at 1 % false alarms. {power}"
    caption = (
        "Axes in powers of ten: what matters is the few patients an attacker is sure of. "
        "Inside the band the attack does no better than chance."
    )
    return Plate(
        "Can an attacker tell who was in the training data?",
        f"{caption} {power}".strip(),
        Markup(pictures.tail("membership", arrays, label.strip())),
    )


def enrichment(rows: Rows) -> Plate:
    """Members among the r most suspected patients."""
    shown = [(int(row["r"]), float(row["members"]), float(row["expected"])) for row in rows]
    shown = [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, _MOST_ROWS).round().astype(int))]
    listed = "; ".join(f"top {r}: {number(members)} members, {number(expected)} by chance" for r, members, expected in shown)
    return Plate(
        "The patients the attacker is surest of",
        "Training patients among the r most suspected ones; the blue tick is what chance gives.",
        Markup(pictures.enrichment("tail", shown, f"Members among the most suspected patients. {listed}.")),
    )


def tail(rows: Rows) -> Grid:
    """The same in numbers, with the probability of so many by chance."""
    cells = [(count(row.get("r")), *_told(row, "members", "expected", "p")) for row in rows]
    return _grid("The attack's tail in numbers", ("Most suspected", "Members among them", "Expected by chance", "p"), cells)


def attacks(details: Mapping[str, Any]) -> Grid:
    """Every attack by itself: the strongest one counts, and none is hidden."""
    named = ("membership_auc", "membership_tpr_at_1pct", "membership_epsilon")
    told = [details.get(name, {}).get("attacks", {}) for name in named]
    cells = [(attack, *(number(one.get(attack)) for one in told)) for attack in dict.fromkeys(name for one in told for name in one)]
    return _grid("Every attack by itself", ("Attack", "AUC", "Members recognised at 1 % false alarms", "Epsilon proven"), cells)


def exposed(rows: Rows) -> Grid:
    """The ensemble of all attacks and the copies, in the groups where they found most."""
    cells = [
        (str(row.get("group")), *_told(row, "members", "controls", "auc", "low", "high", "copies_train", "copies_holdout")) for row in rows
    ]
    headings = ("Group", "Training patients", "Strangers", "AUC", "At least", "At most", "Copied", "Strangers copied")
    return _grid("Groups of patients: the attacks in each (corrected for the number of groups)", headings, cells)


def copies(details: Mapping[str, Any]) -> Plate:
    """Share of training patients who are found again, beside that of patients never seen."""
    named = {
        "copied exactly": "exact_copies_excess",
        "copied nearly": "near_copies_excess",
        "linked across two files": "linkage_excess",
        "singled out by a description": "singling_out_excess",
    }
    rows = [
        (title, details[name]["synthetic_share_holdout"], details[name]["synthetic_share_train"])
        for title, name in named.items()
        if name in details
    ]
    if not rows:
        raise ValueError("nothing to show")
    listed = "; ".join(
        f"{title}: {percent(seen)} of training patients, {percent(unseen)} of those never seen" for title, unseen, seen in rows
    )
    return Plate(
        "Who is found among the synthetic patients?",
        "Share of patients never seen (circle) and of training patients (diamond) who are found. Only the excess is a leak.",
        Markup(pictures.beside("copies", rows, f"Copies. {listed}.")),
    )


def hidden(rows: Rows) -> Grid:
    """How often every hidden value is told right, from the synthetic table and from other people's records."""
    figures = ("members", "members_from_others", "controls", "controls_from_others", "gain", "p")
    headings = ("Hidden column", "Training patients", "… from other people", "Never seen", "… from other people", "Gain", "p")
    return _grid("How often a hidden value is told right", headings, [(str(row["name"]), *_told(row, *figures)) for row in rows])


def _grid(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Grid:
    if not rows:
        raise ValueError("nothing to show")
    return Grid(title, headings, rows)


def _told(row: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    return tuple(number(row.get(name)) for name in names)


def _thin(points: np.ndarray, most: int = 240) -> np.ndarray:
    """At most about 2 x `most` rows, dense at the start, where a logarithmic axis needs them."""
    if len(points) <= 2 * most:
        return points
    even, early = np.linspace(0, len(points) - 1, most), np.geomspace(1, len(points) - 1, most)
    return points[np.unique(np.concatenate([even, early]).round().astype(int))]
