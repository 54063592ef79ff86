"""Other people's tables before and after `proband.refine`: detection, membership and the share of effective candidates.

    python bench/refine.py PARTS TARGET NAME=SYNTHETIC.csv ... [--seed 1]

PARTS holds train, holdout, reference and schema.toml of `proband split`; every table was learned from that train part.
"""

import argparse
from pathlib import Path

from judge import judge

import proband
from proband.validate.evidence import gather

FIGURES = ["detection_raw", "detection_binned", "extra_trees", "tstr_ratio", "mia_auc", "mia_tpr", "rules", "off_format"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=Path)
    parser.add_argument("target")
    parser.add_argument("tables", nargs="+", metavar="NAME=SYNTHETIC.csv")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    schema = proband.Schema.load(given.parts / "schema.toml")
    train, holdout, reference = (proband.read(given.parts / f"{part}.csv", schema) for part in ("train", "holdout", "reference"))
    print(f"proband {proband.__version__}; seed {given.seed}; {len(train)} training patients\n")
    print(f"| | rows | effective | rounds | {' | '.join(FIGURES)} |\n|{'---|' * (4 + len(FIGURES))}")
    for table in given.tables:
        name, _, path = table.partition("=")
        theirs = gather(train, holdout, Path(path), reference=reference, schema=schema)[0].synthetic.frame
        found = proband.refine(theirs, train, seed=given.seed)
        kept = [stage for stage in found.stages if stage["kept"] and stage["round"] >= 0]
        fewer = theirs.sample(found.cohort.frame.height, seed=given.seed)
        for label, frame, effective, rounds in (
            (f"{name}, as given", fewer, "", ""),
            (f"{name}, refined", found.cohort.frame, f"{kept[-1]['effective']:.2f}", str(len(kept) - 1)),
        ):
            figures = judge(train.frame, holdout.frame, reference.frame, frame, given.target, given.seed, schema=schema)
            shown = " | ".join(f"{figures[figure]:.3f}" for figure in FIGURES)
            print(f"| {label} | {frame.height} | {effective} | {rounds} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
