"""Patients with images: a folder of image files and the table of whom they belong to <-> Cohort.

The folder holds images (.png, .jpg, .jpeg, .dcm, .dicom), in subfolders or not, and at most one table (.csv, .csv.gz, .parquet) with a row
for each. The table's column `image`, else its key, says the image's path inside the folder, with or without its ending. Without a table
what is known is what DICOM headers say (patient, sex, age, view, modality), and the subfolder that each image lies in: its `class`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from proband.cohort import Cohort, Mark
from proband.errors import InputError
from proband.records import dicom, photos
from proband.records import tables as single
from proband.records.burned import burned
from proband.records.folder import new_folder, one_mark
from proband.records.images import COLOUR, DTYPES, GREY, Images, resized, seen_range, squared
from proband.records.recordings import read_table
from proband.schema import Column, Schema, Table
from proband.stats.cores import on_cores

#: What a cohort's media call the images that a folder holds.
MEDIA = "images"
NAME, PATIENT, CLASS = "image", "patient", "class"
SUFFIXES = (*photos.SUFFIXES, *dicom.SUFFIXES)


class _Read(NamedTuple):
    """One image of a folder as its file has it; `native` is its height and width before it was brought to one size."""

    values: np.ndarray
    native: tuple[int, int]
    mark: Mark | None
    unit: str = ""
    spacing_mm: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    about: Mapping[str, Any] = {}
    burned_in: tuple[str, ...] = ()


def has_images(folder: str | Path) -> bool:
    """Whether a folder holds image files.

    >>> has_images("nowhere")
    False
    """
    return next(_files(Path(folder)), None) is not None


def image_mark(path: Path) -> Mark | None:
    """The mark of one image file; None when it carries none. InputError for a file that cannot be read."""
    return (dicom.dicom_mark if path.name.lower().endswith(dicom.SUFFIXES) else photos.photo_mark)(path)


def frame_of(folder: str | Path) -> pl.DataFrame:
    """What is known of the images in a folder: their table as its file spells it; without one their names, headers and subfolders."""
    frame = read_table(Path(folder), None)[0]
    return frame if frame is not None else _untold(_all_read(_by_name(Path(folder)), None))


def read_images(folder: str | Path, schema: Schema | None = None, *, size: int | None = None) -> Cohort:
    """A Cohort whose media hold the images of a folder as `Images`, one for each row of its table; see `proband.read`.

    size   of a side, in pixels: each image is padded to a square and brought to it. Unless told, all must be of one size

    Without a schema one is guessed, all its proposals accepted. InputError for an image without a row and a row without an image, a
    file that cannot be read, colour among grey, 16 bits among 8, and images of different sizes where no `size` is told.
    """
    folder = Path(folder)
    found = _by_name(folder)
    frame, schema, label = read_table(folder, schema)
    read = _all_read(found, size) if frame is None else {}
    if frame is None:
        frame = _untold(read)
        schema = schema or _schema(frame, folder.resolve().name)
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
    read = read or _all_read(found, size)
    mark = one_mark(folder, label | {str(found[name].relative_to(folder)): read[name].mark for name in names})
    return Cohort(schema, parsed, mark, media={MEDIA: _together(folder, {name: read[name] for name in names})})


def write_images(cohort: Cohort, folder: Path, format: str, *, stamp: bool = True, watermark: bool | str = True) -> None:
    """Write the table as `<table>.<format>` and each image beside it, named as its row says, into a new folder; see `proband.write`.

    As PNG where that holds all that is known: whole numbers from 0 to the highest, no unit, no size of a pixel; else grey as DICOM.
    InputError when there is more or other than one `Images` beside one table, or nothing in the table names an image.
    """
    table = replace(cohort, media={}).one_table("A folder of images").schema.table
    held = list(cohort.media.values())
    if len(held) != 1 or not isinstance(held[0], Images):
        raise InputError(f"The cohort's media are {list(cohort.media)}; a folder holds one Images. Write the others on their own.")
    if f".{format}" not in single.SUFFIXES:
        raise InputError(f"format = {format!r} is no format of ours. Use one of: {', '.join(s[1:] for s in single.SUFFIXES)}.")
    named = cohort.frame[_named(table, "The cohort")].cast(pl.String)
    names = [_bare(name or "") for name in named]
    if len(set(names)) < len(names) or named.null_count():
        raise InputError(f"Column {named.name!r} names the images, and does not tell every row. Add a column {NAME!r} that does.")
    images = burned(held[0], stamp=stamp, watermark=watermark) if cohort.mark else held[0]
    whose = cohort.frame[table.key or named.name].cast(pl.String)
    photo = _is_photo(images)
    if not photo and images.values.shape[1] > 1:
        raise InputError(
            f"Images of {', '.join(images.channels)} in {images.values.dtype}, from {images.low:g} to {images.high:g}{images.unit and ' '}"
            f"{images.unit}, fit into no file that is written: PNG has red, green and blue from 0 to 255. Write each channel on its own."
        )
    with new_folder(folder) as scratch:
        single.write(replace(cohort, media={}), scratch / f"{table.name}.{format}")
        for at, (name, patient, values) in enumerate(zip(names, whose, images.values, strict=True)):
            path = scratch / (name + (".png" if photo else ".dcm"))
            if not path.resolve().is_relative_to(scratch.resolve()) or not set(name).isdisjoint('\\:*?"<>|\0'):
                raise InputError(f"Column {named.name!r}: {name!r} cannot name a file in the folder. Choose letters, digits, '-' and '_'.")
            path.parent.mkdir(parents=True, exist_ok=True)
            if photo:
                photos.write_photo(path, values, mark=cohort.mark, burned_in=images.burned_in)
            else:
                dicom.write_dicom(path, values, images, mark=cohort.mark, patient=patient, number=at + 1)


def _is_photo(images: Images) -> bool:
    """Whether PNG holds all that is known of the images."""
    kinds = {GREY: ("uint8", "uint16"), COLOUR: ("uint8",)}
    if images.values.dtype.name not in kinds.get(images.channels, ()) or images.unit or images.spacing_mm:
        return False
    return (images.low, images.high) == (0, np.iinfo(images.values.dtype).max)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*") if folder.is_dir() else ():
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.name.lower().endswith(SUFFIXES) and not hidden and path.is_file():
            yield path


def _bare(name: str) -> str:
    """A file's name without its ending."""
    ending = next((end for end in SUFFIXES if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)]


