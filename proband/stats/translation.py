"""How well one image was made of another: errors where a mask says that they count, tissues, and whether anything moved.

Images are arrays (slices, height, width) in physical units, masks alike and boolean. `low` and `high` declare the range that PSNR, SSIM and
descriptors refer to: the same images have other figures under another range, so they are told together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from proband.stats.intervals import Estimate

#: Tissues by their CT numbers, from (at least) to (below) in HU: what dose and attenuation maps need to be right.
TISSUES_HU = {"bone": (200.0, np.inf), "body": (-300.0, np.inf), "air": (-np.inf, -300.0)}
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of MS-SSIM from fine to coarse (Wang et al., 2003)
WINDOW, SPREAD = 11, 1.5  # of SSIM's Gaussian: pixels a side, standard deviation
BINS = 12  # levels of grey whose mutual information is told
REACH = 5  # pixels in each direction among which a shift is looked for
AROUND = 11  # pixels a side that are compared
FEWEST_PLACES = 12  # below which an affine map would fit chance
CLEARLY = 0.85  # a shift counts where it leaves less than this share of what differs unshifted: flat places have no place


def mae(made: np.ndarray, real: np.ndarray, mask: np.ndarray) -> float:
    """The mean absolute error where the mask is true."""
    return float(np.abs(made.astype(float) - real)[mask].mean())


def psnr(made: np.ndarray, real: np.ndarray, mask: np.ndarray, *, low: float, high: float) -> float:
    """10 log10(range^2 / mean squared error) where the mask is true, in dB; values are held in the range first."""
    error = np.square(np.clip(made, low, high).astype(float) - np.clip(real, low, high))[mask].mean()
    return float(10 * np.log10((high - low) ** 2 / max(error, 1e-12)))


def ssim(made: np.ndarray, real: np.ndarray, mask: np.ndarray, *, low: float, high: float) -> float:
    """The mean structural similarity where the mask is true (Wang et al., 2004), slice by slice; 1 is the same."""
    whole, _ = _similarity(np.clip(made, low, high), np.clip(real, low, high), high - low)
    return float(whole[mask].mean())


def ms_ssim(made: np.ndarray, real: np.ndarray, mask: np.ndarray, *, low: float, high: float) -> float:
    """SSIM at up to five resolutions (Wang et al., 2003), as many as leave a side of 11 pixels, where the mask is true."""
    one, other = np.clip(made, low, high).astype(float), np.clip(real, low, high).astype(float)
    inside, parts = mask.astype(float), []
    while True:
        whole, structure = _similarity(one, other, high - low)
        kept = inside >= 0.5 if (inside >= 0.5).any() else inside > 0
        parts.append((whole[kept].mean(), structure[kept].mean()))
        if len(parts) == len(SCALES) or min(one.shape[1:]) // 2 < WINDOW:
            break
        one, other, inside = (_halved(part) for part in (one, other, inside))
    weights = np.array(SCALES[: len(parts)]) / sum(SCALES[: len(parts)])
    found = [max(structure, 0.0) for _, structure in parts[:-1]] + [max(parts[-1][0], 0.0)]
    return float(np.prod(np.array(found) ** weights))


def dice(made: np.ndarray, real: np.ndarray, mask: np.ndarray, *, at_least: float, below: float = np.inf) -> float:
    """Twice the overlap over the sum of what lies in [at_least, below) where the mask is true; NaN where neither has any."""
    one, other = (mask & (part >= at_least) & (part < below) for part in (made, real))
    both = one.sum() + other.sum()
    return float(2 * (one & other).sum() / both) if both else float("nan")


class Moved(NamedTuple):
    """places (n, 3): slice, row, column; shift (n, 2): down and right in pixels, so that other(x + shift(x)) looks like one(x)."""

    places: np.ndarray
    shift: np.ndarray

    @property
    def residual(self) -> float:
        """The mean length of the shifts, in pixels; NaN without a place."""
        return float(np.hypot(*self.shift.T).mean()) if len(self.shift) else float("nan")

    @property
    def common(self) -> float:
        """The same of what places of a slice have in common: the affine map that fits its shifts best. Chance finds cancel out in it, but
        so does a bend that is too fine."""
        found = []
        for at in np.unique(self.places[:, 0]):
            rows = self.places[:, 0] == at
            if rows.sum() >= FEWEST_PLACES:
                terms = np.column_stack([np.ones(rows.sum()), self.places[rows, 1:]])
                fitted = terms @ np.linalg.lstsq(terms, self.shift[rows].astype(float), rcond=None)[0]
                found.append(np.hypot(*fitted.T).mean())
        return float(np.mean(found)) if found else float("nan")


def moved(one: np.ndarray, other: np.ndarray, mask: np.ndarray, *, low: float, high: float, other_range: tuple[float, float]) -> Moved:
    """Where the edges of `one` lie in `other`, an image of the same place in any contrast: the registration residual.

    Descriptors that know no contrast (`descriptors`) are compared within 11 x 11 pixels, over all shifts of up to 5 pixels, at the sharper
    half of a grid of places in the mask. A shift counts only where it explains clearly more than none. `low` and `high` are the range of
    `one`, `other_range` that of `other`.
    """
    from scipy.ndimage import gaussian_gradient_magnitude, uniform_filter

    places, shifts = [], []
    for at in range(len(one)):
        here, there = descriptors(one[at], low, high), descriptors(other[at], *other_range)
        height, width = one.shape[1:]
        padded = np.pad(there, ((0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
        steps = [(down, right) for down in range(-REACH, REACH + 1) for right in range(-REACH, REACH + 1)]
        rows, columns = (points.ravel() for points in np.meshgrid(np.arange(4, height - 4, 4), np.arange(4, width - 4, 4), indexing="ij"))
        sharp = gaussian_gradient_magnitude(np.clip(one[at].astype(float), low, high), 1.0)[rows, columns]
        inside = mask[at, rows, columns]
        if not inside.any():
            continue
        kept = inside & (sharp > np.median(sharp[inside]))
        rows, columns = rows[kept], columns[kept]
        costs = np.empty((len(steps), len(rows)))
        for which, (down, right) in enumerate(steps):
            looked = padded[:, REACH + down : REACH + down + height, REACH + right : REACH + right + width]
            costs[which] = uniform_filter(np.abs(here - looked).mean(axis=0), AROUND, mode="nearest")[rows, columns]
        best, still = costs.argmin(axis=0), costs[steps.index((0, 0))]
        clear = costs.min(axis=0) < CLEARLY * still
        shifts.append(np.where(clear[:, None], np.array(steps)[best], 0))
        places.append(np.stack([np.full(len(rows), at), rows, columns], axis=1))
    nothing = np.zeros((0, 3), int), np.zeros((0, 2), int)
    return Moved(np.concatenate(places), np.concatenate(shifts)) if places else Moved(*nothing)


def descriptors(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """(4, height, width): how alike a pixel's neighbours are, each with the next; MIND-SSC in two dimensions (Heinrich et al., 2013)."""
    from scipy.ndimage import uniform_filter

    scaled = (np.clip(image.astype(float), low, high) - low) / (high - low) * 2 - 1
    padded = np.pad(scaled, 2, mode="edge")
    height, width = image.shape
    around = [padded[y : y + height, x : x + width] for y, x in ((0, 2), (2, 4), (4, 2), (2, 0))]
    apart = np.stack([uniform_filter((a - b) ** 2, 3, mode="nearest") for a, b in zip(around, [*around[1:], around[0]], strict=True)])
    return np.asarray(np.exp(-apart / (apart.mean(axis=0) + 1e-3)))


