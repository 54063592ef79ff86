"""Private training, and a zoo of faults planted in it: the auditor catches them all. Those of the marginal route are in test_audit.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from proband.encode import TableEncoder
from proband.errors import ProbandError
from proband.game.pairwise import PairDiscriminator
from proband.privacy import budget as budgets
from proband.privacy import domain
from proband.privacy.audit import Recorder, Replayer, noise_of_sums, replay
from proband.privacy.budget import GRID, Budget, Course, rho_of
from proband.synthesizers import duel, private_duel

RHO = rho_of(3.0, 1e-5)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few rounds of few weights: what is audited is what it asks, not what it learns."""
    sizes = {"latent": 4, "width": 8, "blocks": 1}
    for name, value in (("STEPS", 6), ("FEATURES", 12), ("FAKES", 16), ("BATCH", 20), ("SIZES", sizes)):
        monkeypatch.setattr(private_duel, name, value)
    monkeypatch.setattr(domain, "STAND_INS", 400)


@pytest.fixture
def fit(tmp_path):
    """A private DuelGAN as the auditor asks for it: a budget in, the bytes of its model folder out."""
    count = [0]

    def fitted(cohort, budget):
        count[0] += 1
        model, folder = duel.DuelGAN(), tmp_path / str(count[0])
        model._fitted = duel.learned_privately(cohort, budget, seed=1)
        model.epsilon, model.delta = 3.0, 1e-5
        model.save(folder)
        return b"".join(path.read_bytes() for path in sorted(Path(folder).iterdir()))

    return fitted


def kinds(fit, cohort, neighbours=4):
    return {breach.kind for breach in replay(fit, cohort, RHO, neighbours=neighbours)}


def test_sound_private_training_passes(clinic, fit):
    assert replay(fit, clinic, RHO) == []


def test_the_tape_has_every_sample_and_every_sum(clinic, fit):
    recorder = Recorder(RHO)
    fit(clinic, recorder)
    said = [asked.spend.what for asked in recorder.tape]
    assert sum(what.startswith("a sample") for what in said) == sum(what.startswith("a sum") for what in said) == 6
    assert sum(spend.rho for spend in recorder.spends) == pytest.approx(RHO)


# --- the mechanism -----------------------------------------------------------------------------------------------------------------


class Silent(Budget):
    def _noisy(self, total, noise, what):
        return total


class HalfNoise(Budget):
    def _noisy(self, total, noise, what):
        return (total + super()._noisy(total, noise, what)) // 2


class Deaf(Budget):
    """Noise as for a sum that costs little, whatever was charged."""

    def course(self, **asked):
        return super().course(**asked | {"rho": 2 * asked["rho"]})


class Eager(Budget):
    """Patients are in more often than the price allows for."""

    def _coins(self, patients, rate):
        return super()._coins(patients, 1.5 * rate)


class Shuffled(Budget):
    """Always as many, none of them by a coin of their own."""

    def _coins(self, patients, rate):
        return np.random.default_rng(0).permutation(patients) < round(rate * patients)


@pytest.mark.parametrize("faulty", [Silent, HalfNoise, Deaf, Eager, Shuffled])
def test_noise_and_coins_are_measured(faulty):
    assert {breach.kind for breach in noise_of_sums(faulty)} == {"noise"}


def test_sound_noise_and_coins_pass():
    assert noise_of_sums(Budget) == []


def test_noise_cheaper_than_its_price_is_refused_before_it_is_drawn(monkeypatch, clinic, fit):
    monkeypatch.setattr(budgets.Course, "__init__", _cheaper(Course.__init__))
    monkeypatch.setattr(Budget, "_noisy", _drawn_at_half(Budget._noisy))
    with pytest.raises(ProbandError, match="was charged"):
        fit(clinic, Budget(RHO))


def _cheaper(real):
    return lambda self, *given: real(self, *given)


def _drawn_at_half(real):
    def noisy(self, total, noise, what):
        confirm = self._confirm
        self._confirm = lambda cost, rho, what: confirm(4 * cost, rho, what)  # what half the noise would cost
        return real(self, total, noise, what)

    return noisy


# --- who is in a sum, and with how much --------------------------------------------------------------------------------------------


def test_batches_of_a_shuffle_counted_as_poisson_samples(monkeypatch, clinic, fit):
    def sample(self, order=np.random.default_rng):
        places = order(0).permutation(self.patients)[: round(self.rate * self.patients)]
        self._picked = len(places)
        return places

    monkeypatch.setattr(Course, "sample", sample)
    assert "sensitivity" in kinds(fit, clinic)


def test_rows_cut_in_place_of_patients(monkeypatch, clinic, fit):
    monkeypatch.setattr(private_duel, "one_row_each", lambda cohort: cohort)
    assert kinds(fit, clinic) & {"flow", "sensitivity"}


def test_a_sum_that_is_cut_in_place_of_its_parts(monkeypatch, clinic, fit):
    monkeypatch.setattr(private_duel, "clipped", lambda gradients, length: 100 * gradients.double())
    with pytest.raises(ProbandError, match="more than was declared"):
        fit(clinic, Budget(RHO))


