"""DuelGAN: the game from noise. A generator makes whole patients at once; a discriminator tells them from real ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from proband import seeds
from proband.cohort import Cohort
from proband.encode.tables import TableEncoder
from proband.errors import InputError
from proband.game import duel
from proband.game.fields import Discriminator, Generator, Layout
from proband.game.moments import PairTables
from proband.game.play import Game, Pairs, deterministic, play, shuffled
from proband.privacy.budget import Budget, Spend, rho_of
from proband.privacy.gradients import Parameters, per_patient
from proband.schema import rules
from proband.schema.model import validated
from proband.synthesizer import Model, OnStep, restore, under, write_model
from proband.synthesizers import private_duel
from proband.synthesizers.drawing import Propose, draw, marked
from proband.synthesizers.marginals import within

SIZES = {"latent": 32, "width": 192, "blocks": 2}
MINUTES = 2.0
BATCH = 256
GAMMA = 0.1  # of the zero-centred penalties; 0.3 leaves the discriminator too blunt for two minutes, 0.03 changes nothing
TABLES = 0.2  # weight of the two-way tables in the generator's loss; see docs/duel.md for what other weights gave
PASSES = 120  # on Framingham (2,290 rows) the held-out success rate is .52 after 112 passes and .39, below a guess, after 370
FEWEST_ROUNDS = 600
ROWS_AT_ONCE = 8192
WEIGHTS_AT_ONCE = 20_000_000  # of gradients in memory, one for each row
FAKES = 256  # against which a row is judged, where a gradient is asked for
HELD_OUT = 0.1  # share of the training patients by which the success rate is measured
MOST_HELD_OUT = 2000  # rows of them that are looked at; more would only take time


class _Private(NamedTuple):
    """What a private fit knows besides: about how many patients there were, and every look at them."""

    total: float
    spends: list[Spend]


class _Fitted(NamedTuple):
    """cell (levels of all fields,): what the generator makes of each token, within its field; itself, or in a private fit a cell of many.
    on_synthetic: whether the patients that it learned from were synthetic themselves. discriminator: None in a model that was loaded."""

    encoder: TableEncoder
    cell: np.ndarray
    generator: Generator
    history: list[tuple[int, float]]
    on_synthetic: bool
    private: _Private | None = None
    discriminator: nn.Module | None = None


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

    minutes   training time on an ordinary core, at most (2 unless told); the number of rounds follows from it and the table's size alone
    epsilon   the bound on the loss of privacy of every patient, all rows of one together; None: no guarantee
    delta     the chance that the bound fails, well below one in the number of patients; 1e-5 unless told

    Every field of a patient is drawn from the generator's probabilities given the patient's noise, so unseen combinations
    arise and the schema's rules hold. `history` holds (round, success rate of the discriminator on held-out pairs).

    With `epsilon` the discriminator alone meets patients, through noisy sums of their gradients, each cut to one length; the number of
    rounds is fixed, `history` is empty and the schema must be public. The noise is kept nowhere, so `fit` gives another model each
    time. `PrivateMarginals` is closer to the patients at the same price.

    >>> model = DuelGAN(minutes=1).fit(cohort, seed=0)                        # doctest: +SKIP
    >>> model.sample(100, seed=1, where="age > 80")                            # doctest: +SKIP
    """

    name: ClassVar[str] = "duel"

    def __init__(self, *, minutes: float | None = None, epsilon: float | None = None, delta: float | None = None) -> None:
        if minutes is not None and not 0 < minutes <= 100_000:
            raise InputError(f"minutes = {minutes!r} is not a training time. Give a number above 0, such as 2.")
        if epsilon is None and delta is not None:
            raise InputError(f"delta = {delta!r} belongs to a guarantee, and no epsilon is given. Give both, or neither.")
        if epsilon is not None and minutes is not None:
            raise InputError(
                f"minutes = {minutes!r} and epsilon = {epsilon!r} do not go together: the noise is as wide as the number of rounds asks "
                f"for, so that number is fixed ({private_duel.STEPS}). Leave minutes out."
            )
        self.minutes = MINUTES if minutes is None else minutes
        self.epsilon = None if epsilon is None else float(epsilon)
        self.delta = None if epsilon is None else 1e-5 if delta is None else float(delta)
        # What a fit costs, as ledgers count it.
        self.rho = None if self.epsilon is None or self.delta is None else rho_of(self.epsilon, self.delta)
        self._fitted: _Fitted | None = None

    @property
    def history(self) -> list[tuple[int, float]]:
        """(round, share of held-out pairs in which the discriminator scored the real patient above the fake); 0.5 is a guess.

        Empty under epsilon: a success rate on real patients would leak."""
        return list(self._learned.history)

    @property
    def spends(self) -> list[Spend]:
        """Every look at the patients: what for, its rho, and how much one patient can change the answer. Empty without epsilon."""
        private = self._learned.private
        return list(private.spends) if private else []

    @property
    def patients(self) -> int | None:
        """Under epsilon, about how many patients it learned from: the exact number is nobody's to know."""
        private = self._learned.private
        return round(private.total) if private else None

    @property
    def _learned(self) -> _Fitted:
        if self._fitted is None:
            raise InputError("This DuelGAN has not learned anything yet. Call fit(cohort, seed=...) first, or load a saved model.")
        return self._fitted

    def fit(self, cohort: Cohort, *, seed: int, on_step: OnStep | None = None) -> Self:
        """Play the game on `cohort`; without epsilon, a tenth of its patients only measure the success rate. Interrupted, the model
        stays as it was. InputError when epsilon is asked for and the schema is not public."""
        if self.rho is not None:
            self._fitted = learned_privately(cohort, Budget(self.rho), seed=seed, on_step=on_step)
            return self
        encoder = TableEncoder.learnable(cohort)
        layout = Layout.of(encoder.fields)
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
        judge = game.discriminator.requires_grad_(False)
        self._fitted = _Fitted(encoder, _every_token(encoder), averaged, game.history, cohort.mark is not None, discriminator=judge)
        return self

    def sample(self, n: int, *, seed: int, where: str | None = None) -> Cohort:
        """`n` synthetic patients. The columns that `where` names come first: noise that makes the condition likely is kept more often
        (`drawing.draw`), which is the generator's own conditional distribution, and the other columns follow from that noise."""
        learned = self._learned
        encoder = learned.encoder
        named = rules.columns(where, encoder.schema.table) if isinstance(where, str) and where.strip() else frozenset()
        first = encoder.reads(named)
        with deterministic():
            frame = draw(
                encoder,
                n,
                propose=_proposing(learned),
                order=sorted(range(len(encoder.fields)), key=lambda field: field not in first),
                where=where,
                rng=seeds.generator(seed, "duel", "sample"),
                latent=partial(_latent, learned.generator),
            )
        more = {} if self.rho is None else {"epsilon": f"{self.epsilon:g}", "delta": f"{self.delta:g}", "unit": "patient"}
        return marked(frame, encoder.schema, self.name, seed, where=where, on_synthetic=learned.on_synthetic, more=more)

    @torch.no_grad()
    def discriminator_score(self, cohort: Cohort) -> np.ndarray:
        """(rows,) the discriminator's score of each row, higher is more real; only differences between scores mean anything.

        For audits (`privacy.white_box`): a discriminator that knows its training patients by heart scores them above strangers. It is
        kept in memory alone, never in a model folder: InputError after `load`.
        """
        discriminator, tokens = self._discriminator, _cells(self._learned, cohort)
        layout = self._learned.generator.layout
        with deterministic():
            return torch.cat([discriminator(layout.codes(part)) for part in tokens.split(ROWS_AT_ONCE)]).double().numpy()

    def gradient_norm(self, cohort: Cohort) -> np.ndarray:
        """(rows,) the length of the gradient, by the discriminator's weights, of its loss on each row: softplus(D(fake) - D(row)), the mean
        over 256 fakes, always the same, whose scores are held still; the penalties are left out.

        For audits, as minus a score: training is done with a row whose gradient is short. InputError after `load`.
        """
        discriminator, tokens, generator = self._discriminator, _cells(self._learned, cohort), self._learned.generator
        weights = dict(discriminator.named_parameters())
        at_once = max(1, WEIGHTS_AT_ONCE // sum(weight.numel() for weight in weights.values()))
        rng = torch.Generator().manual_seed(seeds.integer(0, "duel", "gradient norm"))
        with deterministic():
            fakes = discriminator(generator(generator.noise(FAKES, rng)))

            def loss(known: Parameters, row: Tensor) -> Tensor:
                return softplus(fakes - functional_call(discriminator, dict(known), (row[None],))).mean()

            parts = (per_patient(loss, weights, generator.layout.codes(part)) for part in tokens.split(at_once))
            return torch.cat([gradients.norm(dim=1) for gradients in parts]).double().numpy()

    @property
    def _discriminator(self) -> nn.Module:
        if (found := self._learned.discriminator) is None:
            raise InputError(
                "This DuelGAN was loaded, and a model folder holds no discriminator. Call fit(cohort, seed=...), and ask that model."
            )
        return found

    def save(self, path: str | Path) -> None:
        """Write a model folder. It holds the averaged generator and the encoder; the discriminator stays behind."""
        encoder, cell, generator, history, on_synthetic, private, _ = self._learned
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
            }
            | ({} if private is None else {"epsilon": self.epsilon, "delta": self.delta, "total": private.total, "spends": private.spends}),
            {"cell": cell}
            | {f"encoder.{key}": array for key, array in arrays.items()}
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
        config, cell, private = stored.config, stored.arrays["cell"], None
        if (
            cell.shape != (sum(field.levels for field in encoder.fields),)
            or cell.dtype.kind != "i"
            or not 0 <= cell.min() <= cell.max() < len(cell)
        ):
            raise ValueError("the cells do not fit the table")
        if "epsilon" in config:
            model = cls(epsilon=config["epsilon"], delta=config["delta"])
            spends = [Spend(str(what), float(rho), float(sensitivity)) for what, rho, sensitivity in config["spends"]]
            private = _Private(float(config["total"]), spends)
        else:
            model = cls(minutes=config["minutes"])
        history = [(int(step), float(rate)) for step, rate in config["history"]]
        generator = _generator(encoder, cell, under("generator.", stored.arrays))
        model._fitted = _Fitted(encoder, cell, generator, history, bool(config["on_synthetic"]), private)
        return model


