"""The masked network beside an encoder: rows in, distributions out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from proband.encode import Codes, TableEncoder
from proband.game import filling
from proband.game.fields import Layout
from proband.game.masked import BATCH, NOBODY, PLACES, Completer, Rows, Variables, learn

WIDTH, BLOCKS, DROPOUT = 320, 2, 0.2
#: Times through the training rows: the held-out likelihood of a few thousand patients is best after 30 to 40.
PASSES = 50
FEWEST_STEPS = 300
DUEL_ROUNDS = 300
ROWS_AT_ONCE = 8192


def variables_of(encoder: TableEncoder) -> Variables:
    """The variables of the encoder's rows; a field has places when one of its tokens is a range."""
    return Variables.of(Layout.of(encoder.fields), tuple(f for f in range(len(encoder.fields)) if encoder.bins(f).any()))


def steps_in(minutes: float, variables: Variables, rows: int) -> int:
    """Steps that fit in `minutes` on an ordinary core: a sum, not a measurement, so that the same seed gives the same network."""
    width = variables.layout.width
    seconds = 0.012 + 4e-5 * width  # measured from 150 to 13,000 levels
    return max(1, min(round(minutes * 60 / seconds), max(FEWEST_STEPS, PASSES * rows // BATCH)))


def learned(
    encoder: TableEncoder,
    codes: Codes,
    held: Codes,
    *,
    minutes: float,
    seed: int,
    duel: bool = False,
    on_step: Callable[[int, int, str, Mapping[str, float]], None] | None = None,
) -> tuple[Completer, list[tuple[int, float]]]:
    """The network learned from `codes`, stopped where it tells `held` best, then refined or not; and (step, loss on `held`)."""
    variables = variables_of(encoder)
    rng = torch.Generator().manual_seed(seed)
    net = fresh(encoder, variables, rng)
    rows = _rows(encoder, codes, variables.ranged)
    unseen = _rows(encoder, held, variables.ranged) if len(held) else None
    net, history = learn(net, rows, unseen, steps=steps_in(minutes, variables, len(codes)), rng=rng, on_step=on_step)
    if duel:
        net, _ = filling.refined(net, rows, unseen, steps=DUEL_ROUNDS, rng=rng, on_step=on_step)
    return net, history


def fresh(encoder: TableEncoder, variables: Variables, rng: torch.Generator, *, width: int = WIDTH, blocks: int = BLOCKS) -> Completer:
    """The network before it has learned: it knows the shares of every token."""
    shares = [f.counts / max(1, f.counts.sum()) for f in encoder.fields] + [np.full(PLACES, 1 / PLACES)] * len(variables.ranged)
    return Completer(variables, torch.from_numpy(np.concatenate(shares)), rng, width=width, blocks=blocks, dropout=DROPOUT)


@torch.no_grad()
def told(net: Completer, field: int, tokens: np.ndarray, visible: np.ndarray | None = None) -> np.ndarray:
    """(rows, levels) what the network says of `field`; `visible` (fields,) bool: what it may see of the tokens that are drawn (>= 0)."""
    seen = tokens >= 0 if visible is None else (tokens >= 0) & visible
    seen[:, field] = False
    part, found = net.variables.layout.part(field), []
    possible = (net.log_shares[part] > NOBODY).double()
    for start in range(0, len(tokens), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        trunk = net.trunk(torch.from_numpy(np.maximum(tokens[some], 0).astype(np.int64)), torch.from_numpy(seen[some]))
        found.append((net.logits(trunk, part).double().softmax(1) * possible).numpy())
    return np.concatenate(found) if found else np.zeros((0, net.variables.layout.levels[field]))


@torch.no_grad()
def settled(net: Completer, encoder: TableEncoder, tokens: np.ndarray, offsets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(rows, fields) offsets drawn anew, each given all tokens of its row."""
    variables, found = net.variables, offsets.copy()
    if not variables.ranged:
        return found
    places = slice(int(variables.layout.starts[variables.fields]), variables.layout.width)
    for start in range(0, len(tokens), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        trunk = net.trunk(torch.from_numpy(tokens[some].astype(np.int64)), torch.ones(tokens[some].shape, dtype=torch.bool))
        logits = net.logits(trunk, places).double().numpy().reshape(len(trunk), len(variables.ranged), PLACES)
        place = (logits - np.log(-np.log(rng.random(logits.shape)))).argmax(axis=2)
        within = np.minimum((place + rng.random(place.shape)) / PLACES, 1 - 1e-7)
        for at, field in enumerate(variables.ranged):
            found[some, field] = np.where(encoder.bins(field)[tokens[some, field]], within[:, at], offsets[some, field])
    return found


def _rows(encoder: TableEncoder, codes: Codes, ranged: tuple[int, ...]) -> Rows:
    """Training rows: a value that c of a token's n patients hold covers c / n of its range."""
    low = np.zeros((len(codes), len(ranged)), np.float32)
    span, real = np.ones_like(low), np.zeros(low.shape, bool)
    for at, field in enumerate(ranged):
        tokens = codes.tokens[:, field]
        real[:, at] = encoder.bins(field)[tokens]
        values, which, count = np.unique(tokens + codes.offsets[:, field].astype(float), return_inverse=True, return_counts=True)
        token = np.floor(values).astype(int)
        size = np.bincount(tokens, minlength=encoder.fields[field].levels)
        first = np.cumsum(size) - size
        low[:, at] = ((np.cumsum(count) - count - first[token]) / size[token])[which]
        span[:, at] = (count / size[token])[which]
    return Rows(*(torch.from_numpy(part) for part in (codes.tokens.astype(np.int64), low, span, real)))
