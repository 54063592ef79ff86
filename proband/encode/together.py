"""Which tokens of a patient's fields go together: a gap and its base, what a law tells, the two steps of a level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from proband.encode.tables import TableEncoder


def compatible(encoder: TableEncoder, field: int, tokens: np.ndarray) -> np.ndarray | None:
    """(rows, levels) True where a token of `field` agrees with those drawn (rows, fields; -1: not yet), or None when any does."""
    book = encoder.books[field]
    if book.levels is not None and len(book.levels.sizes) == 2:
        return _steps(encoder, field, tokens)
    own, pair = book.column.name, book.pair
    tells = [i for i, other in enumerate(encoder.books) if other.pair is not None and own in (other.pair.base, other.pair.group)]
    if pair is None and not tells:
        return None
    allowed = np.ones((len(tokens), book.size), bool)
    if pair is not None:
        told, alone = _told(encoder, field, tokens)
        allowed[alone, 1 : book.split] = False
        allowed[told, book.split :] = False
    for i in tells:
        other = encoder.books[i]
        assert other.pair is not None
        drawn = tokens[:, i]
        told, alone = (drawn >= 1) & (drawn < other.split), drawn >= other.split
        if own == other.pair.group:
            lawful = np.array([k is not None for k in other.pair.constants])
            allowed &= ~told[:, None] | lawful
            # The base is there and the law did not speak: this must be a level without a law.
            allowed &= ~(alone & _present(encoder, other.pair.base, tokens)[0])[:, None] | ~lawful
        else:
            allowed[told, 0] = False
            lawful_group = _lawful(encoder, i, tokens)[0]
            allowed[alone & lawful_group, 1:] = False
    allowed[~allowed.any(axis=1)] = True  # two laws may ask for different levels of one group: what cannot be told is then missing
    return allowed


def _steps(encoder: TableEncoder, field: int, tokens: np.ndarray) -> np.ndarray:
    """(rows, levels) the groups that the place within goes with, or the places that the group has; missing goes with missing."""
    book = encoder.books[field]
    assert book.levels is not None
    pairs = book.levels.together >= 0
    pairs[0, 0] = True
    pairs, other = (pairs.T, field + 1) if book.step == 0 else (pairs, field - 1)
    return np.concatenate([pairs, np.ones((1, pairs.shape[1]), bool)])[tokens[:, other]]  # the last row: not drawn yet


def _told(encoder: TableEncoder, field: int, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) each: whether what tells `field` is known to be there, and known not to be."""
    pair = encoder.books[field].pair
    assert pair is not None
    present, absent = _present(encoder, pair.base, tokens)
    lawful, lawless = _lawful(encoder, field, tokens)
    return present & lawful, absent | lawless


def _lawful(encoder: TableEncoder, field: int, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) each: whether the group drawn is known to have a constant, and known to have none; without a group it has."""
    pair = encoder.books[field].pair
    assert pair is not None
    if pair.group is None:
        return np.ones(len(tokens), bool), np.zeros(len(tokens), bool)
    drawn = tokens[:, encoder.index[pair.group]]
    lawful = np.array([k is not None for k in pair.constants])[drawn]
    return (drawn >= 0) & lawful, (drawn >= 0) & ~lawful


def _present(encoder: TableEncoder, base: str, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) each: whether `base` is known to be present, and to be missing, from its token or from fields told by it."""
    drawn = tokens[:, encoder.index[base]]
    present, absent = drawn > 0, drawn == 0
    for i, other in enumerate(encoder.books):
        if other.pair is not None and other.pair.base == base:
            present |= (tokens[:, i] >= 1) & (tokens[:, i] < other.split)
            absent |= (tokens[:, i] >= other.split) & _lawful(encoder, i, tokens)[0]
    return present, absent


def check(encoder: TableEncoder) -> None:
    """ValueError when the fields of an encoder do not fit together: a model folder is not trusted."""
    for i, book in enumerate(encoder.books):
        steps = 1 if book.levels is None else len(book.levels.sizes)
        first = i - book.step
        fits = first >= 0 and all(
            j < len(encoder.books) and encoder.books[j].column.name == book.column.name and encoder.books[j].step == j - first
            for j in range(first, first + steps)
        )
        if book.pair is not None:
            base = encoder.index.get(book.pair.base)
            group = encoder.index.get(book.pair.group or "")
            fits &= base is not None and encoder.books[base].numbers is not None and _ends(encoder, book.column.name)
            if book.pair.lawful:
                fits &= book.pair.group is None or (group is not None and encoder.books[group].levels is not None)
                fits &= len(book.pair.constants) == (1 if group is None else encoder.books[group].size)
        if not fits:
            raise ValueError("the fields of the table do not fit together")


def _ends(encoder: TableEncoder, name: str) -> bool:
    """Whether a column is not told by itself, through others."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        pair = encoder.books[encoder.index[name]].pair if name in encoder.index else None
        if pair is None:
            return True
        name = pair.base
    return False