def test_a_gradient_that_is_no_number_adds_nothing_and_the_fit_goes_on(monkeypatch, clinic, fit):
    monkeypatch.setattr(private_duel, "per_patient", _poisoned(private_duel.per_patient))
    assert replay(fit, clinic, RHO, neighbours=4) == []


def test_a_number_that_is_none_and_slips_through_the_cut(monkeypatch, clinic, fit):
    def careless(gradients, length):
        gradients = gradients.double()
        return gradients / gradients.norm(dim=1, keepdim=True).clamp(min=length)

    monkeypatch.setattr(private_duel, "per_patient", _poisoned(private_duel.per_patient))
    monkeypatch.setattr(private_duel, "clipped", careless)
    monkeypatch.setattr(Budget, "_coins", lambda self, patients, rate: np.ones(patients, bool))  # the patient is surely in
    with pytest.raises(ProbandError, match="more than was declared"):
        fit(clinic, Budget(RHO))


def _poisoned(real):
    """Who has the first level of the first column has no finite gradient."""

    def gradients(loss, parameters, rows):
        return torch.where(rows[:, 1:2] == 1, torch.nan, real(loss, parameters, rows))

    return gradients


def test_batch_statistics(monkeypatch, clinic, fit):
    # As layers that normalise or compare a batch have them: every gradient hangs on who else is there.
    real = private_duel.per_patient
    monkeypatch.setattr(private_duel, "per_patient", lambda loss, known, rows: real(loss, known, rows + 10 * rows.mean(0, keepdim=True)))
    monkeypatch.setattr(private_duel, "CLIP", 30.0)
    monkeypatch.setattr(private_duel, "BATCH", 150)
    assert "sensitivity" in kinds(fit, clinic, neighbours=12)


def test_patients_packed_together(monkeypatch, clinic, fit):
    # As CTGAN's discriminator judges ten rows at once (pac): each of a pair gets the gradient of both.
    real = private_duel.per_patient

    def packed(loss, parameters, rows):
        found = real(loss, parameters, rows)
        return found + found.roll(1, 0) if len(rows) > 1 else found

    monkeypatch.setattr(private_duel, "per_patient", packed)
    monkeypatch.setattr(private_duel, "CLIP", 0.05)
    monkeypatch.setattr(private_duel, "BATCH", 150)
    assert "sensitivity" in kinds(fit, clinic, neighbours=12)


def test_a_sensitivity_understated(monkeypatch, clinic, fit):
    for budget in (Recorder, Replayer):
        monkeypatch.setattr(budget, "_noisy", _twice(budget._noisy))
    monkeypatch.setattr(private_duel, "BATCH", 150)
    assert "sensitivity" in kinds(fit, clinic, neighbours=12)


def _twice(real):
    return lambda self, total, noise, what: real(self, 3 * total, noise, what)


# --- what is paid for --------------------------------------------------------------------------------------------------------------


def test_more_sums_than_were_paid_for(monkeypatch, clinic, fit):
    real = Budget.course
    monkeypatch.setattr(Budget, "course", lambda self, **asked: real(self, **asked | {"steps": asked["steps"] - 1}))
    with pytest.raises(ProbandError, match="not paid for"):
        fit(clinic, Budget(RHO))


def test_a_budget_spent_twice(monkeypatch, clinic, fit):
    monkeypatch.setattr(Budget, "_spend", lambda self, spend: self.spends.append(spend))
    monkeypatch.setitem(private_duel.SHARES, "discriminator", 2 * private_duel.SHARES["discriminator"])
    assert kinds(fit, clinic) == {"price"}


def test_tuning_that_nobody_charged(clinic, fit):
    def tuned(cohort, budget):
        fit(cohort, budget)
        return fit(cohort, Budget(RHO))

    assert kinds(tuned, clinic) == {"output"}


# --- what reads patients past the budget -------------------------------------------------------------------------------------------


def _with_cohort(monkeypatch, fit):
    """`fit`, and a place where its patients are found by what is planted."""
    seen = {}
    real = private_duel.one_row_each

    def noted(cohort):
        seen["patients"] = real(cohort)
        return seen["patients"]

    monkeypatch.setattr(private_duel, "one_row_each", noted)
    return seen


def test_the_mean_is_over_the_exact_number_of_patients(monkeypatch, clinic, fit):
    # As a library did that took the size of the data set for public: the sum is divided by it.
    seen, real = _with_cohort(monkeypatch, fit), private_duel.judge_turn

    def divided(game, pairs, rng, *, course, expected):
        return real(game, pairs, rng, course=course, expected=course.rate * seen["patients"].frame.height)

    monkeypatch.setattr(private_duel, "judge_turn", divided)
    assert "output" in kinds(fit, clinic)


def test_the_rate_is_of_the_exact_number_of_patients(monkeypatch, clinic, fit):
    real = Budget.course
    monkeypatch.setattr(Budget, "course", lambda self, **asked: real(self, **asked | {"rate": 20 / asked["patients"]}))
    assert "flow" in kinds(fit, clinic)


