from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proband.cohort import Cohort
from proband.errors import InputError, NotReleasable
from proband.records.mark import find_mark
from proband.records.tables import read
from proband.release import bundle
from proband.release.bundle import Release, release
from proband.release.policy import Policy
from proband.release.provenance import opened
from proband.schema import Schema
from proband.validate.report import Report
from tests.hearts import hearts


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_release_holds_everything(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey, format: str
) -> None:
    made = release(synthetic, report, policy, tmp_path / "out", purpose="Teach.", key=key, format=format)
    names = set(contents(made.path))
    assert names >= {
        f"synthetic.{format}",
        "schema.toml",
        "report.html",
        "report.json",
        "policy.toml",
        "card.md",
        "croissant.json",
        "statement.json",
    }
    assert find_mark(made.path / f"synthetic.{format}") == synthetic.mark
    assert read(made.path / f"synthetic.{format}", Schema.load(made.path / "schema.toml")).fingerprint == synthetic.fingerprint
    assert made.policy == policy
    assert made.report.passed and made.report.context["policy"] == "ward"
    assert Release.open(made.path).verify().status == "intact"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_statement_says_how_it_was_made(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    made = release(synthetic, report, policy, tmp_path / "out", purpose=" Teach. ", key=key)
    signed = opened((made.path / "statement.json").read_bytes())
    assert set(signed.subject) == set(contents(made.path)) - {"statement.json"}
    assert signed.predicate["purpose"] == "Teach."
    assert signed.predicate["policy"] == {"name": "ward", "version": 3, "sha256": policy.hash}
    assert signed.predicate["synthesizer"] == {"name": "forest", "version": "0.1.0", "seed": 7, "details": {"trees": "8"}}
    assert signed.predicate["patients"] == {"count": 12, "fingerprint": synthetic.fingerprint}
    assert signed.predicate["schema"]["sha256"] == synthetic.schema.hash
    assert signed.predicate["report"]["findings"][1] == {
        "name": "copies",
        "value": 0.0,
        "interval": [0.0, 0.004],
        "limit": "at most 0.01",
        "passed": True,
    }


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_same_input_and_key_same_bytes(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey, format: str
) -> None:
    one, two = (release(synthetic, report, policy, tmp_path / name, key=key, format=format).path for name in ("one", "two"))
    assert contents(one) == contents(two)


def test_the_users_own_key_signs_unless_one_is_given(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, own_key_folder: Path
) -> None:
    made = release(synthetic, report, policy, tmp_path / "out")
    assert made.verify(own_key_folder / "proband" / "key.pub").vouched


def test_the_folder_is_for_others_to_read(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    before = os.umask(0o022)
    try:
        made = release(synthetic, report, policy, tmp_path / "out", key=key)
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.path.iterdir()} == {0o644}


def test_real_patients_never_leave(tmp_path: Path, real: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey) -> None:
    with pytest.raises(NotReleasable, match="real patients never leave"):
        release(real, report, policy, tmp_path / "out", key=key)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("subject", [{"sha256": "0" * 64}, None, {}, "0" * 64, {"file": "synthetic.csv"}])
def test_a_report_about_others_carries_no_release(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey, subject: object
) -> None:
    other = Report(report.findings, {**report.context, "subject": subject})
    with pytest.raises(NotReleasable, match=r"which patients|other patients"):
        release(synthetic, other, policy, tmp_path / "out", key=key)


def test_one_changed_cell_needs_a_new_report(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    changed = synthetic.frame.with_columns(pl.when(pl.col("age") == 20).then(21).otherwise("age").cast(pl.Int64).alias("age"))
    with pytest.raises(NotReleasable, match="other patients"):
        release(replace(synthetic, frame=changed), report, policy, tmp_path / "out", key=key)


def test_the_gate_says_no_with_every_reason(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    bad = Report(tuple(replace(f, interval=(0.8, 0.9)) for f in report.findings[:2]), report.context)
    with pytest.raises(NotReleasable) as raised:
        release(synthetic, bad, policy, tmp_path / "out", key=key)
    assert str(raised.value).count("- Broken") == 2
    assert not list(tmp_path.iterdir())


def test_public_wants_a_proven_bound(tmp_path: Path, synthetic: Cohort, report: Report, key: Ed25519PrivateKey) -> None:
    with pytest.raises(NotReleasable, match=r"Missing evidence: the report has no finding 'epsilon'.*differential privacy"):
        release(synthetic, report, "public", tmp_path / "out", purpose="Teach.", key=key)


def test_a_policy_may_insist_on_a_purpose(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    strict = policy.model_copy(update={"purpose_required": True})
    with pytest.raises(InputError, match="Purpose is empty"):
        release(synthetic, report, strict, tmp_path / "out", purpose="  ", key=key)
    assert release(synthetic, report, strict, tmp_path / "out", purpose="Teach.", key=key).verify().ok


def test_nothing_is_overwritten(tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey) -> None:
    for name, make in {"folder": Path.mkdir, "file": Path.touch, "link": lambda path: path.symlink_to("nowhere")}.items():
        make(tmp_path / name)
        with pytest.raises(InputError, match="exists"):
            release(synthetic, report, policy, tmp_path / name, key=key)
    assert not list((tmp_path / "folder").iterdir())


def test_a_place_that_does_not_exist_is_refused(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    with pytest.raises(InputError, match="cannot be made"):
        release(synthetic, report, policy, tmp_path / "no" / "out", key=key)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_refused(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        release(synthetic, report, policy, tmp_path / "out", key=key)


@pytest.mark.parametrize(
    ("failure", "seen"), [(OSError(28, "No space left on device"), InputError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
@pytest.mark.parametrize("step", ["write", "card", "croissant", "sign"])
def test_a_failure_at_any_step_leaves_nothing(
    tmp_path: Path,
    synthetic: Cohort,
    report: Report,
    policy: Policy,
    key: Ed25519PrivateKey,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    failure: BaseException,
    seen: type[BaseException],
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise failure

    monkeypatch.setattr(bundle, step, fail)
    with pytest.raises(seen):
        release(synthetic, report, policy, tmp_path / "out", key=key)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("format", "name"), [("xlsx", "synthetic"), ("csv", ""), ("csv", "../x"), ("csv", ".hidden"), ("csv", "a\nb")])
def test_names_that_cannot_be_files_are_refused(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey, format: str, name: str
) -> None:
    with pytest.raises(InputError, match=r"Format|Name"):
        release(synthetic, report, policy, tmp_path / "out", key=key, format=format, name=name)
    assert not list(tmp_path.iterdir())


FULL_DISK = """
import resource, sys
from pathlib import Path
from proband.records.tables import read
from proband.release.bundle import release
from proband.release.policy import Policy
from proband.errors import InputError
from proband.schema import Schema
from proband.validate.report import Report
folder = Path(sys.argv[1])
cohort = read(folder / "in" / "synthetic.parquet", Schema.load(folder / "in" / "schema.toml"))
report, policy = Report.load(folder / "in" / "report.json"), Policy.load(folder / "in" / "policy.toml")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    release(cohort, report, policy, folder / "out")
except InputError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("bytes_allowed", [100, 3000])
def test_a_full_disk_leaves_nothing(tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, bytes_allowed: int) -> None:
    """The limit on a file's size stands in for a full disk: writing past it fails in the same way, in polars as in Python."""
    release(synthetic, report, policy, tmp_path / "in")
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path), str(bytes_allowed)], capture_output=True, text=True, check=False)
    assert run.stdout.startswith("refused:"), run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_the_card_answers_a_readers_questions(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    made = release(synthetic, report, policy, tmp_path / "out", purpose="Teach.", population="Adults of one ward", key=key)
    text = (made.path / "card.md").read_text()
    for expected in (
        "No row is a real person",
        "Purpose: Teach.",
        "Adults of one ward",
        "Made by: not stated",
        "the patient (every row is one)",
        "learned from: 600",
        "forest, proband 0.1.0",
        "| sex | category |  | 2 |  |",
        "| Is it private? | Copies of real patients | 0 |",
        "Not for decisions about any person",
        "at most 0.75",
    ):
        assert expected in text, expected


def test_the_card_takes_markup_in_names_as_text(synthetic: Cohort, report: Report, policy: Policy) -> None:
    from proband.release.card import About, card

    text = card(synthetic, report, policy, About("<img src=x>\n# [a](b) | c"))
    assert "# \\<img src=x\\> # \\[a\\](b) | c\n" in text


def test_croissant_describes_the_file(tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey) -> None:
    made = release(
        synthetic, report, policy, tmp_path / "out", license="https://spdx.org/licenses/CC-BY-4.0.html", date="2026-11-30", key=key
    )
    described = json.loads((made.path / "croissant.json").read_text())
    signed = opened((made.path / "statement.json").read_bytes())
    assert described["conformsTo"][0] == "http://mlcommons.org/croissant/1.1"
    assert described["rai:hasSyntheticData"] is True
    assert described["datePublished"] == "2026-11-30"
    assert "creator" not in described
    (file,) = described["distribution"]
    assert file["sha256"] == signed.subject["synthetic.parquet"]
    (records,) = described["recordSet"]
    assert {field["name"]: field["dataType"] for field in records["field"]} == {
        "age": "sc:Integer",
        "creatinine": "sc:Float",
        "sex": "sc:Text",
        "died": "sc:Boolean",
        "seen": "sc:Date",
    }


def test_a_release_of_recordings_holds_their_folder(tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key) -> None:
    made_up = replace(hearts(12, 0), mark=synthetic.mark)
    about = Report(report.findings, {**report.context, "subject": {"sha256": made_up.fingerprint}})
    made = release(made_up, about, policy, tmp_path / "out", key=key, name="v1.0")
    back = read(made.path / "v1.0", Schema.load(made.path / "schema.toml"))
    assert (back.fingerprint, back.mark) == (made_up.fingerprint, made_up.mark)
    assert "125 samples a second: II (mV), V5 (mV)" in (made.path / "card.md").read_text()
    assert made.verify().status == "intact"
    header = next((made.path / "v1.0").glob("*.dat"))
    header.write_bytes(header.read_bytes()[:-2] + b"xx")
    assert made.verify().status == "tampered"
