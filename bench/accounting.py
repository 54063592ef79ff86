"""Is our epsilon the one of other people's accountants? A table of rho, and epsilon by each; then one of sums over chance samples.

    PYTHONPATH=. ENVIRONMENTS/accounting/bin/python bench/accounting.py [--delta 1e-5]

The environment has opendp, opacus, dp-accounting and numpy (peers/accounting.txt); of proband only the budget and its accountant are
imported. The first mechanism is one Gaussian of the noise that costs rho, the second what private training asks: noise that
makes the claim, by our account, at 300 sums over samples. Ours may lie above PLD, which is nearly exact, since rho forgets the
mechanism; it may not lie below it, nor, for the Gaussian, differ from the Renyi accountant by more than a percent.
"""

import argparse
import importlib.metadata
import math

from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from proband.privacy.accountant import noise_for
from proband.privacy.budget import epsilon_of, rho_of

ORDERS = [1 + x / 100 for x in range(1, 1000)] + [11 + x / 4 for x in range(2000)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delta", type=float, default=1e-5)
    given = parser.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("dp-accounting", "opendp"))
    print(f"{versions}; delta {given.delta:g}\n")
    print("| rho | proband | dp-accounting, Renyi | dp-accounting, PLD |\n|---|---|---|---|")
    for rho in (0.001, 0.01, 0.03, 0.1, 0.22, 0.5, 1.0, 2.0):
        event = GaussianDpEvent(1 / math.sqrt(2 * rho))
        ours = epsilon_of(rho, given.delta)
        renyi = RdpAccountant(ORDERS).compose(event).get_epsilon(given.delta)
        exact = PLDAccountant().compose(event).get_epsilon(given.delta)
        print(f"| {rho:g} | {ours:.4f} | {renyi:.4f} | {exact:.4f} |")
        assert exact <= ours * (1 + 1e-3) and abs(ours / renyi - 1) < 0.01, "the accountants disagree"
    print("\n| claim | rate | noise | dp-accounting, Renyi | dp-accounting, PLD |\n|---|---|---|---|---|")
    for claim in (0.1, 1.0, 3.0, 8.0):
        for rate in (0.01, 0.05, 0.2):
            noise = noise_for(rho_of(claim, given.delta), rate, 300)
            event = SelfComposedDpEvent(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), 300)
            renyi = RdpAccountant().compose(event).get_epsilon(given.delta)
            exact = PLDAccountant().compose(event).get_epsilon(given.delta)
            print(f"| {claim:g} | {rate:g} | {noise:.3f} | {renyi:.4f} | {exact:.4f} |")
            assert max(renyi, exact) <= claim * (1 + 1e-3), "the accountants disagree"


if __name__ == "__main__":
    main()