def test_the_generator_is_told_how_many_were_in_the_sample(monkeypatch, clinic, fit):
    real = private_duel.play

    def told(game, batches, *, private, forge_turn, **more):
        return real(game, batches, forge_turn=lambda game, pairs, rng: forge_turn(game, 1 + len(pairs.real), rng), **more)

    monkeypatch.setattr(private_duel, "play", told)
    monkeypatch.setattr(private_duel, "BATCH", 150)
    assert "output" in kinds(fit, clinic, neighbours=12)


def test_the_generator_reads_patients(monkeypatch, clinic, fit):
    real = private_duel.play

    def relativistic(game, pairs, rng):
        fake = game.forge(len(pairs.real), rng)
        return softplus(game.judge(pairs.real).detach() - game.judge(fake)) if len(fake) else fake.sum(1)

    def reading(game, batches, *, private, forge_turn, **more):
        return real(game, batches, forge_turn=relativistic, **more)

    monkeypatch.setattr(private_duel, "play", reading)
    monkeypatch.setattr(private_duel, "BATCH", 150)
    assert "output" in kinds(fit, clinic, neighbours=12)


def test_the_generator_starts_from_patients(monkeypatch, clinic, fit):
    seen, real = _with_cohort(monkeypatch, fit), private_duel.private_encoder

    def counted(cohort, budget, *, rho, rng):
        encoder = real(cohort, budget, rho=rho, rng=rng)
        tokens = encoder.encode(seen["patients"].frame).tokens
        return replace(encoder, counts=tuple(np.bincount(tokens[:, f], minlength=field.levels) for f, field in enumerate(encoder.fields)))

    monkeypatch.setattr(private_duel, "private_encoder", counted)
    assert kinds(fit, clinic) & {"output", "flow"}


def test_an_encoder_that_learns_from_patients(monkeypatch, clinic, fit):
    monkeypatch.setattr(private_duel, "private_encoder", lambda cohort, budget, *, rho, rng: TableEncoder.learnable(cohort))
    assert kinds(fit, clinic) & {"output", "flow"}


def test_a_stop_on_the_raw_loss(monkeypatch, clinic, fit):
    seen, real = _with_cohort(monkeypatch, fit), private_duel.play

    def stopped(game, batches, *, steps, **more):
        ages = seen["patients"].frame["age"].to_numpy()
        return real(game, batches, steps=steps - int(ages.max() > 100), **more)

    monkeypatch.setattr(private_duel, "play", stopped)
    assert kinds(fit, clinic, neighbours=12) & {"output", "flow"}


def test_a_success_rate_on_patients_is_kept(monkeypatch, clinic, fit):
    seen, real = _with_cohort(monkeypatch, fit), duel.learned_privately

    def shown(cohort, budget, **more):
        found = real(cohort, budget, **more)
        return found._replace(history=[(6, float(seen["patients"].frame["died"].mean()))])

    monkeypatch.setattr(duel, "learned_privately", shown)
    assert kinds(fit, clinic) == {"output"}


# --- the price ---------------------------------------------------------------------------------------------------------------------


def test_a_network_that_mixes_patients_has_no_gradient_of_one():
    rng = torch.Generator().manual_seed(0)
    layout = private_duel.Layout((2, 3), (0, 0))
    judge = PairDiscriminator(layout, torch.full((5,), 0.4), rng, features=4)
    rows = layout.codes(torch.tensor([[0, 1], [1, 2], [1, 0]]))
    parameters = {name: part.detach() for name, part in judge.named_parameters()}

    def loss(known, row):
        return torch.func.functional_call(judge, known, (row[None],))[0]

    alone = [private_duel.per_patient(loss, parameters, rows[[at]]) for at in range(3)]
    assert torch.allclose(private_duel.per_patient(loss, parameters, rows), torch.cat(alone), atol=1e-6)


def test_gradients_are_cut_to_one_length_whatever_they_are():
    wild = torch.tensor([[3.0, 4.0], [torch.nan, 1.0], [torch.inf, 0.0], [3e38, 3e38], [-0.0, 0.0], [0.3, 0.4], [1e-30, 0.0]])
    cut = private_duel.clipped(wild, 2.0)
    assert torch.allclose(cut[0], torch.tensor([0.6, 0.8], dtype=torch.float64))
    assert (cut[1:3] == 0).all() and cut[3].norm() <= 1 + 1e-12
    assert torch.allclose(cut[5], torch.tensor([0.15, 0.2], dtype=torch.float64))  # in units of the length
    assert torch.isfinite(cut).all()


def test_a_sum_is_exact_on_its_grid():
    course = Recorder(1.0).course(patients=100, rate=0.1, steps=1, rho=0.5, what="sum")
    places = course.sample()
    course.sum(np.tile([0.6, 0.8], (len(places), 1)))
    (asked,) = [asked for asked in course.budget.tape if asked.spend.what.startswith("a sum")]
    np.testing.assert_allclose(asked.truth, len(places) * (1 - budgets.SLACK) * np.array([0.6, 0.8]), atol=100 / GRID)
