"""The duel under differential privacy: the discriminator alone meets patients, through noisy sums of their cut gradients.

After "Private GANs, revisited" (Bie, Kamath and Zhang, TMLR 2023): the generator is told what the noisy discriminator thinks, and nothing
else, so that it costs nothing. Bins, levels, the number of patients and the generator's start come from noisy answers as well; the number
of rounds is fixed, nothing is stopped or chosen by looking.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from proband import seeds
from proband.cohort import Cohort
from proband.encode import TableEncoder
from proband.game.fields import Generator, Layout
from proband.game.pairwise import PairDiscriminator
from proband.game.play import Game, Pairs, play
from proband.privacy.budget import Budget, Course
from proband.privacy.domain import one_row_each, private_encoder, ready
from proband.privacy.gradients import Parameters, clipped, per_patient
from proband.synthesizer import OnStep
from proband.synthesizers.marginals import cells

#: What the budget goes to: how many patients there are, the columns' ranges and levels, the discriminator.
SHARES = {"patients": 0.01, "ranges": 0.14, "discriminator": 0.85}
STEPS = 300
BATCH = 256  # patients in a sum, in the mean
MOST_RATE = 0.2
FAKES = 256
CELLS = 5  # of a column, at most; more are drowned in the noise at epsilon 1
FEATURES = 1024
CLIP = 1.0
FORGET = 0.3  # of what the discriminator knows, in a round: what it believes is mostly noise, and the generator changes
RATES = (0.1, 3e-3)  # Adam's, of the discriminator and the generator
SIZES = {"latent": 32, "width": 128, "blocks": 2}


class Learned(NamedTuple):
    """encoder; cell (levels of all fields,): the cell of each token within its field; the players, of cells; total: noisy, patients."""

    encoder: TableEncoder
    cell: np.ndarray
    generator: Generator
    discriminator: nn.Module
    total: float


def learned(cohort: Cohort, budget: Budget, *, seed: int, on_step: OnStep | None = None) -> Learned:
    """All that is learned of the patients, by `budget` alone: with the same answers and seed, the same comes out whoever they are."""
    ready(cohort.schema)
    rho = {what: share * budget.rho for what, share in SHARES.items()}
    patients = one_row_each(cohort)
    total = float(max(1, budget.counts(np.array([patients.frame.height]), rho=rho["patients"], what="patients")[0]))
    encoder = private_encoder(patients, budget, rho=rho["ranges"], rng=seeds.generator(seed, "duel", "stand-ins"))
    groups = [cells(field, CELLS) for field in encoder.fields]
    layout = layout_of(encoder, groups)
    counts = [torch.from_numpy(np.bincount(group, field.counts)) for group, field in zip(groups, encoder.fields, strict=True)]
    tokens = encoder.encode(patients.frame).tokens
    real = layout.codes(torch.from_numpy(np.stack([group[tokens[:, f]] for f, group in enumerate(groups)], axis=1)))
    rng = torch.Generator().manual_seed(seeds.integer(seed, "duel", "private fit"))
    generator = Generator(layout, counts, rng, **SIZES)
    shares = torch.cat([(c.double() / c.sum().clamp(min=1)).float() for c in counts])
    game = Game(generator, PairDiscriminator(layout, shares, rng, features=FEATURES), generator.noise)
    rate = min(MOST_RATE, BATCH / total)
    course = budget.course(patients=len(real), rate=rate, steps=STEPS, rho=rho["discriminator"], what="gradients of the discriminator")
    averaged = play(
        game,
        (Pairs(real[course.sample()]) for _ in range(STEPS)),
        steps=STEPS,
        judge_turn=partial(judge_turn, course=course, expected=rate * total),
        forge_turn=forge_turn,
        rng=rng,
        rates=RATES,
        private=FAKES,
        on_step=on_step,
    )
    assert isinstance(averaged, Generator)
    return Learned(encoder, np.concatenate(groups), averaged, game.discriminator.requires_grad_(False), total)


def judge_turn(game: Game, pairs: Pairs, rng: torch.Generator, *, course: Course, expected: float) -> Tensor:
    """One number, whose gradient is the noisy one: softplus(-D(real)) + softplus(D(fake)), each patient's gradient cut, and each fake's.

    Where fakes are as patients are, what cutting takes from one it takes from the other. Adam's step is as long as the noise is wide,
    whatever the price: so is the pull toward 0, by which the discriminator forgets.
    """
    with torch.no_grad():
        fake = game.forge(FAKES, rng)
    parameters = {name: part.detach() for name, part in game.discriminator.named_parameters()}

    def score(parameters: Parameters, row: Tensor) -> Tensor:
        return functional_call(game.discriminator, dict(parameters), (row[None],))[0]

    of_real = per_patient(lambda known, row: softplus(-score(known, row)), parameters, pairs.real)
    of_fake = per_patient(lambda known, row: softplus(score(known, row)), parameters, fake)
    noisy = torch.from_numpy(course.sum(clipped(of_real, CLIP).numpy())) / expected
    weights = torch.cat([part.flatten() for part in game.discriminator.parameters()])
    pull = FORGET * course.noise / expected / RATES[0]
    slope = (noisy + clipped(of_fake, CLIP).mean(0)).float() + pull * weights.detach()
    return (weights * slope).sum()[None]


def forge_turn(game: Game, count: int, rng: torch.Generator) -> Tensor:
    """The generator's losses, softplus(-D) of `count` fakes, each the mean of what it may become: its probabilities, not a draw."""
    generator = game.generator
    assert isinstance(generator, Generator)
    return softplus(-game.judge(generator.probabilities(torch.randn(count, generator.latent, generator=rng))))


def layout_of(encoder: TableEncoder, groups: list[np.ndarray]) -> Layout:
    """The layout of cells, where `groups` has the cell of each token, field by field."""
    levels = tuple(int(group.max()) + 1 for group in groups)
    return Layout(levels, tuple(n - 1 if field.numeric else 0 for n, field in zip(levels, encoder.fields, strict=True)))
