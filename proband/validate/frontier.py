"""Frontier: what is left of the patients' use at every promise of privacy, beside what an attack finds, as one table and one picture."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scipy import stats

from proband.stats.intervals import Estimate
from proband.validate import words
from proband.validate.report import Report, _plain, _write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
KEPT = 0.95  # of what real patients give: the least that the hint asks of a promise


class Measure(NamedTuple):
    """One column of the table: a finding of the reports (or the AUROC, which stands in a finding's detail), and its heading."""

    name: str
    heading: str


AUROC = "auroc"
ATTACK = "membership_auc"
PROVEN = "membership_epsilon"
MEASURES = (
    Measure(AUROC, "AUROC"),
    Measure("tstr_auroc_gap", "AUROC lost, worst model"),
    Measure("detection_auc", "Detection"),
    Measure("pairs_distance", "Pairs"),
    Measure("association_error", "Association error"),
    Measure(ATTACK, "Membership AUC"),
    Measure("membership_tpr_at_1pct", "TPR at 1 %"),
    Measure(PROVEN, "Epsilon proven"),
)


@dataclass(frozen=True)
class Fit:
    """One fit: the epsilon it promised (infinite: none), the number of the fit at this epsilon, who made it, and its report."""

    epsilon: float
    number: int
    synthesizer: str
    report: Report

    def estimate(self, name: str) -> Estimate | None:
        """A measure with its interval over patients; None where the report has none."""
        if name == AUROC:
            row = self._model
            if row is None or row.get("tstr") is None:
                return None
            low, high = row.get("interval") or (row["tstr"], row["tstr"])
            return Estimate(row["tstr"], low, high)
        found = next((f for f in self.report.findings if f.name == name), None)
        if found is None or found.value is None:
            return None
        low, high = found.interval or (found.value, found.value)
        return Estimate(found.value, low, high)

    def beside(self, name: str) -> tuple[float | None, float | None]:
        """The same measure of real patients, and of patients about whom nothing was learned but the columns one by one."""
        if name == AUROC:
            row = self._model or {}
            return row.get("trtr"), row.get("floor")
        found = next((f for f in self.report.findings if f.name == name), None)
        return (None, None) if found is None else (found.reference, found.floor)

    @property
    def chance(self) -> tuple[float, float] | None:
        """Where the strongest attack lies in 95 of 100 audits if there is no leak."""
        return next((f.reference_interval for f in self.report.findings if f.name == ATTACK), None)

    @property
    def _model(self) -> Mapping[str, Any] | None:
        """The AUROC of the kind of model that does best when it learns from real patients: the same kind for every fit of a frontier."""
        found = next((f.detail.get("models") for f in self.report.findings if f.name == "tstr_auroc_gap"), None) or ()
        rows = [row for row in found if row["measure"] == "AUROC" and row["trtr"] is not None]
        return max(rows, key=lambda row: row["trtr"], default=None)


@dataclass(frozen=True)
class Point:
    """All fits at one epsilon."""

    epsilon: float
    fits: tuple[Fit, ...]

    @property
    def synthesizer(self) -> str:
        """Who made them."""
        return self.fits[0].synthesizer

    @property
    def promise(self) -> str:
        """The promise in words."""
        return f"no promise ({self.synthesizer})" if math.isinf(self.epsilon) else f"epsilon {self.epsilon:g}"

    @property
    def under(self) -> str:
        """The same within a sentence."""
        return f"without a promise ({self.synthesizer})" if math.isinf(self.epsilon) else f"at {self.promise}"

    def singles(self, name: str) -> list[Estimate]:
        """The measure of every fit that has it."""
        return [found for fit in self.fits if (found := fit.estimate(name)) is not None]

    def estimate(self, name: str) -> Estimate | None:
        """The mean over fits, with its interval over fits and patients. Of a bound that attacks prove, the highest that any fit shows."""
        singles = self.singles(name)
        if name == PROVEN:
            return max(singles, default=None)
        return together(singles) if singles else None


@dataclass(frozen=True)
class Frontier:
    """The fits on one split, by epsilon.

    context   title, data, target, synthesizer, delta, seed, sizes, and cost: what making it took of the patients' privacy
    """

    fits: tuple[Fit, ...]
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def points(self) -> list[Point]:
        """The strongest promise first."""
        epsilons = sorted({fit.epsilon for fit in self.fits})
        return [Point(one, tuple(sorted((f for f in self.fits if f.epsilon == one), key=lambda f: f.number))) for one in epsilons]

    def beside(self, name: str) -> tuple[float | None, float | None]:
        """A measure of real patients, and of those about whom nothing was learned but the columns one by one."""
        return self.fits[0].beside(name) if self.fits else (None, None)

    @property
    def hint(self) -> Point | None:
        """The strongest promise that keeps 95 % of the AUROC that real patients give, also at the lower end of its interval."""
        real, _ = self.beside(AUROC)
        kept = (p for p in self.points if (found := p.estimate(AUROC)) is not None and real and found.low >= KEPT * real)
        return next((point for point in kept if math.isfinite(point.epsilon)), None)

    @property
    def leaks(self) -> list[Point]:
        """Where the membership attack does better than without any leak: the lower end of its interval lies above what chance gives."""
        found = []
        for point in self.points:
            attack, chance = point.estimate(ATTACK), point.fits[0].chance
            if attack is not None and chance is not None and attack.low > chance[1]:
                found.append(point)
        return found

    @property
    def broken(self) -> list[Point]:
        """Where an attack proves more than was promised."""
        return [p for p in self.points if (bound := p.estimate(PROVEN)) is not None and bound.value > p.epsilon]

    @property
    def sentences(self) -> list[str]:
        """What is seen, the hint first."""
        real, floor = self.beside(AUROC)
        if real is None:
            return ["Nothing has been fitted yet."]
        target = self.context.get("target")
        said = [self._hint(real)]
        if self.broken:
            one = self.broken[0]
            bound = one.estimate(PROVEN)
            assert bound is not None
            said.append(
                f"An attack proves epsilon {bound.value:.2f} {one.under}: the promise is not kept. Use no model of {one.synthesizer}."
            )
        shown = [f"{_number(found.value)} {p.under}" for p in self.points if (found := p.estimate(AUROC)) is not None]
        said.append(
            f"On patients whom nobody learned from, a model of “{target}” reaches an AUROC of {_number(real)} when it learned from "
            f"real ones, {_number(floor)} when from columns that know nothing of each other, and from synthetic ones {_list(shown)}."
        )
        if self.leaks:
            said.append(f"The membership attack surely beats chance {_list([p.under for p in self.leaks])}, and nowhere else.")
        else:
            said.append(
                "The membership attack is nowhere surely above chance, which proves little: only the promise speaks of other attacks."
            )
        return said

    def _hint(self, real: float) -> str:
        level = f"{100 * KEPT:.0f} % of the AUROC that real patients give"
        if self.hint is None:
            return f"No promise among these surely keeps {level}."
        return f"The strongest promise among these that surely keeps {level} is {self.hint.promise}."

    @property
    def price(self) -> str:
        """What making the frontier took of the patients' privacy, in words."""
        cost = self.context.get("cost") or {}
        private, plain = int(cost.get("private_fits") or 0), int(cost.get("open_fits") or 0)
        told = []
        if private:
            told.append(f"Together the {_fits(private, 'with a promise')} cost epsilon {cost['epsilon']:.3g} at delta {cost['delta']:g}.")
        if plain:
            told.append(f"Nothing bounds what the {_fits(plain, 'without a promise')} cost.")
        where, kept = "No ledger was kept: enter them in the cohort's.", cost.get("ledger")
        if kept:
            where = f"The ledger {kept['name']} has them (head {kept['head'][:16]})."
        return " ".join([*told, where]) if told else ""

    @property
    def verdict(self) -> str:
        """The sentences as one paragraph, and what making the frontier cost."""
        return " ".join([*self.sentences, self.price]).strip()

    def rows(self) -> list[dict[str, Any]]:
        """The table as plain data: each measure has value, low, high and fits (the value of each), or is None."""
        rows = []
        for point in self.points:
            row: dict[str, Any] = {"epsilon": point.epsilon, "synthesizer": point.synthesizer, "fits": len(point.fits)}
            row["of_real"] = self._of_real(point)
            for one in MEASURES:
                found = point.estimate(one.name)
                row[one.name] = found and {**found._asdict(), "fits": [single.value for single in point.singles(one.name)]}
            rows.append(row)
        return rows

    def table(self) -> list[list[str]]:
        """The table in words, headings first, then real patients, the promises, and nothing learned."""
        lines = [["", "Fits", "Of real", *(one.heading for one in MEASURES)]]
        beside = [self.beside(one.name) for one in MEASURES]
        lines.append(["real patients", "", "", *(_number(real) for real, _ in beside)])
        for point in self.points:
            ratio = self._of_real(point)
            cells = [point.promise, str(len(point.fits)), "–" if ratio is None else f"{100 * ratio:.1f} %"]
            lines.append(cells + [_cell(one.name, point.estimate(one.name)) for one in MEASURES])
        lines.append(["nothing learned", "", "", *(_number(floor) for _, floor in beside)])
        return lines

    def _of_real(self, point: Point) -> float | None:
        """TSTR over TRTR."""
        (real, _), found = self.beside(AUROC), point.estimate(AUROC)
        return found.value / real if found is not None and real else None

    def __str__(self) -> str:
        """The table for a terminal or a page of text."""
        head, *lines = self.table()
        return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])

    def json(self) -> str:
        """The table and what is said of it, for machines; an epsilon of null is no promise."""
        plain = {"proband_frontier": FORMAT, "verdict": self.verdict, "context": self.context, "rows": self.rows()}
        plain["beside"] = {one.name: dict(zip(("real", "nothing_learned"), self.beside(one.name), strict=True)) for one in MEASURES}
        plain["hint"] = self.hint and self.hint.epsilon
        return json.dumps(_plain(plain), sort_keys=True, ensure_ascii=True, allow_nan=False, indent=1) + "\n"

    def svg(self, *, narrow: bool = False) -> str:
        """The picture alone, as a file."""
        return _alone(picture(self, narrow=narrow))

    def html(self) -> str:
        """The page: one file that needs nothing else; it links to each fit's report beside it."""
        from markupsafe import Markup

        from proband.validate.page import environment

        head, *lines = words.printable(self.table())
        return (
            environment()
            .get_template("frontier.html.jinja")
            .render(
                context=words.printable(self.context),
                sentences=words.printable(self.sentences),
                price=self.price,
                broken=self.broken,
                headings=head,
                table=lines,
                points=self.points,
                pictures=[Markup(picture(self, narrow=narrow)) for narrow in (False, True)] if self.fits else [],
                place=place,
            )
        )

    def save(self, folder: str | Path) -> None:
        """Write frontier.html, frontier.svg and frontier.json into `folder`, in place of those of before."""
        made = {"frontier.html": self.html(), "frontier.json": self.json()} | ({"frontier.svg": self.svg()} if self.fits else {})
        for name, content in made.items():
            _write(Path(folder) / name, content.encode())


