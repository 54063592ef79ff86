"""What people do with synthetic patients: more of a rare kind, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proband.cli.shared import Json, SchemaFile, Seed, must_be_new, progress, read_cohort, tell


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
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Labels from models of real patients where they agree, the rest from a person; whose label it is stays with the row."""
    from proband.records.tables import read
    from proband.uses.labels import fit_labeller, label, read_queue, write_queue

    for path in filter(None, (out, queue)):
        must_be_new(path)
    real = read_cohort(train, schema)
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