def levels(images: np.ndarray) -> np.ndarray:
    """(images, ...) each pixel's level among `BINS` that its own image fills evenly: 0 is darkest."""
    at = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.stack([np.searchsorted(np.unique(np.quantile(image, at)), image) for image in images])


def information(one: np.ndarray, other: np.ndarray) -> float:
    """The mutual information of two images of one size in nats, told by their `levels`."""
    joint = np.bincount((one * BINS + other).ravel(), minlength=BINS**2).reshape(BINS, BINS) / one.size
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / expected[seen])).sum())


def figures(
    made: np.ndarray, real: np.ndarray, mask: np.ndarray, *, low: float, high: float, tissues: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """All figures of one patient's slices: MAE, PSNR, SSIM, MS-SSIM, Dice of each tissue, and the registration residual in pixels."""
    ends = {"low": low, "high": high}
    found = {"MAE": mae(made, real, mask)}
    found |= {name: of(made, real, mask, **ends) for name, of in (("PSNR", psnr), ("SSIM", ssim), ("MS-SSIM", ms_ssim))}
    found |= {f"Dice {name}": dice(made, real, mask, at_least=a, below=b) for name, (a, b) in tissues.items()}
    return found | {"residual": moved(real, made, mask, **ends, other_range=(low, high)).residual}


def on_average(values: np.ndarray, *, level: float = 0.95) -> Estimate:
    """The mean over patients and its Student interval; NaN ones are left out, and the interval of a single one is unbounded.

    Slices of a patient are alike, so patients are what is counted.

    >>> [round(end, 2) for end in on_average(np.array([1.0, 2.0, 3.0]))]
    [2.0, -0.48, 4.48]
    """
    from scipy.stats import t

    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        return Estimate(float(known[0]) if len(known) else float("nan"), -np.inf, np.inf)
    half = float(t.ppf((1 + level) / 2, len(known) - 1)) * known.std(ddof=1) / len(known) ** 0.5
    return Estimate(float(known.mean()), float(known.mean() - half), float(known.mean() + half))


def _similarity(one: np.ndarray, other: np.ndarray, span: float) -> tuple[np.ndarray, np.ndarray]:
    """Maps of SSIM, and of its contrast and structure alone."""
    from scipy.ndimage import gaussian_filter

    one, other = one.astype(float), other.astype(float)
    smooth = lambda x: gaussian_filter(x, (0, SPREAD, SPREAD), truncate=(WINDOW // 2) / SPREAD, mode="nearest")  # noqa: E731
    a, b = smooth(one), smooth(other)
    within, across = smooth(one * one) + smooth(other * other) - a * a - b * b, smooth(one * other) - a * b
    brightness, contrast = (0.01 * span) ** 2, (0.03 * span) ** 2
    structure = (2 * across + contrast) / (within + contrast)
    return (2 * a * b + brightness) / (a * a + b * b + brightness) * structure, structure


def _halved(images: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in images.shape[1:])
    return np.asarray(images[:, :height, :width].reshape(len(images), height // 2, 2, width // 2, 2).mean(axis=(2, 4)))
