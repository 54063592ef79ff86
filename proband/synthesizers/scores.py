"""Tokens on the scale of a standard normal: what the copula, SMOTE and the diffusion model share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

_LEAST = 1e-7  # a score stays within 5.2 standard deviations


class Scale(NamedTuple):
    """The present values of one field as ranges of a standard normal, in proportion to the training patients.

    order   the tokens that some training patient has, missing (0) left out, in the order in which they follow one another
    until   where each begins and ends, as shares: (len(order) + 1,) from 0 to 1
    """

    order: np.ndarray
    until: np.ndarray

    @staticmethod
    def of(counts: np.ndarray, order: np.ndarray | None = None) -> Scale:
        """The scale of a field with these training patients a token; tokens in their own order unless told."""
        order = np.arange(1, len(counts)) if order is None else order
        order = order[counts[order] > 0]
        return Scale(order, np.concatenate([[0.0], np.cumsum(counts[order]) / max(1, counts[order].sum())]))

    @property
    def cuts(self) -> np.ndarray:
        """Where each token begins and ends on the normal scale, from -inf to inf."""
        cuts = ndtri(self.until)
        cuts[[0, -1]] = -np.inf, np.inf
        return cuts

    def ranks(self, tokens: np.ndarray) -> np.ndarray:
        """The place in `order` of each token; 0 for a token that no training patient has, and for missing."""
        ranks = np.zeros(1 + int(max(tokens.max(initial=0), self.order.max(initial=0))), np.int64)
        ranks[self.order] = np.arange(len(self.order))
        return ranks[tokens]

    def scores(self, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Normal scores (rows,) of tokens and places within them, 0 for missing."""
        if not len(self.order):
            return np.zeros(len(tokens))
        rank = self.ranks(tokens)
        share = self.until[rank] + offsets * (self.until[rank + 1] - self.until[rank])
        return np.where(tokens > 0, ndtri(np.clip(share, _LEAST, 1 - _LEAST)), 0.0)

    def codes(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `scores`: present tokens and places within them, (rows,) each. There must be a token."""
        share = ndtr(scores)
        rank = np.clip(np.searchsorted(self.until, share, side="right") - 1, 0, len(self.order) - 1)
        width = self.until[rank + 1] - self.until[rank]
        return self.order[rank].astype(np.int32), np.clip((share - self.until[rank]) / width, 0, np.nextafter(1, 0))
