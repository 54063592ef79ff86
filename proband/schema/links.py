"""Guess how tables hang together: which holds the patients, whose rows are whose, what runs in time, what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import polars as pl

from proband.errors import InputError
from proband.schema import names, words
from proband.schema.guess import base, describe
from proband.schema.model import Column, Link, Proposal, Schema, Table
from proband.schema.values import canonical

_NEARLY_ALL = 0.9  # of the rows that must find their parent for a link to be taken for one
_MOST_CODES = 5_000
_SPREAD = 0.25  # of the variance of a value's ranks that its codes must account for,
_SPREAD_IF_NAMED = 0.05  # and where both columns say by their names what they are
_TIMES = {
    "time", "minute", "minutes", "hour", "hours", "day", "days", "week", "weeks", "month", "months", "year", "years", "visit", "seq",
    "sequence", "step", "order", "cycle",
}  # fmt: skip
_CODE_WORDS = {
    "code", "parameter", "param", "paramcd", "variable", "item", "itemid", "test", "testcd", "lbtestcd", "vstestcd", "measure",
    "analyte", "concept", "lab", "name",
}  # fmt: skip
_VALUE_WORDS = {"value", "valuenum", "val", "result", "aval", "stresn", "lbstresn", "vsstresn", "amount", "measurement"}
_IDENTIFIER = dict.fromkeys(("low", "high", "categories", "grid", "unit", "layout", "spelling")) | {"kind": "identifier"}


def linked(frames: Mapping[str, pl.DataFrame]) -> Schema:
    """The schema of linked tables, by name, without its rules; for a person to review.

    A column names the rows of a table (its key) when it is unique and never missing there, and a column of that name in another table
    holds only such keys. The patients' table is the one whose key is called so ("subject_id"), else that most others point at. Every
    other hangs on the deepest table whose key it never lacks; its further keys are `links`. Tables that no patient leads to, such as
    what codes mean, go into `codes`.
    """
    points = _points(frames)
    owner = _owners(frames, points)
    first = _patients(frames, owner, points)
    parents = _tree(frames, owner, points, first)
    tables: list[Table] = []
    proposals: list[Proposal] = []
    for name, parent in parents.items():
        try:
            found = base(frames[name], name)
        except InputError as error:
            raise InputError(f"Table {name!r}: {error}") from error
        key = next((k for k, table in owner.items() if table == name), None)
        known = [k for k in frames[name].columns if owner.get(k) in parents]
        keys = [k for k in known if owner[k] in (name, parent) or (name, owner[k], k) in points]
        on = next((k for k in keys if owner[k] == parent), None)
        links = tuple(Link(column=k, table=owner[k]) for k in keys if k not in (key, on))
        tables.append(_table(frames[name], found.table, keys, key, parent, on, links))
        code = (tables[-1].measures or ("",))[0]  # a code that has values is none of the words for "missing"
        # What was doubtful in a column whose meaning the links have settled since, such as the values of all codes together, is no more.
        proposals += [p for p in found.proposals if tables[-1][p.column] == found.table[p.column] and p.column not in (*keys, code)]
    codes = tuple(name for name in frames if name not in parents)
    return Schema(tables=tuple(tables), codes=codes, proposals=tuple(proposals))


def apart(frame: pl.DataFrame, key: str | None = None, *, first: str = "patients", rest: str = "visits") -> dict[str, pl.DataFrame]:
    """One long table as two: what never changes within a patient (one row each), and the rows of what does.

    `key` is the column that names the patient; guessed from its name unless told. InputError when no column does, or no patient has
    two rows.

    >>> long = pl.DataFrame({"id": [1, 1, 2], "sex": ["f", "f", "m"], "day": [0, 90, 0]})
    >>> {name: part.columns for name, part in apart(long).items()}
    {'patients': ['id', 'sex'], 'visits': ['id', 'day']}
    """
    if key is None:
        named = [c for c in frame.columns if names.names_person(c)] or [c for c in frame.columns if names.names_identifier(c)]
        key = next((c for c in named if frame[c].null_count() == 0 and frame[c].n_unique() < frame.height), None)
    if key is None or key not in frame.columns:
        raise InputError(f"No column of the table names patients who have several rows: {', '.join(frame.columns)}. Give `key`.")
    if frame[key].null_count() or frame[key].n_unique() == frame.height:
        raise InputError(
            f"Column {key!r} is missing in a row, or no patient has two rows. Give another `key`, or leave the table as it is."
        )
    changes = frame.group_by(key).agg(pl.all().n_unique() > 1).select(pl.exclude(key).any())
    fixed = [name for name in frame.columns if name == key or not changes[name].item()]
    return {
        first: frame.select(fixed).unique(key, keep="first", maintain_order=True),
        rest: frame.select(name for name in frame.columns if name == key or name not in fixed),
    }


def _points(frames: Mapping[str, pl.DataFrame]) -> dict[tuple[str, str, str], float]:
    """(table, other, column) -> the share of the table's rows that have a key there and find it in `other`, whose rows it names."""
    found: dict[tuple[str, str, str], float] = {}
    for other, frame in frames.items():
        for column in frame.columns:
            also = [name for name in frames if name != other and column in frames[name].columns]
            if (
                not also
                or frame[column].null_count()
                or frame.height < 2
                or not frame[column].is_unique().all()
                or _is_measure(frame[column])
            ):
                continue
            keys = canonical(_plain(frame[column]))
            for name in also:
                values = canonical(_plain(frames[name][column])).drop_nulls()
                share = int(values.is_in(keys.implode()).sum()) / max(1, len(values))
                if share >= _NEARLY_ALL:
                    found[name, other, column] = share

    def certain(name: str, other: str, column: str) -> bool:
        """A number of the row ("row_id") is unique in every table, and its few values in a small one are among the many in a large one."""
        here, there = frames[name][column], frames[other][column]
        if here.n_unique() < len(here):
            return True
        if _is_run(here) and _is_run(there) and len(here) != len(there):
            return False
        return all((third, other, column) in found for third in frames if third != other and column in frames[third].columns)

    return {link: share for link, share in found.items() if certain(*link)}


