"""WaveformGAN on real heart beats: useful, like in spectrum and shape, and nobody's; beside the Gaussian, copies and real beats.

    python bench/waveforms.py --data DIR [--seeds 0 1 2] [--minutes 2] [--strips FILE.png]

DIR holds ecg5000_train/ecg5000_train.csv.gz: 500 beats of one patient, so no figure speaks of strangers.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy.spatial.distance import cdist
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from proband import Cohort, Column, Schema, Signals, Table, WaveformGAN
from proband.stats import waveforms as stats

COLUMNS = ["kernels", "macro F1", "trees", "told: values", "told: kernels", "spectrum", "nearer", "member", "seconds"]
KERNELS = 500


def beats(folder: Path) -> Cohort:
    """The 500 beats, one row each."""
    table = np.loadtxt(folder / "ecg5000_train" / "ecg5000_train.csv.gz", delimiter=",", skiprows=1)
    frame = pl.DataFrame({"beat": [f"b{row}" for row in range(len(table))], "label": [str(int(label)) for label in table[:, 0]]})
    columns = (Column(name="beat", kind="identifier"), Column(name="label", kind="category", categories=tuple("12345")))
    schema = Schema(tables=(Table(name="beats", columns=columns, key="beat"),))
    # 140 samples a beat, resampled and standardised by who published them: the rate is per beat and the unit a standard deviation.
    return Cohort(schema, frame, media={"ecg": Signals(table[:, None, 1:], ("ecg",), ("sd",), 140.0)})


def kernels(values: np.ndarray, count: int = KERNELS) -> np.ndarray:
    """(records, 2 x count) of records (records, samples)."""
    return stats.kernels(values[:, None], count)


def spectrum(values: np.ndarray) -> np.ndarray:
    """The mean log power at each frequency, without the constant."""
    return stats.log_power(values[:, None])[:, 0].mean(axis=0)


def told(real: np.ndarray, made: np.ndarray) -> float:
    """AUC of cross-fitted trees that tell made from real; .5: they cannot."""
    both, label = np.concatenate([real, made]), np.repeat([0, 1], [len(real), len(made)])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    said = cross_val_predict(ExtraTreesClassifier(300, random_state=0), both, label, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(label, said))


def shuffled(cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Values (beats, samples) and labels in a random order: the file is sorted by label."""
    order = np.random.default_rng(0).permutation(len(cohort))
    return cohort.media["ecg"].values[order, 0].astype(float), cohort.frame["label"].fill_null("none").to_numpy()[order]


def judged(train: Cohort, unseen: Cohort, made: Cohort) -> dict[str, float]:
    """All figures of one synthetic cohort, against beats that nobody learned from."""
    (x, _), (u, v), (s, t) = (shuffled(cohort) for cohort in (train, unseen, made))
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(kernels(s), t).predict(kernels(u))
    trees = ExtraTreesClassifier(300, random_state=0).fit(s, t).predict(u)
    common = [label for label in np.unique(v) if (v == label).sum() >= 20 and (t == label).sum() >= 20]
    apart = [np.abs(spectrum(u[v == label]) - spectrum(s[t == label])).mean() for label in common]
    few = s[: len(u)]
    steps = [np.concatenate([part, np.diff(part, axis=1)], axis=1) for part in (u, few)]
    targets, member = np.concatenate([x[: len(u)], u]), np.repeat([1, 0], [min(len(u), len(x)), len(u)])
    nearest = cdist(targets, s).min(axis=1)
    among = cdist(targets, x)
    among[among < 1e-9] = np.inf  # itself
    return {
        "kernels": float((linear == v).mean()),
        "macro F1": float(f1_score(v, linear, average="macro", labels=np.unique(v), zero_division=0)),
        "trees": float((trees == v).mean()),
        "told: values": told(*steps),
        "told: kernels": told(kernels(u, 200), kernels(few, 200)),
        "spectrum": float(np.mean(apart)),
        "nearer": float((cdist(s, x[: len(u)]).min(axis=1) < cdist(s, u).min(axis=1)).mean()),
        "member": float(roc_auc_score(member, among.min(axis=1) / (nearest + 1e-9))),
    }


