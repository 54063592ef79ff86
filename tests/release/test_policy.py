from __future__ import annotations

from pathlib import Path

import pytest

from proband.errors import InputError
from proband.release.policy import PROFILES, Policy
from proband.validate.findings import Limit

GOOD = """
name = "ward"
version = 1
audience = "the ward"
required = ["copies"]

[limits.copies]
at_most = 0.001
why = "Copies are real patients."
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "ward.toml"
    path.write_text(text)
    return path


def test_a_file_becomes_limits_with_reasons(tmp_path: Path) -> None:
    policy = Policy.load(write(tmp_path, GOOD))
    assert policy.limits == {"copies": Limit(at_most=0.001)}
    assert policy.bounds["copies"].why == "Copies are real patients."
    assert not policy.purpose_required


def test_what_is_saved_is_loaded(tmp_path: Path, policy: Policy) -> None:
    policy.save(tmp_path / "saved.toml")
    assert Policy.load(tmp_path / "saved.toml") == policy


def test_the_hash_follows_content_not_layout(tmp_path: Path) -> None:
    plain = Policy.load(write(tmp_path, GOOD)).hash
    assert Policy.load(write(tmp_path, "# a comment\n" + GOOD)).hash == plain
    assert Policy.load(write(tmp_path, GOOD.replace("0.001", "0.002"))).hash != plain


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("at_most = 0.001", "at_mots = 0.001"), "at_mots"),
        (("version = 1", "version = 1\nspeed = 3"), "'speed' is unknown"),
        (("at_most = 0.001", "at_most = 0.001\nat_least = 0"), "exactly one of at_most and at_least"),
        (("at_most = 0.001\n", ""), "exactly one of at_most and at_least"),
        (("0.001", "nan"), "finite number"),
        (("0.001", "inf"), "finite number"),
        (("0.001", '"low"'), "limits.copies.at_most"),
        (('why = "Copies are real patients."', ""), "limits.copies.why"),
        (('["copies"]', '["copeis"]'), "'copeis' has no limit"),
        (("version = 1", "version = 0"), "version"),
        (("version = 1", ""), "'version' is missing"),
        (('name = "ward"', 'name = "ward'), "not valid TOML"),
        (('name = "ward"', 'name = " "'), "name"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(InputError, match=complaint.replace("'", ".")) as raised:
        Policy.load(write(tmp_path, GOOD.replace(*change)))
    assert "ward.toml" in str(raised.value)
    assert "\n" not in str(raised.value).split("(at line")[0]


def test_an_unknown_name_lists_the_built_in_ones() -> None:
    with pytest.raises(InputError, match="internal, controlled, public, education"):
        Policy.load("lenient")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        Policy.load(tmp_path / "x.toml")


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_complete(name: str) -> None:
    policy = Policy.load(name)
    assert policy.name == name
    assert set(policy.limits) >= set(Policy.load("controlled").limits), "a profile leaves nothing open that another judges"
    assert {"exact_copies_excess", "membership_tpr_at_1pct", "detection_auc_binned"} <= set(policy.required)


def test_controlled_is_what_validate_judges_by() -> None:
    from proband.validate.limits import LIMITS

    assert Policy.load("controlled").limits == LIMITS


def stricter_or_equal(one: Limit, other: Limit) -> bool:
    if one.at_most is not None:
        return other.at_most is not None and one.at_most <= other.at_most
    return other.at_least is not None and one.at_least is not None and one.at_least >= other.at_least


def test_profiles_tighten_from_internal_to_public() -> None:
    internal, controlled, public = (Policy.load(name).limits for name in ("internal", "controlled", "public"))
    for name in controlled:
        assert stricter_or_equal(controlled[name], internal[name]), name
        assert stricter_or_equal(public[name], controlled[name]), name


def test_public_needs_a_purpose_and_a_proven_bound() -> None:
    public = Policy.load("public")
    assert public.purpose_required
    assert "epsilon" in public.required
    assert "differential privacy" in public.bounds["epsilon"].why
    assert "epsilon" not in Policy.load("controlled").limits


def test_the_table_in_the_documentation_is_the_files() -> None:
    page = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
    policies = {name: Policy.load(name) for name in PROFILES}
    names = dict.fromkeys(limit for policy in policies.values() for limit in policy.limits)
    for name in names:
        cells = (
            f"{policy.limits[name]}{' *' if name in policy.required else ''}" if name in policy.limits else ""
            for policy in policies.values()
        )
        row = f"| `{name}` | {' | '.join(cells)} |"
        assert row in page, f"docs/policy.md should have the row:\n{row}"


def test_education_is_blunter_but_as_private_as_controlled() -> None:
    education, controlled = Policy.load("education").limits, Policy.load("controlled").limits
    private = [name for name in controlled if name.startswith(("exact_copies", "near_copies", "copies", "membership"))]
    assert len(private) == 7
    assert all(stricter_or_equal(education[name], controlled[name]) for name in private)
    assert not stricter_or_equal(education["tstr_auroc_gap"], controlled["tstr_auroc_gap"])
