"""Made-up heart beats of two leads: P, QRS and T, normal or broad; the patient's own height, width and noise."""

import numpy as np
import polars as pl

from proband import Cohort, Column, Schema, Signals, Table

RATE_HZ, SAMPLES = 125.0, 100
WAVES = ((0.16, 0.025, 0.15), (0.27, 0.012, -0.12), (0.30, 0.014, 1.1), (0.33, 0.014, -0.25), (0.55, 0.045, 0.3))  # s, s, mV
SCHEMA = Schema(
    tables=(
        Table(
            name="hearts",
            key="id",
            columns=(Column(name="id", kind="identifier"), Column(name="beat", kind="category", categories=("broad", "normal"))),
        ),
    )
)


def hearts(patients: int, seed: int) -> Cohort:
    rng = np.random.default_rng(seed)
    broad, time = rng.random(patients) < 0.4, np.arange(SAMPLES) / RATE_HZ
    values = np.zeros((patients, 2, SAMPLES))
    for at, width, height in WAVES:
        own = width * np.where(broad & (0.2 < at < 0.4), 2.0, 1.0)[:, None] * rng.lognormal(0, 0.1, (patients, 1))
        high = height * rng.lognormal(0, 0.2, (patients, 1)) * np.where(broad & (at == 0.55), -1, 1)[:, None]
        wave = high * np.exp(-(((time - at - rng.normal(0, 0.006, (patients, 1))) / own) ** 2) / 2)
        values += np.stack([wave, 0.7 * wave * (1 if at > 0.4 else -0.6)], axis=1)
    values += rng.normal(0, 0.01, values.shape)
    frame = pl.DataFrame({"id": [f"{seed}-{at}" for at in range(patients)], "beat": np.where(broad, "broad", "normal")})
    return Cohort(SCHEMA, frame, media={"signals": Signals(values, ("II", "V5"), ("mV", "mV"), RATE_HZ, (200.0, 200.0)).on_grid()})
