"""Drawing patients field by field: the one sampler of all table synthesizers. Rules and conditions hold in every row.

What cannot be is masked when a field is drawn, so no row is ever thrown away. A condition (`where`) also has to change the
fields drawn before its own: the probability that a row leaves to the condition is its weight, and rows are resampled by
weight (sequential importance resampling; Gordon, Salmond and Smith, 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from proband.cohort import Cohort, Mark
from proband.encode import Codes, TableEncoder
from proband.encode.admissible import Candidates, Constraint, candidates, constraints, judged, row_candidates
from proband.errors import InputError, ProbandError
from proband.schema import Schema

#: propose(field, tokens (rows, fields; -1: not drawn yet), latent) -> probabilities (rows, levels of the field)
Propose = Callable[[int, np.ndarray, np.ndarray | None], np.ndarray]
#: settle(tokens, offsets, rng) -> offsets: places within the tokens that go better together
Settle = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
#: latent(rows, rng) -> (rows, width): what a patient brings to all its fields; resampled with the patient
Latent = Callable[[int, np.random.Generator], np.ndarray]

_CELLS = 8_000_000  # probabilities or candidate values in memory at once
_PARTICLES = 100_000  # rows carried for a rare condition, at most
_LAST_RESORT = 1e-9  # weight of a row whose field the synthesizer thought impossible


@dataclass
class _Rows:
    """The rows under way: what is drawn, and how much of its probability each row left to the condition."""

    tokens: np.ndarray  # (rows, fields), -1: not drawn yet
    offsets: np.ndarray  # (rows, fields)
    latent: np.ndarray | None
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def part_latent(self, part: slice) -> np.ndarray | None:
        return None if self.latent is None else self.latent[part]

    def take(self, rows: np.ndarray) -> _Rows:
        latent = None if self.latent is None else self.latent[rows]
        return _Rows(self.tokens[rows], self.offsets[rows], latent, np.ones(len(rows)))


#: (field, rows under way, which of them) -> what the synthesizer proposes
_Asked = Callable[[int, _Rows, slice], np.ndarray]


def draw(
    encoder: TableEncoder,
    n: int,
    *,
    propose: Propose,
    order: Sequence[int],
    where: str | None = None,
    rng: np.random.Generator,
    latent: Latent | None = None,
) -> pl.DataFrame:
    """`n` rows with all columns of the schema; every row keeps its rules and satisfies `where`.

    propose   the synthesizer: probabilities of a field's tokens given those drawn; a row of zeros means "I do not know"
    order     every field index once, in the order of drawing
    where     SQL conjunction over any columns but identifiers
    latent    makes what a patient brings to all its fields, (rows, width)

    InputError when `where` cannot be read, names an unknown column or an identifier, or no patient can satisfy it.
    """
    return decoded(encoder, draw_codes(encoder, n, propose=propose, order=order, where=where, rng=rng, latent=latent), where)


def draw_codes(
    encoder: TableEncoder,
    n: int,
    *,
    propose: Propose,
    order: Sequence[int],
    where: str | None = None,
    rng: np.random.Generator,
    latent: Latent | None = None,
    finer: bool = False,
    settle: Settle | None = None,
) -> Codes:
    """The rows that `draw` decodes, as codes.

    finer    propose is told token + offset (below 0: not drawn yet) in place of tokens
    settle   offers other offsets once all tokens are drawn; a row takes them where it still keeps its rules and `where`
    """
    n = counted(n)
    if sorted(order) != list(range(len(encoder.fields))):
        raise InputError("order must name every field of the encoder once.")
    found = constraints(encoder, where)
    closing = _closing(found, encoder, order)
    last = max((at for at, closed in closing.items() if any(c.condition for c in closed)), default=-1)
    particles = n if last < 0 else min(max(2 * n, 64), max(_PARTICLES, n))
    asked = _finer(propose) if finer else lambda f, rows, part: propose(f, rows.tokens[part], rows.part_latent(part))
    rows = _draw(encoder, n, particles, asked, order, closing, last, rng, latent)
    if isinstance(rows, float):  # the condition is rarer than the rows carried allow for: how many there should have been
        rows = _draw(encoder, n, int(min(rows, max(_PARTICLES, n))), asked, order, closing, last, rng, latent, final=True)
    assert isinstance(rows, _Rows)
    rows = rows.take(rng.permutation(n))
    if settle is not None and n:
        offsets = settle(rows.tokens, rows.offsets, rng)
        kept = judged(encoder, [c for c in found if c.fields], _codes(rows.tokens, offsets), n)
        rows.offsets = np.where(kept[:, None], offsets, rows.offsets)
    return Codes(rows.tokens, rows.offsets)


def decoded(encoder: TableEncoder, codes: Codes, where: str | None) -> pl.DataFrame:
    """The rows of `codes`, every rule and `where` checked once more."""
    frame = encoder.decode(codes)
    for constraint in constraints(encoder, where):
        broken = int((~constraint.judge(frame)).sum())
        if broken and constraint.fields:
            raise ProbandError(f"Fault in proband: {broken} synthetic rows break {constraint.text!r}. Please report it with the schema.")
        if broken:
            raise InputError(f"No synthetic patient can satisfy {constraint.text!r}: it reads nothing that is drawn. Delete it.")
    return frame


def _finer(propose: Propose) -> _Asked:
    def asked(f: int, rows: _Rows, part: slice) -> np.ndarray:
        tokens = rows.tokens[part]
        return propose(f, np.where(tokens < 0, -1.0, tokens + rows.offsets[part]), rows.part_latent(part))

    return asked


def counted(n: int) -> int:
    """`n` if it is a number of patients that can be drawn, else InputError."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
        raise InputError(f"n = {n!r} synthetic patients cannot be drawn. Give a whole number, zero or more.")
    return int(n)


