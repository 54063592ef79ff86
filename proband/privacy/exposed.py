"""Groups of patients in whom a leak may hide: levels, bands of age, rare levels, and those who stand alone."""

from __future__ import annotations

import itertools
import re

import numpy as np

from proband import seeds
from proband.privacy.membership import Neighbourhood
from proband.privacy.patients import Attacked

FEW_LEVELS = 12  # a category of more is no way to tell groups of people
RARE = 0.02  # a level that fewer patients have is a rare one
MOST = 2 / 3  # what more patients have is no group apart
_AGE = re.compile(r"(^|_)age($|_)", re.IGNORECASE)


def groups(attacked: Attacked) -> dict[str, np.ndarray]:
    """By name, which patients have a row in the group, (patients,) bool: nothing here looks at membership."""
    found: dict[str, np.ndarray] = {}
    rare = np.zeros(len(attacked.mine), bool)
    for at, column in enumerate(attacked.embed.columns):
        values = attacked.mine[:, at]
        if not column.numeric:
            levels = attacked.embed.read.levels[at]
            counts = np.bincount(values[~np.isnan(values)].astype(int), minlength=len(levels) + 1)
            rare |= np.append(counts, len(values))[np.nan_to_num(values, nan=len(counts)).astype(int)] < RARE * len(values)
            if len(levels) <= FEW_LEVELS:
                found |= {f"{column.name} = {level}": values == code for code, level in enumerate(levels)}
        elif _AGE.search(column.name) and np.isfinite(values).any():
            ends = np.unique(np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1], method="lower"))
            # The outer bands are open: their ends are one patient's age each.
            for low, high in itertools.pairwise([-np.inf, *ends[1:-1], np.inf]) if len(ends) > 2 else ():
                name = f"below {high:.4g}" if np.isinf(low) else f"{low:.4g} and above" if np.isinf(high) else f"{low:.4g} to {high:.4g}"
                found[f"{column.name} {name}"] = (values >= low) & (values < high)
    found["a rare level"] = rare
    everyone = {name: attacked.per_patient(rows.astype(float)) > 0 for name, rows in found.items()}
    return {name: own for name, own in everyone.items() if own.mean() <= MOST}


def isolated(near: Neighbourhood) -> np.ndarray:
    """The tenth of patients whose 5th nearest other real patient is farthest (equal ones by chance), (patients,) bool."""
    distance = near.attacked.per_patient(near.to_real[:, 4])
    ties = seeds.generator(near.attacked.seed, "privacy", "isolated").random(len(distance))
    found = np.zeros(len(distance), bool)
    found[np.lexsort((ties, -distance))[: len(distance) // 10]] = True
    return found
