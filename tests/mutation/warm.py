"""A process that has imported the project and collected its tests. A fork of it puts a mutant in and runs tests.

The mutant replaces the code of the functions that are there already, wherever a name leads to them. So nothing is
imported or collected again, and a mutant takes as long as its tests. Only what lies in a function can be changed so.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import IO, Any

import pytest

from tests.mutation.server import OPTIONS, SLOWER, First, in_a_fork

type _Functions = dict[tuple[str, str, int], list[FunctionType]]  # by file, qualified name and line

TEST_SECONDS = 30.0  # a test may take this long, and SLOWER times as long as when it was recorded


class Warm:
    """Answers jobs in place of running the collected tests."""

    def __init__(self, jobs: IO[str], answers: IO[str]) -> None:
        self._jobs = jobs
        self._answers = answers
        self._items: dict[str, pytest.Item] = {}
        self._plugins = pytest.PytestPluginManager()
        self._functions: _Functions = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        self._plugins = session.config.pluginmanager
        self._functions = _functions()
        gc.freeze()  # a fork then copies less
        self._answer({"ready": True})
        for line in self._jobs:
            self._answer(in_a_fork(json.loads(line), self._run, self._jobs.fileno()))
        return True

    def _run(self, job: dict[str, Any]) -> dict[str, Any]:
        try:
            replaced = self._replace(job["file"], job["source"])
        except ValueError:  # a function that calls `super` has other variables than one that does not
            replaced = False
        if not replaced:
            return {"failed": None}
        first = First()
        self._plugins.register(first)
        items = [
            (self._items[name], seconds) for name, seconds in job["tests"].items() if name in self._items
        ]
        for number, (item, seconds) in enumerate(items):
            following = items[number + 1][0] if number + 1 < len(items) else None
            signal.setitimer(signal.ITIMER_REAL, TEST_SECONDS + SLOWER * seconds)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if first.failed:
                break
        return {"failed": first.failed}

    def _replace(self, file: str, source: str) -> bool:
        """Replace the code of the functions that differ; return whether there are any."""
        replaced = False
        for code in _all_codes(compile(source, file, "exec", dont_inherit=True)):
            for function in self._functions.get(_key(code), []):
                if function.__code__ != code:
                    function.__code__ = code
                    replaced = True
        return replaced

    def _answer(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()


def _functions() -> _Functions:
    gc.unfreeze()  # the layer freezes what it has imported, and frozen objects are not listed
    found: _Functions = {}
    for one in gc.get_objects():
        if type(one) is FunctionType:
            found.setdefault(_key(one.__code__), []).append(one)
    return found


def _key(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _all_codes(constant)


def main() -> None:
    """Collect the tests of the files that the arguments name, and answer jobs until the input ends."""
    jobs, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")  # pytest takes 0, 1 and 2 for itself
    silence = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(silence, standard)
    sys.dont_write_bytecode = True
    options = [*(one for one in OPTIONS if one != "-x"), "-o", "timeout=0"]  # it would stop the timer below
    pytest.main([*options, *sys.argv[1:]], plugins=[Warm(jobs, answers)])


if __name__ == "__main__":
    main()
