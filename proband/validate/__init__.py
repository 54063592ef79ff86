"""Validation: is it faithful, useful, private? Judged against real patients the synthesizer never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from proband.validate.findings import Evidence, Finding, Limit

if TYPE_CHECKING:
    from proband.schema import Schema
    from proband.validate.report import Report

__all__ = ["Evidence", "Finding", "Limit", "validate"]


def validate(
    train: Any,
    holdout: Any,
    synthetic: Any,
    *,
    reference: Any = None,
    target: str | None = None,
    schema: Schema | None = None,
    limits: Mapping[str, Limit] | None = None,
    seed: int = 0,
    on_step: Callable[[int, int, str, Mapping[str, float]], None] | None = None,
    context: Mapping[str, Any] | None = None,
) -> Report:
    """Judge anybody's synthetic patients against real ones: a Report of findings.

    train      the real patients that the synthesizer learned from
    holdout    real patients that it never saw
    synthetic  the synthetic patients
    reference  more unseen real patients, to calibrate attacks; without them half of the holdout's patients
    target     the outcome for the usefulness questions; without it they are not asked
    schema     what the columns mean; else that of `train` when it is a Cohort, else guessed from the real patients
    limits     by finding name; LIMITS unless told; findings without a limit are shown, not judged
    context    plain data that the report quotes: title, data, policy, ...

    Each table is a Cohort, a frame (pandas, polars, arrow) or a path (.csv, .csv.gz, .parquet). A synthetic table with
    absent or unknown columns, or values that the schema does not allow, is judged, not refused. Patients with linked tables are judged as
    one row of figures a patient, and their histories by what only time has (docs/histories.md); patients with signals likewise
    (docs/waveforms.md), and patients with images (docs/images.md). Raises InputError when a real part is wrong, holdout and train share a
    patient, the target is unknown or the real patients have only one class of it.
    The same arguments and seed give the same report.

    >>> report = validate(train, holdout, synthetic, target="death")  # doctest: +SKIP
    >>> report.passed  # doctest: +SKIP
    False
    """
    from proband.validate.coded import tables
    from proband.validate.evidence import gather
    from proband.validate.fidelity import fidelity
    from proband.validate.histories import flattened
    from proband.validate.images import has_images, images
    from proband.validate.limits import LIMITS
    from proband.validate.over_time import over_time
    from proband.validate.privacy import privacy
    from proband.validate.recordings import signals_of, with_figures
    from proband.validate.report import Report
    from proband.validate.utility import utility
    from proband.validate.waveforms import waveforms

    evidence, notes = gather(train, holdout, synthetic, reference=reference, target=target, schema=schema, seed=seed)
    step = on_step or (lambda done, total, what, figures: None)
    flat = with_figures(flattened(evidence))
    coded = tables(flat, seed=seed)
    findings = fidelity(flat, seed=seed, on_step=step, coded=coded)
    findings += utility(flat, seed=seed, on_step=step, coded=coded)
    step(0, 1, "private: attacks", {})
    findings += privacy(flat, seed=seed)
    step(1, 1, "private: attacks", {})
    if evidence.train.schema.children:
        findings += over_time(evidence, seed=seed, on_step=step)
    if signals_of(evidence.train) is not None:
        findings += waveforms(evidence, seed=seed, on_step=step)
    if seen := has_images(evidence):
        # Beside images the table is often a class and little else: what it cannot answer is shown, and the images answer.
        findings = [f for f in findings if f.value is not None or f.question != "useful"]
    untold = {f.name for f in findings if f.value is None and seen}
    findings += images(evidence, seed=seed, on_step=step) if seen else []
    standard = LIMITS if limits is None else limits
    # What was not asked is not judged.
    asked = [f for f in findings if (target is not None or f.question != "useful") and f.name not in untold]
    judged = {f.name: f.judged(standard.get(f.name)) for f in asked}
    return Report(tuple(judged.get(f.name, f) for f in findings), {**notes, **(context or {})})
