"""Bad input: one clear message, exit 2, no traceback, and nothing left behind. Through the command, as a person meets it."""

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from proband.cli import run
from tests.clinic import clinic


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `proband WORDS` in an own folder: it must exit 2, with one message, and change nothing. Returns the message."""

    def command(*words: object) -> str:
        monkeypatch.chdir(tmp_path)
        before = {p: p.read_bytes() if p.is_file() else b"" for p in tmp_path.rglob("*")}
        monkeypatch.setattr(sys, "argv", ["proband", *map(str, words)])
        code = run()
        said = capsys.readouterr()
        message = "\n".join(line for line in said.err.splitlines() if not line.endswith(" ...")).strip()
        assert code == 2, said
        assert message and "Traceback" not in message
        assert {p: p.read_bytes() if p.is_file() else b"" for p in tmp_path.rglob("*")} == before, "something was left behind"
        return message

    return command


def table(path: Path, frame: pl.DataFrame | None = None) -> Path:
    (clinic(300) if frame is None else frame).write_csv(path)
    return path


FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("p.csv", b"", "empty"),
    "header only": ("p.csv", b"age,sex\n", "no rows"),
    "not a table": ("p.csv", bytes(range(256)) * 40, "p.csv"),
    "not a parquet": ("p.parquet", b"age,sex\n1,F\n", "arquet"),
    "truncated gzip": ("p.csv.gz", gzip.compress(b"age,sex\n" + b"41,F\n52,M\n" * 5000)[:60], "gz"),
    "wrong encoding": ("p.csv", "age,ward\n41,Chirurgié\n".encode("latin-1") * 3, "UTF-8"),
    "duplicate column": ("p.csv", b"age,age\n1,2\n3,4\n", "age"),
    "empty column name": ("p.csv", b"age,,sex\n1,2,F\n3,4,M\n", "name"),
    "ragged rows": ("p.csv", b"age,sex\n1,F\n2,M,9\n3,F\n", "3"),
    "one row": ("p.csv", b"age,sex\n41,F\n", "patients"),
    "too few patients": ("p.csv", b"age,sex\n" + b"41,F\n52,M\n" * 60, "at least"),
    "unknown format": ("p.xlsx", b"PK", ".csv"),
}


@pytest.mark.parametrize("case", FILES)
def test_file(case: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    name, content, expected = FILES[case]
    (tmp_path / name).write_bytes(content)
    assert expected in refused("synthesize", name, "--out", "release")


def test_file_missing(refused: Callable[..., str]) -> None:
    assert "nowhere.csv" in refused("synthesize", "nowhere.csv", "--out", "release")


@pytest.mark.parametrize("value", ["inf", "-inf", "1e400"])
def test_infinity(value: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    frame = clinic(300).with_columns(pl.col("systolic_mmhg").cast(pl.String))
    frame[7, "systolic_mmhg"] = value
    message = refused("synthesize", table(tmp_path / "p.csv", frame), "--out", "release")
    assert "systolic_mmhg" in message and "8" in message


def test_unknown_target(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "'dead'" in refused("synthesize", table(tmp_path / "p.csv"), "--target", "dead", "--out", "release")


def test_target_with_one_class(tmp_path: Path, refused: Callable[..., str]) -> None:
    data = table(tmp_path / "p.csv", clinic(300).with_columns(died=pl.lit(1)))
    assert "died" in refused("synthesize", data, "--target", "died", "--out", "release")


def test_schema_with_a_syntax_error(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "s.toml").write_text('[[tables]\nname = "p"\n')
    assert "line 1" in refused("synthesize", table(tmp_path / "p.csv"), "--schema", "s.toml", "--out", "release")


SCHEMA = """
rules = [{ sql = "%s" }]
[[tables]]
name = "patients"
columns = [{ name = "age", kind = "integer", stored = "Int64" }, { name = "sex", kind = "category", categories = ["F", "M"] }]
"""


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("weight > 3", "'weight'"), ("age >", "age >"), ("age + 1", "not true or false"), ("age > 200", "age > 200"), ("sex > 3 AND", "sex")],
)
def test_schema_with_an_impossible_rule(rule: str, expected: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    data = table(tmp_path / "p.csv", clinic(300).select("age", "sex"))
    (tmp_path / "s.toml").write_text(SCHEMA % rule)
    assert expected in refused("synthesize", data, "--schema", "s.toml", "--out", "release")


def test_schema_with_a_column_that_the_data_has_not(tmp_path: Path, refused: Callable[..., str]) -> None:
    data = table(tmp_path / "p.csv", clinic(300).select("age"))
    (tmp_path / "s.toml").write_text(SCHEMA % "age > 0")
    assert "'sex'" in refused("synthesize", data, "--schema", "s.toml", "--out", "release")


def test_data_with_a_column_that_the_schema_has_not(tmp_path: Path, refused: Callable[..., str]) -> None:
    data = table(tmp_path / "p.csv", clinic(300).select("age", "sex", "ward"))
    (tmp_path / "s.toml").write_text(SCHEMA % "age > 0")
    assert "'ward'" in refused("synthesize", data, "--schema", "s.toml", "--out", "release")


def test_output_that_exists(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "release").mkdir()
    assert "exists" in refused("synthesize", table(tmp_path / "p.csv"), "--out", "release")


def test_output_that_cannot_be_written(tmp_path: Path, refused: Callable[..., str]) -> None:
    data = table(tmp_path / "p.csv")
    assert "p.csv" in refused("synthesize", data, "--out", data / "release")
    assert "p.csv" in refused("schema", data, "--out", data / "schema.toml")
    assert "p.csv" in refused("fit", data, "--out", data / "model")


def test_unknown_words(tmp_path: Path, refused: Callable[..., str]) -> None:
    data = table(tmp_path / "p.csv")
    assert "nosuch" in refused("fit", data, "--synthesizer", "nosuch", "--out", "model")
    assert "nosuch" in refused("synthesize", data, "--policy", "nosuch", "--out", "release")
    assert "minutes" in refused("fit", data, "--synthesizer", "forest", "--minutes", "2", "--out", "model")
    assert "--nosuch" in refused("fit", data, "--nosuch", "--out", "model")
    assert "nosuch" in refused("nosuch")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from proband import IndependentColumns, read

    path = tmp_path_factory.mktemp("fitted") / "model"
    IndependentColumns().fit(read(clinic(300)), seed=0).save(path)
    return path


@pytest.mark.parametrize(
    "where", ["weight > 3", "age >", "age = 'x' AND", "age > 200 AND age < 30", "ward = 'nowhere'", "patient_id = 'P00001'"]
)
def test_impossible_condition(where: str, fitted: Path, refused: Callable[..., str]) -> None:
    refused("sample", fitted, "-n", "5", "--where", where, "--out", "s.csv")


@pytest.mark.parametrize("name", ["model.json", "arrays.safetensors"])
@pytest.mark.parametrize("fault", ["missing", "altered", "oversized", "link"])
def test_model_folder(name: str, fault: str, fitted: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in fitted.iterdir():
        content = bytearray(path.read_bytes())
        if path.name == name and fault == "missing":
            continue
        if path.name == name and fault == "altered":
            content[len(content) // 2] ^= 1
        if path.name == name and fault == "oversized":
            content += b" " * 10_000_000
        if path.name == name and fault == "link":
            (model / name).symlink_to(path)
        else:
            (model / path.name).write_bytes(content)
    refused("sample", "model", "-n", "5", "--out", "s.csv")


def test_model_folder_that_is_none(refused: Callable[..., str]) -> None:
    assert "nowhere" in refused("sample", "nowhere", "-n", "5", "--out", "s.csv")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pl.lit(None, dtype=pl.String), "note"),  # all missing
        (pl.format("case {}", pl.int_range(pl.len())), "note"),  # a level per row
        (pl.format("{} mg", pl.int_range(pl.len()) % 7), "mg"),  # units in the cell
        (pl.when(pl.int_range(pl.len()) < 290).then(pl.format("{}", pl.int_range(pl.len()) % 40)).otherwise(pl.lit("high")), ""),  # mixed
    ],
)
def test_doubtful_column_is_proposed_for_review(
    column: pl.Expr, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "p.csv", clinic(300).with_columns(note=column))
    monkeypatch.setattr(sys, "argv", ["proband", "schema", str(data), "--out", str(tmp_path / "s.toml")])
    assert run() == 0
    said = capsys.readouterr().out.split("proposals")[1]
    assert "note:" in said and words in said


def test_disk_full(tmp_path: Path) -> None:
    # A limit on the size of files stands in for a full disk: the same OSError out of the same write.
    data = table(tmp_path / "p.csv", clinic(4000))
    out = tmp_path / "parts"
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        f"sys.argv = ['proband', 'split', {str(data)!r}, '--format', 'csv', '--out', {str(out)!r}];"
        "from proband.__main__ import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended
    assert "Traceback" not in ended.stderr and ended.stderr.strip()
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.parametrize("after_seconds", [0.0, 0.5, 3.0])
def test_interrupt(after_seconds: float, tmp_path: Path) -> None:
    data = table(tmp_path / "p.csv", clinic(4000))
    out = tmp_path / "release"
    words = [sys.executable, "-m", "proband", "synthesize", str(data), "--target", "died", "--policy", "internal", "--out", str(out)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as running:
        assert running.stderr is not None
        first = running.stderr.readline()  # from here on it is proband that runs, however slow the machine was to start it
        time.sleep(after_seconds)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=120)
    assert first.endswith("...\n")
    if out.exists():
        pytest.skip("the machine was faster than the interrupt")
    assert "Traceback" not in said and "Interrupted" in said, said
    assert running.returncode == 2
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]


STOPPED = """
import sys

class Stopped:
    def find_spec(self, name, path=None, target=None):
        if name == "polars":
            raise ImportError("initialization failed") from KeyboardInterrupt()

sys.meta_path.insert(0, Stopped())
from proband.__main__ import main
main()
"""


def test_interrupted_while_a_compiled_module_loads(tmp_path: Path) -> None:
    """Then Python raises not KeyboardInterrupt but the module's ImportError, with the interrupt behind it."""
    data = table(tmp_path / "p.csv", clinic(50))
    done = subprocess.run([sys.executable, "-c", STOPPED, "schema", str(data)], capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stderr) == (2, "Interrupted. Nothing was left half-written.\n")
