"""Our attacks beside those of Synth-MIA and anonymeter, on the same training patients, synthetic table and reference: one table.

    python bench/attacks.py [SET ...] [--data DIR] --peers ENVIRONMENTS [--work WORK] [--seeds 1] [--made clean copied overfit]

Every set has three synthetic tables: `clean` (SequentialForest), `copied` (the same with 2 % of its rows replaced by training patients) and
`overfit` (one patient a leaf). `large` is a made-up set of 20,000 training patients and as many synthetic ones, for the seconds.

TPR is the share of training patients recognised while 1 % of strangers are accused. Synth-MIA attacks as many members as strangers (the
holdout; at most 1,000 of each, as in its experiments, and all of `large`) with the reference at hand, and is credited with the best of
all its settings and codings on the very patients judged; ours attack all patients of the three parts, each with the others as
reference. Seconds are of one core (CPU time), for the whole of either battery; ours count every privacy finding. Excesses are members
minus controls; anonymeter's risk is that over (1 - controls).

With several seeds a second table follows: the mean TPR of each side's best attack, which is the one that is best on average and not the
luckiest of every draw, with the standard error of the difference.
"""

import argparse
import contextlib
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tables import SCRIPTS, TARGETS, parts, schema_of

import proband
from proband.cohort import Cohort
from proband.pipeline import save_split
from proband.privacy.linkage import link
from proband.privacy.patients import gathered
from proband.synthesizers.forest import SequentialForest
from proband.validate.findings import Evidence
from proband.validate.privacy import privacy

MADE = ("clean", "copied", "overfit")
COPIED = 0.02
LARGE = 20_000
MOST = 1_000  # members and strangers that Synth-MIA attacks, as in its own experiments
EMPTY = "(empty)"
#: Scores that are no single attack.
TOGETHER = ("ensemble", "copies found")
HEAD = ("set", "synthetic", "who", "TPR, best single (%)", "TPR, ensemble (%)", "hidden values", "linked", "singled out", "seconds")


def large(work: Path, seed: int) -> Path:
    """A made-up set: 12 numbers and 8 levels that hang together, split so that 20,000 patients are trained on."""
    folder = work / f"large-{seed}"
    if not folder.exists():
        draw = np.random.default_rng([seed, LARGE])
        count = round(LARGE / 0.6)
        common = draw.normal(size=(count, 5))
        numbers = np.round(common @ draw.normal(size=(5, 12)) + draw.normal(size=(count, 12)), 2)
        levels = np.clip(np.round(common @ draw.normal(size=(5, 8)) / 2 + 2), 0, 4).astype(int)
        frame = pl.DataFrame({f"lab_{at}": column for at, column in enumerate(numbers.T)})
        frame = frame.with_columns(pl.Series(f"code_{at}", np.array(list("abcde"))[column]) for at, column in enumerate(levels.T))
        save_split(proband.read(frame, proband.Schema.guess(frame).accept()).split(seed=seed), folder, "csv")
    return folder


def synthetic(kind: str, train: Cohort, seed: int) -> Cohort:
    """As many synthetic patients as there are training patients."""
    made = SequentialForest(leaf_patients=1 if kind == "overfit" else 20).fit(train, seed=seed).sample(len(train), seed=seed)
    if kind == "copied":
        draw = np.random.default_rng([seed, 2])
        count = round(COPIED * len(train))
        copied = train.frame[draw.choice(train.frame.height, count, replace=False)]
        made = replace(made, frame=pl.concat([made.frame.head(made.frame.height - count), copied]))
    return made


