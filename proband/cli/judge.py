"""Is it faithful, useful, private? One table, or several beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from proband import errors
from proband.cli.shared import (
    Data,
    Delta,
    Json,
    LedgerFile,
    Minutes,
    PolicyName,
    SchemaFile,
    Seed,
    Target,
    must_be_new,
    progress,
    read_cohort,
    read_schema,
    tell,
)


def validate(
    train: Annotated[Path, typer.Option(help="The real patients that the synthesizer learned from.")],
    holdout: Annotated[Path, typer.Option(help="Real patients that it never saw.")],
    synthetic: Annotated[Path, typer.Option(help="Anybody's synthetic patients.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html and report.json.")],
    reference: Annotated[Path | None, typer.Option(help="More unseen patients, to calibrate attacks; else half of the holdout.")] = None,
    target: Target = None,
    schema: SchemaFile = None,
    policy: PolicyName = "controlled",
    ledger: LedgerFile = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Is it faithful, useful, private? Works on anybody's synthetic data."""
    from proband.pipeline import save_report
    from proband.privacy.ledger import enter_audit, ledger_of, standing
    from proband.release.policy import Policy
    from proband.validate import validate
    from proband.validate.report import Report

    must_be_new(out / "report.json")
    limits = Policy.load(policy)
    with progress(json) as on_step:
        report = validate(
            train,
            holdout,
            synthetic,
            reference=reference,
            target=target,
            schema=read_schema(schema),
            limits=limits.limits,
            seed=seed,
            on_step=on_step,
            context={"policy": limits.name},
        )
    kept = ledger_of(train, ledger)
    enter_audit(kept, "report of validate")  # before anybody sees it
    report = Report(report.findings, {**report.context, **standing(kept)})
    save_report(report, out)
    failed = [f.name for f in report.findings if f.limit is not None and f.passed is not True]
    facts = {"report": str(out / "report.html"), "passed": report.passed, "not_passed": failed}
    tell(json, facts, f"{report.verdict}\n{out / 'report.html'}")
    if not report.passed:
        raise typer.Exit(1)


def compare(
    data: Data,
    out: Annotated[
        Path, typer.Option(help="Folder for the table, the picture and every report; the same call goes on where it was stopped.")
    ],
    synthesizers: Annotated[str, typer.Option(help="all, or names with commas: forest,gan,copula.")] = "all",
    target: Target = None,
    schema: SchemaFile = None,
    policy: PolicyName = "controlled",
    minutes: Minutes = None,
    ledger: LedgerFile = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Fit, sample, validate and rank synthesizers on the same patients."""
    from proband.compare import compare

    wanted = "all" if synthesizers == "all" else [name.strip() for name in synthesizers.split(",") if name.strip()]
    with progress(json) as on_step:
        more: dict[str, Any] = {"target": target, "schema": read_schema(schema), "policy": policy, "minutes": minutes, "seed": seed}
        made = compare(data, out=out, synthesizers=wanted, ledger=ledger, on_step=on_step, **more)
    facts = {"out": str(out), "best": made.best, "ranked": [entry.name for entry in made.entries], "failed": dict(made.failed)}
    tell(json, facts, f"{made}\n\n{made.verdict}\n{out / 'comparison.html'}")


def frontier(
    data: Data,
    target: Annotated[str, typer.Option(help="The outcome column that usefulness is asked for.")],
    out: Annotated[Path, typer.Option(help="Folder for picture, table and reports; the same call goes on where it was stopped.")],
    epsilons: Annotated[str, typer.Option(help="The promises to try, with commas; inf is none.")] = "0.5,1,3,8,inf",
    synthesizer: Annotated[str, typer.Option(help="Who keeps the promises; inf is fitted by gan.")] = "marginals",
    seeds: Annotated[int, typer.Option(help="Fits at every epsilon; each is paid for.", min=1)] = 1,
    schema: SchemaFile = None,
    delta: Delta = None,
    ledger: LedgerFile = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Utility against privacy: fit and audit at several epsilons, to look at before one is chosen."""
    from proband.frontier import frontier

    try:
        wanted = [float(one) for one in epsilons.split(",") if one.strip()]
    except ValueError:
        raise errors.InputError(f"--epsilons {epsilons!r} are no numbers. Give such as 0.5,1,3,8,inf.") from None
    more: dict[str, Any] = {"schema": read_schema(schema), "ledger": ledger, "seed": seed} | ({} if delta is None else {"delta": delta})
    with progress(json) as on_step:
        made = frontier(data, out=out, target=target, epsilons=wanted, synthesizer=synthesizer, seeds=seeds, on_step=on_step, **more)
    if json:
        return print(made.json())
    print(f"{made}\n\n{made.verdict}\n{out / 'frontier.html'}")


def turing(
    real: Annotated[Path | None, typer.Argument(help="A folder of held-out patients' images.")] = None,
    synthetic: Annotated[Path | None, typer.Argument(help="A folder from: proband sample --no-stamp --no-watermark")] = None,
    out: Annotated[Path, typer.Option(help="The page. It shows real patients: guard it as their data.")] = Path("turing.html"),
    answers: Annotated[Path | None, typer.Option(help="Read a reader's answers instead.")] = None,
    pairs: Annotated[int, typer.Option(help="Pairs of images, at most.", min=10)] = 50,
    by: Annotated[str | None, typer.Option(help="A column, such as the finding, that both images of a pair share.")] = None,
    schema: SchemaFile = None,
    size: Annotated[int | None, typer.Option(help="Bring all images to squares of so many pixels a side.", min=1)] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Two images, which is real? A page for people, and what they answered."""
    from proband.validate.turing import read_turing, turing

    if answers is not None:
        if real is not None:
            raise errors.InputError("--answers are read on their own. Leave the folders out, or the option.")
        found = read_turing(answers)
        return tell(json, found.as_dict(), str(found))
    if real is None or synthetic is None:
        raise errors.InputError("Give a folder of real images and one of synthetic images, or --answers FILE.")
    must_be_new(out)
    with progress(json) as on_step:
        on_step(0, 1, "read", {})
        shown = turing(read_cohort(real, schema, size), read_cohort(synthetic, schema, size), out, pairs=pairs, by=by, seed=seed)
        on_step(1, 1, "read", {})
    said = f"{out} shows {shown} pairs of images. Half of them are real patients': it must not leave the house."
    tell(json, {"page": str(out), "pairs": shown}, said)