def learned_privately(cohort: Cohort, budget: Budget, *, seed: int, on_step: OnStep | None = None) -> _Fitted:
    """All that is learned of the patients, by `budget` alone."""
    encoder, cell, generator, discriminator, total = private_duel.learned(cohort, budget, seed=seed, on_step=on_step)
    return _Fitted(encoder, cell, generator, [], cohort.mark is not None, _Private(total, budget.spends), discriminator)


def _generator(encoder: TableEncoder, cell: np.ndarray, weights: Mapping[str, np.ndarray]) -> Generator:
    """The generator with these weights; its size is theirs. ValueError when they do not belong to one, or are not finite."""
    groups = np.split(cell, np.cumsum([field.levels for field in encoder.fields])[:-1])
    layout = private_duel.layout_of(encoder, groups)
    width, latent = weights["tower.into.weight"].shape
    blocks = sum(key.endswith("first.weight") for key in weights)
    if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in weights.values()):
        raise ValueError("a weight is not a finite number")
    if weights["tower.blocks.0.first.weight"].shape != (width, width):
        raise ValueError("the layers do not fit together")
    counts = [torch.ones(levels) for levels in layout.levels]
    generator = Generator(layout, counts, torch.Generator(), latent=latent, width=width, blocks=blocks)
    try:
        generator.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})
    except RuntimeError as error:
        raise ValueError("the weights do not fit the table") from error
    return generator.requires_grad_(False)


