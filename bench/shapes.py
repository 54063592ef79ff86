"""Tables of every shape: does it work, how long does it take, how much memory, and can a judge tell?

    python bench/shapes.py [small tall wide codes levels numbers dates] [--synthesizer gan] [--seed 1] [--scale 1.0]

Every table is made here, of a few hidden causes, so that its columns depend on each other as those of patients do. The synthesizer fits
on one draw; it is judged on a second draw that it never saw, beside a third draw in the place of synthetic rows (real v real).
Each shape runs in a process of its own, whose peak memory is told. `--scale 0.1` takes a tenth of the rows, to try it out.
"""

import argparse
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import polars as pl
from judge import CELLS, Coding, _boosted, two_sample

import proband
from proband import seeds
from proband.cost import measure

CAUSES = 5


def mixed(random: np.random.Generator, n: int, columns: int, levels: float = 0.4) -> pl.DataFrame:
    """`columns` columns of which about a share `levels` are categories: driven by hidden causes, rounded, skewed, with gaps that depend."""
    world = np.random.default_rng(columns)  # the same dependence in every draw
    causes = random.standard_normal((n, CAUSES))
    made: dict[str, pl.Series | np.ndarray] = {}
    for c in range(columns):
        score = causes @ (world.standard_normal(CAUSES) * (world.random(CAUSES) < 0.5)) + 0.6 * random.standard_normal(n)
        if c < levels * columns:
            words = [f"{'ABCDEFGHIJ'[k]}{c}" for k in range(int(world.integers(2, 9)))]
            cuts = np.quantile(world.standard_normal(2_000) * 1.5, np.sort(world.random(len(words) - 1)))
            made[f"level_{c}"] = np.array(words)[np.searchsorted(cuts, score)]
            continue
        skewed, decimals = world.random() < 0.4, int(world.integers(0, 3))
        values = np.round(np.exp(1 + 0.5 * score) if skewed else 100 + 15 * score, decimals)
        gone = random.random(n) < world.choice([0, 0, 0.2]) / (1 + np.exp(-causes[:, 0]))
        made[f"number_{c}"] = pl.Series(np.where(gone, np.nan, values)).fill_nan(None)
    return pl.DataFrame(made)


