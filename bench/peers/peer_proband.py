"""Our own synthesizers, called as the peers are: a process of its own, the training patients alone, one file out. See common.py."""

import argparse
import json
from pathlib import Path

from proband import Schema, read
from proband.cost import measure
from proband.records import write
from proband.synthesizer import make

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("parts", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    schema = Schema.load(given.parts / "schema.toml")
    name, _, epsilon = given.tool.partition("-")  # marginals-1: with differential privacy, at epsilon 1
    if epsilon:
        schema = schema.model_copy(update={"public": True})  # for the measurement: nobody has read it through
    train = read(given.parts / "train.csv", schema)
    model, fit = measure(lambda: make(name, epsilon=float(epsilon) if epsilon else None).fit(train, seed=given.seed))
    made, sample = measure(lambda: model.sample(given.rows, seed=given.seed))
    write(made, given.out)
    cost = {"tool": given.tool, "rows": given.rows, "seed": given.seed, "fit_s": fit.seconds, "sample_s": sample.seconds}
    cost |= {"cpu_s": fit.cpu_seconds + sample.cpu_seconds, "peak_mb": sample.peak_mb}
    given.out.with_suffix(".json").write_text(json.dumps(cost) + "\n")