def marked(
    frame: pl.DataFrame,
    schema: Schema,
    synthesizer: str,
    seed: int,
    *,
    where: str | None,
    on_synthetic: bool = False,
    more: Mapping[str, str] | None = None,
    linked: Mapping[str, pl.DataFrame] | None = None,
) -> Cohort:
    """Synthetic patients with the mark of what made them, the condition they satisfy, and whether it learned from synthetic ones."""
    from proband import __version__

    details = {
        **({} if where is None else {"where": where}),
        **({"trained_on": "synthetic patients"} if on_synthetic else {}),
        **(more or {}),
    }
    return Cohort(schema, frame, Mark(synthesizer, __version__, int(seed), schema.hash, details), linked or {})


def _closing(found: list[Constraint], encoder: TableEncoder, order: Sequence[int]) -> dict[int, list[Constraint]]:
    """Place in the order -> the constraints that can be judged once the field there is drawn."""
    closing: dict[int, list[Constraint]] = {}
    position = {f: at for at, f in enumerate(order)}
    for constraint in found:
        if constraint.fields:
            closing.setdefault(max(position[f] for f in constraint.fields), []).append(constraint)
    return closing


def _draw(
    encoder: TableEncoder,
    n: int,
    particles: int,
    asked: _Asked,
    order: Sequence[int],
    closing: dict[int, list[Constraint]],
    last: int,
    rng: np.random.Generator,
    latent: Latent | None,
    final: bool = False,
) -> _Rows | float:
    """n rows; or, unless `final`, the number of particles that would have been enough."""
    shape = (particles, len(order))
    brought = latent(particles, rng) if latent is not None else None
    rows = _Rows(np.full(shape, -1, np.int32), np.full(shape, 0.5), brought, np.ones(particles))
    needed = 1.0
    for at, f in enumerate(order):
        closed = closing.get(at, [])
        shared = _shared(encoder, f, closed)
        masses = []
        step = max(1, _CELLS // max(encoder.fields[f].levels, 1))
        for start in range(0, len(rows.tokens), step):
            part = slice(start, start + step)
            masses.append(_draw_field(encoder, f, rows, part, closed, shared, asked, rng))
        mass = np.concatenate(masses) if masses else np.ones(0)
        if not closed or not len(mass):
            continue
        if not mass.any():
            if shared is not None and len(shared.tokens) and not final and at <= last:
                return float(100 * particles)  # not impossible by itself: among more rows one may lead there
            texts = " and ".join(dict.fromkeys(repr(c.text) for c in closed))
            raise InputError(
                f"No synthetic patient can satisfy {texts}. Ask for values that the training patients span, or widen the condition."
            )
        if any(c.condition for c in closed):
            rows.weights = rows.weights * mass
            enough = rows.weights.sum() ** 2 / (rows.weights**2).sum()
            if at == last:
                needed = max(needed, 2 * n / enough * particles)
                if enough < min(n, 0.9 * len(rows.weights)) and not final and particles < _PARTICLES and needed > 1.5 * particles:
                    return needed
                rows = rows.take(_systematic(rows.weights, n, rng))
            elif enough < len(rows.weights) / 2:
                needed = max(needed, 2 * n / enough * particles)
                rows = rows.take(_systematic(rows.weights, len(rows.weights), rng))
        elif not mass.all():  # a rule left some rows without a way on: another row takes their place
            live = np.flatnonzero(mass)
            chosen = np.arange(len(mass))
            chosen[mass == 0] = rng.choice(live, int((mass == 0).sum()))
            weights = rows.weights[chosen]
            rows = rows.take(chosen)
            rows.weights = weights
    return rows


def _systematic(weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n row numbers, each as often as its weight says to within one."""
    until = np.cumsum(weights / weights.sum())
    chosen = np.searchsorted(until, (np.arange(n) + rng.random()) / max(n, 1), side="right")
    # Rounding may leave the last point beyond the last weight, which must not pick a row of weight zero.
    return np.minimum(chosen, np.flatnonzero(weights)[-1])


def _shared(encoder: TableEncoder, f: int, closed: list[Constraint]) -> Candidates | None:
    """The field's possible values; those that break a constraint on this field alone are already out."""
    if not closed:
        return None
    alone = [c for c in closed if c.fields == {f}]
    found = candidates(encoder, f, closed, per_bin=64 if len(alone) == len(closed) else 12)
    keep = judged(encoder, alone, {f: (found.tokens, found.offsets)}, len(found.tokens))
    return found.take(np.flatnonzero(keep))


def _draw_field(
    encoder: TableEncoder,
    f: int,
    rows: _Rows,
    part: slice,
    closed: list[Constraint],
    shared: Candidates | None,
    asked: _Asked,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw field `f` of the rows in `part`, in place. Gives the probability that was left to the constraints, (rows,)."""
    tokens, offsets = rows.tokens[part], rows.offsets[part]
    probability, marginal = _proposed(encoder, f, tokens, asked(f, rows, part))
    mass = np.ones(len(tokens))
    redo = np.arange(len(tokens))
    if not any(c.condition for c in closed):
        # Rules seldom bite: draw freely, and draw again under the mask only where that broke one. The distribution is the same.
        tokens[:, f] = _categorical(probability, rng)
        offsets[:, f] = np.where(encoder.bins(f)[tokens[:, f]], rng.random(len(tokens)), 0.5)
        redo = np.flatnonzero(~judged(encoder, closed, _codes(tokens, offsets), len(tokens)))
    step = max(1, _CELLS // len(shared.tokens)) if shared is not None and len(shared.tokens) else len(tokens)
    for start in range(0, len(redo), max(step, 1)):
        some = redo[start : start + step]
        assert shared is not None
        masked = _Masked(encoder, f, tokens[some], offsets[some], closed, shared)
        mass[some] = masked.draw(probability[some], rng)
        stuck = np.flatnonzero(mass[some] == 0)
        if len(stuck):
            again = some[stuck]
            rescue = _Masked(encoder, f, tokens[again], offsets[again], closed, shared)
            mass[again] = _LAST_RESORT * rescue.draw(marginal[again], rng)
            masked.tokens[stuck], masked.offsets[stuck] = rescue.tokens, rescue.offsets
        tokens[some], offsets[some] = masked.tokens, masked.offsets
    return mass


def _proposed(encoder: TableEncoder, f: int, tokens: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The proposal and the training marginal, (rows, levels) each, without what cannot go with the tokens drawn; rows sum to 1."""
    shape = len(tokens), encoder.fields[f].levels
    probability = np.asarray(probability, float)
    if probability.shape != shape:
        raise ProbandError(f"propose gave shape {probability.shape} for field {f}, {shape} is needed.")
    marginal = np.broadcast_to(encoder.fields[f].counts.astype(float), shape)
    allowed = encoder.compatible(f, tokens)
    if allowed is not None:
        probability, marginal = probability * allowed, marginal * allowed
        # No training patient goes with what is drawn: what can be at all, all alike.
        marginal = np.where(marginal.sum(axis=1, keepdims=True) > 0, marginal, allowed)
    marginal = marginal / marginal.sum(axis=1, keepdims=True)
    total = probability.sum(axis=1, keepdims=True)
    return np.where(total > 0, probability / np.where(total > 0, total, 1), marginal), marginal


@dataclass
class _Masked:
    """Drawing one field of some rows under the constraints that close there. `draw` fills the field's tokens and offsets."""

    encoder: TableEncoder
    f: int
    tokens: np.ndarray
    offsets: np.ndarray
    closed: list[Constraint]
    shared: Candidates

    def draw(self, probability: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Gives the probability that the constraints left, (rows,); 0: the row could not be drawn."""
        shared = self.shared
        allowed = self._allowed(probability)  # (rows or 1, candidates)
        levels = probability.shape[1]
        room = np.zeros((len(allowed), levels))
        if len(shared.tokens):
            present, first = np.unique(shared.tokens, return_index=True)
            room[:, present] = np.add.reduceat(allowed * shared.width, first, axis=1)
        by_token = probability * room
        extra_tokens, extra_offsets, extra = self._extra(probability)
        choices = np.concatenate([by_token, extra], axis=1)
        mass = choices.sum(axis=1)
        live = np.flatnonzero(mass > 0)
        if not len(live):
            return mass
        chosen = _categorical(choices[live], rng)
        beyond = chosen >= levels
        at, which = live[beyond], chosen[beyond] - levels
        self.tokens[at, self.f], self.offsets[at, self.f] = extra_tokens[at, which], extra_offsets[at, which]
        at = live[~beyond]
        if len(at):
            self.tokens[at, self.f] = chosen[~beyond]
            self._within(at, allowed, rng)
        return np.minimum(mass, 1.0)

    def _allowed(self, probability: np.ndarray) -> np.ndarray:
        """(rows or 1, candidates) True where all constraints hold; those on this field alone are already in `shared`."""
        together = [c for c in self.closed if c.fields != {self.f}]
        if not together:
            return np.ones((1, len(self.shared.tokens)), bool)
        row, candidate = np.nonzero(probability[:, self.shared.tokens] > 0)
        allowed = np.zeros((len(self.tokens), len(self.shared.tokens)), bool)
        for start in range(0, len(row), _CELLS // 4):
            r, c = row[start : start + _CELLS // 4], candidate[start : start + _CELLS // 4]
            codes = _codes(self.tokens, self.offsets, r, self.f, (self.shared.tokens[c], self.shared.offsets[c]))
            allowed[r, c] = judged(self.encoder, together, codes, len(r))
        return allowed

    def _extra(self, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values that only this row points to, and their probability, (rows, E) each."""
        rows = len(self.tokens)
        if all(c.fields == {self.f} for c in self.closed):
            return np.zeros((rows, 0), np.int32), np.zeros((rows, 0)), np.zeros((rows, 0))
        tokens, offsets, width = row_candidates(self.encoder, self.f, self.closed, _codes(self.tokens, self.offsets).__getitem__, rows)
        extra = np.take_along_axis(probability, tokens, axis=1) * width
        for e in range(tokens.shape[1]):
            codes = _codes(self.tokens, self.offsets, np.arange(rows), self.f, (tokens[:, e], offsets[:, e]))
            extra[:, e] *= judged(self.encoder, self.closed, codes, rows)
        return tokens, offsets, extra

    def _within(self, at: np.ndarray, allowed: np.ndarray, rng: np.random.Generator) -> None:
        """Offsets of the rows `at`, whose token is chosen: among the candidates of that token, then around the candidate."""
        shared, token = self.shared, self.tokens[at, self.f]
        first, until = np.searchsorted(shared.tokens, token), np.searchsorted(shared.tokens, token, side="right")
        reach = np.arange((until - first).max())
        candidate = np.minimum(first[:, None] + reach, len(shared.tokens) - 1)
        weight = shared.width[candidate] * (reach < (until - first)[:, None])
        weight = weight * allowed[at[:, None] if len(allowed) > 1 else 0, candidate]
        picked = candidate[np.arange(len(at)), _categorical(weight, rng)]
        offset = shared.offsets[picked]
        near = np.clip(offset + shared.half[picked] * (2 * rng.random(len(at)) - 1), 0, 1 - 1e-9)
        good = judged(self.encoder, self.closed, _codes(self.tokens, self.offsets, at, self.f, (token, near)), len(at))
        self.offsets[at, self.f] = np.where(good, near, offset)


class _codes(dict):
    """field -> (tokens, offsets) of some rows, made when asked for; `f` may be replaced by other codes."""

    def __init__(
        self,
        tokens: np.ndarray,
        offsets: np.ndarray,
        rows: np.ndarray | None = None,
        f: int = -1,
        instead: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        super().__init__({f: instead} if instead is not None else {})
        self._tokens, self._offsets, self._rows = tokens, offsets, rows

    def __missing__(self, field: int) -> tuple[np.ndarray, np.ndarray]:
        at = slice(None) if self._rows is None else self._rows
        self[field] = self._tokens[at, field], self._offsets[at, field]
        return self[field]


def _categorical(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One column number a row, with probability in proportion to `weights` (rows, columns); no row of zeros."""
    until = np.cumsum(weights, axis=1)
    point = rng.random(len(weights)) * until[:, -1]
    return np.minimum((until <= point[:, None]).sum(axis=1), weights.shape[1] - 1)
