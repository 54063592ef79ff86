"""Compare: every synthesizer on the same patients, through the same gate; and Auto, which takes the one that the gate prefers."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from proband.cost import measure
from proband.errors import InputError, NotReleasable, ProbandError
from proband.privacy.ledger import enter_fit, ledger_of
from proband.release.gate import judge
from proband.release.policy import Policy
from proband.schema import Schema
from proband.synthesizer import OnStep, Synthesizer, find, make, names, timed
from proband.validate import validate
from proband.validate.comparison import Comparison, Entry
from proband.validate.report import Report

if TYPE_CHECKING:
    from proband.cohort import Cohort, Split

#: What Auto chooses from.
CANDIDATES = ("forest", "gan")


def compare(
    data: Any,
    *,
    out: str | Path,
    synthesizers: str | Sequence[str] = "all",
    target: str | None = None,
    schema: Schema | None = None,
    policy: str = "controlled",
    minutes: float | None = None,
    ledger: str | Path | None = None,
    seed: int = 0,
    name: str | None = None,
    on_step: OnStep | None = None,
) -> Comparison:
    """Fit, sample, validate and rank synthesizers on one split of the patients; the table, the picture and every report go to `out`.

    data          a path (.csv, .csv.gz, .parquet), a frame or a Cohort
    synthesizers  names, or "all" that `proband.find` knows
    target        the outcome for the usefulness questions; without it they are not asked
    schema        a reviewed schema; without one it is guessed, and every proposal is accepted
    policy        internal, controlled, public, education, or the path of a policy file: its gate ranks
    minutes       training time, for the synthesizers that have that dial
    ledger        the cohort's ledger; `<data>.ledger` unless told: every fit and report is entered where it is kept
    name          what the page calls the data; the file's name unless told

    Each synthesizer's report is written as soon as it is judged, so an interrupted comparison keeps what it has, and the same call goes
    on from there. One that cannot be fitted is listed with the reason and stops nobody else; the next call tries it again.
    InputError when something given is wrong, or `out` holds another comparison.
    """
    from proband.cohort import Cohort
    from proband.records.tables import read

    wanted = names() if synthesizers == "all" else [synthesizers] if isinstance(synthesizers, str) else list(dict.fromkeys(synthesizers))
    for one in wanted:
        if one not in names():
            find(one)  # says what there is
    chosen = Policy.load(policy)
    out = Path(out)
    step = on_step or _silent
    step(0, 1, "read", {})
    cohort = data if isinstance(data, Cohort) else read(data, None if schema is None else schema.reviewed())
    cohort.one_table("compare")
    if target is not None and cohort.frame[cohort.schema.table[target].name].drop_nulls().n_unique() < 2:
        raise InputError(f"Target {target!r} has one class, so nothing can be predicted. Name another column, or leave the target out.")
    parts = cohort.split(seed=seed)
    step(1, 1, "read", {})
    title = name or (Path(data).name if isinstance(data, str | Path) else "a table")
    context: dict[str, Any] = {
        "title": f"Synthesizers on {title}",
        "policy": chosen.name,
        "target": target,
        "seed": seed,
        "minutes": minutes,
    }
    context |= {"columns": len(cohort.schema.table.columns), "split": {part: getattr(parts, part).fingerprint for part in parts._fields}}
    if begun(out, context, "comparison"):
        Comparison((), {}, context).save(out)

    entries: list[Entry] = []
    failed: dict[str, str] = {}
    compared = Comparison((), {}, context)
    for one in wanted:
        folder = out / one
        try:
            if not (folder / "report.json").exists():
                report = judged(
                    one,
                    parts,
                    cohort.frame.height,
                    target=target,
                    minutes=minutes,
                    seed=seed,
                    ledger=ledger_of(data, ledger),
                    on_step=_named(one, step),
                )
                keep(judge(report, chosen).report, folder)
            entries.append(entry(one, Report.load(folder / "report.json"), chosen))
        except NotReleasable:  # the ledger is spent, for all that follow as well
            raise
        except ProbandError as error:
            failed[one] = str(error)
        sizes = {"sizes": entries[0].report.context.get("sizes")} if entries else {}
        compared = Comparison(tuple(entries), failed, {**context, **sizes})
        compared.save(out)
    return compared


def judged(
    name: str,
    parts: Split,
    n: int,
    *,
    target: str | None,
    minutes: float | None,
    seed: int,
    ledger: Path | None = None,
    on_step: OnStep | None = None,
) -> Report:
    """Fit the synthesizer `name` on the train part, sample `n` patients and validate them; the costs stand in the report's context.

    ledger   where the fit and the report are entered, if it is kept
    """
    step = on_step or _silent
    model = make(name, minutes=minutes if timed(name) else None)
    enter_fit(ledger, model, parts.train.schema, report=f"report of compare, {name}")
    _forget_peak()
    _, fitted = measure(lambda: model.fit(parts.train, seed=seed, on_step=step))
    step(0, 1, "sample", {})
    synthetic, sampled = measure(lambda: model.sample(n, seed=seed))
    step(1, 1, "sample", {})
    costs = {"fit_s": fitted.seconds, "sample_s": sampled.seconds, "peak_mb": sampled.peak_mb, "fit_wh": fitted.watt_hours}
    context = {
        "title": f"Synthetic patients by {name}",
        "costs": costs,
        "history": [list(point) for point in getattr(model, "history", ())],
    }
    return validate(
        parts.train,
        parts.holdout,
        synthetic,
        reference=parts.reference,
        target=target,
        seed=seed,
        on_step=step,
        context=context,
    )


def entry(name: str, report: Report, policy: Policy) -> Entry:
    """The report under the policy's gate."""
    decision = judge(report, policy)
    return Entry(name, decision.report, decision.reasons, report.context.get("costs") or {})


