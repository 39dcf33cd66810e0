"""A process that runs chosen tests of its working directory, each time in a fork of its own.

It has imported the packages that the tests need, but nothing of this project. So each fork imports the project's code
as it is then. It reads one line of JSON for each run and answers with one line.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from time import monotonic
from types import CodeType
from typing import Any

import pytest

PACKAGES = (
    "aws_lambda_powertools.utilities.parameters",
    "boto3",
    "httpx",
    "hypothesis",
    "moto.dynamodb.responses",
    "moto.s3.responses",
    "moto.sqs.responses",
    "moto.ssm.responses",
    "PIL.Image",
    "pydantic",
    "pynamodb.models",
    "replicate.client",
)
CANNOT_RUN = "the tests cannot run"
SLOWER = 5  # a test may take this many times as long as when it was recorded, and some seconds
OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly")


class First:
    """Tells which test failed first."""

    failed = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid


class Chosen(First):
    """Runs only the chosen tests, in their order."""

    def __init__(self, tests: list[str]) -> None:
        self._order = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._order:
            items[:] = [item for item in items if item.nodeid in self._order]
            items.sort(key=lambda item: self._order[item.nodeid])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed = self.failed or f"{report.nodeid} cannot be imported"


class Recorder:
    """Records which lines of the layer each test runs, how long it takes, and whether it passes."""

    def __init__(self, package: Path) -> None:
        self.tests: dict[str, dict[str, Any]] = {}
        self._package = f"{package}{os.sep}"
        self._lines: dict[str, set[int]] = defaultdict(set)
        monitoring, tool = sys.monitoring, sys.monitoring.COVERAGE_ID
        monitoring.use_tool_id(tool, "tests.mutation")
        monitoring.register_callback(tool, monitoring.events.PY_START, self._started)
        monitoring.register_callback(tool, monitoring.events.LINE, self._line)
        monitoring.set_events(tool, monitoring.events.PY_START)

    def _started(self, code: CodeType, _offset: int) -> object:
        if code.co_filename.startswith(self._package):
            sys.monitoring.set_local_events(sys.monitoring.COVERAGE_ID, code, sys.monitoring.events.LINE)
        return sys.monitoring.DISABLE

    def _line(self, code: CodeType, line: int) -> object:
        self._lines[code.co_filename.removeprefix(self._package)].add(line)
        return sys.monitoring.DISABLE

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._lines.clear()
        sys.monitoring.restart_events()
        began = monotonic()
        result = yield
        lines = {module: sorted(lines) for module, lines in self._lines.items()}
        one = self.tests.setdefault(item.nodeid, {"passed": True})
        one |= {"seconds": round(monotonic() - began, 3), "lines": lines}
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.setdefault(report.nodeid, {})["passed"] = False


def _run(job: dict[str, Any]) -> dict[str, Any]:
    if job.get("record"):
        recorder = Recorder(Path.cwd() / job["record"])
        pytest.main([*(one for one in OPTIONS if one != "-x"), *job["files"]], plugins=[recorder])
        return {"tests": recorder.tests}
    chosen = Chosen(job["tests"])
    code = pytest.main([*OPTIONS, *job["files"]], plugins=[chosen])
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        return {"failed": ""}
    return {"failed": "" if code == pytest.ExitCode.OK else chosen.failed or CANNOT_RUN}


def in_a_fork(
    job: dict[str, Any], run: Callable[[dict[str, Any]], dict[str, Any]], jobs: int = 0
) -> dict[str, Any]:
    """Return what `run` returns in a child, or that it took longer than `seconds` of the job.

    `jobs` is the file from which the jobs come: nothing comes before the answer, unless the command has ended.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        silence = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(silence, standard)
        answer: dict[str, Any] = {"failed": CANNOT_RUN}
        with suppress(BaseException):
            answer = run(job)
        with os.fdopen(writing, "w") as out:
            json.dump(answer, out)
        os._exit(0)
    os.close(writing)
    end, text = monotonic() + job["seconds"], b""
    try:
        while ready := select.select([reading, jobs], [], [], max(0.0, end - monotonic()))[0]:
            if reading not in ready:  # the next job comes after this answer, so the command has ended
                return {"failed": "the command has ended"}
            piece = os.read(reading, 1 << 20)
            if not piece:
                return dict(json.loads(text)) if text else {"failed": "the tests crashed"}
            text += piece
        return {"failed": "the time limit"}
    finally:
        os.close(reading)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def main() -> None:
    """Answer jobs until the input ends."""
    for name in PACKAGES:
        import_module(name)
    sys.dont_write_bytecode = True  # a file that changes twice in a second would be taken from its cache
    _answer({"ready": True})
    for line in sys.stdin:
        _answer(in_a_fork(json.loads(line), _run))


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
