"""Learn from patients, and sample from what was learned."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from proband import errors
from proband.cli.shared import (
    Data,
    Delta,
    Epsilon,
    Json,
    LedgerFile,
    Minutes,
    Name,
    SchemaFile,
    Seed,
    Size,
    Stamp,
    WatermarkKey,
    must_be_new,
    progress,
    read_cohort,
    read_key,
    tell,
)


def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the model; must not exist.")],
    schema: SchemaFile = None,
    synthesizer: Name = None,
    minutes: Minutes = None,
    size: Size = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    ledger: LedgerFile = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Learn from all patients in DATA (the train part of a split)."""
    from proband.cost import measure
    from proband.pipeline import make, suited
    from proband.privacy.ledger import enter_fit, ledger_of
    from proband.synthesizer import takes

    must_be_new(out)
    if not out.absolute().parent.is_dir():  # asked before the ledger is charged
        raise errors.InputError(f"'{out}' cannot be made: '{out.parent}' is not a folder. Make it first.")
    model = make(synthesizer or suited(data, private=epsilon is not None), minutes=minutes, epsilon=epsilon, delta=delta)
    with progress(json) as on_step:
        on_step(0, 1, "read", {})
        cohort = read_cohort(data, schema, size)
        kept = ledger_of(data, ledger)
        entered = enter_fit(kept, model, cohort.schema)
        unfinished, more = Path(f"{out}.unfinished"), {}
        if takes(model, "unfinished"):
            more["unfinished"] = unfinished
        if takes(model, "watch"):
            more["watch"] = Path(f"{out}.png")
        _, cost = measure(lambda: model.fit(cohort, seed=seed, on_step=on_step, **more))
        model.save(out)
        shutil.rmtree(unfinished, ignore_errors=True)
    facts = {"model": str(out), "patients": len(cohort), "synthesizer": model.name, "cost": cost.as_dict()}
    facts |= {"ledger": str(kept)} if entered else {}
    said = f"\nEntered in the ledger. What is spent: proband ledger {kept}" if entered else ""
    tell(json, facts, f"Model of {len(cohort):,} patients: {out} ({cost}){said}")


def sample(
    model: Annotated[Path, typer.Argument(help="A model folder, from: proband fit")],
    n: Annotated[int, typer.Option("-n", help="How many synthetic rows; patients, of linked tables.", min=1)],
    out: Annotated[Path, typer.Option(help="File for the synthetic patients (.csv, .csv.gz, .parquet), or a folder.")],
    where: Annotated[str | None, typer.Option(help="Only such patients: \"age > 80 AND sex = 'F'\".")] = None,
    stamp: Stamp = True,
    watermark: Annotated[bool, typer.Option("--watermark/--no-watermark", help="Faint noise in images that verify finds.")] = True,
    watermark_key: WatermarkKey = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Synthetic patients from a model, each labelled as synthetic."""
    from proband.pipeline import sample_into
    from proband.synthesizer import load

    must_be_new(out)
    with progress(json) as on_step:
        hidden = watermark and (read_key(watermark_key) or True)
        written = sample_into(load(model), n, out, seed=seed, where=where, stamp=stamp, watermark=hidden, on_step=on_step)
    what = "patients" if out.is_dir() else "rows"
    tell(json, {"file": str(out), what: written}, f"{written:,} synthetic {what}: {out}")


def impute(
    model: Annotated[Path, typer.Argument(help="A model folder, from: proband fit (synthesizer gan)")],
    data: Data,
    out: Annotated[Path, typer.Option(help="File for the same patients without gaps: .csv, .csv.gz or .parquet. Guard it as DATA.")],
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Fill what is missing, drawn given what each patient has. Real patients stay real: they get no label of synthetic ones."""
    from proband.records.tables import read
    from proband.synthesizer import load
    from proband.uses.imputation import impute

    must_be_new(out)
    with progress(json) as on_step:
        on_step(0, 1, "impute", {})
        fitted = load(model)
        made = impute(read(data, fitted.sample(0, seed=seed).schema), fitted, seed=seed)
        made.save(out)
        on_step(1, 1, "impute", {})
    real = made.cohort.mark is None
    text = f"{sum(made.filled.values()):,} values filled in {len(made.filled)} columns: {out}"
    said = f"It holds real patients. Which columns were filled says {out.name}.imputed.json." if real else "Its label stays."
    tell(json, {"file": str(out), "real_patients": real, "filled": dict(made.filled)}, f"{text}\n{said}")
