from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proband import Column, Images, Schema, Table
from proband.cohort import Cohort
from proband.errors import InputError
from proband.records.tables import write
from proband.release.bundle import Release, release
from proband.release.policy import Policy
from proband.release.provenance import key_id, opened, public_pem, sign
from proband.release.verify import Fault, sha256, verify
from proband.validate.report import Report


@pytest.fixture(params=["parquet", "csv"])
def made(
    request: pytest.FixtureRequest, tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> Release:
    return release(synthetic, report, policy, tmp_path / "out", key=key, format=request.param)


def data_file(made: Release) -> Path:
    return next(path for path in made.path.iterdir() if path.name in ("synthetic.parquet", "synthetic.csv"))


def test_intact_and_not_vouched_for(made: Release, key: Ed25519PrivateKey, synthetic: Cohort) -> None:
    found = made.verify()
    assert (found.status, found.ok, found.faults) == ("intact", True, ())
    assert found.signer == key_id(key.public_key())
    assert not found.vouched and "not vouched for" in str(found)
    assert found.mark == synthetic.mark
    assert json.loads(json.dumps(found.as_dict()))["mark"]["seed"] == 7


def test_a_pinned_signer_is_vouched_for(made: Release, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    (tmp_path / "signer.pub").write_text(public_pem(key.public_key()))
    found = made.verify(tmp_path / "signer.pub")
    assert found.ok and found.vouched and "not vouched" not in str(found)


def test_another_signer_is_not_the_pinned_one(made: Release, key: Ed25519PrivateKey) -> None:
    found = made.verify(Ed25519PrivateKey.generate().public_key())
    assert (found.status, found.ok, found.vouched) == ("other signer", False, False)


def test_one_changed_byte_of_any_file_is_named(made: Release) -> None:
    names = [path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.is_file()]
    assert len(names) >= 8
    for name in names:
        content = (made.path / name).read_bytes()
        for position in {0, len(content) // 2, len(content) - 1}:
            (made.path / name).write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            found = made.verify()
            assert found.status == "tampered"
            assert [fault.name for fault in found.faults] == [name]
            assert name in str(found)
        (made.path / name).write_bytes(content)
    assert made.verify().ok


def test_one_missing_file_is_named(made: Release) -> None:
    for path in [path for path in made.path.iterdir() if path.name != "statement.json"]:
        shutil.copy(path, made.path.parent / "kept")
        path.unlink()
        assert made.verify().faults == (Fault(path.name, "missing"),)
        shutil.copy(made.path.parent / "kept", path)


def test_everything_added_is_named(made: Release) -> None:
    (made.path / "notes.txt").touch()
    (made.path / "pictures").mkdir()
    (made.path / "pictures" / "x.png").touch()
    (made.path / ".hidden").touch()
    found = made.verify()
    assert found.status == "tampered"
    assert [fault.name for fault in found.faults] == [".hidden", "notes.txt", "pictures", "pictures/x.png"]


def test_every_fault_is_named_at_once(made: Release) -> None:
    (made.path / "card.md").write_text("better")
    (made.path / "report.json").unlink()
    (made.path / "more.csv").touch()
    assert [fault.name for fault in made.verify().faults] == ["card.md", "report.json", "more.csv"]


def test_a_link_in_place_of_a_file_is_named(made: Release, tmp_path: Path) -> None:
    (made.path / "card.md").rename(tmp_path / "card.md")
    (made.path / "card.md").symlink_to(tmp_path / "card.md")
    (fault,) = made.verify().faults
    assert fault.name == "card.md" and "link" in fault.what


def test_a_pipe_in_place_of_a_file_is_named_and_not_opened(made: Release) -> None:
    (made.path / "card.md").unlink()
    os.mkfifo(made.path / "card.md")
    assert [fault.name for fault in made.verify().faults] == ["card.md"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff\x00", b'{"payload": 1}', b" " * 5_000_000])
def test_a_hostile_statement_is_named(made: Release, content: bytes) -> None:
    (made.path / "statement.json").write_bytes(content)
    found = made.verify()
    assert found.status == "tampered"
    assert [fault.name for fault in found.faults] == ["statement.json"]
    assert found.signer is None


def test_a_statement_that_is_a_link_is_named(made: Release, tmp_path: Path) -> None:
    (made.path / "statement.json").rename(tmp_path / "elsewhere.json")
    (made.path / "statement.json").symlink_to(tmp_path / "elsewhere.json")
    assert [fault.name for fault in made.verify().faults] == ["statement.json"]


def test_a_signed_statement_cannot_point_outside(made: Release, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    (tmp_path / "secret").write_text("x")
    (made.path / "statement.json").write_bytes(sign({"../secret": sha256(tmp_path / "secret")}, {}, key))
    (fault,) = made.verify().faults
    assert fault.name == "statement.json" and "outside" in fault.what


def test_a_statement_from_another_release_names_what_differs(made: Release, key: Ed25519PrivateKey) -> None:
    signed = opened((made.path / "statement.json").read_bytes())
    (made.path / "statement.json").write_bytes(sign({**signed.subject, "card.md": "0" * 64}, signed.predicate, key))
    assert [fault.name for fault in made.verify().faults] == ["card.md"]


def test_whoever_signs_anew_is_seen_by_who_pins(made: Release, key: Ed25519PrivateKey) -> None:
    """Anybody can change a file and sign again: without a pinned key the answer says that nobody vouches for the signer."""
    (made.path / "card.md").write_text("better")
    signed = opened((made.path / "statement.json").read_bytes())
    thief = Ed25519PrivateKey.generate()
    (made.path / "statement.json").write_bytes(sign({**signed.subject, "card.md": sha256(made.path / "card.md")}, signed.predicate, thief))
    assert "not vouched for" in str(made.verify())
    assert made.verify(key.public_key()).status == "other signer"


def test_without_its_statement_it_is_unsigned(made: Release) -> None:
    (made.path / "statement.json").unlink()
    found = made.verify()
    assert (found.status, found.ok) == ("unsigned", False)
    assert found.mark is not None


def test_a_signature_does_not_make_up_for_a_missing_label(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    (tmp_path / "real.csv").write_text("age\n40\n")
    (tmp_path / "statement.json").write_bytes(sign({"real.csv": sha256(tmp_path / "real.csv")}, {}, key))
    assert verify(tmp_path).status == "unlabelled"


def test_a_lone_parquet_file_is_known_by_its_label(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    made = release(synthetic, report, policy, tmp_path / "out", key=key)
    lone = Path(shutil.copy(made.path / "synthetic.parquet", tmp_path / "renamed.parquet"))
    found = verify(lone)
    assert (found.status, found.ok, found.mark) == ("labelled", True, synthetic.mark)
    assert "without its signed folder" in str(found)
    pinned = verify(lone, key.public_key())
    assert (pinned.status, pinned.ok, pinned.vouched) == ("unsigned", False, False)


def test_a_lone_csv_file_is_known_by_its_label(
    tmp_path: Path, synthetic: Cohort, report: Report, policy: Policy, key: Ed25519PrivateKey
) -> None:
    made = release(synthetic, report, policy, tmp_path / "out", key=key, format="csv")
    found = verify(shutil.copy(made.path / "synthetic.csv", tmp_path / "renamed.csv"))
    assert found.status == "labelled"
    assert "unknown" not in str(found), "without its sidecar nothing is known of its maker, so nothing is said"
    shutil.copy(made.path / "synthetic.csv.synthetic.json", tmp_path / "renamed.csv.synthetic.json")
    assert verify(tmp_path / "renamed.csv").mark == synthetic.mark


def test_a_sidecar_labels_nothing_by_itself(tmp_path: Path, real: Cohort, synthetic: Cohort) -> None:
    write(synthetic, tmp_path / "patients.csv")
    real.frame.write_csv(tmp_path / "patients.csv")
    assert verify(tmp_path / "patients.csv").status == "unlabelled"


def test_a_file_beside_its_statement_is_checked_with_its_folder(made: Release) -> None:
    assert verify(data_file(made)).ok
    (made.path / "card.md").write_text("better")
    assert verify(data_file(made)).status == "tampered"


def test_data_in_subfolders_is_known_by_its_labels(tmp_path: Path, real: Cohort, synthetic: Cohort) -> None:
    (tmp_path / "ward" / "late").mkdir(parents=True)
    write(synthetic, tmp_path / "ward" / "early.parquet")
    write(synthetic, tmp_path / "ward" / "late" / "late.csv")
    assert (verify(tmp_path).status, verify(tmp_path).mark) == ("labelled", synthetic.mark)
    (tmp_path / "ward" / "card.md").touch()  # as in a release: where is its statement?
    assert verify(tmp_path).status == "unsigned"
    real.frame.write_csv(tmp_path / "ward" / "late" / "late.csv")
    assert verify(tmp_path).status == "unlabelled"


def test_files_without_a_label(tmp_path: Path, real: Cohort) -> None:
    real.frame.write_csv(tmp_path / "real.csv")
    real.frame.write_parquet(tmp_path / "real.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "notes.txt").write_text("x")
    for name in ("real.csv", "real.parquet", "broken.parquet", "empty.csv", "notes.txt"):
        assert verify(tmp_path / name).status == "unlabelled", name
    assert verify(tmp_path).status == "unlabelled"


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        verify(tmp_path / "none")
    with pytest.raises(InputError, match="not a folder"):
        Release.open(tmp_path / "none")


def test_a_name_cannot_move_the_cursor(made: Release) -> None:
    (made.path / "\x1b[2Jgone").touch()
    assert "\x1b" not in str(made.verify())


def test_a_stranger_can_check_it_with_openssl_alone(made: Release) -> None:
    """The lines in the documentation, run as they stand there: they pass on the release and fail on a changed one."""
    page = (Path(__file__).parents[2] / "docs" / "release.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-o", "pipefail", "-c", block], cwd=made.path, capture_output=True, text=True, check=False)

    checked = run()
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(": OK") == len(opened((made.path / "statement.json").read_bytes()).subject)
    assert made.verify().ok, "the check leaves nothing in the folder"
    (made.path / "card.md").write_text("better")
    assert run().returncode != 0 and "card.md: FAILED" in run().stdout
    shutil.copy(made.path / "report.json", made.path / "statement.json")
    assert run().returncode != 0


def test_a_folder_of_labelled_images_and_each_of_them(tmp_path: Path, synthetic: Cohort) -> None:
    from PIL import Image

    columns = (Column(name="image", kind="identifier"),)
    schema, frame = Schema(tables=(Table(name="xrays", columns=columns, key="image"),)), pl.DataFrame({"image": ["a", "b"]})
    write(Cohort(schema, frame, synthetic.mark, media={"images": Images(np.ones((2, 1, 4, 4), np.uint8))}), tmp_path / "out", format="csv")
    assert verify(tmp_path / "out").status == verify(tmp_path / "out" / "a.png").status == "labelled"
    assert verify(tmp_path / "out" / "a.png").mark == synthetic.mark
    Image.open(tmp_path / "out" / "a.png").save(tmp_path / "out" / "a.png")  # as most programs write it: without the chunk
    assert verify(tmp_path / "out").status == verify(tmp_path / "out" / "a.png").status == "unlabelled"
    (tmp_path / "out" / "a.png").write_bytes(b"no image")
    assert verify(tmp_path / "out" / "a.png").status == "unlabelled"
