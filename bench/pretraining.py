"""Synthetic pre-training, then real fine-tuning: what it gains with 1, 5, 10 and 100 % of the real patients.

    python bench/pretraining.py --train DIR --holdout DIR --synthetic DIR --target COLUMN [--size 64] [--networks 5] [--seed 0]

Each DIR is a folder of images with its table (see docs/images.md); the holdout are real patients that the synthesizer never saw. The same
small network every time. A gain whose interval holds 0 is none.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from proband import read_images
from proband.validate.pretraining import SHARES, pretraining


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train", "holdout", "synthetic"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--size", type=int, default=None, help="bring all images to squares of so many pixels a side")
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    train = read_images(asked.train, size=asked.size)
    holdout, synthetic = (read_images(path, train.schema, size=asked.size) for path in (asked.holdout, asked.synthetic))
    more = {"shares": asked.shares, "networks": asked.networks, "seed": asked.seed}
    print("share   patients   real    tuned   gain                     calibration error, real and tuned")
    for one in pretraining(train, holdout, synthetic, asked.target, **more):
        low, high = one.interval
        print(
            f"{one.share:5.0%} {one.patients:10,}   {one.real:.3f}   {one.tuned:.3f}   {one.gain:+.3f} ({low:+.3f} to {high:+.3f})   "
            f"{one.calibration[0]:.3f} {one.calibration[1]:.3f}"
        )


if __name__ == "__main__":
    main()
