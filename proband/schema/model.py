"""Schema: what a patient record looks like. Guessed from data, reviewed by a person, saved as TOML."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from proband.errors import InputError
from proband.schema import rules as sql

Kind = Literal["identifier", "number", "integer", "category", "ordinal", "boolean", "date", "datetime", "time", "text"]

#: The polars type that each kind has inside a Cohort. A file's own spelling is `Column.stored` and `Column.spelling`.
DTYPES: dict[str, Any] = {
    "identifier": pl.String,
    "number": pl.Float64,
    "integer": pl.Int64,
    "category": pl.String,
    "ordinal": pl.String,
    "boolean": pl.Boolean,
    "date": pl.Date,
    "datetime": pl.Datetime("us"),
    "time": pl.Time,
    "text": pl.String,
}
NUMERIC = ("number", "integer", "date", "datetime", "time")
DISCRETE = ("category", "ordinal", "boolean")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Grid(_Frozen):
    """The lattice on which a number was recorded: multiples of `step`, written with `decimals` places.

    `bits` is the number of explicit mantissa bits that survived storage (23 for float32, 10 for float16, 12 for a
    SAS variable of length 3), `truncated` whether the rest were cut off rather than rounded: SUPPORT's 1.2 mg/dL is
    1.19995117 because its file kept 12 bits. Such a value was then printed with at most `places` decimal places and
    `digits` significant digits.
    """

    step: float = Field(gt=0)
    decimals: int = Field(ge=0, le=15)
    bits: int | None = Field(default=None, ge=1, le=52)
    truncated: bool = False
    places: int | None = Field(default=None, ge=0, le=17)
    digits: int | None = Field(default=None, ge=1, le=17)

    def snap(self, values: np.ndarray) -> np.ndarray:
        """The nearest value on the grid, float64 of the same shape; NaN stays NaN. Values on the grid stay as they are."""
        values = np.asarray(values, float)
        if self.bits is None:
            return np.round(np.round(values / self.step) * self.step, self.decimals) + 0.0  # no negative zero
        # 1092.4 cut to 12 bits is 1092.25, to which 1092.2 is nearer: the next multiple must be tried as well.
        size = np.abs(values)
        nearest, next_one = (self._stored(np.round((np.round(size / self.step) + more) * self.step, self.decimals)) for more in (0, 1))
        return np.sign(values) * np.where(np.abs(next_one - size) < np.abs(nearest - size), next_one, nearest) + 0.0

    def _stored(self, values: np.ndarray) -> np.ndarray:
        kept = keep_bits(values, self.bits or 52, truncate=self.truncated)
        if self.places is None and self.digits is None:
            return kept
        magnitude = np.floor(np.log10(np.where(kept == 0, 1.0, np.abs(kept))))
        places = np.minimum(17 if self.places is None else self.places, (self.digits or 17) - 1 - magnitude)
        scale = 10.0 ** np.abs(places)
        return np.where(places >= 0, np.rint(kept * scale) / scale, np.rint(kept / scale) * scale)


def keep_bits(values: np.ndarray, bits: int, *, truncate: bool) -> np.ndarray:
    """`values` with only `bits` explicit mantissa bits, the others cut off or rounded to nearest."""
    mantissa, exponent = np.frexp(np.asarray(values, float))
    scaled = np.ldexp(mantissa, bits + 1)
    return np.ldexp(np.trunc(scaled) if truncate else np.rint(scaled), exponent - bits - 1)


class Column(_Frozen):
    """One column: what it means (`kind`, `unit`, bounds, levels) and how its file spells it.

    kind        identifier, number, integer, category, ordinal, boolean, date, datetime, time or text (text is refused for now)
    low, high   inclusive bounds (numbers; days or seconds since 1970 for dates); a value outside is refused,
                or becomes missing when `outside = "missing"`
    categories  the levels of a category, in rank order for an ordinal
    grid        the lattice of a number
    missing     spellings that mean "missing" beside the empty cell
    stored      the polars type of the column in its file; spelling: the words for (false, true); layout: the strptime layout of dates
    unit_in_cell  a unit written behind every number ("5 mg"), taken off when read and put back when written
    sensitive   whether an attacker should not learn it; asked in attribute attacks
    """

    name: str
    kind: Kind
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    outside: Literal["refuse", "missing"] = "refuse"
    categories: tuple[str, ...] | None = None
    grid: Grid | None = None
    missing: tuple[str, ...] = ()
    stored: str = "String"
    spelling: tuple[str, str] | None = None
    layout: str | None = None
    unit_in_cell: str | None = None
    sensitive: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"column {self.name!r}: low = {self.low:g} is above high = {self.high:g}; swap them")
        if self.kind in ("category", "ordinal") and self.categories is None:
            raise ValueError(f"column {self.name!r}: a {self.kind} needs `categories`, the list of its levels")
        return self

    @property
    def dtype(self) -> Any:
        """The polars type of this column inside a Cohort."""
        return DTYPES[self.kind]

    @property
    def numeric(self) -> bool:
        """Whether values have an order and a distance: number, integer, date, datetime, time."""
        return self.kind in NUMERIC

    @property
    def discrete(self) -> bool:
        """Whether values are levels: category, ordinal, boolean."""
        return self.kind in DISCRETE


class Rule(_Frozen):
    """A SQL boolean expression over one row. A row breaks it when it is FALSE; unknown (NULL) is no breach, as in SQL CHECK."""

    sql: str
    why: str = ""


class Link(_Frozen):
    """`column` of a table holds the key of a row of `table`: which stay an event belongs to, beside whose it is."""

    column: str
    table: str


class Table(_Frozen):
    """A table: its columns in order, and how its rows hang together with those of other tables.

    key        the column that names a row: in the first table the patient (None there: every row is a patient), in another what its
               own children point at
    parent     the table whose rows own this one's; None for the first. `on` is the column that holds the parent's key
    order      the columns along which the rows of one parent run, the time first; rows alike in them happened together
    links      further columns that point at rows of other tables
    measures   (code, value): in each row `code` says what was measured and `value` how much, so that every code has values of its own
    variables  one Column for each level of `code`: kind, unit, bounds and grid of its values
    """

    name: str
    columns: tuple[Column, ...]
    key: str | None = None
    parent: str | None = None
    on: str | None = None
    order: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    measures: tuple[str, str] | None = None
    variables: tuple[Column, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Table:
        names = [column.name for column in self.columns]
        for told, what in ((names, "column"), ([variable.name for variable in self.variables], "variable")):
            twice = {name for name in told if told.count(name) > 1}
            if twice:
                raise ValueError(f"table {self.name!r}: {what} {sorted(twice)[0]!r} is declared twice; delete one")
        named = {"key": self.key, "on": self.on} | {f"order[{at}]": name for at, name in enumerate(self.order)}
        named |= {f"links[{at}].column": link.column for at, link in enumerate(self.links)}
        named |= {f"measures[{at}]": name for at, name in enumerate(self.measures or ())}
        for what, name in named.items():
            if name is not None and name not in names:
                raise ValueError(f"table {self.name!r}: {what} = {name!r} is not among its columns: {', '.join(names)}")
        if (self.parent is None) != (self.on is None):
            raise ValueError(
                f"table {self.name!r}: parent and on go together: which table owns its rows, and which column says whose they are"
            )
        if self.variables and self.measures is None:
            raise ValueError(f"table {self.name!r}: variables need measures = [code, value], the two columns that hold them")
        return self

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise InputError(f"Column {name!r} is not in table {self.name!r}. It has: {', '.join(c.name for c in self.columns)}.")

    def __contains__(self, name: object) -> bool:
        return any(column.name == name for column in self.columns)

    @property
    def alone(self) -> Table:
        """This table as one that hangs on no other."""
        return self.model_copy(update={"parent": None, "on": None, "links": ()})


class Proposal(_Frozen):
    """A change that the guess proposes and a person decides: in the file, set `accept = true` or delete it.

    `change` holds the fields of Column that would change, such as {missing = ["?"], kind = "integer"}.
    """

    table: str
    column: str
    change: dict[str, Any]
    why: str
    accept: bool = False


class Problem(_Frozen):
    """Something in the data that the schema does not allow, or that a person should look at."""

    table: str
    column: str | None
    rows: int
    message: str


class Schema(_Frozen):
    """Tables, and the rules that hold in every row of the first. Immutable; `hash` names it.

    codes    tables beside these that hold no patient: what a code means, who works there. They are not read, and stay as they are
    public   a person's word that levels, formats, bounds and rules follow from code lists, forms or protocols and from no patient;
             differential privacy needs it, since the schema leaves with the table
    """

    proband_schema: Literal[1] = 1
    public: bool = False
    tables: tuple[Table, ...]
    codes: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    proposals: tuple[Proposal, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        if not self.tables:
            raise ValueError("no table is declared; declare the patients' own first")
        known: dict[str, Table] = {}
        for table in self.tables:
            if table.name in known:
                raise ValueError(f"table {table.name!r} is declared twice; rename one")
            if (table.parent is None) != (not known):
                raise ValueError(
                    f"table {table.name!r}: the first table holds the patients and has no parent, every other has one, declared before it"
                )
            if table.parent is not None and (table.parent not in known or known[table.parent].key is None):
                raise ValueError(
                    f"table {table.name!r}: parent = {table.parent!r} is no table with a key declared before it: {', '.join(known)}"
                )
            known[table.name] = table
        for table in self.tables:
            for link in table.links:
                if link.table not in known or known[link.table].key is None:
                    raise ValueError(f"table {table.name!r}: column {link.column!r} points at {link.table!r}, which is no table with a key")
        for name in self.codes:
            if name in known:
                raise ValueError(f"table {name!r} is declared as a table of patients and among `codes`; delete one")
        for rule in self.rules:
            sql.check(rule.sql, self.table)
        for proposal in self.proposals:
            self[proposal.table][proposal.column]
        return self

    @property
    def table(self) -> Table:
        """The first table: the patients' own. Most records have no other."""
        return self.tables[0]

    @property
    def children(self) -> tuple[Table, ...]:
        """The tables that hang on the first, each after its parent; none where every patient is rows of one table."""
        return self.tables[1:]

    def __getitem__(self, name: str) -> Table:
        for table in self.tables:
            if table.name == name:
                return table
        raise InputError(f"Table {name!r} is not in the schema. It has: {', '.join(table.name for table in self.tables)}.")

    def check(self, cohort: Any) -> list[Problem]:
        """What a person should look at in a cohort under this schema: broken rules, exact duplicates, constant or empty columns, and
        among linked tables rows without an owner, links that lead nowhere, events outside their stay and time that runs backwards."""
        from proband.schema.problems import problems

        return problems(cohort, self)

    @staticmethod
    def guess(frame: Any, *, name: str = "patients") -> Schema:
        """A schema for `frame` (polars, pandas or arrow), for a person to review; what is doubtful becomes a proposal.

        For several linked tables give a mapping of frames by name: see `proband.schema.links`.
        """
        from proband.schema.guess import guess

        return guess(frame, name=name)

    def accept(self) -> Schema:
        """This schema with every proposal applied."""
        return self._apply([p.model_copy(update={"accept": True}) for p in self.proposals])

    def reviewed(self) -> Schema:
        """This schema with the proposals marked `accept = true` applied; the others stay."""
        return self._apply(self.proposals)

    def _apply(self, proposals: Sequence[Proposal]) -> Schema:
        tables = [table.model_dump() for table in self.tables]
        columns = {(table["name"], column["name"]): column for table in tables for column in table["columns"]}
        for proposal in proposals:
            if proposal.accept:
                columns[proposal.table, proposal.column].update(_without_leftovers(proposal.change))
        rest = [p for p in proposals if not p.accept]
        return validated(self.model_dump() | {"tables": tables, "proposals": [p.model_dump() for p in rest]}, "schema")

    def save(self, path: str | Path) -> None:
        """Write TOML that a person can edit. Written beside `path`, then renamed."""
        path = Path(path)
        scratch = path.with_name(f".{path.name}.writing")
        content = without_defaults(self.model_dump(mode="json"), type(self))
        scratch.write_text(tomli_w.dumps(content, multiline_strings=True), encoding="utf-8")
        scratch.replace(path)

    @staticmethod
    def load(path: str | Path) -> Schema:
        """Read a schema; raises InputError that names the line, column or rule at fault."""
        path = Path(path)
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            remedy = f"Make one with: proband schema DATA --out {path}"
            raise InputError(f"Schema '{path}' cannot be read: {error.strerror}. {remedy}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            remedy = "Mend that line, or guess anew with: proband schema DATA"
            raise InputError(f"Schema '{path}' is not valid TOML: {error}. {remedy}") from error
        return validated(content, f"Schema '{path}'")

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the content; the same for the same schema on any machine."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


def _without_leftovers(change: dict[str, Any]) -> dict[str, Any]:
    """`change`, clearing what only the old kind of a column could have meant: TOML cannot say "no categories"."""
    if "kind" not in change:
        return change
    return {"categories": None, "spelling": None, "grid": None, "layout": None} | change


def validated(content: dict[str, Any], what: str) -> Schema:
    """A Schema from plain data, pydantic's complaint turned into one sentence."""
    try:
        return Schema.model_validate(content)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{what}: {where + ': ' if where else ''}{message}") from error


def without_defaults(content: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """What a person needs to read: TOML has no null, and defaults are noise."""
    plain = model.model_validate(content).model_dump(mode="json", exclude_defaults=True)
    return {"proband_schema": content["proband_schema"], **plain}
