"""Cases in NIfTI, as SynthRAD lays them out, through the command: every case is made by what never saw it."""

import json
from pathlib import Path

import numpy as np
import pytest

from proband import Images, InputError, cli, read_nifti
from proband.records.pairs import read_cases, together
from proband.records.phantom import phantom
from proband.synthesizers.translation import Translator
from proband.uses.translation import cross_translated, fit_cases, mark_of, summary, translated

nibabel = pytest.importorskip("nibabel")

PLACE = np.array([[-1.0, 0, 0, 80], [0, -1, 0, 90], [0, 0, 3, -40], [0, 0, 0, 1]])  # slices lie 3 mm apart


def volume(values: np.ndarray, path: Path) -> None:
    """Slices (n, height, width) as a volume."""
    made = nibabel.Nifti1Image(np.moveaxis(values, 0, 2).astype(np.int16), PLACE)
    made.header.set_xyzt_units("mm")
    nibabel.save(made, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three cases of three slices; the second is smaller, and its first slice lies outside the body."""
    made = phantom(3, 3, 32, seed=0)
    for case, side in enumerate((32, 30, 32)):
        rows, path = made.cases == case, tmp_path / "cases" / f"p{case}"
        path.mkdir(parents=True)
        mask = made.mask[rows][:, :side, :side].copy()
        mask[0] &= case != 1
        volume(made.mr.values[rows, 0, :side, :side] * (case + 1), path / "mr.nii.gz")  # every scanner has a scale of its own
        volume(made.ct.values[rows, 0, :side, :side], path / "ct.nii.gz")
        volume(mask, path / "mask.nii.gz")
    return tmp_path / "cases"


def test_cases_are_read_in_their_units(folder: Path) -> None:
    first, second, _ = read_cases(folder)
    assert first.target is not None and first.mask is not None
    assert (first.name, first.source.unit, first.target.unit, first.target.channels) == ("p0", "", "HU", ("CT",))
    assert first.source.values.min() == -1 and first.source.values.max() == 1  # of either, by its own black and white
    assert second.source.values.max() == 1 and second.source.size == (30, 30)
    both = together([first.source, second.source])
    assert both.size == (32, 32) and (both.values[3:, :, 30:] == -1).all()


def test_the_command_makes_every_case_and_tells_how_well(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    arguments = [
        "image",
        "translate",
        str(folder),
        "--out",
        str(out),
        "--minutes",
        "0.01",
        "--save-model",
        str(tmp_path / "model"),
        "--json",
    ]
    monkeypatch.setattr("sys.argv", ["proband", *arguments])
    assert cli.run() == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told["cases"]) == ["p0", "p1", "p2"] and told["mean"]["MAE"]["low"] <= told["mean"]["MAE"]["value"]
    assert {"MAE", "PSNR", "SSIM", "MS-SSIM", "Dice bone", "Dice body", "Dice air", "residual"} == set(told["mean"])
    made, mark = read_nifti(out / "p1" / "ct.nii.gz")
    assert mark is not None and mark.synthesizer == "translator" and mark.details["learned from this patient"] == "no"
    assert made.size == (30, 30) and (made.values[0] == -1000).all()  # outside the mask
    assert (nibabel.load(out / "p1" / "ct.nii.gz").affine == PLACE).all()
    assert read_nifti(out / "p1" / "ct_uncertainty.nii.gz")[1] == mark

    again = ["image", "translate", str(folder), "--out", str(tmp_path / "again"), "--model", str(tmp_path / "model")]
    monkeypatch.setattr("sys.argv", ["proband", *again])
    assert cli.run() == 0
    said = capsys.readouterr().out
    assert "95 % from" in said and "MS-SSIM" in said
    assert read_nifti(tmp_path / "again" / "p0" / "ct.nii.gz")[1] == mark_of(0, "mr", "ct", unseen=False)

    monkeypatch.setattr("sys.argv", ["proband", *arguments])
    assert cli.run() == 2 and "exists" in capsys.readouterr().err


def test_a_case_without_a_target_is_made_and_not_judged(folder: Path) -> None:
    cases = read_cases(folder)
    model = fit_cases(cases, minutes=0.01, seed=0)
    assert isinstance(model, Translator)
    assert translated(cases[0]._replace(target=None), model).figures is None
    assert summary([]) == {}


def test_folds_must_fit_the_cases(folder: Path) -> None:
    cases = read_cases(folder)
    for folds in (1, 4):
        with pytest.raises(InputError, match=f"folds = {folds} with 3 cases"):
            next(cross_translated(cases, folds=folds, seed=0))
    (folder / "p2" / "ct.nii.gz").unlink()
    with pytest.raises(InputError, match="Case 'p2' has no image of the target, and 1 cases in all"):
        fit_cases(read_cases(folder), seed=0)


def test_what_is_no_case_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        read_cases(tmp_path / "none")
    with pytest.raises(InputError, match="holds no case"):
        read_cases(tmp_path)
    volume(np.zeros((3, 8, 8)), folder / "p0" / "mask.nii.gz")
    with pytest.raises(InputError, match=r"Case 'p0': mr has \(3, 32, 32\) slices, rows and columns, mask \(3, 8, 8\)"):
        read_cases(folder)
    volume(np.ones((3, 32, 32)), folder / "p0" / "mask.nii.gz")
    (folder / "p1" / "mr.nii.gz").unlink()
    with pytest.raises(InputError, match="Case 'p1' has ct"):
        read_cases(folder)


def test_a_synthetic_case_is_not_learned_from(folder: Path) -> None:
    from proband import write_nifti

    values = np.zeros((3, 1, 32, 32), np.int16)
    write_nifti(Images(values, -1000, 2000), folder / "p0" / "ct.nii.gz", mark=mark_of(0, "mr", "ct", unseen=True))
    with pytest.raises(InputError, match="is synthetic"):
        read_cases(folder)


def test_pixels_of_other_sizes_are_not_mixed(folder: Path) -> None:
    made = nibabel.Nifti1Image(np.zeros((32, 32, 3), np.int16), np.diag([2.0, 2, 3, 1]))
    made.header.set_xyzt_units("mm")
    for kind in ("mr", "ct", "mask"):
        nibabel.save(made, folder / "p0" / f"{kind}.nii.gz")
    with pytest.raises(InputError, match=r"Case 'p0' has pixels of \(2.0, 2.0\) mm, case 'p2' of \(1.0, 1.0\)"):
        read_cases(folder)
