"""A small tree with a layer and a test: its mutants are judged, and the tree itself is never changed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.environment import ROOT
from tests.mutation import command
from tests.mutation.command import Likely, Result, described, drawn, equivalents, judge, modules, summary
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.recording import Recorded, recorded
from tests.mutation.server import CANNOT_RUN
from tests.mutation.workshop import LAYER, Workshop, workshop

RULES = b"""\
LIMIT = 2


def is_full(jobs, limit):
    while jobs < 0:
        jobs += 1
    return jobs >= limit


def unused(a):
    return a
"""
TESTS = """\
import pytest
from triptych import rules

def test_full_day_is_full():
    assert rules.is_full(2, 2)
    assert not rules.is_full(1, rules.LIMIT)

def test_negative_count_is_raised():
    assert not rules.is_full(-1, 2)

def test_that_fails():
    assert not rules.is_full(2, 2)
"""
SETTINGS = '[tool.pytest]\npythonpath = [".", "layers/triptych"]\naddopts = ["--import-mode=importlib"]\n'


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for name, text in {
        str(LAYER / "__init__.py"): "",
        str(LAYER / "rules.py"): RULES.decode(),
        "functions/api/api.py": "",
        "tests/__init__.py": "",
        "tests/mutation/__init__.py": "",
        "tests/mutation/server.py": (ROOT / "tests/mutation/server.py").read_text(),
        "tests/mutation/warm.py": (ROOT / "tests/mutation/warm.py").read_text(),
        "tests/unit/test_rules.py": TESTS,
        "pyproject.toml": SETTINGS,
        ".gitignore": "ignored\n",
        "ignored": "",
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    return tree


@pytest.fixture(scope="module")
def shop(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("copy")
    with workshop(tree, folder) as shop:
        assert not (folder / "ignored").exists()
        shop.collect(["tests/unit/test_rules.py"])
        yield shop


def queue_of(shop: Workshop) -> SimpleQueue[Workshop]:
    shops: SimpleQueue[Workshop] = SimpleQueue()
    shops.put(shop)
    return shops


@pytest.fixture(scope="module")
def tests(tree: Path, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> list[Recorded]:
    return recorded(tree, tmp_path_factory.mktemp("cache"), queue_of(shop))


@pytest.fixture(autouse=True)
def small_layer(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ROOT", tree)


def mutant(before: str, after: str) -> Mutant:
    return next(one for one in mutants_of("rules.py", RULES) if (one.before, one.after) == (before, after))


def test_recording_has_the_lines_of_each_passing_test(tests: list[Recorded]) -> None:
    found = {test.name.partition("::")[2]: test.lines["rules.py"] for test in tests}
    assert found == {"test_full_day_is_full": {5, 7}, "test_negative_count_is_raised": {5, 6, 7}}


def test_files_of_one_name_are_recorded_once_each(
    tree: Path, shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "tests/integration").mkdir()
    namesake = tree / "tests/integration/test_rules.py"
    namesake.write_text("from triptych import rules\n")
    seen: list[str] = []

    def record(file: str, **_: float) -> dict[str, object]:
        seen.append(file)
        return {}

    monkeypatch.setattr(shop, "record", record)
    for _ in range(2):
        recorded(tree, tmp_path, queue_of(shop))
    assert sorted(seen) == ["tests/integration/test_rules.py", "tests/unit/test_rules.py"]
    namesake.unlink()


def test_noticed_mutant_is_killed_by_a_test(tree: Path, shop: Workshop, tests: list[Recorded]) -> None:
    result = judge(mutant("jobs >= limit", "(jobs > limit)"), Likely(tests), shop, deep=False)
    assert result.killed_by == "tests/unit/test_rules.py::test_full_day_is_full"
    assert (tree / LAYER / "rules.py").read_bytes() == RULES


def test_changed_constant_is_noticed_by_an_import_of_its_own(shop: Workshop, tests: list[Recorded]) -> None:
    changed = mutant("2", "0")
    source = changed.applied_to(RULES)
    assert shop.test_in_place("rules.py", source, tests={tests[0].name: 1.0}, seconds=60) is None
    assert judge(changed, Likely(tests), shop, deep=False).killed_by == tests[0].name


def test_test_that_noticed_a_neighbour_runs_first(shop: Workshop, tests: list[Recorded]) -> None:
    for test in tests:
        result = judge(
            mutant("jobs >= limit", "(jobs < limit)"), Likely(tests), shop, deep=False, first=[test.name]
        )
        assert result.killed_by == test.name


def test_test_that_fails_without_a_change_ends_the_command(shop: Workshop, tests: list[Recorded]) -> None:
    command.control(queue_of(shop), [test.name for test in tests])
    command.control(queue_of(shop), [])
    with pytest.raises(SystemExit, match="test_that_fails also fails"):
        command.control(queue_of(shop), ["tests/unit/test_rules.py::test_that_fails", tests[0].name])


def test_crash_in_place_is_no_kill(shop: Workshop, tests: list[Recorded]) -> None:
    """Then an import of its own decides."""
    each = {test.name: 1.0 for test in tests}
    assert shop.test_in_place("rules.py", b"def", tests=each, seconds=60) == CANNOT_RUN
    broken = replace(mutant("jobs >= limit", "(jobs > limit)"), after="(jobs > ")
    assert "::" not in judge(broken, Likely(tests), shop, deep=False).killed_by


def test_endless_loop_is_killed_by_the_time_limit(
    shop: Workshop, tests: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "START_SECONDS", 3.0)
    assert judge(mutant("jobs += 1", "pass"), Likely(tests), shop, deep=False).killed_by == "the time limit"


@pytest.mark.parametrize(("before", "after"), [("jobs < 0", "(jobs <= 0)"), ("return a", "return None")])
def test_unnoticed_mutant_survives(shop: Workshop, tests: list[Recorded], before: str, after: str) -> None:
    assert judge(mutant(before, after), Likely(tests), shop, deep=False).killed_by == ""


def test_module_is_restored_after_a_mutant(shop: Workshop, tests: list[Recorded]) -> None:
    for _ in range(2):
        assert judge(mutant("jobs >= limit", "(jobs < limit)"), Likely(tests), shop, deep=False).killed_by
        assert shop.test(["tests/unit/test_rules.py"], tests=[test.name for test in tests], seconds=60) == ""


def test_test_that_is_named_like_the_change_runs_first() -> None:
    changed = mutant("jobs >= limit", "(jobs > limit)")
    runs = {"rules.py": frozenset({7})}
    names = {
        "a.py::test_quick": 0.1,
        "a.py::test_slow": 3.0,
        "a.py::test_limits": 2.0,
        "b.py::test_full_jobs": 2.0,
    }
    tests = [Recorded(name, seconds, runs) for name, seconds in names.items()]
    tests.append(Recorded("c.py::test_limit_of_another_line", 0.1, {"rules.py": frozenset({6})}))
    order = [test.name.partition("::")[2] for test in Likely(tests).tests_for(changed)]
    assert order == ["test_full_jobs", "test_limits", "test_quick", "test_slow"]
    assert [test.name for test in Likely(tests).tests_for(changed, 3.9)] == [
        "b.py::test_full_jobs",
        "a.py::test_limits",
    ]


def test_tests_end_with_the_command(tree: Path) -> None:
    job = {"files": ["tests/unit/test_endless.py"], "tests": [], "seconds": 600}
    endless = tree / "tests/unit/test_endless.py"
    endless.write_text("import os, time\ndef test_a():\n    os.mkfifo('begun')\n    time.sleep(600)\n")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.mutation.server"],
        cwd=tree,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdin
        server.stdin.write(json.dumps(job).encode() + b"\n")
        server.stdin.flush()
        end = time.monotonic() + 120
        while not (tree / "begun").exists():
            assert time.monotonic() < end
            time.sleep(0.05)  # there is no event to wait for
        server.stdin.close()
        assert server.wait(120) == 0
    endless.unlink()


def test_sample_is_drawn_by_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    every = drawn(["rules.py"], 1, 0)
    assert every == mutants_of("rules.py", RULES)
    assert drawn(["rules.py"], 7, 3) == drawn(["rules.py"], 7, 3)
    assert set(drawn(["rules.py"], 7, 3)) < set(every)
    assert len({tuple(drawn(["rules.py"], seed, 3)) for seed in range(20)}) > 1


def test_verdict_names_the_test_that_noticed() -> None:
    one = mutant("jobs >= limit", "(jobs > limit)")
    assert Result(one, "a test").verdict == "killed by a test"
    assert Result(one, "").verdict == "survived"
    assert Result(one, "", "no client sees it").verdict == "equivalent"


def test_summary_leaves_equivalent_mutants_out() -> None:
    one, two, three = mutants_of("rules.py", RULES)[:3]
    lines = summary([Result(one, "a test"), Result(two, ""), Result(three, "", "no client sees it")])
    assert "1 of     2 killed    50 %  1 equivalent" in lines[0]
    assert lines[-1].startswith("all ")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all mutants of the layer."""
    monkeypatch.setattr(command, "ROOT", ROOT)
    return [one.name for one in drawn(modules(command.MODULES), 1, 0)]


def test_every_mutant_has_a_name_of_one_line_for_itself(names: list[str]) -> None:
    assert len(set(names)) == len(names) > 1000
    assert not any("\n" in name for name in names)


def test_line_of_a_mutant_begins_with_its_name() -> None:
    one = mutant("jobs >= limit", "(jobs > limit)")
    name = "rules.py is_full: comparison changed: jobs >= limit -> (jobs > limit)"
    assert (one.name, described(one)) == (name, f"{name}  (line 7)")


def test_known_equivalent_mutants_exist(names: list[str]) -> None:
    assert equivalents().keys() <= set(names)
    assert all(equivalents().values())


def test_made_up_equivalent_mutant_does_not_exist(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [names[0], "job.py apply: no such change -> (none)"]
    entries = [f"[[known]]\nmutant = {json.dumps(name)}\nwhy = 'a reason'\n" for name in known]
    monkeypatch.setattr(command, "EQUIVALENT", tmp_path / "equivalent.toml")
    command.EQUIVALENT.write_text("\n".join(entries))
    assert equivalents().keys() - set(names) == {known[1]}
