"""`validate` on patients with linked tables: one report, tables and histories."""

import pytest

import proband
from tests.ward import resampled, ward


@pytest.mark.slow
def test_a_fresh_ward_is_faithful_and_a_copied_one_is_not_private() -> None:
    real = {"train": ward(300, 1), "holdout": ward(150, 2), "reference": ward(150, 3)}
    fresh = proband.validate(synthetic=ward(300, 4), target="died", seed=1, **real)
    copies = proband.validate(synthetic=resampled(real["train"], 300, 5), target="died", seed=1, **real)
    told = [{one.name: one for one in report.findings} for report in (fresh, copies)]
    assert {"detection_auc", "persistence_error", "next_value_gap", "known_values_auc", "tstr_auroc_gap"} <= set(told[0])
    assert told[0]["detection_auc"].value < 0.6 and told[0]["persistence_error"].passed is not False
    assert told[0]["membership_auc"].value < 0.6 < 0.7 < told[1]["membership_auc"].value
    assert (
        told[1]["known_values_auc"].passed is False
        and told[1]["known_values_tpr_at_1pct"].passed is False
        and told[1]["exact_copies_excess"].passed is False
    )
    for name in ("gaps_distance", "at_once_error", "persistence_within_error", "charts_broken", "next_value_gap"):
        assert told[1][name].passed is not False, name  # of histories, copies get everything right but privacy