def handed(folder: Path, evidence: Evidence, seed: int, most: int | None) -> list[str]:
    """The tables as the peers take them, in `folder`: no cell empty (a number is at the median beside a flag), no date."""
    columns = gathered(evidence.synthetic.frame, evidence.train).columns
    every = {"train": evidence.train, "holdout": evidence.holdout, "reference": evidence.reference, "synthetic": evidence.synthetic}
    frames = {name: cohort.frame.select(column.name for column in columns) for name, cohort in every.items()}
    # Drawn, not the first: patients may lie in order of their days, and the members are of all days.
    draw, holdout, train = np.random.default_rng([seed, 3]), frames["holdout"], frames["train"]
    frames["strangers"] = holdout[draw.permutation(holdout.height)[: holdout.height if most is None else most]]
    frames["members"] = train[draw.permutation(train.height)[: frames["strangers"].height]]
    levels = [column.name for column in columns if not column.numeric]
    flagged = [column.name for column in columns if column.numeric and any(frame[column.name].null_count() for frame in frames.values())]
    middles = {column.name: frames["synthetic"][column.name].to_physical().median() for column in columns if column.numeric}
    for name, frame in frames.items():
        flags = [frame[flag].is_null().cast(pl.Int8).cast(pl.String).alias(f"{flag} {EMPTY}") for flag in flagged]
        cells = [
            frame[column.name].cast(pl.String).fill_null(EMPTY)
            if column.name in levels
            else frame[column.name].to_physical().cast(pl.Float64).fill_null(middles[column.name])
            for column in columns
        ]
        pl.DataFrame([*cells, *flags]).write_csv(folder / f"{name}.csv")
    (folder / "levels.json").write_text(json.dumps([*levels, *(f"{flag} {EMPTY}" for flag in flagged)]))
    return flagged


def peer(name: str, folder: Path, peers: Path, *more: str) -> dict[str, Any]:
    """What a peer's script found; kept in the folder, and not asked again."""
    out = folder / f"{name}.json"
    python = peers / name / "bin" / "python"
    if not out.exists() and python.exists():
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(peers / name / "src")}
        command = [python, SCRIPTS / f"peer_{name}.py", folder, "--out", out.with_suffix(".writing"), *more]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            print(f"{name}: {(done.stderr.strip().splitlines() or ['it failed without a word'])[-1][:200]}", file=sys.stderr, flush=True)
            return {}
        os.replace(out.with_suffix(".writing"), out)
    return json.loads(out.read_text()) if out.exists() else {}


def ours(evidence: Evidence, seed: int) -> tuple[list[str], dict[str, float]]:
    """Our line, and the TPR of each of our attacks."""
    started = time.process_time()
    findings = {finding.name: finding for finding in privacy(evidence, seed=seed)}
    seconds = time.process_time() - started
    rates = findings["membership_tpr_at_1pct"].detail.get("attacks", {})
    single = {name: rate for name, rate in rates.items() if not name.startswith(TOGETHER)}
    ensemble = next((rate for name, rate in rates.items() if name.startswith("ensemble")), None)
    best = max(single, key=lambda name: single[name])
    excesses = []
    for name in ("attribute_gain", "linkage_excess", "singling_out_excess"):
        finding = findings[name]
        excesses.append(f"{_percent(finding.value)} ({_percent(finding.interval[0])} to {_percent(finding.interval[1])})")  # type: ignore[index]
    return ["ours", f"{_percent(single[best])} ({best})", _percent(ensemble), *excesses, f"{seconds:.0f}"], single


def theirs(found: dict[str, Any]) -> list[str]:
    """Synth-MIA's line: its best setting, and the seconds of all of them."""
    told = {name: one for name, one in found.items() if "tpr" in one}
    if not told:
        return ["Synth-MIA", *[""] * 6]
    best = max(told, key=lambda name: told[name]["tpr"])
    unfinished = sum("took too long" in one.get("failed", "") for one in found.values())
    refused = len(found) - len(told) - unfinished
    seconds = sum(one["seconds"] for one in found.values())
    note = f"{'over ' if unfinished else ''}{seconds:.0f} ({len(told)} settings; {refused} refused, {unfinished} unfinished)"
    return ["Synth-MIA", f"{_percent(told[best]['tpr'])} ({best}, {told[best]['seconds']:.0f} s)", "", "", "", "", note]


