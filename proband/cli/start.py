"""From a table: guess its schema, part its patients, or do all of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proband.cli.shared import (
    Data,
    Delta,
    Epsilon,
    Json,
    Key,
    LedgerFile,
    Minutes,
    Name,
    PolicyName,
    Purpose,
    SchemaFile,
    Seed,
    Size,
    Target,
    must_be_new,
    print_json,
    progress,
    read_cohort,
    read_schema,
    tell,
    tell_release,
)

if TYPE_CHECKING:
    from proband.schema import Schema, Table
    from proband.synthesizer import OnStep


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the release; must not exist.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Half of the patients, and the forest, which takes seconds.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """The main job on 9,172 real thyroid patients that ship with a dependency."""
    from proband.pipeline import demo

    started = time.monotonic()
    with progress(json) as on_step:
        made = demo(out=out, quick=quick, seed=seed, on_step=on_step)
    tell_release(made, json, time.monotonic() - started)


def schema(
    data: Data,
    out: Annotated[Path, typer.Option(help="Where to write the schema for review.")] = Path("schema.toml"),
    accept: Annotated[bool, typer.Option("--accept", help="Apply every proposal instead of leaving it to the review.")] = False,
    json: Json = False,
) -> None:
    """Guess a schema for a person to review, and list what was found."""
    from proband.records.folder import read_frames
    from proband.records.image_folder import frame_of, has_images
    from proband.records.recordings import has_records, table_of
    from proband.records.tables import read_frame
    from proband.schema import Schema
    from proband.schema.guess import accepted

    must_be_new(out)
    with progress(json) as on_step:
        on_step(0, 1, "read", {})
        source, images = (table_of(data) if has_records(data) else data), has_images(data)
        linked = source.is_dir() and not images
        frame: Any = frame_of(data) if images else read_frames(source)[0] if linked else read_frame(source)
        on_step(0, 1, "guess", {})
        guessed = Schema.guess(frame)
        saved = accepted(frame) if accept else guessed
        on_step(1, 1, "guess", {})
        doubts = _doubts(data, guessed.accept(), on_step) if images else []
    saved.save(out)
    facts = {"schema": str(out), "hash": saved.hash, "proposals": len(saved.proposals), "rules": len(saved.rules)}
    if json:
        facts |= {"to_look_at": doubts} if images else {}
        return print_json(facts | ({"tables": [table.name for table in saved.tables], "codes": saved.codes} if saved.children else {}))
    frames = frame if linked else {saved.table.name: frame}
    for table in saved.tables:
        of = f"Table {table.name}: " if linked else ""
        print(f"{of}{frames[table.name].height:,} rows, {len(table.columns)} columns, {_hangs(table)}")
        for kind in dict.fromkeys(column.kind for column in table.columns):
            print(f"  {kind:<10} {', '.join(c.name for c in table.columns if c.kind == kind)}")
    if saved.codes:
        print(f"Left beside, since no patient leads to them: {', '.join(saved.codes)}")
    print(f"{len(saved.rules)} rules hold in every row:" if saved.rules else "No rule was found.")
    for rule in saved.rules:
        print(f"  {rule.sql if len(rule.sql) <= 120 else rule.sql[:117] + '...'}")
    proposals = guessed.proposals
    if proposals:
        print(f"{len(proposals)} proposals, {'accepted' if accept else 'for you to decide (set accept = true, or delete)'}:")
        for proposal in proposals:
            print(f"  {proposal.table + '.' if linked else ''}{proposal.column}: {proposal.why}")
    if linked or images:
        found = doubts if images else _problems(frame, guessed.accept())
        print("\n".join(["To look at:", *(f"  {one}" for one in found)]) if found else "No problem was found.")
    print(f"Review {out}, then: proband synthesize {data} --schema {out} --out DIR")


def _hangs(table: Table) -> str:
    """Whose rows these are, and how they run."""
    if table.parent is None:
        return f"patient key: {table.key or 'none (a row is a patient)'}"
    parts = [f"rows of {table.parent} by {table.on}", *([f"key {table.key}"] if table.key else [])]
    parts += [f"in order of {', '.join(table.order)}"] if table.order else []
    parts += [f"{len(table.variables)} measures ({table.measures[1]} by {table.measures[0]})"] if table.measures else []
    return ", ".join(parts)


def _problems(frames: Any, schema: Schema) -> list[str]:
    """What a person should look at in linked tables, or the first reason why they cannot be read."""
    from proband.errors import InputError
    from proband.records.tables import read

    try:
        return [problem.message for problem in schema.check(read(frames, schema))]
    except InputError as error:
        return [str(error)]


def _doubts(data: Path, schema: Schema, on_step: OnStep) -> list[str]:
    """What gives the classes of images away beside what they show, or the first reason why the images cannot be read."""
    from proband.errors import InputError
    from proband.records.image_folder import read_images
    from proband.validate.shortcuts import SIDE, shortcuts, words

    on_step(0, 1, "look", {})
    try:
        found = words(shortcuts(read_images(data, schema, size=SIDE)))
    except InputError as error:
        found = [str(error)]
    on_step(1, 1, "look", {})
    return found


def show(
    data: Annotated[Path, typer.Argument(help="Real or synthetic patients: .csv, .csv.gz, .parquet, or a folder of linked tables.")],
    patient: Annotated[str, typer.Argument(help="The patient's key; without a key the number of the row, from 0 on.")],
    out: Annotated[Path, typer.Option(help="The picture: .svg, .png or .html.")] = Path("patient.svg"),
    schema: SchemaFile = None,
    json: Json = False,
) -> None:
    """Draw one patient: their own row, and all that happened to them over time."""
    from proband.validate.show import save, show

    must_be_new(out)
    with progress(json) as on_step:
        on_step(0, 1, "read", {})
        cohort = read_cohort(data, schema)
        save(show(cohort, patient), out)
        on_step(1, 1, "draw", {})
    told = "a synthetic patient" if cohort.mark else "a real patient: guard it as DATA"
    tell(json, {"file": str(out), "synthetic": cohort.mark is not None}, f"{out} shows {told}.")


def synthesize(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the release; must not exist.")],
    target: Target = None,
    schema: SchemaFile = None,
    synthesizer: Name = None,
    policy: PolicyName = "controlled",
    purpose: Purpose = "",
    n: Annotated[
        int | None, typer.Option("-n", help="Synthetic rows, or patients of linked tables; unless given as in the data.", min=1)
    ] = None,
    minutes: Minutes = None,
    size: Size = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    ledger: LedgerFile = None,
    format: Annotated[str, typer.Option(help="parquet or csv.")] = "parquet",
    key: Key = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """All of it: read, split, fit, sample, validate, release."""
    from proband.pipeline import synthesize

    started = time.monotonic()
    with progress(json) as on_step:
        made = synthesize(
            data,
            out=out,
            target=target,
            schema=read_schema(schema),
            synthesizer=synthesizer,
            policy=policy,
            purpose=purpose,
            n=n,
            minutes=minutes,
            size=size,
            epsilon=epsilon,
            delta=delta,
            ledger=ledger,
            format=format,
            key=key,
            seed=seed,
            on_step=on_step,
        )
    tell_release(made, json, time.monotonic() - started)


def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for train, holdout, reference and schema.toml; must not exist.")],
    schema: SchemaFile = None,
    size: Size = None,
    format: Annotated[str, typer.Option(help="parquet or csv.")] = "parquet",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Part the patients 60/20/20 into train, holdout and reference, before anything learns."""
    from proband.pipeline import save_split

    must_be_new(out)
    parts = read_cohort(data, schema, size).split(seed=seed)
    save_split(parts, out, format)
    if json:
        return print_json({"out": str(out), "patients": {name: len(part) for name, part in zip(parts._fields, parts, strict=True)}})
    for name, part in zip(parts._fields, parts, strict=True):
        print(f"{out / (name if part.linked or part.media else f'{name}.{format}')}  {len(part):,} patients")
