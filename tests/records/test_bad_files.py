"""Every file that cannot be read gets one sentence: what, where, and what to do."""

import gzip
import os
from pathlib import Path

import polars as pl
import pytest

from proband.errors import InputError
from proband.records import read, read_frame


def refused(path: Path, *words: str) -> str:
    """The one-line message of the refusal, which names the file and holds `words`."""
    with pytest.raises(InputError) as caught:
        read_frame(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    for word in words:
        assert word in message
    return message


def given(tmp_path: Path, content: bytes, name: str = "patients.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.csv", "does not exist", "Check the path")


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").mkdir()
    refused(tmp_path / "patients.csv", "is a folder")


def test_unknown_suffix(tmp_path: Path) -> None:
    refused(given(tmp_path, b"PK", "patients.xlsx"), "'.xlsx'", ".csv.gz")


@pytest.mark.parametrize("name", ["patients.csv", "patients.parquet"])
def test_empty(tmp_path: Path, name: str) -> None:
    refused(given(tmp_path, b"", name), "is empty")


def test_empty_inside_gzip(tmp_path: Path) -> None:
    refused(given(tmp_path, gzip.compress(b""), "patients.csv.gz"), "is empty")


@pytest.mark.parametrize("content", [b"age,sex\n", b"age,sex", b"age,sex\n\n\n"])
def test_header_only(tmp_path: Path, content: bytes) -> None:
    refused(given(tmp_path, content), "no rows")


def test_header_only_parquet(tmp_path: Path) -> None:
    pl.DataFrame({"age": []}, schema={"age": pl.Int64}).write_parquet(tmp_path / "patients.parquet")
    refused(tmp_path / "patients.parquet", "no rows")


@pytest.mark.parametrize("content", [bytes(range(256)) * 20, b"age,sex\n1,F\n2,\x00M\n"])
def test_binary(tmp_path: Path, content: bytes) -> None:
    refused(given(tmp_path, content), "not")


def test_not_parquet(tmp_path: Path) -> None:
    refused(given(tmp_path, b"age,sex\n1,F\n", "patients.parquet"), "cannot be read as Parquet")


@pytest.mark.parametrize("separator, word", [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_separator(tmp_path: Path, separator: str, word: str) -> None:
    refused(given(tmp_path, f"age{separator}sex\n1{separator}F\n".encode()), word)


def test_truncated_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(b"age,sex\n" + b"41,F\n52,M\n" * 5000)
    refused(given(tmp_path, whole[: len(whole) // 2], "patients.csv.gz"), "not a whole gzip file")


def test_altered_gzip(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(os.urandom(5000).hex().encode()))
    whole[len(whole) // 2] ^= 255
    refused(given(tmp_path, bytes(whole), "patients.csv.gz"), "not a whole gzip file")


def test_no_gzip_at_all(tmp_path: Path) -> None:
    refused(given(tmp_path, b"age,sex\n1,F\n", "patients.csv.gz"), "not a whole gzip file")


def test_wrong_encoding_names_the_line(tmp_path: Path) -> None:
    refused(given(tmp_path, "age,ward\n41,A\n52,Chirurgié\n".encode("latin-1")), "line 3", "UTF-8")


def test_wrong_encoding_in_the_header(tmp_path: Path) -> None:
    refused(given(tmp_path, "âge,sex\n1,F\n".encode("latin-1")), "line 1", "UTF-8")


def test_utf16(tmp_path: Path) -> None:
    refused(given(tmp_path, "age,sex\n1,F\n".encode("utf-16")), "not")


def test_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert read_frame(given(tmp_path, b"\xef\xbb\xbfage,sex\n41,F\n52,M\n")).columns == ["age", "sex"]


def test_duplicate_column(tmp_path: Path) -> None:
    refused(given(tmp_path, b"age,sex,age\n1,F,2\n"), "'age'", "1 and 3", "Rename")


def test_empty_column_name(tmp_path: Path) -> None:
    refused(given(tmp_path, b"age,,sex\n1,2,F\n"), "column 2 of 3", "no name")


@pytest.mark.parametrize("row, cells", [(b"2,M,9", "3 cells"), (b"2", "1 cell,")])
def test_ragged_rows_name_the_line(tmp_path: Path, row: bytes, cells: str) -> None:
    refused(given(tmp_path, b"age,sex\n1,F\n" + row + b"\n3,F\n"), "line 3", cells, "expected 2")
    refused(given(tmp_path, b"age,sex\n1,F\n" + row), "line 3", cells, "expected 2")


def test_a_ragged_row_behind_many_good_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proband.records.csv._CHUNK_BYTES", 1000)  # rows straddle the chunks
    good = b"age,sex\r\n" + b'"4,1",F\r\n' * 5000
    assert read_frame(given(tmp_path, good)).height == 5000
    refused(given(tmp_path, good + b"1,F,2\r\n"), "line 5,002")


def test_blank_line_between_rows(tmp_path: Path) -> None:
    refused(given(tmp_path, b"age,sex\n1,F\n\n2,M\n"), "line 3", "blank")
    assert read_frame(given(tmp_path, b"age,sex\n1,F\n2,M\n\n\n")).height == 2


def test_unclosed_quote(tmp_path: Path) -> None:
    refused(given(tmp_path, b'age,note\n1,"fell\n2,well\n'), "never closed")


def test_commas_and_line_breaks_inside_quotes_are_no_cells(tmp_path: Path) -> None:
    frame = read_frame(given(tmp_path, b'age,note\n1,"a, ""b""\nc"\n2,d\n'))
    assert frame["note"].to_list() == ['a, "b"\nc', "d"]


def test_one_row_cannot_be_guessed(tmp_path: Path) -> None:
    path = given(tmp_path, b"age,sex\n41,F\n")
    with pytest.raises(InputError, match="fewer than 2 rows"):
        read(path)


def test_nested_parquet_column(tmp_path: Path) -> None:
    pl.DataFrame({"visits": [[1, 2], [3]]}).write_parquet(tmp_path / "patients.parquet")
    refused(tmp_path / "patients.parquet", "'visits'", "Unpack")
