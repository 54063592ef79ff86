"""Tables under differential privacy: ours and other people's, at the same epsilon, on the same patients, by the same judge.

    python bench/private.py --data DIR [support2 ...] [--epsilons 1 3] [--seeds 1 2 3] [--peers ENVIRONMENTS] [--work WORK] [--hours 0.5]

The schema is declared public for this measurement, to ours alone; it says which columns are levels and which are numbers, to all. `errors`
are total variation distances to the unseen patients: mean over all pairs of columns, and over 300 triples, numbers in eight bins that
hold as many training patients each; the row `real` has other real patients in the place of synthetic ones. The rest says judge.py.
"""

import argparse
import contextlib
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from tables import PRIVATE, head, judged, parts, run, schema_of

import proband
from proband.validate.evidence import gather

OURS, TOOLS = ["marginals", "duel"], [*PRIVATE, "mostly"]
SHOWN = {
    "fit s": "fit_s", "sample s": "sample_s", "peak MB": "peak_mb", "AUROC": "tstr",
    "TSTR/TRTR": "tstr_ratio", "mean of targets": "tstr_targets",
    "pair error": "two", "triple error": "three", "shapes": "shapes", "pairs": "pairs", "assoc. error": "association",
    "detection raw": "detection_raw", "binned": "detection_binned", "MIA AUC": "mia_auc", "rules broken": "rules",
}  # fmt: skip
BINS, TRIPLES = 8, 300


def binned(train: pl.DataFrame, frame: pl.DataFrame, schema: proband.Schema) -> np.ndarray:
    """(rows, columns) small whole numbers; 0 is missing."""
    found = []
    for column in schema.table.columns:
        if column.kind in ("identifier", "text"):
            continue
        if column.discrete:
            names = sorted(map(str, train[column.name].drop_nulls().unique().to_list()))
            place = {name: at for at, name in enumerate(names, 1)}
            cells = frame[column.name].cast(pl.String).replace_strict(place, default=len(names) + 1, return_dtype=pl.Int64)
            found.append(cells.set(frame[column.name].is_null(), 0).to_numpy())
            continue
        known, values = (f[column.name].to_physical().cast(pl.Float64).to_numpy() for f in (train, frame))
        edges = np.unique(np.nanquantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
        found.append(np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="right")))
    return np.stack(found, axis=1)


def errors(train: pl.DataFrame, unseen: pl.DataFrame, made: pl.DataFrame, schema: proband.Schema) -> tuple[float, float]:
    """Mean total variation distance over all pairs, and over some triples, of columns."""
    real, fake = binned(train, unseen, schema), binned(train, made, schema)
    sizes = np.maximum(real.max(axis=0), fake.max(axis=0)) + 1

    def distance(columns: tuple[int, ...]) -> float:
        weights = np.cumprod([1, *sizes[list(columns[:-1])]])
        shares = [np.bincount(x[:, columns] @ weights, minlength=int(np.prod(sizes[list(columns)]))) / len(x) for x in (real, fake)]
        return float(np.abs(shares[0] - shares[1]).sum() / 2)

    pairs = list(itertools.combinations(range(real.shape[1]), 2))
    triples = list(itertools.combinations(range(real.shape[1]), 3))
    some = np.random.default_rng(0).choice(len(triples), min(TRIPLES, len(triples)), replace=False)
    return float(np.mean([distance(pair) for pair in pairs])), float(np.mean([distance(triples[at]) for at in some]))


def read(folder: Path, tool: str, schema: proband.Schema) -> pl.DataFrame:
    """A tool's table; cells that the schema cannot read are missing."""
    real = (folder / f"{part}.csv" for part in ("train", "holdout"))
    return gather(*real, folder / f"{tool}.csv", reference=folder / "reference.csv", target=None, schema=schema)[0].synthetic.frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["thyroid"], metavar="SET")
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--epsilons", nargs="+", type=int, default=[1, 3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--peers", type=Path, metavar="ENVIRONMENTS")
    parser.add_argument("--tools", nargs="*", choices=TOOLS)
    parser.add_argument("--work", type=Path, help="keep the parts and the tables here")
    parser.add_argument("--hours", type=float, default=0.5, help="the most that one tool may take on one set")
    given = parser.parse_args()
    tools = [f"{tool}-{epsilon}" for epsilon in given.epsilons for tool in [*OURS, *(given.tools or (TOOLS if given.peers else ()))]]
    with contextlib.ExitStack() as stack:
        work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in given.sets:
            print(f"\n{name}, seeds {' '.join(map(str, given.seeds))}\n\n{head(SHOWN)}", flush=True)
            rows: dict[str, list[dict]] = {}
            for seed in given.seeds:
                folder, count = parts(name, seed, given.data, work)
                schema = schema_of(folder)
                train, holdout, reference = (
                    proband.read(folder / f"{part}.csv", schema).frame for part in ("train", "holdout", "reference")
                )
                unseen = pl.concat([holdout, reference])
                for tool in ["real", *tools]:
                    found = judged(folder, seed, None) if tool == "real" else run(tool, folder, count, seed, given.peers, given.hours)
                    if isinstance(found, str):
                        print(f"{name}, seed {seed}, {tool}: {found}", file=sys.stderr, flush=True)
                        continue
                    made = train if tool == "real" else read(folder, tool, schema)
                    two, three = errors(train, unseen, made, schema)
                    rows.setdefault(tool, []).append(found | {"two": two, "three": three})
            for tool, found in rows.items():
                cells = []
                for figure in SHOWN.values():
                    known = [one[figure] for one in found if one.get(figure) is not None]
                    cells.append(f"{np.mean(known):.3g}" if known else "")
                print(f"| {tool} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
