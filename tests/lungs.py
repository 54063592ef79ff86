"""Made-up chest pictures of 24 x 24 pixels: two dark lungs on grey, as wide and as high as chance has it; the sick have a bright patch."""

import numpy as np
import polars as pl

from proband import Cohort, Column, Images, Schema, Table

SIDE = 24
SCHEMA = Schema(
    tables=(
        Table(
            name="lungs",
            key="patient",
            columns=(
                Column(name="image", kind="identifier"),
                Column(name="patient", kind="identifier"),
                Column(name="sex", kind="category", categories=("F", "M")),
                Column(name="finding", kind="category", categories=("normal", "sick")),
            ),
        ),
    )
)


def lungs(images: int, seed: int, *, each: int = 1) -> Cohort:
    """So many images, `each` of a patient."""
    rng = np.random.default_rng(seed)
    patients = np.arange(images) // each
    sick, male = rng.random(images)[patients] < 0.5, rng.random(images)[patients] < 0.5
    down, right = np.mgrid[0:SIDE, 0:SIDE] / SIDE

    def blob(x: np.ndarray, y: np.ndarray, wide: np.ndarray, high: np.ndarray) -> np.ndarray:
        x, y, wide, high = (one[:, None, None] for one in (x, y, wide, high))
        return np.exp(-(((right - x) / wide) ** 4) - ((down - y) / high) ** 4)

    def draw(middle: float, spread: float) -> np.ndarray:
        return rng.normal(middle, spread, images)

    values = np.full((images, SIDE, SIDE), 0.6) - 0.1 * (down - 0.5) * draw(1, 0.5)[:, None, None]
    for side in (0.28, 0.72):
        values -= draw(0.35, 0.05)[:, None, None] * blob(draw(side, 0.02), draw(0.5, 0.03), draw(0.14, 0.02), draw(0.3 + 0.03, 0.04))
    for rib in range(5):
        values += 0.05 * np.sin((down * draw(9, 0.6)[:, None, None] + draw(0, 1)[:, None, None]) * 2 * np.pi) * (rib == 0)
    patch = blob(rng.uniform(0.22, 0.78, images), rng.uniform(0.3, 0.7, images), draw(0.09, 0.02), draw(0.09, 0.02))
    values += np.where(sick, draw(0.35, 0.05), 0)[:, None, None] * patch
    values += 0.02 * rng.normal(size=values.shape)
    frame = pl.DataFrame(
        {
            "image": [f"{seed}_{at}" for at in range(images)],
            "patient": [f"{seed}-{at}" for at in patients],
            "sex": np.where(male, "M", "F"),
            "finding": np.where(sick, "sick", "normal"),
        }
    )
    pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)[:, None]
    return Cohort(SCHEMA, frame, media={"images": Images(pixels)})