def place(epsilon: float, number: int) -> str:
    """The folder of one fit's report."""
    return f"{'no-promise' if math.isinf(epsilon) else f'epsilon-{epsilon:g}'}-fit-{number}"


def together(singles: Sequence[Estimate]) -> Estimate:
    """The mean of several fits judged by the same patients, with a 95 % interval over fits and patients.

    The variance between fits, over their number, and the patients' (the mean half-width of the intervals, the two sides apart: they
    are the same patients every time, so it does not shrink) are added; Student's t with Welch and Satterthwaite's degrees of
    freedom (Biometrics 1946) gives the width. One fit says nothing of the others: its interval is over patients alone.
    """
    m, values = len(singles), [one.value for one in singles]
    if m == 1:
        return singles[0]
    mean = math.fsum(values) / m
    between = math.fsum((value - mean) ** 2 for value in values) / (m - 1) / m

    def width(side: float) -> float:
        total = between + (side / stats.norm.ppf(0.975)) ** 2
        return math.sqrt(total) * float(stats.t.ppf(0.975, total**2 * (m - 1) / between**2)) if between else side

    low = mean - width(math.fsum(one.value - one.low for one in singles) / m)
    high = mean + width(math.fsum(one.high - one.value for one in singles) / m)
    if all(one.low >= 0 and one.high <= 1 for one in singles):
        low, high = max(0.0, low), min(1.0, high)
    return Estimate(mean, low, high)


