"""A clinic whose workings a reader can see: what the tests that go from end to end learn from."""

import numpy as np
import polars as pl


def clinic(patients: int = 1000, seed: int = 0) -> pl.DataFrame:
    """One row a patient. Age drives blood pressure, smoking and age drive death; a stay has an end after its start."""
    rng = np.random.default_rng(seed)
    age = rng.integers(30, 91, patients)
    smoker = rng.random(patients) < 0.35
    systolic = np.round(95 + 0.5 * age + 8 * smoker + rng.normal(0, 10, patients))
    lactate = np.round(rng.lognormal(0.4, 0.5, patients), 1)
    measured = rng.random(patients) < 0.3 + 0.5 * smoker
    ward = rng.choice(["surgery", "cardiology", "medicine"], patients, p=[0.2, 0.3, 0.5])
    died = rng.random(patients) < 1 / (1 + np.exp(-(age - 70) / 6 - 1.5 * smoker))
    return pl.DataFrame(
        {
            "patient_id": [f"P{i:05d}" for i in range(patients)],
            "age": age,
            "sex": rng.choice(["F", "M"], patients),
            "smoker": np.where(smoker, "yes", "no"),
            "ward": ward,
            "building": np.where(ward == "surgery", "north", "south"),
            "systolic_mmhg": systolic,
            "diastolic_mmhg": np.round(systolic * rng.uniform(0.5, 0.8, patients)),
            "lactate_measured": np.where(measured, "t", "f"),
            "lactate_mmol_l": pl.Series(lactate).set(pl.Series(~measured), None),
            "died": died.astype(int),
        }
    )
