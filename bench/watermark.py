"""The watermark: what it survives, whether real images raise an alarm, and what it costs a model that learns from marked images.

    python bench/watermark.py --data DIR [--attacked 100] [--real 1000] [--seed 0]

DIR holds kermany_cxr, busi_ultrasound, cxr_nih_covid and paired_ct_mri as npz files. Real images stand in for synthetic ones: a mark is no
easier to hide in them. Images are marked as `proband.write` does, with the public key; found is p < 1e-6.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from proband import Images, seeds
from proband.records.burned import burned
from proband.records.images import resized
from proband.records.watermark import PUBLIC, SURE, find

SIZES = (64, 128)
OTHERS = {"busi_ultrasound": ("images_128", "images"), "cxr_nih_covid": ("images_128", "images"), "paired_ct_mri": ("ct_mri_256", "ct")}


def xrays(data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chest X-rays (images, 128, 128) uint8, their labels and their patients."""
    held = np.load(data / "kermany_cxr" / "kermany_128_jpeg.npz", allow_pickle=False)
    ends, packed = held["offsets"], held["jpeg"]
    images = [np.asarray(Image.open(io.BytesIO(packed[a:b].tobytes())).convert("L")) for a, b in pairwise(ends)]
    return np.stack(images), held["labels"], held["patient"]


def shrunk(image: np.ndarray, share: float) -> np.ndarray:
    return np.rint(resized(image, *(round(side * share) for side in image.shape))).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int = 75) -> np.ndarray:
    held = io.BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(held.getvalue())))


def cropped(image: np.ndarray) -> np.ndarray:
    """A tenth of each side gone, more of it above than below."""
    height, width = image.shape
    top, left = round(0.07 * height), round(0.04 * width)
    return image[top : height - round(0.1 * height) + top, left : width - round(0.1 * width) + left]


ATTACKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as written": lambda image: image,
    "JPEG 75": jpeg,
    "JPEG 50": lambda image: jpeg(image, 50),
    ".75 x": lambda image: shrunk(image, 0.75),
    "10 % cropped": cropped,
    "windowed": lambda image: np.clip(image.astype(float) * 1.3 - 40, 0, 255).astype(np.uint8),
    "cropped, .75 x, JPEG 75": lambda image: jpeg(shrunk(cropped(image), 0.75)),
    "mirrored": lambda image: image[:, ::-1],
    "3 x, JPEG 75": lambda image: jpeg(np.asarray(Image.fromarray(image).resize([3 * side for side in image.shape[::-1]]))),
}


def downstream(values: np.ndarray, labels: np.ndarray, patients: np.ndarray, seed: int, most: int) -> tuple[float, float, float]:
    """AUC of bacteria v virus on unmarked X-rays of unseen patients, learned from plain, watermarked, and stamped and watermarked ones.

    A logistic regression of features from a network that knows photographs: no draw of weights to add noise.
    """
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from proband.stats.lite import features

    rng = seeds.generator(seed, "downstream")
    ill = np.flatnonzero(labels > 0)
    people = rng.permutation(np.unique(patients[ill]))
    held = np.isin(patients[ill], people[: len(people) // 3])
    train, test = rng.permutation(ill[~held])[:most], rng.permutation(ill[held])[:most]

    def seen(images: np.ndarray) -> np.ndarray:
        return features(torch.from_numpy(images.astype(np.float32) / 127.5 - 1), number=0).numpy()

    plain, tested = Images(values[train][:, None]), seen(values[test][:, None])
    found = []
    for images in (plain, burned(plain, stamp=False), burned(plain)):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(seen(images.values), labels[train] == 2)
        found.append(float(roc_auc_score(labels[test] == 2, model.decision_function(tested))))
    return found[0], found[1], found[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--attacked", type=int, default=100)
    parser.add_argument("--real", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if not (asked.data / "kermany_cxr").is_dir():
        raise SystemExit(f"{asked.data} holds no kermany_cxr: give the folder of the data sets.")
    values, labels, patients = xrays(asked.data)
    chosen = seeds.generator(asked.seed, "watermark").permutation(len(values))
    sized = {size: np.stack([shrunk(values[at], size / 128) for at in chosen[: max(asked.attacked, asked.real)]]) for size in SIZES}

    print(f"Recognised (p < {SURE:g}) of {asked.attacked} chest X-rays, with the public key, stamped and watermarked; largest p\n")
    print(f"| {'':<24} | {' | '.join(f'{size:>3} px         ' for size in SIZES)} | seconds |")
    print(f"|{'-' * 26}|{'|'.join('-' * 17 for _ in SIZES)}|---------|")
    marked = {size: burned(Images(sized[size][: asked.attacked, None])).values[:, 0] for size in SIZES}
    for name, attack in ATTACKS.items():
        began, cells = time.perf_counter(), []
        for size in SIZES:
            p = np.array([find(attack(image), PUBLIC).p for image in marked[size]])
            cells.append(f"{(p < SURE).mean():>6.0%}  {p.max():7.1e}")
        took = (time.perf_counter() - began) / asked.attacked / len(SIZES)
        print(f"| {name:<24} | {' | '.join(cells)} | {took:7.2f} |", flush=True)

    print("\nFalse alarms on real images, which carry no mark; smallest p\n")
    real = {f"kermany_cxr, {size} px": sized[size][: asked.real] for size in SIZES}
    for name, (file, key) in OTHERS.items():
        if (path := asked.data / name / f"{file}.npz").is_file():
            real[name] = np.load(path, allow_pickle=False)[key]
    for name, images in real.items():
        p = np.array([find(image, PUBLIC).p for image in images])
        print(f"| {name:<24} | {(p < SURE).sum()} of {len(p)} | {p.min():.1e} |", flush=True)

    print("\nLearned from marked X-rays (128 px), judged on unmarked ones: AUC of bacteria v virus")
    print("\n| seed | plain | watermark | and stamp |")
    print("|------|-------|-----------|-----------|")
    for seed in range(asked.seed, asked.seed + 3):
        plain, hidden, both = downstream(values, labels, patients, seed, 800)
        print(f"| {seed:<4} | {plain:.4f} | {hidden:.4f} | {both:.4f} |", flush=True)


if __name__ == "__main__":
    main()
