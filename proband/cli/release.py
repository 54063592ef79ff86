"""Out of the door, and what is known of it afterwards: release, ledger, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from proband.cli.shared import (
    C2pa,
    Json,
    Key,
    PolicyName,
    Purpose,
    SchemaFile,
    Stamp,
    WatermarkKey,
    read_cohort,
    read_key,
    tell,
    tell_release,
)


def release(
    synthetic: Annotated[Path, typer.Argument(help="Labelled synthetic patients, or a folder of linked tables, from: proband sample")],
    report: Annotated[Path, typer.Option(help="Folder of its report, from: proband validate")],
    into: Annotated[Path, typer.Option(help="Folder for the release; must not exist.")],
    policy: PolicyName = "controlled",
    schema: SchemaFile = None,
    purpose: Purpose = "",
    key: Key = None,
    stamp: Stamp = True,
    watermark_key: WatermarkKey = None,
    c2pa: C2pa = False,
    json: Json = False,
) -> None:
    """Out of the door, if the gate agrees: labelled, signed, with its report."""
    from proband.records.folder import files
    from proband.release.bundle import release
    from proband.validate.report import Report

    cohort = read_cohort(synthetic, schema)
    first = next(iter(files(synthetic).values())) if synthetic.is_dir() else synthetic
    format = "csv" if ".csv" in first.name else "parquet"
    judged, watermark = Report.load(report / "report.json"), read_key(watermark_key) or True
    how: dict[str, Any] = {"purpose": purpose, "key": key, "format": format, "stamp": stamp, "watermark": watermark, "c2pa": c2pa}
    made = release(cohort, judged, policy=policy, into=into, **how)
    tell_release(made, json, None)


def ledger(
    path: Annotated[Path, typer.Argument(help="A cohort's ledger, from: proband fit --epsilon")],
    begin: Annotated[str | None, typer.Option(help="Begin it, for the cohort of this name.")] = None,
    epsilon: Annotated[float, typer.Option(help="With --begin: what all private fits may come to over the cohort's life.")] = 10,
    delta: Annotated[float, typer.Option(help="With --begin: the chance that this promise fails.")] = 1e-5,
    audits: Annotated[int, typer.Option(help="With --begin: how many audits and reports may read it.")] = 100,
    json: Json = False,
) -> None:
    """What was spent of a cohort's privacy, when, and on what."""
    from proband.privacy.ledger import Ledger

    if begin is not None:
        Ledger.begin(path, begin, epsilon=epsilon, delta=delta, audits=audits)
    tell(json, Ledger(path).as_dict(), str(Ledger(path)))


def verify(
    path: Annotated[Path, typer.Argument(help="A release folder, one data file or image taken out of it, or a ledger.")],
    key: Annotated[Path | None, typer.Option(help="The signer's public key (PEM), to know who signed.")] = None,
    watermark_key: WatermarkKey = None,
    json: Json = False,
) -> None:
    """Intact, tampered (which file), unsigned, or not labelled; an image by its watermark too. Works offline."""
    from proband.privacy.ledger import is_ledger, verify_ledger
    from proband.release.bundle import verify

    if path.suffix == ".ledger" or is_ledger(path):
        ok, said = verify_ledger(path)
        tell(json, {"path": str(path), "ok": ok, "message": said}, said)
    else:
        found = verify(path, key=key, watermark=read_key(watermark_key))
        ok = found.ok
        tell(json, found.as_dict(), str(found))
    if not ok:
        raise typer.Exit(1)