def _every_token(encoder: TableEncoder) -> np.ndarray:
    return np.concatenate([np.arange(field.levels) for field in encoder.fields])


def _cells(learned: _Fitted, cohort: Cohort) -> Tensor:
    """(rows, fields) as the players see the rows: each token's cell."""
    starts = np.cumsum([0, *(field.levels for field in learned.encoder.fields[:-1])])
    return torch.from_numpy(learned.cell[learned.encoder.encode(cohort.frame).tokens + starts])


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


def _proposing(learned: _Fitted) -> Propose:
    """From what the patient brings alone: given that, fields are drawn independently, and tokens within a cell by their shares."""
    generator, fields = learned.generator, learned.encoder.fields
    ends = np.concatenate([[0], np.cumsum([field.levels for field in fields])])
    start = np.repeat(generator.layout.starts.numpy(), [field.levels for field in fields])
    inside = within(fields, learned.cell + start)

    @torch.no_grad()
    def propose(field: int, tokens: np.ndarray, latent: np.ndarray | None) -> np.ndarray:
        assert latent is not None
        chances = generator.logits(torch.from_numpy(latent), generator.layout.part(field)).double().softmax(1).numpy()
        part = slice(ends[field], ends[field + 1])
        return chances[:, learned.cell[part]] * inside[part]

    return propose
