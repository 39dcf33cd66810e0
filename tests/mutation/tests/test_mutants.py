"""The defects that the operators put into a module."""

from __future__ import annotations

import ast

import pytest

from tests.environment import ROOT
from tests.mutation.command import MODULES, modules, source_of
from tests.mutation.mutants import mutants_of


def mutants(code: str) -> list[tuple[str, str]]:
    """Return each change of the code inside a function."""
    source = "def f(a, b):\n    " + code
    return [(one.before, one.after) for one in mutants_of("m.py", source.encode())]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("x = a < b", ("a < b", "(a <= b)")),
        ("x = a < b", ("a < b", "(a >= b)")),
        ("x = a is None", ("a is None", "(a is not None)")),
        ("x = a in b", ("a in b", "(a not in b)")),
        ("x = a and b", ("a and b", "(a or b)")),
        ("x = not a", ("not a", "(a)")),
        ("x = 1 if a else 2", ("a", "(not (a))")),
        ("x = [c for c in a if c.d]", ("c.d", "(not (c.d))")),
        ("x = all(c for c in a)", ("all(c for c in a)", "any((c for c in a))")),
        ("x = 3", ("3", "4")),
        ("x = 3", ("3", "(2)")),
        ("x = True", ("True", "False")),
        ("x = a - b", ("a - b", "(a + b)")),
        ("a(1, key=b)", ("a(1, key=b)", "a(1)")),
        ("a.b()", ("a.b()", "pass")),
        ("a += b", ("a += b", "pass")),
        ("raise a from b", ("raise a from b", "pass")),
        ("return a", ("return a", "return None")),
    ],
)
def test_operator_makes_its_defect(code: str, change: tuple[str, str]) -> None:
    assert change in mutants(code)


@pytest.mark.parametrize(
    "code",
    [
        "logger.info('a', size=3)",
        "return None",
        "x: Annotated[int, 3]",
        '"""A docstring."""',
        "import a",
        "pass",
    ],
)
def test_nothing_else_is_changed(code: str) -> None:
    assert mutants(code) == []
    assert mutants(f"{code}\n    return a") == [("return a", "return None")]


def test_false_becomes_true_but_not_none() -> None:
    assert mutants("return False") == [("False", "True")]


def test_decorators_and_imports_for_types_are_left_alone() -> None:
    source = b"@dataclass(frozen=True)\nclass A:\n    a: int\n\nif TYPE_CHECKING:\n    import b\n"
    assert mutants_of("m.py", source) == []


def test_constant_of_a_module_becomes_zero() -> None:
    (mutant,) = mutants_of("m.py", b"SLACK = timedelta(60)\n")
    assert (mutant.before, mutant.after, mutant.is_run) == ("60", "0", False)


def test_change_is_at_its_place_beside_wide_characters() -> None:
    source = 'def f(a):\n    x = "é→", a == 1\n'.encode()
    changed = {one.applied_to(source).decode().splitlines()[1] for one in mutants_of("m.py", source)}
    assert '    x = "é→", (a != 1)' in changed


def test_mutants_that_are_named_alike_are_numbered() -> None:
    source = (
        b"def f(a):\n    g(a)\n    return h(\n        a,\n        a,\n        b=a == 1 or a == 1,\n    )\n"
    )
    names = [one.name for one in mutants_of("m.py", source)]
    assert "m.py f: None returned: return h( a, a, b=a == 1 or a == 1, ) -> return None" in names
    alike = [name for name in names if "a == 1 -> (a != 1)" in name]
    assert alike == [f"m.py f: comparison changed: a == 1 -> (a != 1){number}" for number in ("", " #2")]


def test_lines_are_those_of_the_statement() -> None:
    source = b"def f(a):\n    if a:\n        return g(\n            1,\n            b=2,\n        )\n"
    lines = {one.operator: one.lines for one in mutants_of("m.py", source)}
    assert lines["argument dropped"] == (3, 6)
    assert lines["condition negated"] == (2, 2)


@pytest.mark.parametrize("module", modules(MODULES))
def test_every_mutant_of_the_layer_is_valid_python(module: str) -> None:
    source = source_of(module)
    found = mutants_of(module, source)
    assert found
    for mutant in found:
        changed = mutant.applied_to(source)
        assert changed != source
        ast.parse(changed)


def test_modules_are_those_of_the_rules_and_flows() -> None:
    assert set(modules(MODULES)) >= {"job.py", "flows/finish.py", "replicate/downloads.py", "aws/table.py"}
    assert all((ROOT / "layers/triptych/triptych" / name).is_file() for name in modules(MODULES))
