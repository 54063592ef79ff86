"""TableGAN, the default: columns told one after another, completed by a masked network, and chosen by a critic."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import polars as pl
import torch

from proband import seeds
from proband.cohort import Cohort
from proband.encode import Codes, TableEncoder
from proband.encode.admissible import constraints
from proband.encode.plain import plain
from proband.errors import InputError
from proband.game.masked import Completer
from proband.game.play import deterministic
from proband.game.selection import Critic, learn_critic, packed, select, unpacked
from proband.schema import rules
from proband.schema.model import validated
from proband.stats.neighbours import row_hashes
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers import chain as chains
from proband.synthesizers import completer
from proband.synthesizers.drawing import decoded, draw_codes, marked
from proband.synthesizers.refine import HELD_OUT, MOST_JUDGED, held_out, selected

MOST_HELD_OUT = 4000  # rows of them that are looked at; more would only take time
MANY = 20_000  # rows of which those held out would change little: nothing is learned twice
THREADS = 2  # columns learned at once; changes the time, never the result
CANDIDATES = 3  # drawn for each row that is kept
PILOT = 2000  # rows that say how rare a condition is
COPY = -20.0  # log weight of a candidate who equals a patient who is alone in being so: taken when nobody else is left
DIRECT = 1_500_000  # rows that are drawn, at most, to find those who satisfy a condition: two minutes or three
AT_ONCE = 100_000  # of them in memory at once
ASKED = 500  # rows that say whether a field has to do with the condition
SILENT = 0.08  # total variation between the field with and without the condition, below which it has not


@dataclass(frozen=True)
class _Fitted:
    encoder: TableEncoder
    chain: chains.Chain
    net: Completer
    critics: tuple[Critic, ...]
    stages: list[dict[str, float]]
    alone: np.ndarray  # hashes of the rows that one training patient alone has
    on_synthetic: bool  # whether the patients that it learned from were synthetic themselves


class TableGAN:
    """Learns what each column is given the others, then plays against a critic that weighs whole patients. The default for tables.

    minutes   time for the masked network on an ordinary core, at most; it stops when the held-out patients say so
    select    whether the critic chooses among candidates: the adversarial half of the game
    duel      whether the network is refined by gradient against a discriminator too: it gained nothing (docs/tablegan.md)

    Likelihood comes first: the columns are told one after another (`chain`), each by a mixture of forests and of a network that
    fills any hidden part of a row given any visible part (`completer`). Then a critic learns to tell whole fakes from real
    patients, and three candidates are drawn for every patient that is kept. A round of selection stays only if its judges, one of
    whom has patients whom neither side has seen, find the fakes harder to tell, and membership risk does not rise by more than
    .01: `stages` has the figures. `history` holds (round, success of the judges); 0.5 is a guess.

    >>> model = TableGAN().fit(cohort, seed=0)                                 # doctest: +SKIP
    >>> model.sample(100, seed=1, where="age > 80")                            # doctest: +SKIP
    >>> model.impute(cohort, seed=1)                                           # doctest: +SKIP
    """

    name: ClassVar[str] = "gan"

    def __init__(
        self,
        *,
        minutes: float = 1.0,
        select: bool = True,
        duel: bool = False,
        epsilon: float | None = None,
        delta: float | None = None,
    ) -> None:
        if epsilon is not None or delta is not None:
            raise InputError(
                f"TableGAN cannot keep epsilon = {epsilon!r}: its critic chooses rows by what it knows of real patients, and what is kept "
                "and when it stops is decided by looking at others. None of that is paid for. Use PrivateMarginals (marginals), or "
                "DuelGAN (duel), whose discriminator meets patients through noise alone."
            )
        if not 0 < minutes <= 100_000:
            raise InputError(f"minutes = {minutes!r} is not a training time. Give a number above 0, such as 2.")
        self.minutes, self.select, self.duel = minutes, select, duel
        self._fitted: _Fitted | None = None

    @property
    def history(self) -> list[tuple[int, float]]:
        """(round of selection, mean success of its judges); round 0 is before any, 0.5 is a guess."""
        return list({int(stage["round"]): stage["success"] for stage in self._learned.stages}.items())

    @property
    def stages(self) -> list[dict[str, float]]:
        """Per round of selection, or attempt at it: success of the judges, membership AUC, effective share, strength, whether kept."""
        return [dict(stage) for stage in self._learned.stages]

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This TableGAN has not learned anything yet. Call fit(cohort, seed=...) first, or load a saved model.")
        return self._fitted

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Learn from the train part of a cohort. Interrupted, the model stays as it was."""
        encoder = TableEncoder.learnable(cohort)
        codes = encoder.encode(cohort.frame)
        aside = held_out(cohort, min(HELD_OUT, MOST_HELD_OUT / max(1, cohort.frame.height)), seed)
        places = codes.tokens + codes.offsets.astype(float)
        own, held = np.flatnonzero(~aside), np.flatnonzero(aside)
        if not len(held):
            held = own
        judged = held[:MOST_HELD_OUT]
        order = chains.scores_last(encoder, places[own], seed)
        whole = [*order[0], *order[1]]
        with ThreadPoolExecutor(1) as pool:  # the forests grow while the network learns: one thread each
            grown = pool.submit(chains.learn_predictors, encoder.fields, places[own], order, seed=seed, threads=1)
            net, _ = completer.learned(
                encoder,
                _some(codes, own),
                _some(codes, judged),
                minutes=self.minutes,
                seed=seeds.integer(seed, "gan", "net"),
                duel=self.duel,
                on_step=on_step,
            )
            predictors = grown.result()
        with deterministic():
            weights = chains.weighed(encoder.fields, whole, predictors, places[judged], partial(completer.told, net))
        chain = chains.woven(encoder.fields, whole, predictors, weights, net=True)
        learned = _Fitted(encoder, chain, net, (), [], _alone(cohort), cohort.mark is not None)
        if self.select and len(own) < cohort.frame.height:
            learned = _played(learned, cohort, own, judged, seed, on_step)
        if cohort.frame.height > MANY:
            self._fitted = learned
            return self
        # What was decided with patients held out is done once more with all of them.
        predictors = chains.learn_predictors(encoder.fields, places, order, seed=seed, threads=THREADS, on_step=on_step)
        learned = replace(learned, chain=chains.woven(encoder.fields, whole, predictors, weights, net=True))
        self._fitted = _replayed(learned, cohort, seed, on_step)
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients; every one keeps the schema's rules and satisfies `where`.

        Who satisfies `where` is found among patients drawn as ever; for a condition too rare for that, its columns come first, told
        by the network, and the others follow, given those.
        """
        learned = self._learned
        frame = _drawn(learned, n, seeds.generator(seed, "gan", "sample"), where)
        return marked(frame, learned.encoder.schema, self.name, seed, where=where, on_synthetic=learned.on_synthetic)

    def impute(self, cohort: Cohort, *, seed: int) -> Cohort:
        """`cohort` with every missing value drawn given what the patient has; known values stay as they are."""
        return _imputed(self._learned, cohort, seeds.generator(seed, "gan", "impute"))

    def likelihood(self, cohort: Cohort) -> np.ndarray:
        """(rows,) the mean log probability (at least log 1e-9) that the network gives each value of a row, given all others of it.

        For audits (`privacy.white_box`): training patients may be likelier than strangers. The forests, which draw with the network,
        are not asked. It takes one pass over the rows for every field.
        """
        encoder, net = self._learned.encoder, self._learned.net
        tokens = encoder.encode(cohort.frame).tokens
        rows, total = np.arange(len(tokens)), np.zeros(len(tokens))
        with deterministic():
            for field in range(tokens.shape[1]):
                total += np.log(np.maximum(completer.told(net, field, tokens)[rows, tokens[:, field]], 1e-9))
        return total / max(1, tokens.shape[1])

    def save(self, path: str | Path) -> None:
        """Write a model folder. It holds counts, sorted values and hashes of rows: guard it as you guard the data."""
        learned = self._learned
        plain_encoder, arrays = learned.encoder.state()
        plain_chain, chain_arrays = chains.state(learned.chain)
        critics, critic_arrays = packed(learned.critics)
        config = {
            "schema": learned.encoder.schema.model_dump(mode="json"), "encoder": plain_encoder, "chain": plain_chain,
            "minutes": self.minutes, "select": self.select, "duel": self.duel,
            "stages": learned.stages, "on_synthetic": learned.on_synthetic,
            "critics": critics,
        }  # fmt: skip
        found = {f"encoder.{key}": array for key, array in arrays.items()}
        found |= {f"chain.{key}": array for key, array in chain_arrays.items()}
        found["alone"] = learned.alone
        found |= {f"net.{key}": weight.numpy() for key, weight in learned.net.state_dict().items()}
        found |= {f"critic.{key}": array for key, array in critic_arrays.items()}
        write_model(path, self.name, config, found)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, stored: Model) -> Self:
        config, arrays = stored.config, stored.arrays
        schema = validated(config["schema"], "The model's schema")
        encoder = TableEncoder.restored(schema, config["encoder"], under("encoder.", arrays))
        chain = chains.restored(encoder.fields, config["chain"], under("chain.", arrays))
        columns = plain(encoder.decode(Codes(np.zeros((1, len(encoder.fields)), np.int32), np.full((1, len(encoder.fields)), 0.5))), schema)
        critics = unpacked(config["critics"], under("critic.", arrays), columns.shape[1])
        model = cls(minutes=config["minutes"], select=bool(config["select"]), duel=bool(config["duel"]))
        stages = [{str(key): float(value) for key, value in stage.items()} for stage in config["stages"]]
        net = _net(encoder, under("net.", arrays))
        alone = arrays["alone"]
        if alone.dtype != np.uint64 or alone.ndim != 1:
            raise ValueError("the hashes of rows are not hashes")
        model._fitted = _Fitted(encoder, chain, net, critics, stages, alone, bool(config["on_synthetic"]))
        return model


def _played(learned: _Fitted, cohort: Cohort, own: np.ndarray, judged: np.ndarray, seed: int, on_step: OnStep | None) -> _Fitted:
    """The critics of the rounds of selection that the judge let stand."""
    schema, rng = learned.encoder.schema, seeds.generator(seed, "gan", "select")
    real, unseen = plain(cohort.frame[own[_few(len(own), rng)].tolist()], schema), plain(cohort.frame[judged.tolist()], schema)
    fakes = plain(_candidates(learned, CANDIDATES * len(real), rng, None)[1], schema)
    found = selected(fakes, real, unseen, n=len(real), seed=seed, on_step=on_step)
    return replace(learned, critics=found.critics, stages=found.stages)


def _replayed(learned: _Fitted, cohort: Cohort, seed: int, on_step: OnStep | None) -> _Fitted:
    """As many rounds of selection as stood, with critics that have all training patients."""
    if not learned.critics:
        return learned
    schema, rng = learned.encoder.schema, seeds.generator(seed, "gan", "replay")
    real = plain(cohort.frame[_few(cohort.frame.height, rng)], schema)
    fakes = plain(_candidates(learned, CANDIDATES * len(real), rng, None)[1], schema)
    log_weights, kept, critics = np.zeros(len(fakes)), np.arange(len(fakes)), []
    for number, before in enumerate(learned.critics):
        if on_step is not None:
            on_step(number, len(learned.critics), "select again", {})
        again = learn_critic(fakes[kept], real, seed=seeds.integer(seed, "gan", "critic", number) % 2**31)
        critics.append(again._replace(strength=before.strength))
        log_weights = log_weights + critics[-1].log_odds(fakes)
        kept = select(log_weights, len(real), rng)
    if on_step is not None:
        on_step(len(critics), len(critics), "select again", {})
    return replace(learned, critics=tuple(critics))


def _candidates(
    learned: _Fitted, n: int, rng: np.random.Generator, where: str | None, first: frozenset[int] = frozenset()
) -> tuple[Codes, pl.DataFrame]:
    """`n` rows before any critic chooses; the fields `first` are told before the others, which keep the chain's order."""
    encoder, chain, net = learned.encoder, learned.chain, learned.net
    with deterministic():
        codes = draw_codes(
            encoder,
            n,
            propose=lambda field, places, _: _proposed(chain, net, field, places, rng),
            order=sorted(chain.order, key=lambda field: field not in first),
            where=where,
            rng=rng,
            finer=True,
            settle=lambda tokens, offsets, rng: completer.settled(net, encoder, tokens, offsets, rng),
        )
    return codes, decoded(encoder, codes, where)