def on_average(mine: list[dict[str, float]], others: list[dict[str, float]]) -> list[str]:
    """Both sides' best attacks by their mean over the seeds, and ours minus theirs, with its standard error."""

    def best(drawn: list[dict[str, float]]) -> tuple[str, np.ndarray]:
        everywhere = set.intersection(*map(set, drawn))
        rates = {name: np.array([one[name] for one in drawn]) for name in sorted(everywhere)}
        return max(rates.items(), key=lambda one: float(one[1].mean()))

    (our_name, our), (their_name, their) = best(mine), best(others)
    gap = our - their
    error = gap.std(ddof=1) / len(gap) ** 0.5
    means = [f"{_percent(float(rates.mean()))} ({name})" for name, rates in ((our_name, our), (their_name, their))]
    return [*means, f"{100 * gap.mean():.1f} (standard error {100 * error:.1f})"]


def risks(found: dict[str, Any]) -> list[str]:
    """anonymeter's line: its risks (in %, with their intervals), inference as the mean over the columns."""

    if not found:
        return ["anonymeter", *[""] * 6]

    def told(name: str) -> str:
        one = found.get(name, {})
        return (
            f"{_percent(one['risk'])} ({_percent(one['low'])} to {_percent(one['high'])})" if "risk" in one else one.get("failed", "")[:40]
        )

    inference = [one["risk"] for name, one in found.items() if name.startswith("inference") and "risk" in one]
    mean = f"{_percent(float(np.mean(inference)))} (mean of {len(inference)}; most {_percent(max(inference))})" if inference else ""
    single = " / ".join(told(f"singling out, {mode}") for mode in ("univariate", "multivariate"))
    return ["anonymeter", "", "", mean, told("linkability"), single, f"{sum(one['seconds'] for one in found.values()):.0f}"]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["thyroid"], metavar="SET", help=", ".join([*TARGETS, "large"]))
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--peers", type=Path, metavar="ENVIRONMENTS", default=Path())
    parser.add_argument("--work", type=Path, help="keep the parts, the tables and what the peers found here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--made", nargs="+", choices=MADE, default=MADE)
    parser.add_argument("--seconds", type=int, default=300, help="the most that one attack of Synth-MIA may take")
    given = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("proband", "polars", "scikit-learn"))
    print(
        f"{versions}, Python {platform.python_version()}; seeds {given.seeds}\n\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True
    )
    mine, others = defaultdict(list), defaultdict(list)
    with contextlib.ExitStack() as stack:
        work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, seed in itertools.product(given.sets, given.seeds):
            folder = large(work, seed) if name == "large" else parts(name, seed, given.data, work)[0]
            real = [proband.read(folder / f"{part}.csv", schema_of(folder)) for part in ("train", "holdout", "reference")]
            for kind in given.made:
                evidence = Evidence(*real, synthetic(kind, real[0], seed))
                here = folder / kind
                here.mkdir(exist_ok=True)
                flagged = handed(here, evidence, seed, None if name == "large" else MOST)
                links = link(gathered(evidence.synthetic.frame, *real), evidence.synthetic.frame, seed=seed)
                if links:  # a flag goes with its column
                    blocks = [[*block, *(f"{name} {EMPTY}" for name in block if name in flagged)] for block in links.blocks]
                    (here / "blocks.json").write_text(json.dumps(blocks))
                line, rates = ours(evidence, seed)
                found = peer("synthmia", here, given.peers, "--seconds", str(given.seconds))
                mine[name, kind].append(rates)
                others[name, kind].append({attack: one["tpr"] for attack, one in found.items() if "tpr" in one})
                for one in (line, theirs(found), risks(peer("anonymeter", here, given.peers))):
                    if any(one[1:]):
                        print(f"| {name}, seed {seed} | {kind} | {' | '.join(one)} |", flush=True)
    if len(given.seeds) > 1:
        print("\n| set | synthetic | TPR, our best (%) | TPR, Synth-MIA's best (%) | difference |\n|---|---|---|---|---|")
        for (name, kind), drawn in mine.items():
            if all(others[name, kind]):
                print(f"| {name} | {kind} | {' | '.join(on_average(drawn, others[name, kind]))} |", flush=True)


if __name__ == "__main__":
    main()
