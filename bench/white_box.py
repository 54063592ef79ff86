"""What the model itself gives away of its training patients, beside what its table does: one table.

    python bench/white_box.py [SET ...] [--data DIR] [--patients 2000] [--seeds 1] [--models gan duel ...]

Each model learns from 60 % of the patients and is asked its word on them and on the 40 % it never saw. TPR is the share of training
patients recognised while 1 % of those unseen are accused. `unseen v unseen` asks the same word of the holdout against the reference,
neither of whom the model saw: .5, but for chance. `from the table` is the strongest of the report's attacks on as many synthetic
patients, which needs no model; `no leak` is what the luckiest of as many attacks gives where nothing leaks. AUCs with 95 % intervals.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tables import TARGETS, head, load

import proband
from proband.cohort import Cohort
from proband.privacy.white_box import white_box
from proband.stats.intervals import Estimate
from proband.validate.findings import Evidence
from proband.validate.privacy import privacy

MODELS = {
    "gan": proband.TableGAN,
    "duel": proband.DuelGAN,
    "duel, epsilon 3": lambda: proband.DuelGAN(epsilon=3),
    "diffusion": proband.TableDiffusion,
}
HEAD = ("seed", "model", "its word", "AUC", "TPR (%)", "unseen v unseen: AUC", "TPR (%)", "from the table: AUC", "no leak", "fit s")


def words(model: object) -> dict[str, Callable[[Cohort], np.ndarray]]:
    """What a model says of rows, higher where it takes them for its own."""
    if isinstance(model, proband.TableGAN):
        return {"likelihood": model.likelihood}
    if isinstance(model, proband.DuelGAN):
        return {"discriminator score": model.discriminator_score, "- gradient norm": lambda cohort: -model.gradient_norm(cohort)}
    assert isinstance(model, proband.TableDiffusion)
    return {"- denoising loss": lambda cohort: -model.denoising_loss(cohort)}


def shown(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def told(score: Callable[[Cohort], np.ndarray], members: Cohort, *unseen: Cohort) -> list[str]:
    found = white_box(score, members, unseen)
    rate = found.true_positive_rate(0.01)
    return [shown(found.auc), "" if rate is None else f"{100 * rate.value:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["thyroid"], metavar="SET", help=", ".join(TARGETS))
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--patients", type=int, default=2000, help="in all, drawn at random")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    given = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("proband", "polars", "scikit-learn", "torch"))
    print(f"{versions}, Python {platform.python_version()}; {given.patients} patients", flush=True)
    for name in given.sets:
        print(f"\n{name}\n\n{head(HEAD)}", flush=True)
        frame = load(name, given.data)
        schema = proband.Schema.guess(frame).accept().model_copy(update={"public": True})  # for the measurement
        for seed in given.seeds:
            some = proband.read(frame.sample(min(given.patients, frame.height), seed=seed), schema)
            train, holdout, reference = some.split(seed=seed)
            for kind in given.models:
                begun = time.process_time()
                model = MODELS[kind]().fit(train, seed=seed)
                seconds = time.process_time() - begun
                made = model.sample(len(train), seed=seed)
                findings = {finding.name: finding for finding in privacy(Evidence(train, holdout, reference, made), seed=seed)}
                table = findings["membership_auc"]
                beside = [
                    f"{table.value:.3f} ({table.interval[0]:.3f} to {table.interval[1]:.3f})",
                    f"{table.reference:.3f}",
                    f"{seconds:.0f}",
                ]
                for word, score in words(model).items():
                    cells = [str(seed), kind, word, *told(score, train, holdout, reference), *told(score, holdout, reference), *beside]
                    print(f"| {name} | {' | '.join(cells)} |", flush=True)
                print(f"{name}, seed {seed}, {kind}: done", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
