"""What people do with synthetic patients: choose among them, more of a rare kind, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proband.cli.shared import Json, LedgerFile, SchemaFile, Seed, must_be_new, progress, read_cohort, tell


def refine(
    synthetic: Annotated[Path, typer.Argument(help="Anybody's synthetic patients: .csv, .csv.gz or .parquet.")],
    train: Annotated[Path, typer.Option(help="The real patients that they were learned from.")],
    out: Annotated[Path, typer.Option(help="File for those that stay: .csv, .csv.gz or .parquet.")],
    n: Annotated[int | None, typer.Option("-n", help="How many stay; a third unless told.", min=1)] = None,
    schema: SchemaFile = None,
    ledger: LedgerFile = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Anybody's synthetic patients, harder to tell from real ones: put right what gives them away, then choose among them."""
    from proband.privacy.ledger import enter_open_fit, ledger_of
    from proband.records.tables import write
    from proband.synthesizers.refine import refine

    must_be_new(out)
    real = read_cohort(train, schema)
    enter_open_fit(ledger_of(train, ledger), "refine")
    with progress(json) as on_step:
        found = refine(synthetic, real, n=n, seed=seed, on_step=on_step)
        write(found.cohort, out)
    before, *_, after = (stage["success"] for stage in found.stages if stage["kept"])
    facts = {"file": str(out), "rows": found.cohort.frame.height, "success_before": before, "success_after": after}
    text = f"{found.cohort.frame.height:,} rows stay: {out}\nThe judges' success (0.5 is a guess): {before:.3f} as given, {after:.3f} now."
    tell(json, facts, text)


def augment(
    train: Annotated[Path, typer.Argument(help="The real patients that the model learned from.")],
    model: Annotated[Path, typer.Option(help="A model folder, from: proband fit")],
    where: Annotated[str, typer.Option(help="The rare class, subgroup or edge case: \"diagnosis = 'R'\".")],
    out: Annotated[Path, typer.Option(help="File for real and synthetic patients: .csv, .csv.gz or .parquet. Guard it as TRAIN.")],
    prevalence: Annotated[float | None, typer.Option(help="The share of all rows that shall satisfy it.")] = None,
    n: Annotated[int | None, typer.Option("-n", help="Or the number of synthetic rows.", min=1)] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Real patients, and synthetic ones of a rare kind beside them; the column _synthetic says which is which."""
    from proband.records.tables import read
    from proband.synthesizer import load
    from proband.uses.augmentation import augment

    must_be_new(out)
    with progress(json) as on_step:
        on_step(0, 1, "sample", {})
        fitted = load(model)
        made = augment(read(train, fitted.sample(0, seed=seed).schema), fitted, where=where, prevalence=prevalence, n=n, seed=seed)
        made.save(out)
    before, after = made.prevalence
    facts = {"file": str(out), "synthetic_rows": made.synthetic.frame.height, "prevalence_before": before, "prevalence_after": after}
    text = f"{made.synthetic.frame.height:,} synthetic rows beside the real ones, from {before:.1%} to {after:.1%}: {out}"
    tell(json, facts, text + "\nIt holds real patients. A model that learns from it says 'case' too often: recalibrate it.")


def label(
    synthetic: Annotated[Path, typer.Argument(help="Synthetic patients, from: proband sample")],
    train: Annotated[Path, typer.Option(help="Real patients to learn the labels from.")],
    target: Annotated[str, typer.Option(help="The column to label.")],
    out: Annotated[Path, typer.Option(help="File for the labelled patients: .csv, .csv.gz or .parquet.")],
    queue: Annotated[Path | None, typer.Option(help="CSV for the rows that a person has to label.")] = None,
    answers: Annotated[Path | None, typer.Option(help="Such a CSV, filled in.")] = None,
    agree: Annotated[float, typer.Option(help="The probability that every model must give to the same label.")] = 0.9,
    schema: SchemaFile = None,
    ledger: LedgerFile = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Labels from models of real patients where they agree, the rest from a person; whose label it is stays with the row."""
    from proband.privacy.ledger import enter_open_fit, ledger_of
    from proband.records.tables import read
    from proband.uses.labels import fit_labeller, label, read_queue, write_queue

    for path in filter(None, (out, queue)):
        must_be_new(path)
    real = read_cohort(train, schema)
    enter_open_fit(ledger_of(train, ledger), f"labels of {target}")
    with progress(json) as on_step:
        labeller = fit_labeller(real, target, seed=seed, on_step=on_step)
    made = label(read(synthetic, real.schema), labeller, agree=agree)
    made = made if answers is None else read_queue(answers, made)
    made.save(out)
    if queue is not None and len(made.unsure):
        write_queue(made, queue)
    counts = {name: int((made.origin == name).sum()) for name in ("model", "person")}
    facts = {"file": str(out), **counts, "unsure": len(made.unsure), "queue": str(queue) if queue and len(made.unsure) else None}
    tested = labeller.tested(agree).right
    right = "" if tested is None else f" (of such labels {tested.value:.1%} are right among real patients)"
    tell(json, facts, f"{counts['model']:,} labels by models{right}, {counts['person']:,} by a person, {len(made.unsure):,} unsure: {out}")
