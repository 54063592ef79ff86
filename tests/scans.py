"""Made-up scans that a reader can work out: a bright disc or a bright bar, as large as the patient is old, two images of each patient."""

import numpy as np
import polars as pl

from proband import Cohort, Column, Images, Schema, Table

SCHEMA = Schema(
    tables=(
        Table(
            name="scans",
            key="patient",
            columns=(
                Column(name="image", kind="identifier"),
                Column(name="patient", kind="identifier"),
                Column(name="age", kind="integer", low=0),
                Column(name="shape", kind="category", categories=("bar", "disc")),
            ),
        ),
    )
)


def scans(images: int = 200, seed: int = 0, height: int = 24, width: int = 20) -> Cohort:
    rng = np.random.default_rng(seed)
    patient = np.arange(images) // 2
    bar, age = rng.random(patient[-1] + 1)[patient] < 0.4, rng.integers(20, 81, patient[-1] + 1)[patient]
    rows, columns = np.mgrid[:height, :width]
    down, right = (side / 2 + rng.normal(0, 0.5, (images, 1, 1)) for side in (height, width))
    size = (2 + 5 * age / 80)[:, None, None]
    disc = np.hypot(rows - down, columns - right) - size
    line = np.abs(columns - right) - size / 3
    light = 1 / (1 + np.exp(np.where(bar[:, None, None], line, disc)))
    values = np.clip(np.rint(40 + 160 * light + rng.normal(0, 6, light.shape)), 0, 255).astype(np.uint8)[:, None]
    frame = pl.DataFrame(
        {
            "image": [f"{seed}-{at}" for at in range(images)],
            "patient": [f"{seed}-P{at}" for at in patient],
            "age": age,
            "shape": np.where(bar, "bar", "disc"),
        }
    )
    return Cohort(SCHEMA, frame, media={"images": Images(values)})
