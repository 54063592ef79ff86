"""Croissant: the release described in JSON-LD for machines (MLCommons Croissant 1.1 with its responsible-AI terms and W3C PROV).

Specification: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from proband.cohort import Cohort
from proband.records.images import Images
from proband.release.card import NOT_FOR, About
from proband.release.verify import sha256
from proband.schema import Column, Table
from proband.schema.values import spell
from proband.validate.report import Report

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_MEDIA_TYPES = {".parquet": "application/x-parquet", ".csv": "text/csv"}
_IMAGE_TYPES = {".png": "image/png", ".dcm": "application/dicom"}


def croissant(synthetic: Cohort, report: Report, about: About, folder: Path, data: Mapping[str, str]) -> dict[str, Any]:
    """The Croissant description of the data files in `folder` (table -> its file's name inside), as plain JSON data.

    Many files go by one hash too: of the lines that `sha256sum` prints about them, in the order of their names.
    """
    mark = synthetic.mark
    assert mark is not None, "the bundle refuses a cohort without a mark before it gets here"
    made = f"{mark.synthesizer}, proband {mark.version}, seed {mark.seed}"
    digests = {file: sha256(folder / file) for file in sorted(data.values())}
    listed = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    digest = digests[min(digests)] if len(digests) == 1 else hashlib.sha256(listed.encode()).hexdigest()
    facts = {
        "license": about.license,
        "creator": about.creator and {"@type": "sc:Organization", "name": about.creator},
        "datePublished": about.date,
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": about.name,
        "description": f"Synthetic patients: no row is a real person. {report.verdict}",
        "url": f"urn:sha256:{digest}",
        "version": "1.0.0",
        "citeAs": f"{about.name}: synthetic patients by {made}, SHA-256 {digest}",
        "keywords": ["synthetic data", "health", "tabular", *(["medical images"] if _images(synthetic) else [])],
        "isLiveDataset": False,
        **{name: value for name, value in facts.items() if value},
        "rai:hasSyntheticData": True,
        "rai:dataCollection": f"Sampled from a model of real patients' records: {made}.",
        "rai:dataCollectionType": "Synthetic",
        "rai:personalSensitiveInformation": "Resembles health records, describes no real person. The report says how far that was tested.",
        "rai:dataUseCases": about.purpose or "Not stated by the releaser.",
        "rai:dataLimitations": " ".join(NOT_FOR),
        "prov:wasDerivedFrom": {
            "@id": "urn:proband:source",
            "@type": "prov:Entity",
            "prov:label": about.population or "Real patients' records, not described by the releaser and not part of this release.",
        },
        "prov:wasGeneratedBy": {
            "@id": "urn:proband:synthesis",
            "@type": "prov:Activity",
            "prov:label": f"Sampling: {made}, schema {mark.schema_hash}.",
        },
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file,
                "name": file,
                "contentUrl": file,
                "contentSize": f"{(folder / file).stat().st_size} B",
                "encodingFormat": _MEDIA_TYPES[Path(file).suffix],
                "sha256": digests[file],
            }
            for file in data.values()
        ]
        + ([_image_files(folder, about.name)] if _images(synthetic) else []),
        "recordSet": [_records(synthetic, table, frame, data[table.name]) for table, frame in synthetic.tables],
    }


def _images(synthetic: Cohort) -> bool:
    return any(isinstance(held, Images) for held in synthetic.media.values())


def _image_files(folder: Path, name: str) -> dict[str, Any]:
    """The images as a set of files, each named by its row in the table; their hashes are in the signed statement."""
    found = sorted((path.relative_to(folder).as_posix(), path) for path in (folder / name).rglob("*") if path.suffix in _IMAGE_TYPES)
    suffix = found[0][1].suffix
    return {
        "@type": "cr:FileSet",
        "@id": f"{name}/images",
        "name": "images",
        "description": f"{len(found)} synthetic images, one for each row of the table.",
        "encodingFormat": _IMAGE_TYPES[suffix],
        "includes": f"{name}/**/*{suffix}",
    }


def _records(synthetic: Cohort, table: Table, frame: pl.DataFrame, file: str) -> dict[str, Any]:
    owner, keys = {one.name: one.key for one in synthetic.schema.tables}, {link.column: link.table for link in table.links}
    if table.parent is not None:
        rows = f"column {table.on} names the row of {table.parent} that owns it"
        keys[str(table.on)] = table.parent
    else:
        rows = "one synthetic patient a row" if synthetic.linked or table.key is None else f"column {table.key} names the patient"
    fields = [_field(table.name, column, frame[column.name], file) for column in table.columns]
    for field in fields:
        if other := keys.get(field["name"]):
            field["references"] = {"field": {"@id": f"{_id(other)}/{_id(owner[other] or '')}"}}
    return {
        "@type": "cr:RecordSet",
        "@id": _id(table.name),
        "name": table.name,
        "description": f"{frame.height} rows, {rows}.",
        **({"key": {"@id": f"{_id(table.name)}/{_id(table.key)}"}} if synthetic.linked and table.key else {}),
        "field": fields,
    }


def _field(table: str, column: Column, series: pl.Series, file: str) -> dict[str, Any]:
    unit = f" in {column.unit}" if column.unit else ""
    return {
        "@type": "cr:Field",
        "@id": f"{_id(table)}/{_id(column.name)}",
        "name": column.name,
        "description": f"{column.kind}{unit}",
        "dataType": _data_type(column, series),
        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
    }


def _data_type(column: Column, series: pl.Series) -> str:
    """The type that a reader of the file finds, which is its spelling there ("5 mg" is text), not what the column means."""
    stored = spell(column, series.head(100)).dtype
    if stored.is_integer() or stored.is_float():
        return "sc:Integer" if stored.is_integer() else "sc:Float"
    kinds = {pl.Boolean: "sc:Boolean", pl.Date: "sc:Date", pl.Datetime: "sc:DateTime"}
    return next((name for kind, name in kinds.items() if stored == kind), "sc:Text")


def _id(name: str) -> str:
    return quote(name, safe="")
