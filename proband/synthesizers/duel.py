"""DuelGAN: the game from noise. A generator makes whole patients at once; a discriminator tells them from real ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from proband import seeds
from proband.cohort import Cohort
from proband.encode.tables import TableEncoder
from proband.errors import InputError
from proband.game import duel
from proband.game.fields import Discriminator, Generator, Layout
from proband.game.moments import PairTables
from proband.game.play import Game, Pairs, deterministic, play, shuffled
from proband.schema import rules
from proband.schema.model import validated
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers.drawing import draw, marked

SIZES = {"latent": 32, "width": 192, "blocks": 2}
BATCH = 256
GAMMA = 0.1  # of the zero-centred penalties; 0.3 leaves the discriminator too blunt for two minutes, 0.03 changes nothing
TABLES = 0.2  # weight of the two-way tables in the generator's loss; see docs/duel.md for what other weights gave
PASSES = 120  # on Framingham (2,290 rows) the held-out success rate is .52 after 112 passes and .39, below a guess, after 370
FEWEST_ROUNDS = 600
ROWS_AT_ONCE = 8192
HELD_OUT = 0.1  # share of the training patients by which the success rate is measured
MOST_HELD_OUT = 2000  # rows of them that are looked at; more would only take time


class _Fitted(NamedTuple):
    encoder: TableEncoder
    generator: Generator
    history: list[tuple[int, float]]
    on_synthetic: bool  # whether the patients that it learned from were synthetic themselves


def forge_turn(game: Game, pairs: Pairs, rng: torch.Generator, *, tables: PairTables) -> Tensor:
    """The duel's move, plus the distance of the generator's two-way tables from the real ones."""
    assert isinstance(game.generator, Generator)
    shared = torch.randn(BATCH, game.generator.latent, generator=rng)
    distance = tables.distance(game.generator.probabilities(shared))
    return duel.forge_turn(game, pairs, rng) + TABLES * distance


def steps_in(minutes: float, layout: Layout, rows: int) -> int:
    """Rounds that fit in `minutes` on an ordinary core: a fixed sum, not a measurement, so that the same seed plays the same game.

    A small table is not played for longer than PASSES times through its rows: beyond that the discriminator knows them by heart.
    """
    seconds = 0.02 + 5e-5 * layout.width + 1.5e-8 * layout.width**2
    enough = max(FEWEST_ROUNDS, PASSES * rows // BATCH)
    return max(1, min(round(minutes * 60 / seconds), enough))


class DuelGAN:
    """Fits a table by the relativistic duel and samples from the averaged generator.

    minutes   training time on an ordinary core, at most; the number of rounds follows from it and the table's size alone

    Every field of a patient is drawn from the generator's probabilities given the patient's noise, so unseen combinations
    arise and the schema's rules hold. `history` holds (round, success rate of the discriminator on held-out pairs).

    >>> model = DuelGAN(minutes=1).fit(cohort, seed=0)                        # doctest: +SKIP
    >>> model.sample(100, seed=1, where="age > 80")                            # doctest: +SKIP
    """

    name: ClassVar[str] = "duel"

    def __init__(self, *, minutes: float = 2.0) -> None:
        if not 0 < minutes <= 100_000:
            raise InputError(f"minutes = {minutes!r} is not a training time. Give a number above 0, such as 2.")
        self.minutes = minutes
        self._fitted: _Fitted | None = None

    @property
    def history(self) -> list[tuple[int, float]]:
        """(round, share of held-out pairs in which the discriminator scored the real patient above the fake); 0.5 is a guess."""
        return list(self._learned.history)

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This DuelGAN has not learned anything yet. Call fit(cohort, seed=...) first, or load a saved model.")
        return self._fitted

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Play the game on `cohort`; a tenth of its patients only measure the success rate. Interrupted, the model stays as it was."""
        encoder = TableEncoder.learnable(cohort)
        layout = _layout(encoder)
        rng = torch.Generator().manual_seed(seeds.integer(seed, "duel", "fit"))
        patients = cohort.patients.sort()
        held_out = patients.gather(seeds.generator(seed, "duel", "held out").permutation(len(patients))[: round(HELD_OUT * len(patients))])
        aside = _rows_of(cohort, held_out)
        tokens = torch.from_numpy(encoder.encode(cohort.frame).tokens)
        real, unseen = tokens[~aside], tokens[aside]
        generator = Generator(layout, _counts(encoder), rng, **SIZES)
        game = Game(generator, Discriminator(layout, rng, width=SIZES["width"], blocks=SIZES["blocks"]), generator.noise)
        steps = steps_in(self.minutes, layout, len(real))
        averaged = play(
            game,
            (Pairs(layout.codes(pairs.real)) for pairs in shuffled(real, BATCH, rng)),
            steps=steps,
            judge_turn=partial(duel.judge_turn, gamma=GAMMA),
            forge_turn=partial(forge_turn, tables=PairTables(layout, real)),
            rng=rng,
            held_out=Pairs(layout.codes(unseen[:MOST_HELD_OUT])) if len(unseen) else None,
            look_every=max(1, steps // 40),
            on_step=on_step,
        )
        assert isinstance(averaged, Generator)
        self._fitted = _Fitted(encoder, averaged, game.history, cohort.mark is not None)
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients. The columns that `where` names come first: noise that makes the condition likely is kept more often
        (`drawing.draw`), which is the generator's own conditional distribution, and the other columns follow from that noise."""
        encoder, generator, _, on_synthetic = self._learned
        named = rules.columns(where, encoder.schema.table) if isinstance(where, str) and where.strip() else frozenset()
        first = encoder.reads(named)
        with deterministic():
            frame = draw(
                encoder,
                n,
                propose=partial(_propose, generator),
                order=sorted(range(len(encoder.fields)), key=lambda field: field not in first),
                where=where,
                rng=seeds.generator(seed, "duel", "sample"),
                latent=partial(_latent, generator),
            )
        return marked(frame, encoder.schema, self.name, seed, where=where, on_synthetic=on_synthetic)

    def save(self, path: str | Path) -> None:
        """Write a model folder. It holds the averaged generator and the encoder; the discriminator stays behind."""
        encoder, generator, history, on_synthetic = self._learned
        plain, arrays = encoder.state()
        write_model(
            path,
            self.name,
            {
                "schema": encoder.schema.model_dump(mode="json"),
                "encoder": plain,
                "minutes": self.minutes,
                "history": history,
                "on_synthetic": on_synthetic,
            },
            {f"encoder.{key}": array for key, array in arrays.items()}
            | {f"generator.{key}": weight.numpy() for key, weight in generator.state_dict().items()},
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model folder; a missing, oversized, altered or hostile file raises InputError."""
        return restore(path, cls.name, cls._rebuilt)

    @classmethod
    def _rebuilt(cls, stored: Model) -> Self:
        schema = validated(stored.config["schema"], "The model's schema")
        encoder = TableEncoder.restored(schema, stored.config["encoder"], under("encoder.", stored.arrays))
        model = cls(minutes=stored.config["minutes"])
        history = [(int(step), float(rate)) for step, rate in stored.config["history"]]
        generator = _generator(encoder, under("generator.", stored.arrays))
        model._fitted = _Fitted(encoder, generator, history, bool(stored.config["on_synthetic"]))
        return model


def _generator(encoder: TableEncoder, weights: Mapping[str, np.ndarray]) -> Generator:
    """The generator with these weights; its size is theirs. ValueError when they do not belong to one, or are not finite."""
    layout = _layout(encoder)
    width, latent = weights["tower.into.weight"].shape
    blocks = sum(key.endswith("first.weight") for key in weights)
    if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in weights.values()):
        raise ValueError("a weight is not a finite number")
    if weights["tower.blocks.0.first.weight"].shape != (width, width):
        raise ValueError("the layers do not fit together")
    generator = Generator(layout, _counts(encoder), torch.Generator(), latent=latent, width=width, blocks=blocks)
    try:
        generator.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})
    except RuntimeError as error:
        raise ValueError("the weights do not fit the table") from error
    return generator.requires_grad_(False)


def _layout(encoder: TableEncoder) -> Layout:
    return Layout(tuple(f.levels for f in encoder.fields), tuple(f.levels - 1 if f.numeric else 0 for f in encoder.fields))


def _counts(encoder: TableEncoder) -> list[Tensor]:
    return [torch.from_numpy(f.counts) for f in encoder.fields]


def _rows_of(cohort: Cohort, patients: pl.Series) -> Tensor:
    """(rows,) True for the rows of these patients."""
    key = cohort.schema.table.key
    patient = cohort.frame[key] if key else pl.int_range(cohort.frame.height, eager=True)
    return torch.from_numpy(patient.is_in(patients.implode()).to_numpy().copy())


@torch.no_grad()
def _latent(generator: Generator, rows: int, rng: np.random.Generator) -> np.ndarray:
    """(rows, network width) what a patient brings to all its fields, a few thousand patients at a time."""
    noise = torch.from_numpy(rng.standard_normal((rows, generator.latent), np.float32))
    return torch.cat([generator.hidden(part) for part in noise.split(ROWS_AT_ONCE)]).numpy()


@torch.no_grad()
def _propose(generator: Generator, field: int, tokens: np.ndarray, latent: np.ndarray | None) -> np.ndarray:
    """(rows, levels) from what the patient brings alone: given that, fields are drawn independently."""
    assert latent is not None
    return generator.logits(torch.from_numpy(latent), generator.layout.part(field)).double().softmax(1).numpy()
