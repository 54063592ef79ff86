"""What the commands share: the options they have in common, progress, and how they speak."""

from __future__ import annotations

import json as jsonlib
import math
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

LINES_APART = 60.0  # seconds between two lines of progress in a log file

Data = Annotated[
    Path,
    typer.Argument(help="Real patients: .csv, .csv.gz, .parquet, or a folder of linked tables or WFDB records (schema, split: or images)."),
]
SchemaFile = Annotated[Path | None, typer.Option("--schema", help="A reviewed schema; guessed (and listed) unless given.")]
Seed = Annotated[int, typer.Option(help="Same seed, same bytes.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Name = Annotated[
    str | None,
    typer.Option(
        "--synthesizer",
        help="gan, forest, auto, marginals, duel, copula, diffusion, smote, independent, bootstrap, or a third party's name; "
        "gan unless told, sequences for linked tables, images for images, marginals with --epsilon.",
    ),
]
Epsilon = Annotated[float | None, typer.Option(help="Differential privacy of every patient: 1 is strong, 10 hardly a promise.")]
Delta = Annotated[float | None, typer.Option(help="The chance that the promise fails; 1e-5 unless told.")]
LedgerFile = Annotated[Path | None, typer.Option("--ledger", help="The cohort's ledger; DATA.ledger unless told.")]
Minutes = Annotated[float | None, typer.Option(help="Training time, for synthesizers that have that dial.", min=0.01)]
Size = Annotated[int | None, typer.Option(help="Bring all images to squares of so many pixels a side.", min=1)]
PolicyName = Annotated[str, typer.Option("--policy", help="internal, controlled, public, education, or a policy file.")]
Target = Annotated[str | None, typer.Option(help="The outcome column (of the patients' table), for the question: is it useful?")]
Key = Annotated[Path | None, typer.Option(help="Ed25519 private key (PEM) to sign with; made on first use unless given.")]
Purpose = Annotated[str, typer.Option(help="What the release is for, in a sentence; it stands on the data card.")]

Stamp = Annotated[bool, typer.Option("--stamp/--no-stamp", help="The word SYNTHETIC in a corner of every synthetic image.")]
WatermarkKey = Annotated[Path | None, typer.Option(help="A file whose text is the key of the images' watermark; else the public one.")]
C2pa = Annotated[bool, typer.Option("--c2pa", help="Sign every PNG as C2PA asks, too: made by an algorithm (needs the extra c2pa).")]


@contextmanager
def progress(quiet: bool) -> Iterator[OnStep]:
    """A bar with the time left on a terminal; in a log file a line a stage, and one a minute; nothing for machines."""
    if quiet or not sys.stderr.isatty():
        begun: dict[str, tuple[float, int]] = {}
        last = time.monotonic()

        def line(done: int, total: int, what: str, figures: Mapping[str, float]) -> None:
            nonlocal last
            now = time.monotonic()
            if quiet or (what in begun and now - last < LINES_APART):
                return
            last = now
            if what not in begun:
                begun[what] = now, done
                print(f"{what} ..." if done <= 1 else f"{what} ... from {done} of {total} on", file=sys.stderr, flush=True)
                return
            since, first = begun[what]
            left = (now - since) * (total - done) / max(done - first, 1)
            print(f"{what}: {done} of {total}, about {math.ceil(left / 60)} min left", file=sys.stderr, flush=True)

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


def read_cohort(path: Path, schema: Path | None, size: int | None = None) -> Cohort:
    from proband.records.image_folder import read_images
    from proband.records.tables import read

    return read(path, read_schema(schema)) if size is None else read_images(path, read_schema(schema), size=size)


def read_schema(path: Path | None) -> Schema | None:
    from proband.schema import Schema

    return None if path is None else Schema.load(path)


def read_key(path: Path | None) -> str | None:
    """The key of a watermark: what a file says, without what surrounds it."""
    if path is None:
        return None
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InputError(f"Key of the watermark '{path}' cannot be read: {error}. Give a text file.") from error
    if not key:
        raise errors.InputError(f"Key of the watermark '{path}' is empty. Write a text into it that only you know.")
    return key


def must_be_new(path: Path) -> None:
    if path.exists():
        raise errors.InputError(f"'{path}' exists. Choose another name or remove it; nothing is overwritten.")


def tell_release(made: Any, json: bool, seconds: float | None) -> None:
    report = made.path / "report.html"
    took = {} if seconds is None else {"seconds": round(seconds, 1)}
    text = f"{made.report.verdict}\n\nRelease  {made.path}\nReport   {report}\nVerify   proband verify {made.path}"
    tell(json, {"release": str(made.path), "report": str(report), **took}, text + (f"\nTime     {seconds:.0f} s" if seconds else ""))


def tell(json: bool, facts: dict[str, Any], text: str) -> None:
    if json:
        print_json(facts)
    else:
        print(text)


def print_json(facts: dict[str, Any]) -> None:
    print(jsonlib.dumps(facts, indent=2, default=str))
