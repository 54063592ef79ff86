"""Finding: one answer to one of the three questions, with its doubt. Evidence: what the answers rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from proband.cohort import Cohort

Question = Literal["faithful", "useful", "private"]

#: The entry of a finding's detail that shows real patients. It is for who may see them: a release leaves without it.
INSIDE = "inside"


@dataclass(frozen=True)
class Limit:
    """What a finding may reach: `at_most` or `at_least`. The unfavourable end of the interval is judged.

    With `over_reference` the number counts from what real patients reach against real patients (`Finding.reference`):
    distances grow as tables shrink, and only the excess is the synthesizer's doing. A judged finding shows the sum.
    """

    at_most: float | None = None
    at_least: float | None = None
    over_reference: bool = False

    def __str__(self) -> str:
        text = f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"
        return f"{text} from real against real" if self.over_reference else text

    def beside(self, reference: float | None) -> Limit | None:
        """The same limit as a plain number, given the finding's reference; None when it needs one and there is none."""
        if not self.over_reference:
            return self
        if reference is None or reference != reference:
            return None
        shifted = (None if bound is None else round(bound + reference, 6) for bound in (self.at_most, self.at_least))
        return Limit(next(shifted), next(shifted))

    def allows(self, low: float, high: float) -> bool:
        """Whether the whole interval [low, high] is inside the limit. NaN is never inside."""
        return high <= self.at_most if self.at_most is not None else low >= self.at_least  # type: ignore[operator]


@dataclass(frozen=True)
class Finding:
    """One metric of the synthetic cohort beside the same metric of real patients and of the floor.

    question   faithful, useful or private
    name       stable identifier that a policy's limits refer to, such as "detection_auc"
    title      what it is, in words a data officer understands
    value      the metric; interval: its 95 % interval (low, high), or None where none can be given
    reference  the same metric, real against real at the same size; reference_interval: its 2.5 and 97.5 percentiles
    floor      the same metric for independent columns (each column of the training data shuffled on its own)
    limit      what the policy allows; None: shown, not judged
    passed     True, False, or None: could not tell (missing or underpowered evidence), which a gate treats as not passed
    why        one sentence: what was found, which columns or patients' group, and what to do about it; never a patient's value
    detail     plain JSON data for the report's picture and table; its form belongs to the check
    """

    question: Question
    name: str
    title: str
    value: float | None
    why: str
    interval: tuple[float, float] | None = None
    reference: float | None = None
    reference_interval: tuple[float, float] | None = None
    floor: float | None = None
    limit: Limit | None = None
    passed: bool | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def judged(self, limit: Limit | None) -> Finding:
        """This finding under `limit`: the unfavourable end of its interval decides. No value, no interval or NaN: could not tell."""
        from dataclasses import replace

        if limit is None:
            return replace(self, limit=None, passed=None)
        plain = limit.beside(self.reference)
        if plain is None or self.value is None or self.interval is None or any(end != end for end in self.interval):
            return replace(self, limit=plain or limit, passed=None)
        return replace(self, limit=plain, passed=plain.allows(*self.interval))


@dataclass(frozen=True)
class Evidence:
    """Three real parts that share no patient, and the synthetic cohort, all under one schema.

    The synthesizer saw `train` only. `holdout` plays the patients it never saw; `reference` calibrates the attacks.
    `refused` marks, by column, the synthetic cells that the schema's types could not hold and that are null in the
    cohort's frame ("high" in a column of numbers; every cell of a column that is absent).
    """

    train: Cohort
    holdout: Cohort
    reference: Cohort
    synthetic: Cohort
    target: str | None = None
    refused: Mapping[str, np.ndarray] = field(default_factory=dict)