def _is_run(series: pl.Series) -> bool:
    """Whether whole numbers without a gap, as rows are numbered."""
    return series.dtype.is_integer() and series.null_count() == 0 and int(series.max()) - int(series.min()) == len(series) - 1  # type: ignore[arg-type]


def _plain(series: pl.Series) -> pl.Series:
    return series.cast(pl.String) if isinstance(series.dtype, pl.Categorical | pl.Enum) or series.dtype.is_temporal() else series


def _is_measure(series: pl.Series) -> bool:
    """Whether numbers with a fraction, times or flags: nothing that names a row."""
    if series.dtype.is_temporal() or series.dtype == pl.Boolean or series.dtype.is_nested():
        return True
    if series.dtype == pl.String:
        return words.layout(series.head(50)) is not None
    return series.dtype.is_float() and bool((series != series.round(0)).any())


def _owners(frames: Mapping[str, pl.DataFrame], points: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Column -> the one table whose rows it names: where two would do, the one called like it, that more tables point at, called after
    people (where every patient has one event, either table would do), of more rows.

    A table has one key: of two columns that would do, the one by which more tables point at it.
    """
    pointing = Counter((other, column) for _, other, column in points)

    def asked(table: str, column: str) -> tuple[bool, int, bool, int]:
        named = table.rstrip("s").lower()
        return named in names.words(column), pointing[table, column], names.names_person(named), frames[table].height

    found: dict[str, str] = {}
    for column in dict.fromkeys(column for _, column in pointing):
        found[column] = max((table for table, c in pointing if c == column), key=lambda table: asked(table, column))
    best = {table: max((k for k, t in found.items() if t == table), key=lambda k: pointing[table, k]) for table in found.values()}
    return {column: table for column, table in found.items() if best[table] == column}


def _patients(frames: Mapping[str, pl.DataFrame], owner: Mapping[str, str], points: Iterable[tuple[str, str, str]]) -> str:
    if not owner:
        told = ", ".join(frames)
        raise InputError(
            f"No table has a column that names its rows and stands in another ({told}). Give the patients' table a key that the others "
            "hold under the same name, or write the schema by hand."
        )
    points = set(points)

    def asked(column: str) -> tuple[bool, int, bool]:
        table = owner[column]
        return names.names_person(column), sum((name, table, column) in points for name in frames), names.names_identifier(column)

    return owner[max(owner, key=asked)]


def _tree(
    frames: Mapping[str, pl.DataFrame], owner: Mapping[str, str], points: Mapping[tuple[str, str, str], float], first: str
) -> dict[str, str | None]:
    """Table -> parent, parents first: the deepest whose key no row lacks; what no patient leads to is left out."""
    parents: dict[str, str | None] = {first: None}
    depth = {first: 0}
    waiting = [name for name in frames if name != first]

    def above(name: str) -> dict[str, float]:
        """The tables that could own every row of `name`, with the share of its rows that find their owner there.

        The patients' own could always, though rows be orphans: reading refuses them, and a table of patients is none of codes.
        """
        found: dict[str, float] = {}
        for k, table in owner.items():
            if table != name and k in frames[name].columns:
                share = 0.0 if frames[name][k].null_count() else points.get((name, table, k), 0.0)
                found |= {table: share} if share or table == first else {}
        return found

    while waiting:
        ready = [name for name in waiting if set(above(name)) & set(parents)]
        # A table waits for those that it points at, if they hang on patients too; of tables that wait for each other the first goes on.
        free = [name for name in ready if not any((name, other, k) in points for k, other in owner.items() if other in ready)]
        for name in free or ready[:1]:
            could = {table: share for table, share in above(name).items() if table in parents}
            whole = {table for table, share in could.items() if share == 1.0} or set(could)
            parents[name] = max(whole, key=lambda table: depth[table])
            depth[name] = depth[parents[name] or first] + 1
            waiting.remove(name)
        if not ready:
            break
    return parents


def _table(
    frame: pl.DataFrame, guessed: Table, keys: Collection[str], key: str | None, parent: str | None, on: str | None, links: tuple[Link, ...]
) -> Table:
    columns = {c.name: c.model_copy(update=_IDENTIFIER) if c.name in keys else c for c in guessed.columns}
    order = [] if parent is None else time_order(frame, columns.values(), keys)
    for name in order:
        if not columns[name].numeric:  # a visit's number is no level
            columns[name] = describe(name, frame[name], measured=True)
    found = None if parent is None else _measures(frame, columns, keys, order)
    table = Table(
        name=guessed.name, columns=tuple(columns.values()), key=key or (guessed.key if parent is None else None), parent=parent, on=on,
        order=tuple(order), links=links,
    )  # fmt: skip
    return measured(table, frame, *found) if found else table


def measured(table: Table, frame: pl.DataFrame, code: str, value: str) -> Table:
    """`table` with `measures` = (code, value), and a variable for each code: what its own values are."""
    text = canonical(_plain(frame[code]))
    levels = text.drop_nulls().unique().sort().to_list()
    values = frame.select(code=text, value=pl.col(value)).partition_by("code", as_dict=True, include_key=False)
    told = {
        code: Column(name=code, kind="category", categories=tuple(levels), stored=table[code].stored),
        value: Column(name=value, kind="number", stored=table[value].stored),
    }
    variables = tuple(describe(level, values[level,]["value"], measured=True) for level in levels)
    columns = tuple(told.get(column.name, column) for column in table.columns)
    return table.model_copy(update={"columns": columns, "measures": (code, value), "variables": variables})


def time_order(frame: pl.DataFrame, columns: Iterable[Column], keys: Collection[str]) -> list[str]:
    """The first date or time of day and date that hardly any row lacks; else a number whose name says that it runs."""
    found = [
        column for column in columns if column.name not in keys and frame[column.name].null_count() <= (1 - _NEARLY_ALL) * frame.height
    ]
    times = [column.name for column in found if column.kind in ("date", "datetime")]
    running = [c.name for c in found if frame[c.name].dtype.is_numeric() and _TIMES & set(names.words(c.name))]
    return (times or running)[:1]


def _measures(frame: pl.DataFrame, columns: Mapping[str, Column], keys: Collection[str], order: list[str]) -> tuple[str, str] | None:
    """(code, value), where the values of different codes lie apart; each is the only number, or the only column of levels, or named so."""
    rest = [column for name, column in columns.items() if name not in keys and name not in order]
    numbers = [c.name for c in rest if c.kind in ("number", "integer") and frame[c.name].dtype.is_numeric()]
    values = [n for n in numbers if _VALUE_WORDS & set(names.words(n)) and not (_CODE_WORDS | {"source"}) & set(names.words(n))]
    levels = [c.name for c in rest if c.kind in ("category", "ordinal")]
    codes = [c.name for c in rest if _CODE_WORDS & set(names.words(c.name)) and c.name not in values]
    best: tuple[float, tuple[str, str] | None] = 0.0, None
    for code in codes or levels[:1] * (len(levels) == 1):
        for value in values or numbers[:1] * (len(numbers) == 1):
            told = frame.select(code=canonical(_plain(frame[code])), value=pl.col(value).cast(pl.Float64)).drop_nulls()
            share = _explained(told)  # 1: the value follows from the code, and measures nothing
            if (_SPREAD_IF_NAMED if code in codes and value in values else _SPREAD) <= share < 0.999 and share > best[0] + 1e-6:
                best = share, (code, value)
    return best[1]


def _explained(told: pl.DataFrame) -> float:
    """The share of the variance of the values' ranks that lies between codes (the correlation ratio); 0 where codes are not few."""
    codes = told["code"].n_unique()
    if not 2 <= codes <= min(_MOST_CODES, told.height // 3):
        return 0.0
    ranks = told.with_columns(pl.col("value").rank())
    between = ranks.group_by("code", maintain_order=True).agg(mean=pl.col("value").mean(), rows=pl.len())
    centre, total = float(np.mean(ranks["value"].to_numpy())), float(np.var(ranks["value"].to_numpy()))
    return float((between["rows"] * (between["mean"] - centre) ** 2).sum()) / told.height / total if total > 0 else 0.0
