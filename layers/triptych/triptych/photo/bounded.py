"""Run a task in a child process that has a limit on CPU time and memory.

A decoder of photos runs in such a child: a photo that is made to exhaust the function ends the child, not the function.

The child is a fork. It shares the imported packages, so it starts in about 5 ms; a new interpreter with Pillow needs more
than 150 ms. Lambda has no /dev/shm, which most of `multiprocessing` needs. A pipe works.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Never

from triptych.runtime import clock
from triptych.runtime.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

# The slowest photo that a phone writes, a HEIC of 48 megapixels, takes 2.5 s. `python3 -m tests.benchmarks photo bombs`
# measures this.
CPU_SECONDS = 8
# The function has one CPU for the parent, which waits, and for the child. The function's timeout is 50 s, and what follows
# takes up to 13 s.
WALL_SECONDS = 16.0
DEFAULT_MIB = 1769  # the function's memory in template.yaml, where no Lambda says it
SPARE_MIB = 48  # for the parent while the child runs
CHUNK_BYTES = 2**18

_one_child = threading.Lock()

RESULT, NO_MEMORY, RAISED = b"=", b"m", b"!"  # the first byte of what the child writes
# With these signals the C code of a decoder stops on damaged data. It aborts if it has no memory.
_CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP}
)
_LIMITS = frozenset({signal.SIGXCPU, signal.SIGKILL, signal.SIGABRT})


class ExceededError(Exception):
    """The task needs more CPU time or memory than the child may have."""


class CrashedError(Exception):
    """The task crashed the child."""


class StuckError(Exception):
    """The child did not end in time, and not because it computed: it waits for something, or this machine is too busy."""


class UnpreviewableError(Exception):
    """There is no preview of this image: it is damaged or too complex, or there is no time for it."""


class ChildError(Exception):
    """The task raised an exception. The message holds its traceback."""


def run(
    task: Callable[[], bytes], *, cpu_seconds: int | None = None, wall_seconds: float | None = None
) -> bytes:
    """Run `task` in a child process; return its result. What else it changes is lost.

    Args:
        task: Its result is read by nobody who trusts it: what it opens may have taken it over.
        cpu_seconds: The CPU time that the child may use, if not CPU_SECONDS.
        wall_seconds: How long the child may take, if not WALL_SECONDS.

    Raises:
        ExceededError, CrashedError, StuckError, ChildError: See there.
    """
    wall_seconds = WALL_SECONDS if wall_seconds is None else wall_seconds
    ends_at = clock.monotonic() + wall_seconds
    # One child at a time: together they could need more memory than the function has, and each would hold the other's
    # pipe open.
    if not _one_child.acquire(timeout=wall_seconds):
        raise StuckError("another child took all the time")
    try:
        return _run(task, cpu_seconds or CPU_SECONDS, max(0.0, ends_at - clock.monotonic()))
    finally:
        _one_child.release()


def _run(task: Callable[[], bytes], cpu_seconds: int, wall_seconds: float) -> bytes:
    reading, writing = os.pipe()
    memory = _memory_limit()
    sys.stdout.flush()  # or the child might write the same lines again
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        # Python warns of other threads: in the child, a lock that one of them holds is never released. The task needs no
        # lock of theirs, and a child that waits for ever is ended.
        child = os.fork()
    if not child:
        os.close(reading)
        _be_the_child(task, writing, memory, cpu_seconds)
    os.close(writing)
    answer = None
    try:
        answer = _read(reading, wall_seconds)
    finally:
        os.close(reading)
        if answer is None:
            os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
    seconds, code = usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status)
    problem = _problem(answer, code, seconds, cpu_seconds)
    if answer is None or problem:
        logger.warning("the child failed", exit=code, cpu=round(seconds, 1), peak_mib=usage.ru_maxrss // 1024)
        raise problem or StuckError
    return answer[1:]


def _problem(answer: bytes | None, code: int, seconds: float, most: int) -> Exception | None:
    """Return why the child has no result.

    Args:
        answer: What it wrote, or None if it did not end in time.
        code: Its exit code, or the negative number of the signal that ended it.
        seconds: Its CPU time.
        most: The CPU time that it may use.
    """
    if answer is None and seconds < most / 2:
        return StuckError(f"no result in time, after {seconds:.1f} s of CPU time")
    if answer is None or -code in _LIMITS:
        return ExceededError()
    if -code in _CRASHES:
        return CrashedError(signal.Signals(-code).name)
    if answer[:1] == RESULT:
        return None
    if answer[:1] == NO_MEMORY:
        return ExceededError()
    return ChildError(answer[1:].decode(errors="replace") or f"the child ended with {code}")


def _memory_limit() -> int:
    """Return the bytes of data that the child may have.

    The child shares the memory of the parent until one of them writes to it. At worst the child copies it all.
    """
    has = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", DEFAULT_MIB)) - SPARE_MIB
    page = resource.getpagesize()
    _, resident, shared, _, _, data, _ = map(int, Path("/proc/self/statm").read_bytes().split())
    return has * 2**20 - (2 * resident - shared) * page + data * page


def _be_the_child(task: Callable[[], bytes], writing: int, memory: int, cpu_seconds: int) -> Never:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        answer = _answer(task)
        with open(writing, "wb") as pipe:  # a descriptor has no path
            pipe.writelines(answer)
    finally:
        os._exit(0)


def _answer(task: Callable[[], bytes]) -> tuple[bytes, bytes]:
    try:
        return RESULT, task()
    except MemoryError:
        return NO_MEMORY, b""
    except Exception:  # noqa: BLE001  # the parent raises it
        return RAISED, traceback.format_exc().encode(errors="replace")


def _read(pipe: int, seconds: float) -> bytes | None:
    """Return everything that the child writes, or None if it does not end in time."""
    end, answer = clock.monotonic() + seconds, bytearray()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while poll.poll(max(0.0, end - clock.monotonic()) * 1000):
        chunk = os.read(pipe, CHUNK_BYTES)
        if not chunk:
            return bytes(answer)
        answer += chunk
    return None
