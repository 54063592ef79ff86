"""Guess a schema: what is certain goes into the columns, what needs judgement becomes a proposal for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from proband.errors import InputError
from proband.schema import names, words
from proband.schema.doubts import Doubt, empty_doubt, number_doubts, text_doubts
from proband.schema.frames import to_polars
from proband.schema.grids import find_grid
from proband.schema.model import NUMERIC, Column, Kind, Proposal, Schema, Table
from proband.schema.rules import columns
from proband.schema.structure import find_rules, holding
from proband.schema.values import canonical, parse, stored_name

_MOST_CODES = 7  # so few whole numbers that start at 0 or 1 are codes, unless their name says otherwise
_NEARLY_UNIQUE = 0.9


def guess(frame: Any, *, name: str = "patients") -> Schema:
    """A schema for `frame` (polars, pandas or arrow), or for linked tables (a mapping of frames), for a person to review.

    Raises InputError for a frame with fewer than two rows or a column that holds no single values (lists, structs), and for tables
    among which none names patients. The rules are those that hold in every row of the first table, both before and after the
    proposals are accepted.
    """
    raw, base = _begun(frame, name)
    better = base.accept()
    rules = find_rules(_parsed(raw, better.table), better.table)
    if base.proposals:
        read = frozenset().union(*(columns(rule.sql, better.table) for rule in rules))
        rules = holding(rules, _parsed(raw.select(column for column in raw.columns if column in read), base.table), base.table)
    return base.model_copy(update={"rules": tuple(rules)})


def accepted(frame: Any, *, name: str = "patients") -> Schema:
    """The guess with all that it proposes accepted, and all rules that then hold."""
    raw, base = _begun(frame, name)
    schema = base.accept()
    return schema.model_copy(update={"rules": tuple(find_rules(_parsed(raw, schema.table), schema.table))})


def _begun(frame: Any, name: str) -> tuple[pl.DataFrame, Schema]:
    """The frame of the first table, and the schema without its rules."""
    if isinstance(frame, Mapping):
        from proband.schema.links import linked

        frames = {str(table): to_polars(one) for table, one in frame.items()}
        schema = linked(frames)
        return frames[schema.table.name], schema
    raw = to_polars(frame)
    return raw, base(raw, name)


def _parsed(raw: pl.DataFrame, table: Table) -> pl.DataFrame:
    """What structure is looked for in: every column that can be parsed; free text has no structure."""
    return pl.DataFrame(
        [parse(column, raw[column.name]) for column in table.columns if column.name in raw.columns and column.kind != "text"]
    )


def base(frame: pl.DataFrame, name: str) -> Schema:
    """The certain reading of every column, and the proposals; no rules yet."""
    if frame.width == 0 or frame.height < 2:
        rows = f"{frame.height} row{'s' * (frame.height != 1)} and {frame.width} column{'s' * (frame.width != 1)}"
        raise InputError(f"The table has {rows}; a schema cannot be guessed from fewer than 2 rows. Bring more patients.")
    found_columns, proposals = [], []
    for column in frame.columns:
        raw = frame[column]
        if stored_name(raw.dtype) is None:
            raise InputError(f"Column {column!r} holds {raw.dtype}, no single values. Unpack it into plain columns, or drop it.")
        if isinstance(raw.dtype, pl.Categorical | pl.Enum):
            raw = raw.cast(pl.String)
        if raw.dtype.is_float() and raw.is_nan().any():
            raw = raw.fill_nan(None)
        found = describe(column, raw).model_copy(update={"stored": stored_name(frame[column].dtype)})
        found_columns.append(found)
        proposal = _proposal(name, found, raw)
        if proposal:
            proposals.append(proposal)
    table = Table(name=name, columns=tuple(found_columns), key=_key(frame, found_columns))
    return Schema(tables=(table,), proposals=tuple(proposals))


def describe(name: str, raw: pl.Series, *, measured: bool = False) -> Column:
    """The column that `raw` certainly is, spelled as it stands, nothing set aside as missing but empty cells.

    Few whole numbers are taken for codes unless they are known to be `measured`, by a unit beside them.
    """
    present = raw.drop_nulls()
    if raw.dtype == pl.String:
        present = present.filter(present.str.strip_chars() != "")
    stored = stored_name(raw.dtype) or "String"
    if present.is_empty():
        return Column(name=name, kind="category", categories=(), stored=stored)
    if raw.dtype == pl.Boolean:
        return Column(name=name, kind="boolean", stored=stored)
    if raw.dtype.is_temporal():
        kind: Kind = "date" if raw.dtype == pl.Date else "time" if raw.dtype == pl.Time else "datetime"
        return Column(name=name, kind=kind, stored=stored)
    if raw.dtype == pl.String:
        return _describe_text(name, present, stored, measured)
    return _describe_numbers(name, present, stored, measured)


def _describe_text(name: str, present: pl.Series, stored: str, measured: bool) -> Column:
    levels = present.unique()
    spelling = None if measured else words.boolean(levels)
    if spelling:
        return Column(name=name, kind="boolean", spelling=spelling, stored=stored)
    numbers = words.numbers(levels, codes=names.names_code(name))
    if numbers is not None:
        return _describe_numbers(name, present.str.strip_chars().cast(numbers.dtype, strict=False), stored, measured)
    layout = words.layout(levels)
    if layout:
        return Column(name=name, kind=layout[0], layout=layout[1], stored=stored)
    if words.half_offset(levels):
        raise InputError(
            f'Column {name!r} has times with an offset ("+01:00") and times without; nobody knows which moments those are. '
            "Give every time an offset, or none."
        )
    nearly_unique = len(levels) >= _NEARLY_UNIQUE * len(present) and len(present) >= 20
    if names.names_identifier(name) and _repeats_like_identifier(name, len(levels), len(present)):
        return Column(name=name, kind="identifier", stored=stored)
    if nearly_unique or (len(levels) > 0.3 * len(present) and len(present) >= 20):
        spaces = float(present.str.count_matches(r"\s+").mean() or 0)  # type: ignore[arg-type]
        if spaces >= 3:
            return Column(name=name, kind="text", stored=stored)
    if nearly_unique:
        return Column(name=name, kind="identifier", stored=stored)
    ranked = words.ranked(levels)
    return Column(name=name, kind="ordinal" if ranked else "category", categories=tuple(ranked or sorted(levels.to_list())), stored=stored)


def _describe_numbers(name: str, present: pl.Series, stored: str, measured: bool) -> Column:
    finite = present.cast(pl.Float64).filter(present.cast(pl.Float64).is_finite())
    if finite.is_empty():
        return Column(name=name, kind="number", stored=stored)
    counts = finite.value_counts(name="rows").sort(finite.name)
    levels, rows = counts.to_series(0), counts["rows"].to_numpy()
    lowest, highest = float(levels[0]), float(levels[-1])
    low, high = names.bounds(name, lowest, highest, len(finite))
    unit = names.unit(name)
    if present.dtype.is_integer() and max(abs(lowest), abs(highest)) >= 2**53:  # more digits than any measurement has
        return Column(name=name, kind="identifier", stored=stored)
    whole = len(finite) == len(present) and bool((levels == levels.round(0)).all()) and max(abs(lowest), abs(highest)) < 2**53
    if not whole:
        return Column(name=name, kind="number", unit=unit, low=low, high=high, grid=find_grid(levels.to_numpy(), rows), stored=stored)
    coded = None if measured else _describe_codes(name, present, levels, stored)
    if coded:
        return coded
    grid = find_grid(levels.to_numpy(), rows)
    return Column(name=name, kind="integer", unit=unit, low=low, high=high, grid=grid if grid and grid.step > 1 else None, stored=stored)


def _describe_codes(name: str, present: pl.Series, levels: pl.Series, stored: str) -> Column | None:
    """Whole numbers that do not measure: flags, constants, identifiers, dates in digits, labels and grades."""
    lowest, highest = float(levels[0]), float(levels[-1])
    codes = tuple(canonical(levels).to_list()) if len(levels) <= 100 else ()
    if codes == ("0", "1"):
        return Column(name=name, kind="boolean", spelling=("0", "1"), stored=stored)
    if len(codes) == 1:
        return Column(name=name, kind="category", categories=codes, stored=stored)
    if _is_identifier(name, present, levels):
        return Column(name=name, kind="identifier", stored=stored)
    if names.names_date(name) and 18_000_101 <= lowest <= highest <= 22_001_231:  # 20200131
        layout = words.layout(canonical(levels))
        if layout:
            return Column(name=name, kind=layout[0], layout=layout[1], stored=stored)
    kind = _kind_of_codes(name, lowest, highest, len(codes), len(present))
    return Column(name=name, kind=kind, categories=codes, stored=stored) if kind else None


def _kind_of_codes(name: str, lowest: float, highest: float, count: int, rows: int) -> Kind | None:
    """Whether so few whole numbers are labels ("category"), grades ("ordinal") or plainly numbers (None)."""
    if count == 0 or _measures(name) or rows < 10 * count:
        return None
    if names.names_code(name):
        return "category" if count <= 100 else None
    if count > _MOST_CODES or lowest < 0:
        return None
    if lowest in (0, 1) and highest - lowest == count - 1:
        return "ordinal" if count > 2 else "category"
    return "category" if highest <= 20 else None


def _measures(name: str) -> bool:
    """Whether the name says that numbers under it measure something."""
    return names.unit(name) is not None or names.is_age_in_years(name)


def _is_identifier(name: str, present: pl.Series, levels: pl.Series) -> bool:
    """Whole numbers that name rather than measure."""
    if names.names_identifier(name):
        return _repeats_like_identifier(name, len(levels), len(present))
    consecutive = levels[-1] - levels[0] == len(levels) - 1
    return len(levels) == len(present) >= 50 and consecutive and bool(present.is_sorted())


def _repeats_like_identifier(name: str, distinct: int, rows: int) -> bool:
    if names.names_person(name):
        return distinct >= min(rows, 10)
    return distinct >= 0.5 * rows


def _key(frame: pl.DataFrame, columns: list[Column]) -> str | None:
    """The column that names the patient: by its name first, else the identifier that is different in every row."""
    identifiers = [column.name for column in columns if column.kind == "identifier"]
    complete = [name for name in identifiers if frame[name].null_count() == 0]
    for wanted in (
        [name for name in complete if names.names_person(name)],
        [name for name in complete if names.names_identifier(name) and frame[name].n_unique() == frame.height],
        [name for name in complete if frame[name].n_unique() == frame.height],
    ):
        if wanted:
            return wanted[0]
    return None


def _proposal(table: str, column: Column, raw: pl.Series) -> Proposal | None:
    """One proposal for each column, of all that is doubtful in it."""
    rest, better, doubts = raw, column, list[Doubt]()
    if column.categories == ():
        doubts = [empty_doubt()]
    elif raw.dtype == pl.String and column.kind not in NUMERIC:
        doubts = text_doubts(column, raw)
        rest, better = _settled(column.name, rest, doubts)
    if better.kind in ("number", "integer", "category", "ordinal") and raw.dtype != pl.Boolean:
        more = number_doubts(better, rest)
        rest, again = _settled(column.name, rest, more)
        better, doubts = (again, [*doubts, *more]) if more else (better, doubts)
    if not doubts:
        return None
    now, then = (described.model_dump(mode="json", exclude_none=True) for described in (column, better))
    fields = ("kind", "unit", "low", "high", "categories", "grid", "spelling", "layout")
    change = {field: then[field] for field in fields if field in then and then[field] != now.get(field)}
    for doubt in doubts:
        change |= doubt.change
    missing = [word for doubt in doubts for word in doubt.change.get("missing", [])]
    change |= {"missing": missing} if missing else {}
    return Proposal(table=table, column=column.name, change=change, why=" ".join(doubt.why for doubt in doubts))


def _settled(name: str, rest: pl.Series, doubts: list[Doubt]) -> tuple[pl.Series, Column]:
    """What the doubts leave of the values, and what column that is."""
    for doubt in doubts:
        rest = doubt.rest(rest)
    return rest, describe(name, rest, measured=any("unit" in doubt.change for doubt in doubts))
