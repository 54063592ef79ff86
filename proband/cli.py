"""The command: each verb is one public function. Exit 0 done, 1 a gate or check said no, 2 the input was wrong."""

from __future__ import annotations

import json as jsonlib
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proband import errors

if TYPE_CHECKING:
    from proband.cohort import Cohort
    from proband.schema import Schema
    from proband.synthesizer import OnStep

app = typer.Typer(
    name="proband",
    help="Synthetic patients: faithful enough for research and teaching, and nobody real.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

INTERRUPTED = "Interrupted. Nothing was left half-written."

Data = Annotated[Path, typer.Argument(help="Real patients: .csv, .csv.gz or .parquet.")]
SchemaFile = Annotated[Path | None, typer.Option("--schema", help="A reviewed schema; guessed (and listed) unless given.")]
Seed = Annotated[int, typer.Option(help="Same seed, same bytes.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Name = Annotated[
    str | None,
    typer.Option(
        "--synthesizer",
        help="gan, forest, auto, marginals, duel, copula, diffusion, smote, independent, bootstrap, or a third party's name; "
        "gan unless told, marginals with --epsilon.",
    ),
]
Epsilon = Annotated[float | None, typer.Option(help="Differential privacy of every patient: 1 is strong, 10 hardly a promise.")]
Delta = Annotated[float | None, typer.Option(help="The chance that the promise fails; 1e-5 unless told.")]
LedgerFile = Annotated[Path | None, typer.Option("--ledger", help="The cohort's ledger; DATA.ledger unless told.")]
Minutes = Annotated[float | None, typer.Option(help="Training time, for synthesizers that have that dial.", min=0.01)]
PolicyName = Annotated[str, typer.Option("--policy", help="internal, controlled, public, education, or a policy file.")]
Target = Annotated[str | None, typer.Option(help="The outcome column, for the question: is it useful?")]
Key = Annotated[Path | None, typer.Option(help="Ed25519 private key (PEM) to sign with; made on first use unless given.")]
Purpose = Annotated[str, typer.Option(help="What the release is for, in a sentence; it stands on the data card.")]


def run() -> int:
    """Run the command line; the exit code."""
    try:
        code = app(standalone_mode=False) or 0  # a command that raises typer.Exit has its code returned here
        return _complain(INTERRUPTED, 2) if code == 130 else code  # 130: the command line caught Ctrl-C itself
    except errors.NotReleasable as no:
        return _complain(str(no), 1)
    except errors.ProbandError as wrong:
        return _complain(str(wrong), 2)
    except typer.Abort:
        return _complain(INTERRUPTED, 2)
    except OSError as wrong:
        return _complain(f"{wrong.strerror or wrong}{f': {wrong.filename}' if wrong.filename else ''}. Nothing was left half-written.", 2)
    except MemoryError:
        return _complain("The machine's memory is not enough for this table. Take fewer rows or columns.", 2)
    except Exception as wrong:
        if hasattr(wrong, "format_message"):  # the command line's own usage errors
            return _complain(f"{wrong.format_message()} See: proband --help", 2)
        raise


@app.command()
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
    _tell_release(made, json, time.monotonic() - started)


@app.command()
def schema(
    data: Data,
    out: Annotated[Path, typer.Option(help="Where to write the schema for review.")] = Path("schema.toml"),
    accept: Annotated[bool, typer.Option("--accept", help="Apply every proposal instead of leaving it to the review.")] = False,
    json: Json = False,
) -> None:
    """Guess a schema for a person to review, and list what was found."""
    from proband.records.tables import read_frame
    from proband.schema import Schema
    from proband.schema.guess import accepted

    _must_be_new(out)
    with progress(json) as on_step:
        on_step(0, 1, "read", {})
        frame = read_frame(data)
        on_step(0, 1, "guess", {})
        guessed = Schema.guess(frame)
        saved = accepted(frame) if accept else guessed
        on_step(1, 1, "guess", {})
    saved.save(out)
    if json:
        return _print_json({"schema": str(out), "hash": saved.hash, "proposals": len(saved.proposals), "rules": len(saved.rules)})
    table = saved.table
    print(f"{frame.height:,} rows, {len(table.columns)} columns, patient key: {table.key or 'none (a row is a patient)'}")
    for kind in dict.fromkeys(column.kind for column in table.columns):
        print(f"  {kind:<10} {', '.join(c.name for c in table.columns if c.kind == kind)}")
    print(f"{len(saved.rules)} rules hold in every row:" if saved.rules else "No rule was found.")
    for rule in saved.rules:
        print(f"  {rule.sql if len(rule.sql) <= 120 else rule.sql[:117] + '...'}")
    proposals = guessed.proposals
    if proposals:
        print(f"{len(proposals)} proposals, {'accepted' if accept else 'for you to decide (set accept = true, or delete)'}:")
        for proposal in proposals:
            print(f"  {proposal.column}: {proposal.why}")
    print(f"Review {out}, then: proband synthesize {data} --schema {out} --out DIR")


@app.command()
def synthesize(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the release; must not exist.")],
    target: Target = None,
    schema: SchemaFile = None,
    synthesizer: Name = None,
    policy: PolicyName = "controlled",
    purpose: Purpose = "",
    n: Annotated[int | None, typer.Option("-n", help="Synthetic rows; as many as the data has unless given.", min=1)] = None,
    minutes: Minutes = None,
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
            schema=_schema(schema),
            synthesizer=synthesizer,
            policy=policy,
            purpose=purpose,
            n=n,
            minutes=minutes,
            epsilon=epsilon,
            delta=delta,
            ledger=ledger,
            format=format,
            key=key,
            seed=seed,
            on_step=on_step,
        )
    _tell_release(made, json, time.monotonic() - started)


@app.command()
def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for train, holdout, reference and schema.toml; must not exist.")],
    schema: SchemaFile = None,
    format: Annotated[str, typer.Option(help="parquet or csv.")] = "parquet",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Part the patients 60/20/20 into train, holdout and reference, before anything learns."""
    from proband.pipeline import save_split

    _must_be_new(out)
    parts = _read(data, schema).split(seed=seed)
    save_split(parts, out, format)
    if json:
        return _print_json({"out": str(out), "patients": {name: len(part) for name, part in zip(parts._fields, parts, strict=True)}})
    for name, part in zip(parts._fields, parts, strict=True):
        print(f"{out / f'{name}.{format}'}  {len(part):,} patients")


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the model; must not exist.")],
    schema: SchemaFile = None,
    synthesizer: Name = None,
    minutes: Minutes = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    ledger: LedgerFile = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Learn from all patients in DATA (the train part of a split)."""
    from proband.cost import measure
    from proband.pipeline import make
    from proband.privacy.ledger import enter_fit, ledger_of

    _must_be_new(out)
    if not out.absolute().parent.is_dir():  # asked before the ledger is charged
        raise errors.InputError(f"'{out}' cannot be made: '{out.parent}' is not a folder. Make it first.")
    model = make(synthesizer, minutes=minutes, epsilon=epsilon, delta=delta)
    with progress(json) as on_step:
        on_step(0, 1, "read", {})
        cohort = _read(data, schema)
        kept = ledger_of(data, ledger)
        entered = enter_fit(kept, model, cohort.schema)
        _, cost = measure(lambda: model.fit(cohort, seed=seed, on_step=on_step))
        model.save(out)
    facts = {"model": str(out), "patients": len(cohort), "synthesizer": model.name, "cost": cost.as_dict()}
    facts |= {"ledger": str(kept)} if entered else {}
    said = f"\nEntered in the ledger. What is spent: proband ledger {kept}" if entered else ""
    _tell(json, facts, f"Model of {len(cohort):,} patients: {out} ({cost}){said}")


@app.command()
def sample(
    model: Annotated[Path, typer.Argument(help="A model folder, from: proband fit")],
    n: Annotated[int, typer.Option("-n", help="How many synthetic rows.", min=1)],
    out: Annotated[Path, typer.Option(help="File for the synthetic patients: .csv, .csv.gz or .parquet.")],
    where: Annotated[str | None, typer.Option(help="Only such patients: \"age > 80 AND sex = 'F'\".")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Synthetic patients from a model, each labelled as synthetic."""
    from proband.pipeline import sample_into
    from proband.synthesizer import load

    _must_be_new(out)
    with progress(json) as on_step:
        written = sample_into(load(model), n, out, seed=seed, where=where, on_step=on_step)
    _tell(json, {"file": str(out), "rows": written}, f"{written:,} synthetic rows: {out}")


@app.command()
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

    _must_be_new(out)
    with progress(json) as on_step:
        on_step(0, 1, "sample", {})
        fitted = load(model)
        made = augment(read(train, fitted.sample(0, seed=seed).schema), fitted, where=where, prevalence=prevalence, n=n, seed=seed)
        made.save(out)
    before, after = made.prevalence
    facts = {"file": str(out), "synthetic_rows": made.synthetic.frame.height, "prevalence_before": before, "prevalence_after": after}
    text = f"{made.synthetic.frame.height:,} synthetic rows beside the real ones, from {before:.1%} to {after:.1%}: {out}"
    _tell(json, facts, text + "\nIt holds real patients. A model that learns from it says 'case' too often: recalibrate it.")


@app.command()
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
        _must_be_new(path)
    real = _read(train, schema)
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
    _tell(json, facts, f"{counts['model']:,} labels by models{right}, {counts['person']:,} by a person, {len(made.unsure):,} unsure: {out}")


@app.command()
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
    from proband.privacy.ledger import enter_audit, ledger_of
    from proband.release.policy import Policy
    from proband.validate import validate

    _must_be_new(out / "report.json")
    limits = Policy.load(policy)
    with progress(json) as on_step:
        report = validate(
            train,
            holdout,
            synthetic,
            reference=reference,
            target=target,
            schema=_schema(schema),
            limits=limits.limits,
            seed=seed,
            on_step=on_step,
            context={"policy": limits.name},
        )
    enter_audit(ledger_of(train, ledger), "report of validate")  # before anybody sees it
    save_report(report, out)
    failed = [f.name for f in report.findings if f.limit is not None and f.passed is not True]
    facts = {"report": str(out / "report.html"), "passed": report.passed, "not_passed": failed}
    _tell(json, facts, f"{report.verdict}\n{out / 'report.html'}")
    if not report.passed:
        raise typer.Exit(1)


@app.command()
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
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Fit, sample, validate and rank synthesizers on the same patients."""
    from proband.compare import compare

    wanted = "all" if synthesizers == "all" else [name.strip() for name in synthesizers.split(",") if name.strip()]
    with progress(json) as on_step:
        more: dict[str, Any] = {"target": target, "schema": _schema(schema), "policy": policy, "minutes": minutes, "seed": seed}
        made = compare(data, out=out, synthesizers=wanted, on_step=on_step, **more)
    facts = {"out": str(out), "best": made.best, "ranked": [entry.name for entry in made.entries], "failed": dict(made.failed)}
    _tell(json, facts, f"{made}\n\n{made.verdict}\n{out / 'comparison.html'}")


@app.command()
def release(
    synthetic: Annotated[Path, typer.Argument(help="Labelled synthetic patients, from: proband sample")],
    report: Annotated[Path, typer.Option(help="Folder of its report, from: proband validate")],
    into: Annotated[Path, typer.Option(help="Folder for the release; must not exist.")],
    policy: PolicyName = "controlled",
    schema: SchemaFile = None,
    purpose: Purpose = "",
    key: Key = None,
    json: Json = False,
) -> None:
    """Out of the door, if the gate agrees: labelled, signed, with its report."""
    from proband.release.bundle import release
    from proband.validate.report import Report

    cohort = _read(synthetic, schema)
    format = "csv" if ".csv" in synthetic.name else "parquet"
    made = release(cohort, Report.load(report / "report.json"), policy=policy, into=into, purpose=purpose, key=key, format=format)
    _tell_release(made, json, None)


@app.command()
def ledger(
    path: Annotated[Path, typer.Argument(help="A cohort's ledger, from: proband fit --epsilon")],
    json: Json = False,
) -> None:
    """What was spent of a cohort's privacy, when, and on what."""
    from proband.privacy.ledger import Ledger

    _tell(json, Ledger(path).as_dict(), str(Ledger(path)))


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A release folder, one data file taken out of it, or a ledger.")],
    key: Annotated[Path | None, typer.Option(help="The signer's public key (PEM), to know who signed.")] = None,
    json: Json = False,
) -> None:
    """Intact, tampered (which file), unsigned, or not labelled. Works offline."""
    from proband.privacy.ledger import is_ledger, verify_ledger
    from proband.release.bundle import verify

    if path.suffix == ".ledger" or is_ledger(path):
        ok, said = verify_ledger(path)
        _tell(json, {"path": str(path), "ok": ok, "message": said}, said)
    else:
        found = verify(path, key=key)
        ok = found.ok
        _tell(json, found.as_dict(), str(found))
    if not ok:
        raise typer.Exit(1)


@contextmanager
def progress(quiet: bool) -> Iterator[OnStep]:
    """A bar with the time left on a terminal; a line a stage in a log file; nothing for machines."""
    if quiet or not sys.stderr.isatty():
        stages: list[str] = []

        def line(done: int, total: int, what: str, figures: Mapping[str, float]) -> None:
            if not quiet and what not in stages:
                stages.append(what)
                print(f"{what} ...", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    layout = TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()
    with Progress(*layout, TextColumn("{task.fields[figures]}"), console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def bar(done: int, total: int, what: str, figures: Mapping[str, float]) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, figures="")
            shown = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
            bars.update(tasks[what], completed=done, total=total, figures=shown)

        yield bar


def _read(path: Path, schema: Path | None) -> Cohort:
    from proband.records.tables import read

    return read(path, _schema(schema))


def _schema(path: Path | None) -> Schema | None:
    from proband.schema import Schema

    return None if path is None else Schema.load(path)


def _must_be_new(path: Path) -> None:
    if path.exists():
        raise errors.InputError(f"'{path}' exists. Choose another name or remove it; nothing is overwritten.")


def _tell_release(made: Any, json: bool, seconds: float | None) -> None:
    report = made.path / "report.html"
    took = {} if seconds is None else {"seconds": round(seconds, 1)}
    text = f"{made.report.verdict}\n\nRelease  {made.path}\nReport   {report}\nVerify   proband verify {made.path}"
    _tell(json, {"release": str(made.path), "report": str(report), **took}, text + (f"\nTime     {seconds:.0f} s" if seconds else ""))


def _tell(json: bool, facts: dict[str, Any], text: str) -> None:
    if json:
        _print_json(facts)
    else:
        print(text)


def _print_json(facts: dict[str, Any]) -> None:
    print(jsonlib.dumps(facts, indent=2, default=str))


def _complain(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code
