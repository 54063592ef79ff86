"""Model folders: what was written comes back, and what was tampered with does not come in."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from proband import synthesizer
from proband.errors import InputError, Unavailable
from proband.synthesizer import find, load, names, read_model, write_model
from proband.synthesizers.baselines import Bootstrap, IndependentColumns


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model"
    write_model(path, "independent", {"words": ["é", 1.5, None]}, {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "b": np.zeros(0)})
    return path


def rewritten(path: Path, **changes: object) -> None:
    """model.json with other content and a checksum that fits it, as an attacker would write it."""
    manifest = json.loads((path / "model.json").read_text()) | changes
    manifest["checksum"] = synthesizer._checksum(manifest)
    (path / "model.json").write_text(synthesizer._written(manifest))


def test_there_and_back(model):
    found = read_model(model)
    assert found.synthesizer == "independent"
    assert found.config == {"words": ["é", 1.5, None]}
    assert found.arrays["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.arrays["b"].shape == (0,)


def test_load_finds_the_class(cohort, tmp_path):
    made = Bootstrap().fit(cohort, seed=1)
    made.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, Bootstrap)
    assert again.sample(20, seed=3).frame.equals(made.sample(20, seed=3).frame)
    with pytest.raises(InputError, match="written by the synthesizer 'bootstrap', not 'independent'"):
        IndependentColumns.load(tmp_path / "model")


def link_arrays(path):
    (path / "arrays.safetensors").rename(path.parent / "elsewhere")
    (path / "arrays.safetensors").symlink_to(path.parent / "elsewhere")


def one_byte(path):
    content = bytearray((path / "arrays.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "arrays.safetensors").write_bytes(content)


def hostile_header(path):
    packed = (2**62).to_bytes(8, "little") + b"{}"
    (path / "arrays.safetensors").write_bytes(packed)
    rewritten(path, files={"arrays.safetensors": {"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed)}})


def pipe(path):
    (path / "model.json").unlink()
    os.mkfifo(path / "model.json")


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda p: (p / "arrays.safetensors").unlink(), "arrays.safetensors is missing"),
        (lambda p: (p / "model.json").unlink(), "model.json is missing"),
        (one_byte, "does not have the content"),
        (lambda p: (p / "arrays.safetensors").write_bytes(b"x" * 9999), "9,999 bytes"),
        (link_arrays, "is a link"),
        (pipe, "not a plain file"),
        (lambda p: (p / "extra.py").write_text("print()"), "holds 'extra.py'"),
        (lambda p: (p / "model.json").write_text("{"), "not JSON"),
        (lambda p: (p / "model.json").write_text("[" * 100_000), "not JSON"),
        (lambda p: (p / "model.json").write_text('{"format": 1}'), "content it had when written"),
        (lambda p: (p / "model.json").write_text((p / "model.json").read_text().replace("1.5", "2.5")), "content it had when written"),
        (lambda p: rewritten(p, format=99), "format 99"),
        (lambda p: rewritten(p, format="1"), "not a model's"),
        (lambda p: rewritten(p, synthesizer=["x"]), "lacks what a model has"),
        (lambda p: rewritten(p, files={"../../secret": {"sha256": "", "bytes": 1}}), "lacks what a model has"),
        (lambda p: rewritten(p, files={"arrays.safetensors": {"sha256": "", "bytes": 10**15}}), "1,000,000,000,000,000 are declared"),
        (hostile_header, "not a safetensors file"),
    ],
)
def test_a_folder_that_cannot_be_trusted(model, tamper, message):
    tamper(model)
    with pytest.raises(InputError, match=message):
        read_model(model)
    with pytest.raises(InputError):
        load(model)


def test_more_than_a_model_may_hold(model, monkeypatch):
    monkeypatch.setitem(synthesizer._LARGEST, "arrays.safetensors", 10)
    with pytest.raises(InputError, match="bytes"):
        read_model(model)


@pytest.mark.parametrize("path", ["nothing", "model/model.json"])
def test_not_a_folder(model, path):
    with pytest.raises(InputError, match="does not exist or is not a folder"):
        read_model(model.parent / path)


def test_parts_that_do_not_fit_together(cohort, tmp_path):
    IndependentColumns().fit(cohort, seed=1).save(tmp_path / "model")
    found = read_model(tmp_path / "model")
    for name, broken in (("counts", {"0.counts": np.zeros(1)}), ("values", {"0.numbers.values": np.zeros(3)}), ("gone", {})):
        arrays = found.arrays | broken if broken else {}
        write_model(tmp_path / name, "independent", found.config, arrays)
        with pytest.raises(InputError, match="do not fit together"):
            load(tmp_path / name)
    write_model(tmp_path / "stranger", "no-such", found.config, found.arrays)
    with pytest.raises(InputError, match="no synthesizer 'no-such'"):
        load(tmp_path / "stranger")


def test_writing_refuses_what_exists_and_leaves_nothing_partial(model, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="exists already"):
        write_model(model, "independent", {}, {})
    with pytest.raises(InputError, match="there is no folder"):
        write_model(tmp_path / "no" / "folder", "independent", {}, {})

    def full(self, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="No space left on device"):
            write_model(tmp_path / "other", "independent", {}, {})

    def stopped(self, content):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_model(tmp_path / "other", "independent", {}, {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_names():
    assert names()[:2] == ["gan", "forest"]
    assert find("independent") is IndependentColumns
    with pytest.raises(InputError, match="There are: gan"):
        find("ctgan")


def test_third_parties_are_found(monkeypatch):
    class Point:
        name = "theirs"

        def __init__(self, found):
            self.found = found

        def load(self):
            if self.found is None:
                raise ImportError("no module named theirs")
            return self.found

    monkeypatch.setattr(synthesizer.metadata, "entry_points", lambda group: [Point(IndependentColumns)])
    assert find("theirs") is IndependentColumns
    assert "theirs" in names()
    monkeypatch.setattr(synthesizer.metadata, "entry_points", lambda group: [Point(None)])
    with pytest.raises(Unavailable, match="theirs"):
        find("theirs")
