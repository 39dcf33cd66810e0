"""The layer's rooms and the folders of tests/ import downwards only. No function imports another."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.environment import ROOT

LAYER = ROOT / "layers/triptych/triptych"
ROOMS = ("flows", "replicate", "aws", "photo", "runtime", "rules")  # from the top downwards
FUNCTIONS = sorted(path for path in (ROOT / "functions").iterdir() if path.is_dir())


def names_imported(file: Path) -> set[str]:
    """The full name of everything that a file imports, anywhere in it: `a.b.c` for `from a.b import c`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.ImportFrom(module=source, names=names, level=level):
                package = file.relative_to(ROOT).with_suffix("").parts[:-level] if level else ()
                origin = ".".join([*package, *([source] if source else [])])
                found |= {f"{origin}.{name.name}" for name in names}
            case ast.Import(names=names):
                found |= {name.name for name in names}
    return found


def imported(file: Path) -> set[str]:
    """The modules of the layer that a file imports, as `aws.table` or `job`."""
    inner = {name.removeprefix("triptych.") for name in names_imported(file) if name.startswith("triptych.")}
    return {name if is_module(name) else name.rpartition(".")[0] or name for name in inner}


def is_module(name: str) -> bool:
    return bool(name) and LAYER.joinpath(*name.split(".")).with_suffix(".py").is_file()


def room(module: str) -> str:
    return module.partition(".")[0] if "." in module else "rules"


MODULES = {
    ".".join(file.relative_to(LAYER).with_suffix("").parts): imported(file)
    for file in LAYER.rglob("*.py")
    if file.name != "__init__.py"
}


def test_every_module_is_found() -> None:
    assert {room(module) for module in MODULES} == set(ROOMS)
    assert "flows.record" in MODULES["flows.watch"]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_room_or_below(module: str) -> None:
    for other in MODULES[module]:
        assert ROOMS.index(room(module)) <= ROOMS.index(room(other)), other


def test_only_record_reads_and_writes_jobs() -> None:
    requests = {f"table.{name}" for name in ("get", "get_keyed", "list_jobs", "put", "delete")}
    requests |= {"counts.create", "counts.put"}
    users = {
        file.relative_to(ROOT).as_posix()
        for folder in (LAYER, ROOT / "functions")
        for file in folder.rglob("*.py")
        if requests & attributes(file) or {f"triptych.aws.{one}" for one in requests} & names_imported(file)
    }
    assert users == {"layers/triptych/triptych/flows/record.py"}


def attributes(file: Path) -> set[str]:
    """Every attribute that a file names, as `table.get`."""
    nodes = ast.walk(ast.parse(file.read_text()))
    return {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter(MODULES).prepare()


RULES = sorted(
    {module for module in MODULES if room(module) == "rules"} - {"settings"}
)  # reads the environment


@pytest.mark.parametrize("rules", RULES)
def test_the_rules_do_no_io(rules: str) -> None:
    file = LAYER / f"{rules}.py"
    tops = {name.split(".")[0] for name in names_imported(file)}
    assert tops <= {
        "__future__",
        "base64",
        "collections",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "hmac",
        "json",
        "math",
        "pydantic",
        "random",  # the jitter of `backoff`
        "re",
        "triptych",
        "typing",
        "uuid",
    }
    assert {one.rpartition(".")[2] for one in attributes(file)}.isdisjoint({"now", "today", "read_text"})
    names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
    assert "open" not in names


def test_flows_speak_neither_http_nor_to_aws() -> None:
    for file in (LAYER / "flows").glob("*.py"):
        names = {name for name in names_imported(file) if not name.startswith("botocore.exceptions.")}
        tops = {name.split(".")[0] for name in names}
        assert tops.isdisjoint({"boto3", "botocore", "httpx", "pynamodb"}), file


@pytest.mark.parametrize("room", ROOMS[:-1])
def test_each_room_says_what_belongs_there(room: str) -> None:
    doc = ast.get_docstring(ast.parse((LAYER / room / "__init__.py").read_text()))
    assert doc
    assert "Nothing here" in doc


@pytest.mark.parametrize("function", FUNCTIONS, ids=[path.name for path in FUNCTIONS])
def test_no_function_imports_another(function: Path) -> None:
    others = {file.stem for other in FUNCTIONS if other != function for file in other.glob("*.py")}
    for file in function.glob("*.py"):
        assert not others & {name.split(".")[0] for name in names_imported(file)}


SHARED = (
    "benchmarks",
    "simulation",
    "replay",
    "privacy",
    "clients",
    "deployed",
    "iam",
    "localcloud",
    "recorded",
    "axe",
    "support",
)  # folders of tests/, from the top downwards
TESTS = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in (ROOT / "tests").rglob("*.py")
}


def imported_by_test(module: str) -> set[str]:
    """The modules of tests/ that a module imports."""
    found = {name for name in names_imported(TESTS[module]) if name.partition(".")[0] == "tests"}
    return {name if name in TESTS else name.rpartition(".")[0] for name in found}


def folder_of(module: str) -> str:
    """The folder of tests/ that holds a module, or "" for tests/ itself."""
    name = module.split(".")[1]
    return name if (ROOT / "tests" / name).is_dir() else ""


def folders_imported_by(folder: str) -> set[str]:
    modules = [module for module in TESTS if folder_of(module) == folder]
    return {folder_of(other) for module in modules for other in imported_by_test(module)} - {"", folder}


def test_every_test_folder_is_found() -> None:
    assert folders_imported_by("unit") >= {"localcloud", "support"}
    assert folders_imported_by("benchmarks") >= {"simulation"}


@pytest.mark.parametrize("folder", sorted({folder_of(module) for module in TESTS}))
def test_a_test_folder_imports_only_shared_folders_below(folder: str) -> None:
    below = SHARED[SHARED.index(folder) + 1 :] if folder in SHARED else SHARED
    assert folders_imported_by(folder) <= set(below if folder else ())


def test_no_test_module_imports_another() -> None:
    for module in TESTS:
        for other in imported_by_test(module):
            assert not other.rpartition(".")[2].startswith("test_"), (module, other)
