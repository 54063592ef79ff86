"""What is done with images alone: one kind made of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proband.cli.shared import Json, Minutes, Seed, must_be_new, progress, tell

app = typer.Typer(help="Images: one kind made of another.", no_args_is_help=True)


@app.callback()
def image() -> None:
    """Images: one kind made of another."""


@app.command()
def translate(
    data: Annotated[
        Path, typer.Argument(help="A folder of cases: CASE/mr.nii.gz, CASE/ct.nii.gz, CASE/mask.nii.gz, as SynthRAD has them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the made volumes, CASE/ct.nii.gz, and their uncertainty.")],
    source: Annotated[str, typer.Option("--from", help="The name of the files to translate.")] = "mr",
    target: Annotated[str, typer.Option("--to", help="The name of the files to make.")] = "ct",
    folds: Annotated[int | None, typer.Option(help="Parts that the cases are split into; each case alone up to 10, else 5.")] = None,
    model: Annotated[Path | None, typer.Option(help="A fitted model: nothing is learned, every case is translated by it.")] = None,
    save_model: Annotated[Path | None, typer.Option(help="Folder for a model of all cases, fitted afterwards.")] = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """A CT of every MRI, made by what learned from other patients; MAE, PSNR, SSIM, MS-SSIM and Dice of each."""
    from proband.records.nifti import write_nifti
    from proband.records.pairs import read_cases
    from proband.synthesizers.translation import Translator
    from proband.uses.translation import cross_translated, fit_cases, mark_of, summary, translated

    for path in filter(None, (out, save_model)):
        must_be_new(path)
    found: dict[str, dict[str, float]] = {}
    with progress(json) as on_step:
        on_step(0, 1, "read", {})
        cases = read_cases(data, source=source, target=target)
        fitted = None if model is None else Translator.load(model)
        made = (
            cross_translated(cases, folds=folds, minutes=minutes, seed=seed, on_step=on_step)
            if fitted is None
            else (translated(case, fitted) for case in cases)
        )
        mark = mark_of(seed, source, target, unseen=fitted is None)
        bare = {"stamp": False, "watermark": False}  # a watermark of 1 % is 30 HU: the header says what it is
        for one in made:
            folder = out / one.case.name
            folder.mkdir(parents=True)
            write_nifti(one.made, folder / f"{target}.nii.gz", mark=mark, like=one.case.file, **bare)
            write_nifti(one.doubt, folder / f"{target}_uncertainty.nii.gz", mark=mark, like=one.case.file, **bare)
            found |= {} if one.figures is None else {one.case.name: one.figures}
        if save_model is not None and fitted is None:
            fit_cases(cases, minutes=minutes, seed=seed, on_step=on_step).save(save_model)
    means = summary(list(found.values()))
    facts = {"folder": str(out), "cases": found, "mean": {name: estimate._asdict() for name, estimate in means.items()}}
    lines = [f"{len(cases)} cases: {out}"]
    if found:
        lines += ["", f"{'case':<16}" + "".join(f"{name:>12}" for name in means)]
        lines += [f"{case:<16}" + "".join(f"{value:>12.4g}" for value in told.values()) for case, told in sorted(found.items())]
        for what, at in (("mean", 0), ("95 % from", 1), ("to", 2)):
            lines.append(f"{what:<16}" + "".join(f"{estimate[at]:>12.4g}" for estimate in means.values()))
    tell(json, facts, "\n".join(lines))
