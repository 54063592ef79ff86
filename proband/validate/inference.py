"""What else an attacker learns: hidden values, which records belong together, who is the only one. Members against patients never seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy import special, stats

from proband.privacy.attributes import RECALLS, Guesses, guess
from proband.privacy.linkage import Links, link
from proband.privacy.patients import Patients
from proband.privacy.singling_out import Singled, single_out
from proband.stats import intervals
from proband.validate.excess import LEVEL, excess, numbers, shares, sizes
from proband.validate.findings import Finding
from proband.validate.rounding import rounded, significant

ATTACKS = 3  # the family over which p-values are corrected


def inference(real: Patients, synthetic: pl.DataFrame, *, seed: int) -> list[Finding]:
    """Three findings: `attribute_gain`, `linkage_excess`, `singling_out_excess`.

    Each is what the attack gains on members (the training patients) beyond what it gains on controls (patients never seen), which is
    zero without a leak whatever the table. The p-values in `detail` are corrected over the three (Holm).
    """
    guesses, links, singled = guess(real, synthetic, seed=seed), link(real, synthetic, seed=seed), single_out(real, synthetic, seed=seed)
    raw = [
        _p_of_means(guesses.gain, guesses.member) if guesses.columns else 1.0,
        _p_of_hits(links.linked, links.member) if links else 1.0,
        _p_of_hits(singled.any, singled.member),
    ]
    adjusted = intervals.holm(raw)
    return [
        _attribute_finding(guesses, adjusted[0], seed),
        _linkage_finding(links, adjusted[1]),
        _singling_finding(singled, adjusted[2]),
    ]


def _attribute_finding(guesses: Guesses, p: float, seed: int) -> Finding:
    name, title = "attribute_gain", "Hidden values guessed right of training patients, beyond patients never seen"
    if not guesses.columns:
        return Finding("private", name, title, None, "There is one column only: nothing to guess it from.")
    member, gain = guesses.member, guesses.gain
    estimate, noise = _difference(gain, member), _noise(gain, member)
    columns = _columns(guesses)
    worst = columns[0]
    asked = (
        f"Of {len(columns)} columns, each guessed from all others,"
        if len(columns) > 1
        else f"Column {worst['name']!r}, guessed from all others,"
    )
    verb = "values are" if len(columns) > 1 else "is"
    proven = f" Most is given away of {worst['name']!r} ({worst['gain']:+.1%}, p = {worst['p']:g})." if worst["p"] < 1 - LEVEL else ""
    return Finding(
        question="private",
        name=name,
        title=title,
        value=rounded(estimate.value),
        interval=(rounded(estimate.low), rounded(estimate.high)),
        reference=0.0,
        reference_interval=(rounded(-noise), rounded(noise)),
        why=f"{asked} {verb} told right from the synthetic table for {guesses.synthetic[member].mean():.1%} of the training patients "
        f"({guesses.real[member].mean():.1%} from other people's records), against {guesses.synthetic[~member].mean():.1%} "
        f"({guesses.real[~member].mean():.1%}) of those never seen.{proven} {_advice(p, estimate)}",
        detail={
            "columns": columns,
            "precision": [
                {
                    "recall": r,
                    **{
                        who: rounded(guesses.precision(r, member=side, seed=seed)) for who, side in (("members", True), ("controls", False))
                    },
                }
                for r in RECALLS
            ],
            "blind": rounded(guesses.blind.mean()),
            "p": significant(p),
            **sizes(member),
        },
    )


def _columns(guesses: Guesses) -> list[dict[str, Any]]:
    """Every column asked, the one that gives most away first; p-values corrected over the columns (Holm)."""
    member, gains = guesses.member, guesses.synthetic - guesses.real
    adjusted = intervals.holm([_p_of_means(gain, member) for gain in gains.T])
    rows = [
        {
            "name": name,
            "members": rounded(guesses.synthetic[member, at].mean()),
            "controls": rounded(guesses.synthetic[~member, at].mean()),
            "members_from_others": rounded(guesses.real[member, at].mean()),
            "controls_from_others": rounded(guesses.real[~member, at].mean()),
            "gain": rounded(gains[member, at].mean() - gains[~member, at].mean()),
            "p": significant(adjusted[at]),
        }
        for at, name in enumerate(guesses.columns)
    ]
    return sorted(rows, key=lambda row: (-row["gain"], row["name"]))


def _linkage_finding(links: Links | None, p: float) -> Finding:
    name, title = "linkage_excess", "Training patients linked across two files, beyond patients never seen"
    if links is None:
        return Finding("private", name, title, None, "There is one column only: it cannot be dealt to two files.")
    how = "With half of the columns in either file, the synthetic record nearest by one half is the nearest by the other for"
    return _hits_finding(name, title, how, links.linked, links.member, p, links.blind, {"blocks": [list(block) for block in links.blocks]})


def _singling_finding(singled: Singled, p: float) -> Finding:
    member = singled.member
    kinds = {
        kind: {"members": rounded(hit[member].mean()), "controls": rounded(hit[~member].mean())}
        for kind, hit in (("extremes", singled.extremes), ("conjunctions", singled.conjunctions), ("leaves", singled.leaves))
    }
    return _hits_finding(
        "singling_out_excess",
        "Training patients singled out by a description, beyond patients never seen",
        "A description read off the synthetic table fits one real person only:",
        singled.any,
        member,
        p,
        float(singled.blind.mean()),
        {"kinds": kinds},
    )


def _hits_finding(
    name: str, title: str, how: str, hit: np.ndarray, member: np.ndarray, p: float, blind: float, detail: dict[str, Any]
) -> Finding:
    beyond = excess(hit, member)
    return Finding(
        question="private",
        name=name,
        title=title,
        why=f"{how} {hit[member].mean():.1%} of the training patients, against {hit[~member].mean():.1%} of those never seen "
        f"and {blind:.1%} by a blind guess. {_advice(p, beyond)}",
        detail=shares(hit, member) | {"blind": rounded(blind), "p": significant(p)} | detail,
        **numbers(beyond, hit, member),
    )


def _difference(values: np.ndarray, member: np.ndarray) -> intervals.Estimate:
    """Mean over members minus mean over controls. What nobody showed may still be true of 3.7 in n: no interval is narrower than that."""
    inside, outside = values[member], values[~member]
    value = float(inside.mean() - outside.mean())
    error = float(special.ndtri((1 + LEVEL) / 2)) * float(np.sqrt(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside)))
    nobody = intervals.share_difference((0, 0), (len(inside), len(outside)), level=LEVEL)
    return intervals.Estimate(value, max(-1.0, value - max(error, -nobody.low)), min(1.0, value + max(error, nobody.high)))


def _noise(values: np.ndarray, member: np.ndarray) -> float:
    """Half the width within which 95 % of differences lie when members are drawn anew: what no leak means."""
    return float(special.ndtri((1 + LEVEL) / 2)) * _spread(values, member)


def _spread(values: np.ndarray, member: np.ndarray) -> float:
    return float(values.std(ddof=1) * np.sqrt(1 / member.sum() + 1 / (~member).sum()))


def _p_of_means(values: np.ndarray, member: np.ndarray) -> float:
    """The chance of as large a difference when members are drawn anew (normal approximation of the permutation test)."""
    spread = _spread(values, member)
    difference = float(values[member].mean() - values[~member].mean())
    return float(stats.norm.sf(difference / spread)) if spread > 0 else 1.0


def _p_of_hits(hit: np.ndarray, member: np.ndarray) -> float:
    """The same for shares, exact (hypergeometric)."""
    return float(stats.hypergeom.sf(int(hit[member].sum()) - 1, len(hit), int(member.sum()), int(hit.sum())))


def _advice(p: float, beyond: intervals.Estimate) -> str:
    if p < 1 - LEVEL:
        return (
            f"That is a leak (p = {significant(p):g}, corrected for {ATTACKS} attacks): train less long, on more patients, or with noise."
        )
    return f"More than {max(beyond.high, 0):.1%} is excluded."
