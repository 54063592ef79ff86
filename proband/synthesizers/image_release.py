"""What is asked of patients' images under differential privacy, and the sketch that follows from the answers.

Three noisy sums over patients, of which each adds a vector no longer than 1: what the images of each group show in the mean, how they
spread around that, and how a public network sees them (Harder et al., TMLR 2023). A patient's vector is the mean over their images, and
hangs on nobody else. All that sets a scale is public (a cosine basis, the type of the pixels, images of chance) or was asked before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import idct

from proband.game.averages import Look
from proband.game.play import deterministic
from proband.privacy.budget import Budget, deviation

#: What the budget for images goes to; "numbers" only where a column is a number.
SHARES = {"means": 0.25, "spread": 0.35, "looks": 0.30, "numbers": 0.10}
COARSE = 64  # cosines whose means and covariances are asked, the slowest first: where things are
SCORES = 512  # cosines in all; of those beyond the first only how loud they are is asked, in bands
BANDS = 12
#: Shares of a patient's vector of means, squared, so that their sum is 1: how many patients, how loud, where things are, each band.
PARTS = {"patients": 0.2, "loudness": 0.1, "pixels": 0.6, "bands": 0.1}
ROOM = 2.0  # times the mean square of what is spread: above that a patient's is cut
AT_LEAST = 1e-3  # of that, in squared units of black to white: noise may say less than nothing
FURTHEST = 3.0  # standard deviations of a number, as encoded
CLEAR = 1.2  # times the largest eigenvalue of noise: that is itself by chance a tenth more


class Basis(NamedTuple):
    """cosines (scores, pixels), orthonormal; band (scores,) of each, by how fast it is. Public: it follows from the size alone."""

    cosines: np.ndarray
    band: np.ndarray

    @staticmethod
    def of(canvas: tuple[int, int, int]) -> Basis:
        """The slowest cosines on a canvas of (channels, height, width) pixels."""
        waves = [idct(np.eye(side), axis=0, norm="ortho") for side in canvas]  # (side, frequency)
        channel, down, across = (at.ravel() for at in np.meshgrid(*(np.arange(side) for side in canvas), indexing="ij"))
        longest = max(canvas[1:])
        pace = np.sqrt((down * longest / canvas[1]) ** 2 + (across * longest / canvas[2]) ** 2 + 4.0 * channel**2)
        first = np.argsort(pace, kind="stable")[:SCORES]
        made = np.einsum("cf,hf,wf->fchw", waves[0][:, channel[first]], waves[1][:, down[first]], waves[2][:, across[first]])
        paces = pace[first]
        edges = np.geomspace(1.0, max(2.0, paces.max()), BANDS)
        return Basis(made.reshape(len(first), -1), np.searchsorted(edges, paces, side="right").clip(0, BANDS - 1))

    @property
    def coarse(self) -> int:
        return min(COARSE, len(self.cosines))

    def scores(self, images: np.ndarray) -> np.ndarray:
        """(images, scores): by Parseval, their squares sum to the mean square of the pixels at most, which is 1 at most."""
        flat = images.reshape(len(images), -1)
        return flat @ self.cosines.T / flat.shape[1] ** 0.5


class Release(NamedTuple):
    """The noisy answers, and nothing else of the patients. Sums by group (groups, ...); each with the deviation of its noise.

    patients (groups,) how many; loudness (groups,) their summed mean squares; pixels (groups, coarse); bands (groups, bands), roots
    spread (groups, coarse, coarse) around `centres` (groups, coarse), in units of `room`; looks (groups, width)
    numbers (numbers, coarse) how numbers move images, in units of the root of `room`
    """

    patients: np.ndarray
    loudness: np.ndarray
    pixels: np.ndarray
    bands: np.ndarray
    centres: np.ndarray
    room: float
    spread: np.ndarray
    looks: np.ndarray
    numbers: np.ndarray
    noise: dict[str, float]


#: what(rows of one patient) -> (their images, width), each image's vector
Told = Callable[[np.ndarray], np.ndarray]


def released(
    small: np.ndarray,
    images: np.ndarray,
    given: np.ndarray,
    patients: list[np.ndarray],
    groups: int,
    numbers: list[int],
    basis: Basis,
    look: Look,
    budget: Budget,
) -> Release:
    """Ask, by what is left of `budget`, of `images` (images, channels, height, width) from -1 to 1 and as `small` as the sketch.

    given (images, 1 + attributes): the group first; patients: the rows of each; numbers: places of standardised numbers in `given`
    """
    shares = {what: share for what, share in SHARES.items() if what != "numbers" or numbers}
    rho = {what: share * budget.left / sum(shares.values()) for what, share in shares.items()}
    group, coarse = given[:, 0].astype(int), basis.coarse
    noise = {what: deviation(part) for what, part in rho.items()}

    def ask(what: str, told: Told, width: int) -> np.ndarray:
        """(groups, width) the sum over patients of the mean over their images, in the group of each image."""
        return budget.total(
            (_mean(told(rows), group[rows], groups) for rows in patients),
            width=groups * width,
            rho=rho[what],
            what=f"{what} of images",
        ).reshape(groups, width)

    parts = {what: share**0.5 for what, share in PARTS.items()}

    def shown(rows: np.ndarray) -> np.ndarray:
        scores = basis.scores(small[rows])
        loud = np.square(small[rows].reshape(len(rows), -1)).mean(axis=1, keepdims=True)
        bands = np.stack([np.linalg.norm(scores[:, basis.band == band], axis=1) for band in range(BANDS)], axis=1)
        one = np.full((len(rows), 1), parts["patients"])
        return np.concatenate([one, parts["loudness"] * loud, parts["pixels"] * scores[:, :coarse], parts["bands"] * bands], axis=1)

    means = ask("means", shown, 2 + coarse + BANDS)
    counts, loudness = means[:, 0] / parts["patients"], means[:, 1] / parts["loudness"]
    pixels, bands = means[:, 2 : 2 + coarse] / parts["pixels"], means[:, 2 + coarse :] / parts["bands"]
    centres = together(pixels, counts, noise["means"] / parts["pixels"], basis.band[:coarse])
    total = max(counts.sum(), 1.0)
    room = ROOM * max(AT_LEAST, loudness.sum() / total - float(np.square(centres).sum(axis=1) @ counts.clip(0)) / total)

    upper = np.triu_indices(coarse)
    double = np.where(upper[0] == upper[1], 1.0, 2**0.5)

    def apart(rows: np.ndarray) -> np.ndarray:
        """(images, coarse), none longer than 1: how far from the centre of the group."""
        return within((basis.scores(small[rows])[:, :coarse] - centres[group[rows]]) / room**0.5)

    def squares(rows: np.ndarray) -> np.ndarray:
        own = apart(rows)
        return own[:, upper[0]] * own[:, upper[1]] * double

    found = ask("spread", squares, len(double)) / double
    spread = np.zeros((groups, coarse, coarse))
    spread[:, upper[0], upper[1]] = found
    spread[:, upper[1], upper[0]] = found
    with deterministic():
        looks = ask("looks", lambda rows: looked(look, images[rows]), look.width)
    moved = np.zeros((len(numbers), coarse))
    if numbers:

        def together_with(rows: np.ndarray) -> np.ndarray:
            size = given[rows][:, numbers].clip(-FURTHEST, FURTHEST) / (FURTHEST * len(numbers) ** 0.5)
            return (size[:, :, None] * apart(rows)[:, None, :]).reshape(len(rows), -1)

        asked = budget.total(
            (together_with(rows).mean(axis=0) for rows in patients), width=moved.size, rho=rho["numbers"], what="numbers of images"
        )
        moved = asked.reshape(moved.shape) * FURTHEST * len(numbers) ** 0.5
    return Release(counts, loudness, pixels, bands, centres, room, spread, looks, moved, noise)


def patients_of(key: list[object] | None, rows: int) -> list[np.ndarray]:
    """The rows of each patient; without a key each row is one."""
    if key is None:
        return [np.array([row]) for row in range(rows)]
    found: dict[object, list[int]] = {}
    for row, patient in enumerate(key):
        found.setdefault(patient, []).append(row)
    return [np.array(held) for held in found.values()]


def within(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, width) that are longer than 1 cut to that length."""
    return vectors / np.maximum(1.0, np.linalg.norm(vectors, axis=1, keepdims=True))


