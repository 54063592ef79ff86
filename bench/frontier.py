"""Utility against privacy on a real set, as `proband frontier` draws it: the table, and the folder with the picture.

    python bench/frontier.py --data DIR [support2] --out FOLDER [--epsilons 0.5 1 3 8 inf] [--seeds 2]

The schema is declared public for this measurement; no ledger is kept. The same call goes on where it was stopped.
"""

import argparse
import math
from pathlib import Path

from tables import TARGETS, load

import proband


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="?", default="thyroid", choices=TARGETS)
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epsilons", nargs="+", type=float, default=[0.5, 1, 3, 8, math.inf])
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    frame = load(given.set, given.data)
    schema = proband.Schema.guess(frame).accept().model_copy(update={"public": True})
    fits = {"epsilons": given.epsilons, "seeds": given.seeds}
    made = proband.frontier(proband.read(frame, schema), out=given.out, target=TARGETS[given.set], name=given.set, **fits)
    print(f"{made}\n\n{made.verdict}")


if __name__ == "__main__":
    main()
