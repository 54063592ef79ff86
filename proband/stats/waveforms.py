"""What can be measured of regular signals: arrays (records, channels, samples) in, one row of numbers a record out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

#: Bands of a spectrum and lags of an autocorrelation, at most; both are spaced by their logarithm.
BANDS = LAGS = 16

_FAINT = 1e-6  # power below which nothing is told apart: a recorder's last level
_AT_ONCE = 4_000_000  # numbers that one transform reads


def bands(samples: int) -> list[tuple[int, int]]:
    """The frequencies of each band, as places [first, last) among those of `numpy.fft.rfft`, without the constant.

    >>> bands(8)
    [(1, 2), (2, 3), (3, 4), (4, 5)]
    """
    edges = np.unique(np.round(np.geomspace(1, samples // 2 + 1, BANDS + 1)).astype(int))
    return list(pairwise(edges.tolist()))


def lags(samples: int) -> np.ndarray:
    """Lags from one sample to half of the record."""
    return np.unique(np.round(np.geomspace(1, max(1, samples // 2), LAGS)).astype(int))


def log_power(values: np.ndarray) -> np.ndarray:
    """(records, channels, frequencies) logarithm of the power at each frequency but the constant, under a Hann window."""
    window = np.hanning(values.shape[2])
    found = []
    for part in _parts(values):
        centred = part - part.mean(axis=2, keepdims=True)
        found.append(np.log(np.abs(np.fft.rfft(centred * window, axis=2)[:, :, 1:]) ** 2 + _FAINT))
    return np.concatenate(found)


def spectrum(values: np.ndarray) -> np.ndarray:
    """(records, channels, bands) mean log power of each band."""
    found, wide = log_power(values), bands(values.shape[2])
    parts = [found[:, :, first - 1 : last - 1].mean(axis=2) for first, last in wide]
    return np.stack(parts, axis=2) if parts else np.zeros((*values.shape[:2], 0))


def autocorrelation(values: np.ndarray) -> np.ndarray:
    """(records, channels, lags) correlation of a record with itself so many samples later; 0 for one that does not move."""
    samples = values.shape[2]
    found = []
    for part in _parts(values):
        centred = part - part.mean(axis=2, keepdims=True)
        power = np.abs(np.fft.rfft(centred, 2 * samples, axis=2)) ** 2
        across = np.fft.irfft(power, axis=2)[:, :, :samples]
        found.append(across[:, :, lags(samples)[lags(samples) < samples]] / np.maximum(across[:, :, :1], 1e-12))
    return np.concatenate(found)


def amplitude(values: np.ndarray) -> np.ndarray:
    """(records, channels, 4): mean, standard deviation, peak to peak, and the steepest step from sample to sample."""
    steps = np.abs(np.diff(values, axis=2)).max(axis=2, initial=0.0)
    return np.stack([values.mean(axis=2), values.std(axis=2), np.ptp(values, axis=2), steps], axis=2).astype(float)


def between(values: np.ndarray) -> np.ndarray:
    """(records, pairs of channels) correlation within the record; 0 where one does not move."""
    centred = values - values.mean(axis=2, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=2))
    across = np.einsum("rit,rjt->rij", centred, centred) / values.shape[2]
    scaled = across / np.maximum(spread[:, :, None] * spread[:, None, :], 1e-12)
    first, second = np.triu_indices(values.shape[1], 1)
    return scaled[:, first, second].astype(float)


def course(values: np.ndarray, points: int) -> np.ndarray:
    """(records, channels, at most `points`) means of as many stretches of equal length."""
    return np.stack([part.mean(axis=2) for part in np.array_split(values, min(points, values.shape[2]), axis=2)], axis=2).astype(float)


def kernels(values: np.ndarray, count: int = 500) -> np.ndarray:
    """(records, 2 x count): how high random convolutions rise and how often they are above zero.

    ROCKET (Dempster, Petitjean and Webb, 2020); each of ours reads one channel. The same kernels for every call with records of this shape.
    """
    rng = np.random.default_rng(0)
    channels, samples = values.shape[1:]
    found = []
    for _ in range(count):
        length, bias = min(int(rng.choice([7, 9, 11])), samples), rng.uniform(-1, 1)
        weights = rng.normal(size=length)
        weights -= weights.mean()
        dilation = int(2 ** rng.uniform(0, np.log2(max(1.0, (samples - 1) / max(1, length - 1)))))
        read = values[:, rng.integers(channels) if channels > 1 else 0].astype(float)
        padded = np.pad(read, ((0, 0), ((length - 1) * dilation // 2,) * 2))
        width = padded.shape[1] - (length - 1) * dilation
        said = bias + sum(w * padded[:, at * dilation : at * dilation + width] for at, w in enumerate(weights))
        found += [said.max(axis=1), (said > 0).mean(axis=1)]
    return np.stack(found, axis=1)


def _parts(values: np.ndarray) -> list[np.ndarray]:
    """The records in lots that fit into memory many times over."""
    rows = max(1, _AT_ONCE // max(1, values.shape[1] * values.shape[2]))
    return [values[start : start + rows].astype(float) for start in range(0, max(1, len(values)), rows)]
