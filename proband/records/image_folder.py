"""Patients with images: a folder of image files and the table of whom they belong to <-> Cohort.

The folder holds images (.png, .jpg, .jpeg), in subfolders or not, and one table (.csv, .csv.gz, .parquet) with a row for each. The
table's column `image`, else its key, says the image's path inside the folder, with or without its ending. Without a table nothing but
the images is known, and the name of the subfolder that each lies in: its `class`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from proband.cohort import Cohort, Mark
from proband.errors import InputError
from proband.records import photos
from proband.records import tables as single
from proband.records.folder import new_folder, one_mark
from proband.records.images import COLOUR, GREY, Images, resized, squared
from proband.records.recordings import read_table
from proband.schema import Column, Schema, Table
from proband.stats.cores import on_cores

#: What a cohort's media call the images that a folder holds.
MEDIA = "images"
NAME, CLASS = "image", "class"
SUFFIXES = photos.SUFFIXES


def has_images(folder: str | Path) -> bool:
    """Whether a folder holds image files.

    >>> has_images("nowhere")
    False
    """
    return next(_files(Path(folder)), None) is not None


def read_images(folder: str | Path, schema: Schema | None = None, *, size: int | None = None) -> Cohort:
    """A Cohort whose media hold the images of a folder as `Images`, one for each row of its table; see `proband.read`.

    size   of a side, in pixels: each image is padded to a square and brought to it. Unless told, all must be of one size

    Without a schema one is guessed, all its proposals accepted. InputError for an image without a row and a row without an image, a
    file that cannot be read, colour among grey, 16 bits among 8, and images of different sizes where no `size` is told.
    """
    folder = Path(folder)
    found = _by_name(folder)
    frame, schema, label = read_table(folder, schema)
    if frame is None:
        frame, schema = _untold(folder, list(found), schema)
    assert schema is not None
    parsed = single.parsed(frame, schema.table, f"Folder '{folder}'")
    named = parsed[_named(schema.table, f"Folder '{folder}'")].cast(pl.String)
    names = [_bare(str(name)) for name in named]
    if lost := [name for name in names if name not in found]:
        raise InputError(f"Folder '{folder}' has no image {lost[0]!r}, which its table names{_more(lost)}. Bring it, or delete the row.")
    if len(set(names)) < len(names):
        raise InputError(f"Folder '{folder}': column {named.name!r} names an image twice. Give each row an image of its own.")
    if alone := sorted(set(found) - set(names)):
        raise InputError(f"Folder '{folder}': no row of the table names image {alone[0]!r}{_more(alone)}. Add it, or take it out.")
    read = list(on_cores(lambda name: _read(found[name], size), names))
    if broken := [one for one in read if isinstance(one, InputError)]:
        raise InputError(f"{broken[0]}{f' {len(broken)} files of the folder are such.' if len(broken) > 1 else ''}") from broken[0]
    told = dict(zip(names, read, strict=True))
    mark = one_mark(folder, label | {found[name].name: one[2] for name, one in told.items()})  # type: ignore[index]
    return Cohort(schema, parsed, mark, media={MEDIA: _together(folder, {name: one[:2] for name, one in told.items()})})  # type: ignore[index]


def write_images(cohort: Cohort, folder: Path, format: str, *, suffix: str = ".png") -> None:
    """Write the table as `<table>.<format>` and each image beside it, named as its row says, into a new folder; see `proband.write`.

    InputError when there is more or other than one `Images` beside one table, or nothing in the table names an image.
    """
    cohort.one_table("A folder of images")
    held = list(cohort.media.values())
    if len(held) != 1 or not isinstance(held[0], Images):
        raise InputError(f"The cohort's media are {list(cohort.media)}; a folder holds one Images. Write the others on their own.")
    if f".{format}" not in single.SUFFIXES:
        raise InputError(f"format = {format!r} is no format of ours. Use one of: {', '.join(s[1:] for s in single.SUFFIXES)}.")
    table = cohort.schema.table
    named = cohort.frame[_named(table, "The cohort")]
    if named.n_unique() < len(named) or named.null_count():
        raise InputError(f"Column {named.name!r} names the images, and does not tell every row. Add a column {NAME!r} that does.")
    images = held[0]
    with new_folder(folder) as scratch:
        single.write(replace(cohort, media={}), scratch / f"{table.name}.{format}")
        for name, values in zip(named.cast(pl.String), images.values, strict=True):
            path = scratch / (_bare(name) + suffix)
            if not path.resolve().is_relative_to(scratch.resolve()) or not set(name).isdisjoint('\\:*?"<>|\0'):
                raise InputError(f"Column {named.name!r}: {name!r} cannot name a file in the folder. Choose letters, digits, '-' and '_'.")
            path.parent.mkdir(parents=True, exist_ok=True)
            photos.write_photo(path, values, mark=cohort.mark)


def _files(folder: Path):  # type: ignore[no-untyped-def]
    if folder.is_dir():
        for path in sorted(folder.rglob("*")):
            if path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file():
                yield path


def _bare(name: str) -> str:
    """A file's name without its ending."""
    ending = next((end for end in SUFFIXES if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)]