class Auto:
    """Chooses among forest and gan by the gate, on a split of the training patients alone; then the choice learns from all of them.

    policy, target   as in `compare`; no patient but those given to `fit` is looked at, so a holdout stays unseen
    minutes          training time of those that have the dial

    What it samples and saves is the chosen synthesizer's, under that name. `comparison` holds what was compared.

    >>> model = Auto(target="died").fit(train, seed=1)  # doctest: +SKIP
    >>> model.chosen  # doctest: +SKIP
    'forest'
    """

    name: ClassVar[str] = "auto"

    def __init__(self, *, policy: str = "controlled", target: str | None = None, minutes: float | None = None) -> None:
        self.policy, self.target, self.minutes = Policy.load(policy), target, minutes
        self.comparison: Comparison | None = None
        self._model: Synthesizer | None = None

    @property
    def chosen(self) -> str:
        """The name of the synthesizer that was taken."""
        return self._learned.name

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Compare on 60/20/20 of `cohort`, then fit the first in rank on all of it."""
        step = on_step or _silent
        parts = cohort.one_table("auto").split(seed=seed)
        n = cohort.frame.height
        entries = []
        for one in CANDIDATES:
            report = judged(one, parts, n, target=self.target, minutes=self.minutes, seed=seed, on_step=_named(one, step))
            entries.append(entry(one, report, self.policy))
        compared = Comparison(tuple(entries), context={"policy": self.policy.name, "target": self.target, "seed": seed})
        first = compared.entries[0].name
        model = make(first, minutes=self.minutes if timed(first) else None).fit(cohort, seed=seed, on_step=on_step)
        self.comparison, self._model = compared, model
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients of the chosen synthesizer; its mark says that it was chosen."""
        made = self._learned.sample(n, seed=seed, where=where)
        assert made.mark is not None
        return replace(made, mark=replace(made.mark, details={**made.mark.details, "chosen_by": "auto"}))

    def save(self, path: str | Path) -> None:
        """The chosen synthesizer's model folder."""
        self._learned.save(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The choice made once, from its model folder; what it was compared with is not kept."""
        from proband.synthesizer import load

        made = cls()
        made._model = load(path)
        return made

    @property
    def _learned(self) -> Synthesizer:
        if self._model is None:
            raise InputError("Auto has not chosen yet. Call fit(cohort, seed=...) first.")
        return self._model


def begun(out: Path, context: Mapping[str, Any], what: str) -> bool:
    """Make `out` the folder of this comparison (or `what` it is), and say whether it is new: a `what`.json there must be of the same call.

    InputError when it holds anything else.
    """
    if out.exists() and any(out.iterdir()):
        try:
            before = json.loads((out / f"{what}.json").read_bytes())["context"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"Folder '{out}' holds something else than a {what}. Choose another name; nothing is overwritten.") from error
        differ = ["patients" if key == "split" else key for key in context if before.get(key) != context[key]]
        if differ:
            raise InputError(f"Folder '{out}' holds another {what} (it differs in {', '.join(differ)}). Choose another name.")
        return False
    if not out.absolute().parent.is_dir():
        raise InputError(f"Output folder '{out}' cannot be made: '{out.parent}' is not a folder. Make it first.")
    out.mkdir(exist_ok=True)
    return True


def keep(report: Report, folder: Path) -> None:
    """report.html and report.json in `folder`, all at once."""
    scratch = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    report.save(scratch / "report.html")
    report.save(scratch / "report.json")
    scratch.rename(folder)


def _named(name: str, step: OnStep) -> OnStep:
    """The same progress, saying whose it is."""
    return lambda done, total, what, figures: step(done, total, f"{name}: {what}", figures)


def _forget_peak() -> None:
    """Start the count of the process's peak memory anew, where the system can (Linux): elsewhere a peak is the highest so far."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _silent(done: int, total: int, what: str, figures: Mapping[str, float]) -> None:
    pass
