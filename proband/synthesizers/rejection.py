"""Rejection: rows are made until enough of them keep the rules and the condition. For synthesizers that make whole rows at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from proband.encode import Codes, TableEncoder
from proband.encode.admissible import constraints
from proband.errors import InputError
from proband.synthesizers.drawing import counted

_TRIED_FIRST = 4_000  # candidates before the share that is kept is believed
_MOST_AT_ONCE = 50_000
_MOST_A_ROW = 200  # candidates for each row that is wanted, at most: a condition of half a percent


def kept(encoder: TableEncoder, codes: Codes, where: str | None) -> np.ndarray:
    """(rows,) True where fields go together, the rules hold and `where` is satisfied.

    InputError when `where` cannot be read, or names an unknown column or an identifier.
    """
    found = np.ones(len(codes), bool)
    for field in range(len(encoder.fields)):
        others = np.where(np.arange(len(encoder.fields)) == field, -1, codes.tokens)
        allowed = encoder.compatible(field, others)
        if allowed is not None:
            found &= allowed[np.arange(len(codes)), codes.tokens[:, field]]
    wanted = constraints(encoder, where)
    frame = encoder.decode(codes)
    for constraint in wanted:
        found &= constraint.judge(frame)
    return found


def rows_of(encoder: TableEncoder, n: int, make: Callable[[int], Codes], where: str | None) -> Codes:
    """The first `n` rows from `make(rows)`, called again and again, that are `kept`.

    InputError when that would take more than 200 candidates a row (and 20,000).
    """
    n = counted(n)
    width = len(encoder.fields)
    made = [Codes(np.zeros((0, width), np.int32), np.zeros((0, width)))]
    kept(encoder, made[0], where)  # a condition that cannot be read is refused before any work
    found = tried = 0
    most = _MOST_A_ROW * n + 20_000
    while found < n:
        share = (found + 1) / (tried + 1)
        if tried >= _TRIED_FIRST and (n - found) / share > most - tried:
            condition = f"{where!r} and the rules" if where else "the rules"
            raise InputError(
                f"Too few synthetic patients keep {condition}: {found} of {tried:,}. This synthesizer makes whole patients and leaves "
                f"out the others. Widen the condition, or take a synthesizer that draws under conditions (forest, gan, copula)."
            )
        rows = min(_MOST_AT_ONCE, max(16, int(1.2 * (n - found) / share)), max(n - found, _TRIED_FIRST) if tried < _TRIED_FIRST else most)
        codes = make(rows)
        good = np.flatnonzero(kept(encoder, codes, where))[: n - found]
        made.append(Codes(codes.tokens[good], codes.offsets[good]))
        found, tried = found + len(good), tried + rows
    return Codes(np.concatenate([part.tokens for part in made]), np.concatenate([part.offsets for part in made]))
