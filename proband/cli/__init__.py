"""The command: each verb is one public function. Exit 0 done, 1 a gate or check said no, 2 the input was wrong."""

from __future__ import annotations

import sys

import typer

from proband import errors
from proband.cli import image, judge, learn, release, start, uses

app = typer.Typer(
    name="proband",
    help="Synthetic patients: faithful enough for research and teaching, and nobody real.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (  # as the help lists them
    *(start.demo, start.schema, start.show, start.synthesize, start.split),
    *(learn.fit, learn.sample, learn.impute),
    *(uses.refine, uses.augment, uses.label),
    *(judge.validate, judge.compare, judge.frontier, judge.turing),
    *(release.release, release.ledger, release.verify),
):
    app.command()(command)
app.add_typer(image.app, name="image")


def run() -> int:
    """Run the command line; the exit code."""
    try:
        code = _command()
        return _complain(errors.INTERRUPTED, 2) if code == 130 else code  # 130: the command line caught Ctrl-C itself
    except errors.NotReleasable as no:
        return _complain(str(no), 1)
    except errors.ProbandError as wrong:
        return _complain(str(wrong), 2)
    except typer.Abort:
        return _complain(errors.INTERRUPTED, 2)
    except OSError as wrong:
        return _complain(f"{wrong.strerror or wrong}{f': {wrong.filename}' if wrong.filename else ''}. Nothing was left half-written.", 2)
    except MemoryError:
        return _complain("The machine's memory is not enough for this table. Take fewer rows or columns.", 2)
    except Exception as wrong:
        if hasattr(wrong, "format_message"):  # the command line's own usage errors
            return _complain(f"{wrong.format_message()} See: proband --help", 2)
        raise


def _command() -> int:
    try:
        return app(standalone_mode=False) or 0  # a command that raises typer.Exit has its code returned here
    except Exception as error:
        if errors.interrupted(error):
            raise typer.Abort from error
        raise


def _complain(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code
