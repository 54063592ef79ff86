"""Rules and conditions: SQL boolean expressions over one row, read, checked and taken apart.

polars evaluates them. What polars does not do is done here on the tokens: literals beside a column take the
column's type (`TSH_measured = 't'`, `qsmk = 1` and `admitted >= '2020-01-31'` all work), and the forms that a
synthesizer can honour by construction are recognised (a derived column, an ordered pair).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from proband.errors import InputError

if TYPE_CHECKING:
    from proband.schema.model import Column, Table

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")*")|(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)
    |(?P<word>[A-Za-z_]\w*)|(?P<op><=>|<=|>=|<>|!=|==|[-+*/%=<>(),]))""",
    re.VERBOSE,
)
_COMPARISONS = {"=", "==", "<>", "!=", "<", "<=", ">", ">=", "<=>"}
_FLIP = {"<=": "<=", "<": "<", ">=": "<=", ">": "<"}


class Token(NamedTuple):
    kind: str  # string, quoted, number, word or op
    text: str

    @property
    def word(self) -> str:
        """The upper-case keyword, or nothing."""
        return self.text.upper() if self.kind == "word" else ""


class Ordering(NamedTuple):
    """low <= high (or < when strict) in every row."""

    low: str
    high: str
    strict: bool


class Derivation(NamedTuple):
    """`column` is recomputed from `expression` (SQL), which reads `inputs`."""

    column: str
    expression: str
    inputs: frozenset[str]


def quote(name: str) -> str:
    """A column name as SQL writes it."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) and name.upper() not in _RESERVED else '"' + name.replace('"', '""') + '"'


_RESERVED = {
    "AND", "OR", "NOT", "IN", "IS", "NULL", "BETWEEN", "LIKE", "CASE", "WHEN", "THEN", "ELSE", "END", "TRUE", "FALSE", "DATE", "TIME",
    "TIMESTAMP", "CAST", "AS", "FROM", "SELECT", "WHERE", "ORDER", "GROUP", "BY", "TABLE", "INTERVAL", "DISTINCT", "ALL", "ANY", "LEFT",
    "RIGHT", "FULL", "JOIN", "ON", "USING", "LIMIT", "OFFSET", "SET", "USER", "VALUES", "WITH", "UNION", "EXISTS", "DESC", "ASC", "HAVING",
}  # fmt: skip


def literal(value: object) -> str:
    """A Python value as a SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def expression(text: str, table: Table) -> pl.Expr:
    """The polars expression for `text` over a Cohort's frame; InputError when it cannot be read or names no column."""
    tokens = _typed(_tokens(text), table)
    try:
        found = pl.sql_expr(_join(tokens))
    except Exception as error:  # polars raises several kinds; all mean that the text is not SQL
        raise InputError(f"Rule or condition {text!r} cannot be read as SQL: {error}. Write it like: age >= 18 AND sex = 'F'") from error
    for name in found.meta.root_names():
        if name not in table:
            names = ", ".join(c.name for c in table.columns)
            raise InputError(f"Rule or condition {text!r} names column {name!r}, which is not in table {table.name!r}: {names}.")
    return found


def check(text: str, table: Table) -> None:
    """Raise InputError unless `text` is a boolean expression over the columns of `table`."""
    from proband.schema.model import DTYPES

    empty = pl.DataFrame(schema={c.name: DTYPES[c.kind] for c in table.columns})
    found = expression(text, table)
    try:
        kind = empty.lazy().select(found.alias("rule")).collect().schema["rule"]
    except Exception as error:
        raise InputError(f"Rule or condition {text!r} does not fit the columns: {str(error).splitlines()[0]}.") from error
    if kind not in (pl.Boolean, pl.Null):
        raise InputError(f"Rule or condition {text!r} gives {kind}, not true or false. Compare it with something.")


def holds(text: str, frame: pl.DataFrame, table: Table) -> pl.Series:
    """Per row: True, False (a breach), or null (unknown, no breach)."""
    if frame.width == 0:
        return pl.Series([], dtype=pl.Boolean)
    return frame.select(expression(text, table).alias("holds").cast(pl.Boolean)).to_series()


def columns(text: str, table: Table) -> frozenset[str]:
    """The columns that `text` reads."""
    return frozenset(expression(text, table).meta.root_names())


def conjuncts(text: str) -> list[str]:
    """`a AND b AND c` at the top level as [a, b, c]; BETWEEN keeps its AND.

    >>> conjuncts("age BETWEEN 60 AND 70 AND (sex = 'F' OR x)")
    ["age BETWEEN 60 AND 70", "( sex = 'F' OR x )"]
    """
    parts: list[list[Token]] = [[]]
    depth, between = 0, False
    for token in _tokens(text):
        depth += (token.text == "(" or token.word == "CASE") - (token.text == ")" or token.word == "END")
        between = between or (token.word == "BETWEEN" and depth == 0)
        if token.word == "AND" and depth == 0 and not between:
            parts.append([])
            continue
        if token.word == "OR" and depth == 0:
            return [text]
        between = between and not (token.word == "AND" and depth == 0)
        parts[-1].append(token)
    return [_join(part) for part in parts if part]