def made_up(patients: int = 400, seed: int = 0) -> Cohort:
    """Nobody's hearts: two leads of one beat (P, QRS, T), normal or broad, of 0.8 s at 250 Hz, in mV. For pictures that may be shown."""
    rng = np.random.default_rng(seed)
    broad, seconds = rng.random(patients) < 0.4, np.arange(200) / 250
    waves = np.zeros((patients, 2, 200))
    for at, width, height in ((0.16, 0.025, 0.15), (0.27, 0.010, -0.12), (0.30, 0.012, 1.1), (0.33, 0.012, -0.25), (0.55, 0.045, 0.3)):
        place = at + rng.normal(0, 0.008, (patients, 1)) * (at != 0.30)
        wide = width * np.where(broad & (0.2 < at < 0.4), 2.2, 1.0)[:, None] * rng.lognormal(0, 0.08, (patients, 1))
        high = height * rng.lognormal(0, 0.2, (patients, 1)) * np.where(broad & (at == 0.55), -1.0, 1.0)[:, None]
        wave = high * np.exp(-(((seconds - place) / wide) ** 2) / 2)
        waves += np.stack([wave, 0.7 * wave * (1 if at > 0.4 else -0.6 if at > 0.32 else 1)], axis=1)
    waves += rng.normal(0, 0.01, waves.shape) * rng.lognormal(0, 0.5, (patients, 1, 1))
    columns = (Column(name="id", kind="identifier"), Column(name="label", kind="category", categories=("normal", "broad")))
    frame = pl.DataFrame({"id": [f"p{row}" for row in range(patients)], "label": np.where(broad, "broad", "normal")})
    schema = Schema(tables=(Table(name="patients", columns=columns, key="id"),))
    return Cohort(schema, frame, media={"ecg": Signals(waves, ("II", "V5"), ("mV", "mV"), 250.0, (200.0, 200.0)).on_grid()})


def strips(real: Cohort, made: Cohort, labels: tuple[str, str], into: Path, *, above: str = "real", each: int = 4) -> None:
    """Real records above, made ones below, class by class, on the paper that doctors know: 0.2 s and 0.5 mV a large square."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MultipleLocator

    signals = real.media["ecg"]
    seconds = np.arange(signals.values.shape[2]) / signals.rate_hz
    high = 0.5 if signals.units[0] == "mV" else 2.0
    figure, axes = plt.subplots(4, each, figsize=(3.2 * each, 8), sharex=True, sharey=True)
    for row, (label, cohort) in enumerate((label, cohort) for label in labels for cohort in (real, made)):
        chosen = cohort.media["ecg"].values[(cohort.frame["label"] == label).fill_null(False).to_numpy()]
        for at, axis in enumerate(axes[row]):
            for dimension, large in ((axis.xaxis, 0.2), (axis.yaxis, high)):
                dimension.set_major_locator(MultipleLocator(large))
                dimension.set_minor_locator(MultipleLocator(large / 5))
            axis.grid(which="major", color="#e8a0a0", linewidth=0.8)
            axis.grid(which="minor", color="#f6dcdc", linewidth=0.4)
            for channel, color in zip(chosen[at], ("black", "#3050a0"), strict=False):
                axis.plot(seconds, channel, color=color, linewidth=0.9)
            axis.set_title(f"{above if cohort is real else 'synthetic'}, {label}", fontsize=9)
            axis.tick_params(labelsize=7)
    axes[-1][0].set_xlabel("s"), axes[0][0].set_ylabel(signals.units[0])
    figure.tight_layout()
    figure.savefig(into, dpi=70)


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--data", type=Path, help="without it, only the strips of made-up hearts are drawn")
    reader.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    reader.add_argument("--minutes", type=float, default=None)
    reader.add_argument("--strips", type=Path)
    asked = reader.parse_args()
    if asked.data is None:
        train = made_up()
        made = WaveformGAN(minutes=asked.minutes).fit(train, seed=0).sample(100, seed=1)
        return strips(made_up(seed=1), made, ("normal", "broad"), asked.strips or Path("strips.png"), above="made up")
    cohort = beats(asked.data)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in asked.seeds:
        train, holdout, reference = cohort.split(seed=seed)
        unseen = cohort.take([*holdout.patients, *reference.patients])
        copied = np.random.default_rng(seed).integers(0, len(train), len(train))
        copies = Cohort(train.schema, train.frame[copied.tolist()], media={"ecg": train.media["ecg"].take(copied)})
        rows = {"real": (train, 0.0), "copies": (copies, 0.0)}
        for name, minutes in (("Gaussian", 0.0), ("WaveformGAN", asked.minutes)):
            started = time.process_time()
            model = WaveformGAN(minutes=minutes).fit(train, seed=seed)
            rows[name] = model.sample(len(train), seed=seed), time.process_time() - started
        print(
            f"seed {seed}: gate",
            [{key: round(s[key], 3) for key in ("strength", "success", "membership", "kept")} for s in model.stages],
            flush=True,
        )
        for name, (made, seconds) in rows.items():
            found.setdefault(name, []).append(judged(train, unseen, made) | {"seconds": seconds})
            print(f"seed {seed} {name:12}", *(f"{found[name][-1][column]:9.3f}" for column in COLUMNS), flush=True)
        if asked.strips and seed == asked.seeds[0]:
            strips(unseen, rows["WaveformGAN"][0], ("1", "2"), asked.strips)
    print("| | " + " | ".join(COLUMNS) + " |\n|---" + "|---" * len(COLUMNS) + "|")
    for name, figures in found.items():
        cells = [np.array([figure[column] for figure in figures]) for column in COLUMNS]
        print(f"| {name} | " + " | ".join(f"{cell.mean():.3f} ± {cell.std():.3f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
