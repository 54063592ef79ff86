"""What each part of TableGAN buys: one fit, its parts switched off one after another, judged as everybody's table is.

    python bench/ablation.py --data DIR [support2 framingham ...] [--seeds 1 2 3]

Unseen patients are the holdout and the reference together; `judge.py` says what each figure means. The forest is SequentialForest.
"""

import argparse
import importlib.metadata
import platform
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from judge import judge
from tables import TARGETS, load

import proband
from proband import seeds
from proband.encode import Codes
from proband.synthesizers import completer, tables
from proband.synthesizers.drawing import decoded, draw_codes

FIGURES = ["detection_raw", "detection_binned", "extra_trees", "logistic", "pairs", "association", "tstr_ratio", "tstr_targets", "mia_auc"]
GROUPS = 16  # of rows, each with an order of its own, for the network alone


def without_network(fitted: tables._Fitted) -> tables._Fitted:
    """The chain with the network's weight given back to the others, and no critic."""
    told = {}
    for field, each in fitted.chain.told.items():
        rest = max(1 - each.net, 1e-9)
        kernels = tuple(kernel / rest for kernel in each.kernels)
        told[field] = replace(each, marginal=each.marginal / rest, kernels=kernels, score_weight=each.score_weight / rest, net=0.0)
    return replace(fitted, chain=replace(fitted.chain, told=told), critics=())


def network_alone(fitted: tables._Fitted, n: int, seed: int) -> pl.DataFrame:
    """Rows told by the network alone, in random orders."""
    rng, encoder, net = seeds.generator(seed, "ablation"), fitted.encoder, fitted.net
    parts = []
    for group in range(GROUPS):
        rows = n // GROUPS + (group < n % GROUPS)
        parts.append(
            draw_codes(
                encoder,
                rows,
                propose=lambda field, tokens, _: completer.told(net, field, tokens),
                order=rng.permutation(len(encoder.fields)).tolist(),
                rng=rng,
                settle=lambda tokens, offsets, rng: completer.settled(net, encoder, tokens, offsets, rng),
            )
        )
    whole = Codes(np.concatenate([p.tokens for p in parts]), np.concatenate([p.offsets for p in parts]))
    return decoded(encoder, whole, None)


def variants(train: proband.Cohort, n: int, seed: int) -> dict[str, Callable[[], pl.DataFrame]]:
    """Name -> what makes its rows."""
    model = proband.TableGAN().fit(train, seed=seed)
    fitted = model._learned

    def drawn(of: tables._Fitted) -> pl.DataFrame:
        return tables._drawn(of, n, seeds.generator(seed, "ablation"), None)

    return {
        "forest": lambda: proband.SequentialForest().fit(train, seed=seed).sample(n, seed=seed).frame,
        "network alone": lambda: network_alone(fitted, n, seed),
        "chain without network": lambda: drawn(without_network(fitted)),
        "chain": lambda: drawn(replace(fitted, critics=())),
        "chain, one round of selection": lambda: drawn(replace(fitted, critics=fitted.critics[:1])),
        "TableGAN": lambda: drawn(fitted),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["thyroid"], metavar="SET", help=", ".join(TARGETS))
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    given = parser.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("proband", "scikit-learn", "torch"))
    print(f"{versions}, Python {platform.python_version()}; seeds {' '.join(map(str, given.seeds))}\n", flush=True)
    print(f"| | {' | '.join(FIGURES)} |\n|{'---|' * (1 + len(FIGURES))}")
    for name in given.sets:
        frame = load(name, given.data)
        cohort = proband.read(frame, proband.Schema.guess(frame).accept())
        found: dict[str, list[dict[str, float]]] = {}
        for seed in given.seeds:
            train, holdout, reference = cohort.split(seed=seed)
            for variant, make in variants(train, train.frame.height, seed).items():
                found.setdefault(variant, []).append(judge(train.frame, holdout.frame, reference.frame, make(), TARGETS[name], seed))
        for variant, runs in found.items():
            shown = [f"{statistics.mean(run[figure] for run in runs):.3f}" for figure in FIGURES]
            print(f"| {name}: {variant} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
