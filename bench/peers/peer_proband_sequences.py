"""SequenceGAN, called as the peers of stays over time are: a process of its own, the training stays alone. See stays.py.

It has its default minutes, whatever is asked, and so answers the first mark alone.
"""

import json

from stays import arguments

from proband import Schema, read
from proband.cost import measure
from proband.records import write
from proband.synthesizers.sequences import SequenceGAN

if __name__ == "__main__":
    given = arguments()
    train = read(given.train, Schema.load(given.train / "schema.toml"))
    model, fit = measure(lambda: SequenceGAN().fit(train, seed=given.seed))
    made, sample = measure(lambda: model.sample(given.n, seed=given.seed))
    folder = given.out / f"proband-{given.minutes[0]:g}"
    write(made, folder, format="parquet")
    cost = {"tool": "proband", "seed": given.seed, "stays": given.n, "events": made.linked["events"].height}
    cost |= {"fit_s": fit.cpu_seconds, "sample_s": sample.cpu_seconds, "peak_mb": sample.peak_mb}
    (folder / "cost.json").write_text(json.dumps(cost) + "\n")