@torch.no_grad()
def looked(look: Look, images: np.ndarray) -> np.ndarray:
    """(images, width) what the network sees of one patient's images, alone: the last bits of a batch would hang on who else is in it."""
    parts = torch.from_numpy(np.ascontiguousarray(images)).split(64)
    return torch.cat([look(some) for some in parts]).numpy().astype(float)


def _mean(told: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """(groups * width,) the mean over a patient's images, each in the place of its group: no longer than the longest, held to 1."""
    found = np.zeros((groups, told.shape[1]))
    np.add.at(found, group, within(told) / len(told))
    return found.ravel()


def together(sums: np.ndarray, counts: np.ndarray, noise: float, block: np.ndarray) -> np.ndarray:
    """(groups, width) means: everybody's, and of what each group differs from that, the part that stands out from the noise.

    noise    deviation of each sum's noise; block (width,): values that are drawn alike. An empirical Bayes estimate (Efron and
             Morris, 1973); a group of few patients is as everybody, and what noise drowns is 0.
    """
    known = np.maximum(counts, 1.0)
    total, groups = max(float(counts.sum()), 1.0), len(counts)
    everybody, own = sums.sum(axis=0) / total, sums / known[:, None]
    found = np.empty_like(own)
    for at in np.unique(block):
        inside = block == at
        middle = everybody[inside]
        middle = middle * _clear(np.mean(middle**2), groups * (noise / total) ** 2)
        apart, drowned = own[:, inside] - middle, (noise / known) ** 2
        weight = known**2 / np.square(known).sum()  # by precision: a group of nobody is noise alone
        signal = max(0.0, float(weight @ ((apart**2).mean(axis=1) - drowned)))
        found[:, inside] = middle + apart * (signal / (signal + drowned))[:, None]
    return found


def _clear(seen: float, drowned: float) -> float:
    """The share of a mean square that is not noise."""
    return max(0.0, 1 - drowned / max(seen, 1e-30))


def averages(release: Release, maps: int = 8) -> np.ndarray:
    """(groups, width) what the public network sees in the mean of each group."""
    width = release.looks.shape[1]
    return together(release.looks, release.patients, release.noise["looks"], np.arange(width) * maps // width)


def sketch_from(release: Release, basis: Basis, numbers: list[int], attributes: int) -> dict[str, np.ndarray]:
    """The arrays of `game.images.Sketch`, from the noisy answers alone. Its basis are the cosines, its kinds the groups."""
    coarse, pixels = basis.coarse, basis.cosines.shape[1]
    unit, band = pixels**0.5, basis.band
    total = max(float(release.patients.sum()), 1.0)
    loud = together(release.bands, release.patients, release.noise["means"] / PARTS["bands"] ** 0.5, np.arange(BANDS))
    share = np.maximum(release.patients, 0) / max(float(np.maximum(release.patients, 0).sum()), 1.0)
    loud = np.maximum(share @ loud, 0)
    size = np.maximum(1, np.bincount(band, minlength=BANDS))
    mean = share @ release.centres
    still = np.bincount(band[:coarse], mean**2, minlength=BANDS)
    each = np.maximum(loud**2 - still, 0) / size  # the variance of a cosine in each band
    for at in range(1, BANDS):  # what noise hides is no louder than what is slower
        each[at] = min(each[at], each[at - 1])

    slopes = np.zeros((attributes, coarse))
    moved = np.zeros((coarse, coarse))
    if numbers:
        found = release.numbers / total
        drowned = (release.noise["numbers"] * FURTHEST * len(numbers) ** 0.5 / total) ** 2
        found = found * np.array([_clear(np.mean(row**2), drowned) for row in found])[:, None] * release.room**0.5
        slopes[np.array(numbers) - 1] = found
        moved = found.T @ found
    deviations = release.noise["spread"] * release.room / 2**0.5  # of an entry off the diagonal
    everybody = release.spread.sum(axis=0) * release.room / total
    floor = each[band[:coarse]]
    pooled = clear_of_noise(everybody - moved, deviations * len(share) ** 0.5 / total, floor)
    factors = []
    for own, count in zip(release.spread * release.room, release.patients, strict=True):
        count = max(float(count), 1.0)
        apart, drowned = own / count - everybody, (deviations / count) ** 2
        signal = max(0.0, float(np.mean(apart**2)) - drowned)
        mixed = pooled + signal / (signal + drowned) * (clear_of_noise(own / count - moved, deviations / count, floor) - pooled)
        factors.append(np.linalg.cholesky(mixed + (1e-6 * np.trace(mixed) / coarse + 1e-12) * np.eye(coarse)))
    arrays = {
        "mean": np.zeros(pixels),
        "basis": basis.cosines,
        "slopes": unit * slopes,
        "centres": unit * release.centres,
        "factors": unit * np.stack(factors),
        "rest": unit * np.sqrt(each[band[coarse:]]),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def clear_of_noise(noisy: np.ndarray, deviation: float, floor: np.ndarray) -> np.ndarray:
    """The covariance in `noisy`, whose entries have noise of `deviation`: positive definite.

    Symmetric noise alone has eigenvalues up to 2 * deviation * sqrt(n) (Wigner); one beyond that is that of a direction which stands out,
    raised by the noise (Benaych-Georges and Nadakuditi, 2011). The other directions vary as `floor` (n,) says of each value.
    """
    edge = 2 * deviation * len(noisy) ** 0.5
    values, vectors = np.linalg.eigh(noisy)
    out = values > edge * CLEAR
    clear = (values[out] + np.sqrt(values[out] ** 2 - edge**2)) / 2
    rest = np.eye(len(noisy)) - vectors[:, out] @ vectors[:, out].T
    return np.asarray((vectors[:, out] * clear) @ vectors[:, out].T + (rest * floor) @ rest.T)