def codes(random: np.random.Generator, n: int) -> pl.DataFrame:
    """A diagnosis of 20,000 levels in chapters, as ICD has them; age, sex, ward and stay depend on the chapter and its block."""
    world = np.random.default_rng(20_000)
    every = np.array([f"{letter}{block:02d}.{rest:02d}" for letter in "ABCDEFGHIJKLMNOPQRST" for block in range(50) for rest in range(20)])
    share = world.permutation(1 / np.arange(1, len(every) + 1) ** 0.9)
    drawn = random.choice(len(every), n, p=share / share.sum())
    chapter, block = drawn // 1_000, drawn // 20
    age = np.clip(np.round(20 + 3 * chapter + world.normal(0, 8, 1_000)[block] + random.normal(0, 10, n)), 0, 100)
    women = random.random(n) < np.linspace(0.2, 0.8, 20)[chapter]
    stay = np.round(np.exp(0.5 + world.normal(0, 0.7, 1_000)[block] + 0.4 * random.standard_normal(n)), 1)
    ward = np.array(["medicine", "surgery", "maternity", "intensive care"])[(chapter // 5 + (random.random(n) < 0.1)) % 4]
    died = random.random(n) < 1 / (1 + np.exp(6 - age / 20))
    return pl.DataFrame(
        {"icd": every[drawn], "age": age.astype(int), "sex": np.where(women, "F", "M"), "ward": ward, "stay": stay, "died": died}
    )


def dates(random: np.random.Generator, n: int) -> pl.DataFrame:
    """Birth, admission, operation and discharge in this order, an hour of arrival, and the days between as their own columns."""
    severe = random.random(n) < 0.3
    admitted = random.integers(0, 3_650, n)
    stay = np.round(np.exp(random.normal(1 + severe, 0.7, n))).astype(int)
    age = np.clip(random.normal(60 + 10 * severe, 15, n), 18, 100)
    until = np.minimum(random.integers(0, 4, n), stay)
    operated = random.random(n) < np.where(severe, 0.7, 0.3)
    start = dt.date(2010, 1, 1)
    frame = pl.DataFrame({"a": admitted, "stay_days": stay, "u": until, "b": (age * 365.25).astype(int), "operated": operated})
    minutes = (random.normal(14 - 4 * severe, 4, n) % 24 * 60).astype(int)
    return frame.select(
        (pl.lit(start) + pl.duration(days=pl.col("a") - pl.col("b"))).alias("birth"),
        (pl.lit(start) + pl.duration(days="a")).alias("admission"),
        pl.when("operated").then(pl.lit(start) + pl.duration(days=pl.col("a") + pl.col("u"))).alias("operation"),
        (pl.lit(start) + pl.duration(days=pl.col("a") + pl.col("stay_days"))).alias("discharge"),
        "stay_days",
        pl.Series("arrival", [f"{m // 60:02d}:{m % 60:02d}:00" for m in minutes.tolist()]).str.to_time(),
        pl.Series("severe", severe),
    )


#: Name -> rows, and what draws them.
SHAPES: dict[str, tuple[int, Callable[[np.random.Generator, int], pl.DataFrame]]] = {
    "small": (300, lambda random, n: mixed(random, n, 15)),
    "tall": (200_000, lambda random, n: mixed(random, n, 40)),
    "wide": (2_000, lambda random, n: mixed(random, n, 500)),
    "codes": (100_000, codes),
    "levels": (5_000, lambda random, n: mixed(random, n, 20, levels=1.0)),
    "numbers": (5_000, lambda random, n: mixed(random, n, 20, levels=0.0)),
    "dates": (5_000, dates),
}
HEADING = ["shape", "rows x columns", "read s", "fit s", "sample s", "peak MB", "detection raw", "binned", "real v real"]


def one(shape: str, synthesizer: str, seed: int, scale: float) -> list[str]:
    """Make, read, fit, sample and judge one shape: a row of the table."""
    rows, draw = SHAPES[shape]
    rows = max(int(rows * scale), 250)
    frame = draw(seeds.generator(seed, shape, "train"), rows)
    n = min(rows, max(CELLS // frame.width, 500))
    unseen, third = (draw(seeds.generator(seed, shape, what), n) for what in ("unseen", "third"))

    def prepare() -> proband.Cohort:
        every = pl.concat([frame, unseen, third])  # unseen patients may have levels that no training patient has
        return proband.read(frame, proband.Schema.guess(every).accept())

    train, reading = measure(prepare)
    model, fit = measure(lambda: proband.find(synthesizer)().fit(train, seed=seed))
    made, sample = measure(lambda: model.sample(rows, seed=seed))
    columns = [column for column in train.schema.table.columns if column.kind not in ("identifier", "text")]
    coding = Coding(columns, train.frame)
    other, real = (proband.read(table, train.schema).frame for table in (third, unseen))
    told = [two_sample(see(made.frame[:n]), see(real), _boosted, seed) for see in (coding.raw, coding.binned)]
    told.append(two_sample(coding.raw(other), coding.raw(real), _boosted, seed))
    cells = [shape, f"{rows:,} x {frame.width}", *(f"{cost.seconds:.1f}" for cost in (reading, fit, sample))]
    return [*cells, f"{sample.peak_mb or 0:,.0f}", *(f"{value:.3f}" for value in told)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", default=list(SHAPES), metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--synthesizer", default="gan")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--here", action="store_true", help="in this process: the row as JSON")
    given = parser.parse_args()
    if unknown := set(given.shapes) - set(SHAPES):
        parser.error(f"there is no shape {', '.join(sorted(unknown))}; there are: {', '.join(SHAPES)}")
    if given.here:
        return print(json.dumps(one(given.shapes[0], given.synthesizer, given.seed, given.scale)))
    print(f"{given.synthesizer}, seed {given.seed}\n\n| {' | '.join(HEADING)} |\n|{'---|' * len(HEADING)}", flush=True)
    for shape in given.shapes:
        options = ["--synthesizer", given.synthesizer, "--seed", str(given.seed), "--scale", str(given.scale), "--here"]
        done = subprocess.run([sys.executable, __file__, shape, *options], capture_output=True, text=True)
        if done.returncode:
            print(f"| {shape} | failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]} |", flush=True)
        else:
            print(f"| {' | '.join(json.loads(done.stdout.splitlines()[-1]))} |", flush=True)


if __name__ == "__main__":
    main()