def _by_name(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their path in it, without endings."""
    found: dict[str, Path] = {}
    for path in _files(folder):
        name = _bare(path.relative_to(folder).as_posix())
        if name in found:
            raise InputError(f"Folder '{folder}' has two images {name!r}: {found[name].name} and {path.name}. Take one out.")
        found[name] = path
    if not found:
        raise InputError(f"Folder '{folder}' holds no image ({', '.join(SUFFIXES)}). Give the folder with the images' files.")
    return found


def _untold(folder: Path, names: list[str], schema: Schema | None) -> tuple[pl.DataFrame, Schema]:
    """What is known without a table: the names, and the subfolders as classes where every image lies in one."""
    columns = {NAME: names}
    if all("/" in name for name in names):
        columns[CLASS] = [name.split("/")[0] for name in names]
    frame = pl.DataFrame(columns)
    if schema is None:
        told: tuple[Column, ...] = (Column(name=NAME, kind="identifier"),)
        if CLASS in columns:
            told += (Column(name=CLASS, kind="category", categories=tuple(sorted(set(columns[CLASS])))),)
        schema = Schema(tables=(Table(name=folder.resolve().name, columns=told, key=NAME),))
    return frame, schema


def _named(table: Table, where: str) -> str:
    """The column that names the images."""
    name = NAME if NAME in table else table.key
    if name is None:
        raise InputError(f"{where}: nothing in the table names the images. Add a column {NAME!r}, or declare the table's key.")
    return name


def _read(path: Path, size: int | None) -> tuple[np.ndarray, tuple[int, int], Mark | None] | InputError:
    """An image's pixels, its height and width in the file, and its mark; or what is wrong with it."""
    try:
        values, mark = photos.read_photo(path)
    except InputError as error:
        return error
    native = values.shape[1], values.shape[2]
    if size is not None and native != (size, size):
        values = np.rint(resized(squared(values), size, size)).astype(values.dtype)
    return values, native, mark


def _together(folder: Path, told: dict[str, tuple[np.ndarray, tuple[int, int]]]) -> Images:
    """All images as one Images. InputError where they differ in channels, bits or size."""
    asked = {
        "channels": ("grey among colour", "Convert them all to grey, or take the others out"),
        "bits": ("pixels of different bits", "Export them all alike, or take the others out"),
        "size": ("images of different sizes", "Say size=64 (--size 64) to bring all to one, padded to squares"),
    }
    facts = {
        name: {"channels": len(values), "bits": 8 * values.dtype.itemsize, "size": values.shape[1:]} for name, (values, _) in told.items()
    }
    for what, (trouble, remedy) in asked.items():
        counts = Counter(fact[what] for fact in facts.values())
        if len(counts) > 1:
            shown = ", ".join(f"{count} of {_spelled(value)}" for value, count in counts.most_common(3))
            rare = counts.most_common()[-1][0]
            one = next(name for name, fact in facts.items() if fact[what] == rare)
            raise InputError(f"Folder '{folder}' has {trouble}: {what} {shown}, such as {one!r}. {remedy}.")
    values = np.stack([values for values, _ in told.values()])
    return Images(
        values,
        high=float(np.iinfo(values.dtype).max),
        channels=GREY if values.shape[1] == 1 else COLOUR,
        native=np.array([native for _, native in told.values()]),
    )


def _spelled(value: object) -> str:
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _more(names: list[str]) -> str:
    return f" ({len(names)} such images)" if len(names) > 1 else ""
