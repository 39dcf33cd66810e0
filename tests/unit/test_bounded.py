"""A task in a child process has a limit on CPU time and memory. What it does ends the child, not the parent."""

from __future__ import annotations

import faulthandler
import mmap
import os
import resource
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from triptych.photo import bounded
from triptych.photo.bounded import ChildError, CrashedError, ExceededError, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 2**20
LONG = 60.0


@pytest.fixture(autouse=True)
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The process ids of all children. Afterwards none of them is left."""
    seen: list[int] = []
    fork = os.fork

    def noted() -> int:
        child = fork()
        seen.append(child)
        return child

    monkeypatch.setattr(os, "fork", noted)
    yield seen
    for child in seen:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def spin() -> bytes:
    while True:
        pass


def wait() -> bytes:
    time.sleep(LONG)
    return b"late"


def crash(number: int) -> Callable[[], bytes]:
    def task() -> bytes:
        faulthandler.disable()
        os.kill(os.getpid(), number)
        return b"alive"

    return task


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("result", [b"", b"x", bytes(20 * MIB)], ids=["empty", "short", "20 MiB"])
def test_result_of_the_child_is_returned(result: bytes) -> None:
    assert bounded.run(lambda: result) == result


def test_task_runs_in_another_process(children: list[int]) -> None:
    assert bounded.run(lambda: str(os.getpid()).encode()) == str(children[0]).encode()


def test_endless_computation_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "CPU_SECONDS", 1)
    monkeypatch.setattr(bounded, "WALL_SECONDS", LONG)
    before = cpu_of_children()
    with pytest.raises(ExceededError):
        bounded.run(spin)
    assert cpu_of_children() - before < 4  # not until the time is over


def test_endless_threads_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "CPU_SECONDS", 1)
    monkeypatch.setattr(bounded, "WALL_SECONDS", LONG)

    def task() -> bytes:
        thread = threading.Thread(target=spin)
        thread.start()
        thread.join()
        return b""

    with pytest.raises(ExceededError):
        bounded.run(task)


def test_memory_is_limited_to_what_the_function_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def task() -> bytes:
        return bytes(bytearray(1024 * MIB)[:1])

    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "3072")
    assert bounded.run(task) == b"\0"
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024")
    with pytest.raises(ExceededError):
        bounded.run(task)


def test_child_that_only_waits_is_no_exceeded_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "WALL_SECONDS", 0.1)
    started = time.monotonic()
    with pytest.raises(StuckError):
        bounded.run(wait)
    assert time.monotonic() - started < LONG / 2


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGSEGV, CrashedError),
        (signal.SIGBUS, CrashedError),
        (signal.SIGFPE, CrashedError),
        (signal.SIGABRT, ExceededError),
        (signal.SIGKILL, ExceededError),
        (signal.SIGXCPU, ExceededError),
        (signal.SIGTERM, ChildError),
    ],
)
def test_end_of_the_child_by_a_signal_is_told_apart(number: int, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        bounded.run(crash(number))


@pytest.mark.parametrize(
    ("answer", "code", "seconds", "expected"),
    [
        (b"=", 0, 1.0, None),
        (b"m", 0, 1.0, ExceededError),
        (b"!Traceback", 0, 1.0, ChildError),
        (b"", 0, 1.0, ChildError),
        (None, -9, bounded.CPU_SECONDS / 2, ExceededError),
        (None, -9, bounded.CPU_SECONDS / 2 - 0.1, StuckError),
    ],
)
def test_problem_follows_from_answer_exit_and_cpu_time(
    answer: bytes | None, code: int, seconds: float, expected: type[Exception] | None
) -> None:
    problem = bounded._problem(answer, code, seconds, bounded.CPU_SECONDS)
    assert problem is None if expected is None else isinstance(problem, expected)


def test_exception_of_the_task_is_raised_with_its_traceback() -> None:
    def task() -> bytes:
        raise OSError(28, "No space left on device")

    with pytest.raises(ChildError, match=r"in task(.|\n)*No space left on device"):
        bounded.run(task)


def test_child_ends_with_an_interrupted_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: float) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(bounded, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bounded.run(wait)


def test_only_one_child_runs_at_a_time() -> None:
    """Together they could need more memory than the function has, and each would hold the other's pipe open."""
    running = mmap.mmap(-1, 1)  # shared by all children

    def task() -> bytes:
        running[0] += 1
        most = running[0]
        time.sleep(0.05)
        running[0] -= 1
        return str(most).encode()

    with ThreadPoolExecutor(4) as pool:
        children = [pool.submit(bounded.run, task) for _ in range(8)]
        assert {child.result() for child in children} == {b"1"}


def test_other_threads_do_not_disturb() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with warnings.catch_warnings(action="error"):
            assert bounded.run(lambda: b"here") == b"here"
    finally:
        done.set()
        thread.join()


def test_no_file_descriptor_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_files()
    bounded.run(lambda: b"")
    with pytest.raises(ExceededError):
        bounded.run(crash(signal.SIGKILL))
    assert open_files() == before