def _cell(name: str, found: Estimate | None) -> str:
    if found is None:
        return "could not tell" if name == PROVEN else "–"
    value = _number(found.value)
    return value if name == PROVEN or found.low == found.high else f"{value} ({_number(found.low)} to {_number(found.high)})"


def _number(value: float | None) -> str:
    """Three decimals, so that figures compare; a dash where there is none."""
    return "–" if value is None else f"{value + 0.0:.3f}".replace("-", "−") if round(value, 3) else "0.000"


def _fits(count: int, how: str) -> str:
    return f"{count} fits {how}" if count > 1 else f"one fit {how}"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def picture(frontier: Frontier, *, narrow: bool = False) -> str:
    """Above, what is left of the use at each promise, between real patients and nothing learned; below, what the attack finds."""
    from proband.validate import pictures
    from proband.validate.pictures import CARD, FAKE, INK, LINE, MUTED, REAL

    points = frontier.points
    width, left, right, size = (330, 66, 8, 11) if narrow else (880, 168, 24, 13)
    top, tall, low_tall = 40, 230 if narrow else 290, 90
    low_top = top + tall + 72
    height = low_top + low_tall + (84 if narrow else 94)
    step = (width - left - right) / len(points)

    def paint(figure: Figure) -> None:
        axes = pictures.bare(figure, [0, 0, 1, 1])
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)

        def text(x: float, y: float, said: str, **how: Any) -> None:
            axes.text(x, y, said, {"fontsize": size, "va": "center", "color": INK} | how)

        def aside(y: float, said: str, brief: str, value: float | None, colour: str) -> None:
            lines = [brief] if narrow else said.split("\n")
            lines[-1] += "" if value is None else f" {value:.2f}" if narrow else f" {value:.3f}"
            for number, line in enumerate(lines):
                text(left - 12, y + (number - (len(lines) - 1) / 2) * 1.25 * size, line, color=colour, ha="right", fontsize=size - 1)

        def panel(name: str, above: float, tall: float, at: Callable[[float], float]) -> None:
            for number, point in enumerate(points):
                found = point.estimate(name)
                x = left + step * (number + 0.5)
                if found is None:
                    text(x, above + tall + 12, "not told", color=MUTED, ha="center", fontsize=size - 1)
                    continue
                axes.plot([x, x], [at(found.low), at(found.high)], color=FAKE, linewidth=9, alpha=0.35, solid_capstyle="butt")
                singles = point.singles(name)
                if len(singles) > 1:
                    axes.plot([x - 13] * len(singles), [at(one.value) for one in singles], "o", color=FAKE, markersize=3.6, alpha=0.85)
                axes.plot([x], [at(found.value)], "D", color=FAKE, markersize=9, markeredgecolor=CARD, markeredgewidth=1)
                text(x, above + tall + 12, f"{found.value:.2f}" if narrow else f"{found.value:.3f}", ha="center", color=FAKE)

        def scale(above: float, tall: float, values: Sequence[float], room: float) -> Callable[[float], float]:
            low, high = min(values) - room, max(values) + room
            return lambda value: above + tall * (1 - (value - low) / (high - low))

        def ends(name: str) -> list[float]:
            return [end for p in points if (found := p.estimate(name)) is not None for end in (found.low, found.high)]

        real, floor = frontier.beside(AUROC)
        assert real is not None
        values = [real, *([] if floor is None else [floor]), *ends(AUROC)]
        at = scale(top, tall, values, 0.06 * (max(values) - min(values)))
        title = f"Use: AUROC for {pictures.short(str(frontier.context.get('target')), 20)}"
        text(8, 16, title if narrow else f"{title}, on real patients whom nobody learned from", fontsize=size + 1)
        axes.plot([left, width - right], [at(real)] * 2, color=REAL, linewidth=1.8)
        aside(at(real), "learned from\nreal patients", "real", real, REAL)
        if floor is not None:
            axes.plot([left, width - right], [at(floor)] * 2, color=MUTED, linewidth=1.5, linestyle=(0, (4, 3)))
            aside(at(floor), "nothing learned", "nothing", floor, MUTED)
        panel(AUROC, top, tall, at)

        text(8, low_top - 22, "Attack: who was learned from? (membership AUC)", fontsize=size + 1)
        chance = points[0].fits[0].chance
        at = scale(low_top, low_tall, [0.45, 0.6, *(chance or ()), *ends(ATTACK)], 0.01)
        if chance is not None:
            axes.fill_between([left, width - right], at(chance[0]), at(chance[1]), color=REAL, alpha=0.2, linewidth=0)
            aside(at(sum(chance) / 2), "what chance gives", "chance", None, REAL)
        panel(ATTACK, low_top, low_tall, at)

        below = low_top + low_tall + 24
        axes.plot([left, width - right], [below, below], color=LINE, linewidth=1)
        text(left - 12, below + 15, "epsilon", ha="right", color=MUTED)
        for number, point in enumerate(points):
            x = left + step * (number + 0.5)
            text(x, below + 15, "none" if math.isinf(point.epsilon) else f"{point.epsilon:g}", ha="center")
            if math.isinf(point.epsilon):
                text(x, below + 15 + 1.3 * size, pictures.short(point.synthesizer, 12), ha="center", color=MUTED, fontsize=size - 1)
        text(left, height - 10, "← stronger promise", color=MUTED, fontsize=size - 1)
        text(width - right, height - 10, "weaker →", color=MUTED, ha="right", fontsize=size - 1)

    told = "; ".join(
        f"{p.promise}: AUROC {_number(use.value if (use := p.estimate(AUROC)) else None)}, membership AUC "
        f"{_number(attack.value if (attack := p.estimate(ATTACK)) else None)}"
        for p in points
    )
    label = f"Utility against privacy. {told}. Real patients: {_number(frontier.beside(AUROC)[0])}."
    return pictures.draw("frontier-narrow" if narrow else "frontier", width, height, label, paint)


def _alone(svg: str) -> str:
    """An inline picture as a file of its own: the page's light colours, a ground, and a namespace."""
    css = (files("proband.validate") / "report.css").read_text(encoding="utf-8")
    colours: dict[str, str] = {}
    for name, colour in re.findall(r"--(\w+): (#\w+)", css):
        colours.setdefault(name, colour)
    head, _, body = re.sub(r"var\(--(\w+)\)", lambda found: colours[found[1]], svg).partition(">")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" font-family="Helvetica, Arial, sans-serif" ', 1)
    return f'{head}><rect width="100%" height="100%" fill="{colours["card"]}"/>{body}\n'