def _by_name(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their path in it, without endings."""
    found: dict[str, Path] = {}
    for path in sorted(_files(folder)):
        name = _bare(path.relative_to(folder).as_posix())
        if name in found:
            raise InputError(f"Folder '{folder}' has two images {name!r}: {found[name].name} and {path.name}. Take one out.")
        found[name] = path
    if not found:
        raise InputError(f"Folder '{folder}' holds no image ({', '.join(SUFFIXES)}). Give the folder with the images' files.")
    return found


def _all_read(found: Mapping[str, Path], size: int | None) -> dict[str, _Read]:
    """Every image of a folder; InputError says how many cannot be read, and why the first cannot."""
    read = dict(zip(found, on_cores(lambda path: _read(path, size), found.values()), strict=True))
    if broken := [one for one in read.values() if isinstance(one, InputError)]:
        raise InputError(f"{broken[0]}{f' {len(broken)} files of the folder are such.' if len(broken) > 1 else ''}") from broken[0]
    return {name: one for name, one in read.items() if not isinstance(one, InputError)}


def _untold(read: Mapping[str, _Read]) -> pl.DataFrame:
    """What is known without a table: names, what headers say, and the subfolders as classes where every image lies in one."""
    columns: dict[str, list[Any]] = {}
    for told in dict.fromkeys(name for one in read.values() for name in one.about):
        values = [one.about.get(told) for one in read.values()]
        if any(value is not None for value in values):
            columns[told] = values
    if None in columns.get(PATIENT, ()):
        del columns[PATIENT]
    columns = {NAME: list(read), **columns}
    if all("/" in name for name in read):
        columns[CLASS] = [name.split("/")[0] for name in read]
    return pl.DataFrame(columns)


def _schema(frame: pl.DataFrame, name: str) -> Schema:
    key = PATIENT if PATIENT in frame.columns else NAME
    return Schema(tables=(Table(name=name, columns=tuple(map(_column, frame.iter_columns())), key=key),))


def _column(values: pl.Series) -> Column:
    if values.name in (NAME, PATIENT):
        return Column(name=values.name, kind="identifier")
    if values.dtype.is_numeric():
        return Column(name=values.name, kind="number", low=0)
    return Column(name=values.name, kind="category", categories=tuple(sorted(values.drop_nulls().unique())))


def _named(table: Table, where: str) -> str:
    """The column that names the images."""
    name = NAME if NAME in table else table.key
    if name is None:
        raise InputError(f"{where}: nothing in the table names the images. Add a column {NAME!r}, or declare the table's key.")
    return name


def _read(path: Path, size: int | None) -> _Read | InputError:
    """An image, brought to a square of `size`; or what is wrong with it."""
    try:
        if path.name.lower().endswith(dicom.SUFFIXES):
            one = dicom.read_dicom(path)
            window = None if one.low is None or one.high is None else (one.low, one.high)
            read = _Read(one.values, one.values.shape[1:], one.mark, one.unit, one.spacing_mm, window, one.about, one.burned_in)
        else:
            values, mark, burned_in = photos.read_photo(path)
            read = _Read(values, values.shape[1:], mark, window=(0.0, float(np.iinfo(values.dtype).max)), burned_in=burned_in)
    except InputError as error:
        return error
    if size is None or read.native == (size, size):
        return read
    values = resized(squared(read.values), size, size)
    side = max(read.native) / size
    spacing = None if read.spacing_mm is None else (read.spacing_mm[0] * side, read.spacing_mm[1] * side)
    dtype = read.values.dtype
    return read._replace(values=np.rint(values).astype(dtype) if dtype.kind in "iu" else values, spacing_mm=spacing)


def _together(folder: Path, read: Mapping[str, _Read]) -> Images:
    """All images as one Images. InputError where they differ in channels, unit, bits or size."""
    first = next(iter(read.values()))
    asked = {
        "channels": (lambda one: len(one.values), "grey among colour", "Convert them all to grey, or take the others out"),
        "unit": (lambda one: one.unit or "grey levels", "pixels of different units", "Take the modalities apart"),
        "white": (lambda one: one.window[1] if one.window else None, "pixels of different bits", "Export them all alike"),
        "size": (
            lambda one: one.values.shape[1:],
            "images of different sizes",
            "Say size=64 (--size 64) to bring all to squares of one size",
        ),
    }
    if any(one.about for one in read.values()):  # each DICOM file has a window and a type of its own
        del asked["white"]
    for what, (of, trouble, remedy) in asked.items():
        counts = Counter(of(one) for one in read.values())
        if len(counts) > 1:
            shown = ", ".join(f"{count} of {_spelled(value)}" for value, count in counts.most_common(3))
            rare = counts.most_common()[-1][0]
            name = next(name for name, one in read.items() if of(one) == rare)
            raise InputError(f"Folder '{folder}' has {trouble}: {what} {shown}, such as {name!r}. {remedy}.")
    values = np.stack(_of_one_type([one.values for one in read.values()]))
    windows, spacings = {one.window for one in read.values()}, {one.spacing_mm for one in read.values()}
    if first.unit == dicom.HU:
        low, high = dicom.CT_RANGE
    elif len(windows) == 1 and first.window is not None:
        low, high = first.window
    else:
        low, high = seen_range(values)
    return Images(
        values,
        low=low,
        high=high,
        channels=GREY if values.shape[1] == 1 else COLOUR,
        unit=first.unit,
        spacing_mm=first.spacing_mm if len(spacings) == 1 else None,
        native=np.array([one.native for one in read.values()]),
        burned_in=tuple(dict.fromkeys(word for one in read.values() for word in one.burned_in)),
    )


def _of_one_type(values: list[np.ndarray]) -> list[np.ndarray]:
    """All in the smallest type that holds the numbers of each."""
    held = np.result_type(*{one.dtype for one in values})
    dtype = held if held.name in DTYPES else np.dtype(np.float32)
    return [one.astype(dtype, copy=False) for one in values]


def _spelled(value: object) -> str:
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _more(names: list[str]) -> str:
    return f" ({len(names)} such images)" if len(names) > 1 else ""
