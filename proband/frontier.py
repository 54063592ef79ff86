"""Frontier: one synthesizer at several promises of privacy, on the same patients, judged alike: what privacy costs, to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proband.compare import begun, keep
from proband.errors import InputError, NotReleasable
from proband.privacy.budget import epsilon_of
from proband.privacy.domain import ready
from proband.privacy.ledger import DELTA, enter_fit, foresee, ledger_of, standing
from proband.schema import Schema
from proband.synthesizer import OnStep, Synthesizer, make
from proband.validate import validate
from proband.validate.frontier import Fit, Frontier, place
from proband.validate.report import Report

if TYPE_CHECKING:
    from proband.cohort import Split

EPSILONS = (0.5, 1.0, 3.0, 8.0, math.inf)
OPEN = "gan"  # who fits without a promise: the default synthesizer


def frontier(
    data: Any,
    *,
    out: str | Path,
    target: str,
    epsilons: Sequence[float] = EPSILONS,
    synthesizer: str = "marginals",
    seeds: int = 1,
    schema: Schema | None = None,
    delta: float = DELTA,
    ledger: str | Path | None = None,
    seed: int = 0,
    name: str | None = None,
    on_step: OnStep | None = None,
) -> Frontier:
    """Fit, sample and audit at every epsilon; utility against privacy as one picture and one table, in the folder `out`.

    data         a path (.csv, .csv.gz, .parquet), a frame or a Cohort
    target       the outcome that usefulness is asked for
    epsilons     the promises to try; infinity is none: then the default synthesizer (gan) is fitted
    synthesizer  one that can promise: marginals
    seeds        fits at every epsilon: more show how far one fit is from the next, and each is paid for
    schema       a public schema, which every private fit needs
    delta        the chance that a promise fails
    ledger       the cohort's ledger; `<data>.ledger` unless told, begun where a private fit first asks for one
    name         what the page calls the data; the file's name unless told

    The patients are split once; fit k at an epsilon has the seed `seed` + k - 1. All private fits together are foreseen in the ledger
    before the first begins: NotReleasable when it does not bear them, and nothing is fitted. Each is entered before it is made. Its
    report is written as soon as it is judged: the same call goes on where it was stopped, also with more epsilons or seeds, and pays
    for nothing twice that was finished. InputError when something given is wrong, or `out` holds something else.
    """
    from proband.cohort import Cohort
    from proband.records.tables import read

    wanted = sorted(set(map(float, epsilons)))
    if not wanted or seeds < 1:
        raise InputError(f"epsilons = {list(epsilons)} and seeds = {seeds} ask for no fit. Give at least one of each.")
    models = {epsilon: _model(synthesizer, epsilon, delta) for epsilon in wanted}
    out, step = Path(out), on_step or _silent
    step(0, 1, "read", {})
    cohort = data if isinstance(data, Cohort) else read(data, None if schema is None else schema.reviewed())
    cohort.one_table("frontier")
    if cohort.frame[cohort.schema.table[target].name].drop_nulls().n_unique() < 2:
        raise InputError(f"Target {target!r} has one class, so nothing can be predicted. Name another column.")
    if any(map(math.isfinite, wanted)):
        ready(cohort.schema)
    parts = cohort.split(seed=seed)
    step(1, 1, "read", {})
    title = name or (Path(data).name if isinstance(data, str | Path) else "a table")
    context: dict[str, Any] = {"title": f"Utility against privacy, {title}", "target": target, "synthesizer": synthesizer, "delta": delta}
    context |= {"seed": seed, "columns": len(cohort.schema.table.columns)}
    context |= {"split": {part: getattr(parts, part).fingerprint for part in parts._fields}}
    new = begun(out, context, "frontier")
    every = [(epsilon, number) for number in range(1, seeds + 1) for epsilon in wanted]  # one of each first: a whole picture early
    kept, to_do = ledger_of(data, ledger), [one for one in every if not (out / place(*one) / "report.json").exists()]
    try:
        foresee(kept, [models[epsilon] for epsilon, _ in to_do], "the private fits of this frontier")
    except NotReleasable as no:
        raise NotReleasable(
            f"{no}\nNothing was fitted. Take fewer epsilons or seeds, or a cohort set aside for such looks. What a cohort may bear is said "
            "when its ledger is begun: proband ledger FILE --begin NAME --epsilon E"
        ) from None
    if new:
        Frontier((), context).save(out)
    fits: list[Fit] = []
    made = Frontier((), context)
    for done, (epsilon, number) in enumerate(every):
        folder = out / place(epsilon, number)
        step(done, len(every), "frontier", {})
        if (epsilon, number) in to_do:
            model = _model(synthesizer, epsilon, delta)
            what = place(epsilon, number)
            enter_fit(kept, model, cohort.schema, report=f"report of frontier, {what}", tuning=True)
            keep(_judged(model, parts, target=target, seed=seed, number=number, on_step=_as_one(what, step)), folder)
        fits.append(Fit(epsilon, number, models[epsilon].name, Report.load(folder / "report.json")))
        cost = _cost([models[fit.epsilon] for fit in fits], delta, kept)
        made = Frontier(tuple(fits), context | {"cost": cost, "sizes": fits[0].report.context.get("sizes")})
        if (epsilon, number) in to_do:
            made.save(out)
    made.save(out)
    step(len(every), len(every), "frontier", {})
    return made


def _model(synthesizer: str, epsilon: float, delta: float) -> Synthesizer:
    return make(OPEN) if math.isinf(epsilon) and epsilon > 0 else make(synthesizer, epsilon=epsilon, delta=delta)


def _judged(model: Synthesizer, parts: Split, *, target: str, seed: int, number: int, on_step: OnStep) -> Report:
    """Fit on the train part, sample as many and validate. The same real patients judge with the same seed every time."""
    model.fit(parts.train, seed=seed + number - 1, on_step=on_step)
    on_step(0, 1, "sample", {})
    synthetic = model.sample(parts.train.frame.height, seed=seed + number - 1)
    on_step(1, 1, "sample", {})
    context = {"title": f"Synthetic patients by {model.name}", "history": [list(point) for point in getattr(model, "history", ())]}
    real = parts.train, parts.holdout
    return validate(*real, synthetic, reference=parts.reference, target=target, seed=seed, on_step=on_step, context=context)


def _cost(models: Sequence[Any], delta: float, ledger: Path | None) -> dict[str, Any]:
    """What the fits come to: the epsilon of all private ones together, and where they are entered."""
    rho = [model.rho for model in models if getattr(model, "rho", None) is not None]
    return {
        "epsilon": epsilon_of(math.fsum(rho), delta) if rho else 0.0,
        "delta": delta,
        "private_fits": len(rho),
        "open_fits": len(models) - len(rho),
        **standing(ledger),
    }


def _as_one(what: str, step: OnStep) -> OnStep:
    """The progress of all stages of one fit on one line: a frontier has many."""
    return lambda done, total, stage, figures: step(done, total, what, {})


def _silent(done: int, total: int, what: str, figures: Mapping[str, float]) -> None:
    pass
