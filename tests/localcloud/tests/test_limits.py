"""Tests of Lambda's limits on a function's process and on the account."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud import limits
from tests.localcloud.functions import THROTTLED, Functions, Result
from tests.localcloud.tests.toy_function import MACHINE, start, toy

NOBODY = 65534
PYTHON: str = getattr(sys, "_base_executable", sys.executable)
SIZE = 512  # MiB of /tmp
LIMIT = 256  # MiB of the toy function's memory


@cache
def isolation(user: int | None = None, python: str = PYTHON) -> str:
    """Isolate a process that tries to write beside /tmp; return what it printed."""
    program = f"{limits.ISOLATE}\nisolate(1, [])\nopen('/var/tmp/beside', 'w')"
    done = subprocess.run(
        [python, "-S", "-c", program],
        user=user,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def need_isolation() -> None:
    """Skip the test, with a warning, where a process cannot be isolated. With REQUIRE_ISOLATION, as in CI, it fails."""
    if sys.platform == "linux" and limits.UNLIMITED not in isolation():
        return
    why = f"this machine does not permit it: {isolation().strip()}"
    if os.environ.get("REQUIRE_ISOLATION"):
        pytest.fail(why)
    warnings.warn(f"Nothing tests that /tmp and the file system are limited: {why}", stacklevel=2)
    pytest.skip(why)


def invoke(functions: Functions, **event: object) -> Result:
    return functions.invoke("toy", json.dumps(event).encode())


def error(result: Result) -> tuple[str, str]:
    found = json.loads(result.payload)
    return found["errorType"], found["errorMessage"]


@pytest.fixture
def isolated(code: Path, tmp_path: Path) -> Iterator[Functions]:
    need_isolation()
    with start(toy(code), tmp_path / "log", isolated=True) as functions:
        yield functions


# Memory.


def test_function_that_needs_too_much_memory_is_killed(code: Path, tmp_path: Path) -> None:
    with start(toy(code), tmp_path / "log") as functions:
        assert invoke(functions, allocate=LIMIT // 2).function_error is None
        kind, message = error(invoke(functions, allocate=LIMIT))
        assert kind == "Runtime.ExitError"
        assert message.endswith("Error: Runtime exited with error: signal: killed")
        assert invoke(functions).function_error is None
    used = re.findall(rf"Memory Size: {LIMIT} MB\tMax Memory Used: (\d+) MB", (tmp_path / "log").read_text())
    assert LIMIT // 2 < int(used[0]) < int(used[1]) == LIMIT


def test_memory_of_child_processes_counts(code: Path, tmp_path: Path) -> None:
    (code / "toy.py").write_text(
        f"""
import subprocess, sys
def handler(event, context):
    program = "held = bytearray({LIMIT} * 2**20); print('held', flush=True); input()"
    subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE).wait()
"""
    )
    with start(toy(code), tmp_path / "log") as functions:
        assert error(invoke(functions))[0] == "Runtime.ExitError"


# /tmp and the file system around it.


def test_full_tmp_is_an_error_of_the_write(isolated: Functions) -> None:
    assert invoke(isolated, write=["/tmp/a", SIZE - 50]).function_error is None
    kind, message = error(invoke(isolated, write=["/tmp/b", 60]))
    assert (kind, "No space left on device" in message) == ("OSError", True)


def test_tmp_is_the_process_s_own_and_stays(isolated: Functions, tmp_path: Path) -> None:
    beside = Path("/tmp", f"beside-{tmp_path.name}")
    beside.touch()
    try:
        assert invoke(isolated, write=["/tmp/own", 1]).function_error is None
        seen = json.loads(invoke(isolated, list="/tmp").payload)
    finally:
        beside.unlink()
    assert "own" in seen
    assert beside.name not in seen
    assert not Path("/tmp/own").exists()


@pytest.mark.parametrize("path", ["{code}/new", "/var/tmp/new", "/new", "/dev/shm/new", "{home}/new"])
def test_file_system_beside_tmp_is_read_only(isolated: Functions, code: Path, path: str) -> None:
    place = path.format(code=code, home=Path.home())
    kind, message = error(invoke(isolated, write=[place, 0]))
    assert (kind, "Read-only file system" in message) == ("OSError", True)


def test_functions_are_isolated_unless_told_otherwise(code: Path, tmp_path: Path) -> None:
    need_isolation()
    machines = {"ToyFunction": MACHINE}
    with Functions(toy(code), machines, workers=1, log=tmp_path / "log") as functions:
        assert "Read-only file system" in error(invoke(functions, write=["/var/tmp/new", 0]))[1]


def test_ordinary_user_is_isolated_too() -> None:
    need_isolation()
    if os.geteuid() != 0:
        assert "Read-only file system" in isolation()
        return
    try:
        said = isolation(NOBODY, "/usr/bin/python3")  # this test's own Python may lie in root's home
    except OSError as problem:
        pytest.skip(f"an ordinary user may run no Python here: {problem}")
    if limits.UNLIMITED in said:
        pytest.skip(f"this machine does not permit it: {said}")
    assert "Read-only file system" in said


def test_log_says_that_a_process_could_not_be_isolated(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "kept", lambda *_: ["/tmp/there is no such folder"])
    with start(toy(code), tmp_path / "log", isolated=True) as functions:
        assert invoke(functions).function_error is None
    need_isolation()
    assert f"{limits.UNLIMITED}: [Errno 2]" in (tmp_path / "log").read_text()


# The account.


def held(functions: Functions, gate: Path, name: str = "toy") -> Any:
    """Start an invocation that lasts until the gate exists; return its future."""
    future = functions.submit(name, json.dumps({"hold": str(gate)}).encode())
    started = Path(f"{gate}.held")
    for _ in range(1000):
        if started.exists():
            return future
        functions.wait_until_free(name, 0.01)
    raise AssertionError("the invocation did not start")


def test_invocation_beyond_the_accounts_concurrency_is_throttled(code: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    both = toy(code) | {"Other": toy(code)["ToyFunction"]}
    with start(both, tmp_path / "log", concurrency=1) as functions:
        first = held(functions, gate, "ToyFunction")
        refused = functions.invoke("Other", b"{}")
        assert refused.function_error == THROTTLED
        assert error(refused)[0] == "TooManyRequestsException"
        gate.touch()
        assert first.result(10).function_error is None
        assert functions.invoke("Other", b"{}").function_error is None
