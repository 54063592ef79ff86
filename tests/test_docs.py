"""The documentation is run: every example of every page, in order, in a folder of its own."""

import os
import re
import shlex
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

import proband
from proband import cli
from tests.clinic import clinic

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
#: What a shell block may hold beside `proband`; it is shown, not run.
ELSEWHERE = ("make", "pip", "git", "cd", "python", "open", "xdg-open", "cat", "head", "ls", "less", "#")


class Block(NamedTuple):
    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page. Python runs; `sh` and `console` run where they call proband; others are shown."""
    text = page.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text[: found.start(2)].count("\n") + 1) for found in FENCE.finditer(text)]


def commands(block: Block) -> Iterator[tuple[list[str], int]]:
    """The calls of proband in a shell block: arguments, and the exit code that a comment announces (`# exit 1`), else 0."""
    text = block.text.replace("\\\n", " ")
    lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")] if block.language == "console" else text.splitlines()
    for line in filter(str.strip, lines):
        words = shlex.split(line, comments=True)
        if words and words[0] == "proband":
            announced = re.search(r"#.*\bexit (\d)", line)
            yield words[1:], int(announced[1]) if announced else 0
        else:
            assert line.lstrip().startswith(ELSEWHERE), f"line {block.line}: {line!r} is not run by this test; show it in a ```text block"


def shown() -> dict[str, list[Block]]:
    """Page name to its blocks."""
    return {page.name: blocks(page) for page in PAGES}


# The page of the command fits with every verb, for minutes; each verb has quicker tests of its own.
@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.name, marks=[pytest.mark.slow] * (page.name == "command.md")) for page in PAGES]
)
def test_every_example_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One namespace and one folder a page, so that a page's blocks build on one another; a warning is an error.

    The README finds a `patients.csv`, as its reader has one.
    """
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    if page.name == "README.md":
        clinic(1000).write_csv("patients.csv")
    for block in blocks(page):
        if block.language == "python":
            # Padded, so that a traceback names the line in the page.
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
        elif block.language in ("sh", "console"):
            for arguments, announced in commands(block):
                monkeypatch.setattr(sys, "argv", ["proband", *arguments])
                code = cli.run()
                said = capsys.readouterr()
                assert code == announced, f"{page.name}, line {block.line}: proband {shlex.join(arguments)}\n{said.out}\n{said.err}"


def test_every_public_name_has_an_example() -> None:
    examples = "\n".join(block.text for page in shown().values() for block in page if block.language == "python")
    absent = [name for name in proband.__all__ if not re.search(rf"\b{re.escape(name)}\b", examples)]
    assert absent == []


def test_every_command_and_option_is_documented() -> None:
    page = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
    shells = [block for page in shown().values() for block in page if block.language in ("sh", "console")]
    run = {" ".join(arguments) for block in shells for arguments, _ in commands(block)}
    absent = []
    for name, command in verbs(typer.main.get_command(cli.app)):
        absent += [name] if not any(f"{line} ".startswith(f"{name} ") for line in run) else []
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("-")]
        absent += [f"{name} {option}" for option in options if not re.search(rf"(?<![\w-]){option}\b", page)]
    assert absent == []


def verbs(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its words, those of groups (`image translate`) too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_every_page_is_listed_and_every_link_resolves() -> None:
    broken = []
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)[^)]*\)|src=\"([^\"]+)\"", text):
            link = target[0] or target[1]
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            file = (page.parent / path) if path else page
            if not file.exists():
                broken.append(f"{page.name}: {link} leads nowhere")
            elif anchor and anchor not in anchors(file):
                broken.append(f"{page.name}: {link} has no such heading")
    listed = re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    broken += [f"docs/{page.name} is not in docs/index.md" for page in PAGES[1:] if page.name not in [*listed, "index.md"]]
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make: lower case, punctuation dropped, spaces as hyphens."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_wheel_holds_everything_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hatchling.build import build_wheel

    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / build_wheel(os.fspath(tmp_path))) as wheel:
        packed = {name for name in wheel.namelist() if not name.startswith("proband-")}
    kept = {path.relative_to(ROOT).as_posix() for path in (ROOT / "proband").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert packed == kept
    for needed in ("proband/py.typed", "proband/release/policies/public.toml", "proband/validate/report.html.jinja"):
        assert needed in packed


def test_shell_blocks_are_taken_apart() -> None:
    sh = Block("sh", "# first\nproband fit a.csv \\\n  --out model\nproband verify b  # exit 1: not labelled\nmake demo\n", 1)
    assert list(commands(sh)) == [(["fit", "a.csv", "--out", "model"], 0), (["verify", "b"], 1)]
    assert list(commands(Block("console", "$ proband verify x\nintact\n", 1))) == [(["verify", "x"], 0)]
    with pytest.raises(AssertionError, match="not run"):
        list(commands(Block("sh", "curl -O data.csv\n", 1)))