def derivations(texts: Iterable[str], table: Table) -> tuple[dict[str, Derivation], list[str]]:
    """The columns that rules define, in an order in which they can be recomputed, and the rules that define none.

    `b = a`, `class = CASE dx WHEN ... END`, `measured = (x IS NOT NULL)` and `c = a - b` each define their left
    side. A second definition of the same column, or one that closes a circle, stays an ordinary rule.
    """
    defined: dict[str, Derivation] = {}
    rest = []
    for text in texts:
        found = _derivation(text, table)
        if found is None or found.column in defined or found.column in _reach(found.inputs, defined):
            rest.append(text)
        else:
            defined[found.column] = found
    ordered: dict[str, Derivation] = {}
    while len(ordered) < len(defined):
        for name, found in defined.items():
            if name not in ordered and all(i in ordered or i not in defined for i in found.inputs):
                ordered[name] = found
    return ordered, rest


def ordering(text: str, table: Table) -> Ordering | None:
    """`a <= b` (or <, >=, >) between two bare columns, else None."""
    tokens = _tokens(text)
    if len(tokens) != 3 or tokens[1].text not in _FLIP:
        return None
    left, right = _name(tokens[0]), _name(tokens[2])
    if left not in table or right not in table:
        return None
    low, high = (left, right) if tokens[1].text in ("<=", "<") else (right, left)
    return Ordering(low, high, strict=tokens[1].text in ("<", ">"))


def _derivation(text: str, table: Table) -> Derivation | None:
    tokens = _tokens(text)
    same = [t.word for t in tokens[1:5]] == ["IS", "NOT", "DISTINCT", "FROM"]
    start = 5 if same else 2
    if len(tokens) <= start or _name(tokens[0]) not in table or not (same or tokens[1].text in ("=", "==", "<=>")):
        return None
    depth = 0
    for token in tokens[start:]:
        depth += (token.text == "(" or token.word == "CASE") - (token.text == ")" or token.word == "END")
        if depth == 0 and (token.word in ("AND", "OR", "IN", "IS", "BETWEEN", "LIKE") or token.text in _COMPARISONS):
            return None
    column = _name(tokens[0])
    # Typed before the split: `measured = 't'` needs its left side to know that 't' is TRUE.
    inputs = columns(_join(tokens[start:]), table)
    return None if column in inputs or not inputs else Derivation(column, _join(_typed(tokens, table)[start:]), inputs)


def _reach(names: Iterable[str], defined: dict[str, Derivation]) -> set[str]:
    """`names` and all that they are computed from."""
    seen: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in seen:
            seen.add(name)
            queue += defined[name].inputs if name in defined else ()
    return seen


def _tokens(text: str) -> list[Token]:
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise InputError(f"Rule or condition {text!r} cannot be read at {text[at : at + 12]!r}. Write it like: age >= 18 AND sex = 'F'")
        tokens.append(Token(match.lastgroup, match[match.lastgroup]))
        at = match.end()
    if not tokens:
        raise InputError("A rule or condition is empty. Write it like: age >= 18 AND sex = 'F', or delete it.")
    return tokens


def _join(tokens: Iterable[Token]) -> str:
    return " ".join(token.text for token in tokens)


def _name(token: Token) -> str:
    return token.text[1:-1].replace('""', '"') if token.kind == "quoted" else token.text if token.kind == "word" else ""


def _typed(tokens: list[Token], table: Table) -> list[Token]:
    """Literals compared with a bare column, written in the type that the column has inside a Cohort."""
    typed = list(tokens)
    for at, token in enumerate(tokens):
        if _name(token) not in table or (token.kind == "word" and token.word in _RESERVED):
            continue
        column = table[_name(token)]
        typed[at] = Token("quoted", '"' + column.name.replace('"', '""') + '"')
        for other in _compared_with(tokens, at):
            typed[other] = _as(column, tokens[other])
    return typed


def _compared_with(tokens: list[Token], at: int) -> Iterable[int]:
    """Places of the literals that the column at `at` is compared with: = 'x', 'x' =, [NOT] IN (...), BETWEEN x AND y."""
    after = at + 1
    if after < len(tokens) and tokens[after].text in _COMPARISONS and after + 1 < len(tokens):
        yield after + 1
    if at >= 2 and tokens[at - 1].text in _COMPARISONS:
        yield at - 2
    after += after < len(tokens) and tokens[after].word == "NOT"
    if after < len(tokens) and tokens[after].word == "IN":
        for place in range(after + 2, len(tokens)):
            if tokens[place].text == ")":
                break
            yield place
    if after < len(tokens) and tokens[after].word == "BETWEEN":
        yield from (place for place in (after + 1, after + 3) if place < len(tokens))


def _as(column: Column, token: Token) -> Token:
    if token.kind not in ("string", "number"):
        return token
    text = token.text[1:-1].replace("''", "'") if token.kind == "string" else token.text
    if column.kind == "boolean":
        words = column.spelling or ("false", "true")
        lowered = text.lower()
        if lowered in (words[0].lower(), words[1].lower()):
            return Token("word", "TRUE" if lowered == words[1].lower() else "FALSE")
        return Token("word", {"1": "TRUE", "0": "FALSE", "true": "TRUE", "false": "FALSE"}.get(lowered, token.text))
    if column.kind in ("category", "ordinal", "identifier") and token.kind == "number":
        return Token("string", literal(text))
    if column.kind in ("date", "time") and token.kind == "string":
        return Token("word", f"{column.kind.upper()} {token.text}")
    if column.kind == "datetime" and token.kind == "string":
        return Token("word", f"CAST({token.text} AS TIMESTAMP)")
    return token