def _proposed(chain: chains.Chain, net: Completer, field: int, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(rows, levels) of `field` given all that is drawn, as the one predictor tells it that a row hears.

    The chain's predictors know what comes before the field. Of what was told early, to meet a condition, only the network knows:
    what a forest says is multiplied by what that knowledge changes, unless it changes nothing worth the time.
    """
    drawn = places[0] >= 0 if len(places) else np.ones(places.shape[1], bool)
    before = np.zeros(len(drawn), bool)
    before[list(chain.order[: chain.order.index(field)])] = True
    tokens = np.floor(places).astype(np.int32)
    if not drawn[before].all():
        return completer.told(net, field, tokens)
    heard = chain.heard(field, len(places), rng)
    given, whole = partial(completer.told, net, visible=before), partial(completer.told, net)
    early = (drawn & ~before).any()
    if early:
        pilot = tokens[:ASKED]
        early = np.abs(whole(field, pilot) - given(field, pilot)).sum(axis=1).mean() / 2 > SILENT
    if not early:
        return chain.propose(field, places, given, heard)
    found = chain.propose(field, places, whole, heard)
    others = np.flatnonzero(heard[:, -1] == 0)
    found[others] *= whole(field, tokens[others]) / np.maximum(given(field, tokens[others]), 1e-9)
    return found


def _drawn(learned: _Fitted, n: int, rng: np.random.Generator, where: str | None) -> pl.DataFrame:
    """`n` rows, chosen by the critics among more candidates.

    Who satisfies a condition is found among patients drawn in the chain's order, as long as that takes no more than `DIRECT` of
    them: a rare diagnosis is told best by all that came before it. For a rarer condition the network tells its columns first.
    """
    first: frozenset[int] = frozenset()
    needed: float = CANDIDATES  # rows for each that is kept
    if isinstance(where, str) and where.strip() and n:
        pilot = _candidates(learned, PILOT, rng, None)[1]
        met = np.all([constraint.judge(pilot) for constraint in constraints(learned.encoder, where)], axis=0).sum()
        if n * CANDIDATES * PILOT <= DIRECT * met:
            needed = CANDIDATES * PILOT / met
        else:
            first = frozenset(learned.encoder.reads(rules.columns(where, learned.encoder.schema.table)))
    step = max(1, int(AT_ONCE / needed))
    parts = [_chosen(learned, min(step, n - start), rng, where, first) for start in range(0, max(n, 1), step)]
    return decoded(learned.encoder, _joined(parts), where)


def _chosen(learned: _Fitted, n: int, rng: np.random.Generator, where: str | None, first: frozenset[int]) -> Codes:
    """`n` of more candidates: as the critics weigh them, and nobody real as long as there are others."""
    schema = learned.encoder.schema
    codes, frame = _candidates(learned, CANDIDATES * n if learned.critics else n + n // 20, rng, where, first)
    values = plain(frame, schema)
    if (~_copies(learned, values)).sum() < n:  # a table of few words, where chance alone makes many copies
        more, frame = _candidates(learned, CANDIDATES * n, rng, where, first)
        codes, values = _joined([codes, more]), np.concatenate([values, plain(frame, schema)])
    weights = COPY * _copies(learned, values)
    if learned.critics:
        weights = weights + np.sum([critic.log_odds(values) for critic in learned.critics], axis=0)
    chosen = select(weights, n, rng)
    return _some(codes, chosen[rng.permutation(n)])


def _joined(parts: list[Codes]) -> Codes:
    return Codes(np.concatenate([part.tokens for part in parts]), np.concatenate([part.offsets for part in parts]))


def _copies(learned: _Fitted, values: np.ndarray) -> np.ndarray:
    """(rows,) whether a row equals a training patient who was alone in being so."""
    return np.isin(_hashes(values), learned.alone)


def _hashes(values: np.ndarray) -> np.ndarray:
    """(rows,) uint64 of rows as `encode.plain` gives them."""
    return row_hashes((np.nan_to_num(values, nan=-1e300) + 0.0).T.copy().view(np.int64))


def _alone(cohort: Cohort) -> np.ndarray:
    """Sorted hashes of the rows that no second patient has."""
    hashes = _hashes(plain(cohort.frame, cohort.schema))
    key = cohort.schema.table.key
    who = np.unique(cohort.frame[key].to_numpy(), return_inverse=True)[1] if key else np.arange(len(hashes))
    held, patients = np.unique(np.unique(np.stack([hashes, who.astype(np.uint64)], axis=1), axis=0)[:, 0], return_counts=True)
    return held[patients == 1]


def _imputed(learned: _Fitted, cohort: Cohort, rng: np.random.Generator) -> Cohort:
    encoder, chain, net = learned.encoder, learned.chain, learned.net
    codes = encoder.encode(cohort.frame)
    places = codes.tokens + codes.offsets.astype(float)
    known = codes.tokens > 0
    places[~known] = -1
    with deterministic():
        for field in chain.order:
            rows = np.flatnonzero(~known[:, field])
            tokens = np.floor(places[rows]).astype(np.int32)
            if not len(rows) or encoder.fields[field].levels < 2:
                continue
            told = completer.told(net, field, tokens)
            allowed = encoder.compatible(field, tokens)
            told = told if allowed is None else told * allowed
            told[:, 0] = 0
            total = told.sum(axis=1, keepdims=True)
            told = np.where(total > 0, told, encoder.fields[field].counts * (np.arange(told.shape[1]) > 0))
            until = np.cumsum(told, axis=1)
            drawn = (until <= rng.random(len(rows))[:, None] * until[:, -1:]).sum(axis=1).clip(0, told.shape[1] - 1)
            places[rows, field] = drawn + np.where(encoder.bins(field)[drawn], rng.random(len(rows)) * (1 - 1e-6), 0.5)
    tokens = np.floor(places).astype(np.int32)
    made = encoder.decode(Codes(tokens, (places - tokens).astype(np.float32)))
    filled = [
        cohort.frame[c.name] if c.kind == "identifier" else cohort.frame[c.name].fill_null(made[c.name])
        for c in encoder.schema.table.columns
    ]
    return Cohort(cohort.schema, pl.DataFrame(filled), cohort.mark)


def _few(rows: int, rng: np.random.Generator) -> list[int]:
    """All row numbers, or a random draw where there are more than a critic needs."""
    return list(range(rows)) if rows <= MOST_JUDGED else np.sort(rng.choice(rows, MOST_JUDGED, replace=False)).tolist()


def _some(codes: Codes, rows: np.ndarray) -> Codes:
    return Codes(codes.tokens[rows], codes.offsets[rows])


def _net(encoder: TableEncoder, weights: Mapping[str, np.ndarray]) -> Completer:
    """The network with these weights; its size is theirs. ValueError when they do not belong to one, or are not finite."""
    if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in weights.values()):
        raise ValueError("a weight is not a finite number")
    width = weights["read"].shape[1]
    blocks = sum(key.startswith("firsts.") and key.endswith("weight") for key in weights)
    net = completer.fresh(encoder, completer.variables_of(encoder), torch.Generator(), width=width, blocks=blocks)
    try:
        net.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})
    except RuntimeError as error:
        raise ValueError("the weights do not fit the table") from error
    return net.finished()
