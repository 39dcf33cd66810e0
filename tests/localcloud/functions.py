"""Lambda: run each function in its own processes, under Amazon's runtime interface client.

Each process has its own small server of the Runtime API and takes one invocation at a time. It sees what it would see
on Lambda: its code, its layers and the template's environment, and nothing of the host machine.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import functools
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.localcloud import limits, packages
from tests.localcloud.http_server import HttpServer, Request, Response, json_message
from tests.localcloud.template import TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.localcloud.aws_names import AwsNames
    from tests.localcloud.internet import Internet
    from tests.localcloud.stack import Function

INIT_SECONDS = 10  # Lambda's limit for an init; a longer one counts as part of the invocation
MAX_ENVIRONMENT = 4096  # bytes: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_PAYLOAD = 6 * 2**20  # bytes, in either direction
GROW_SECONDS = 1.0  # waiting this long for a warm process costs less than a cold start
MAX_STARTS = 3  # process starts for one invocation, if the processes are killed before they take it

# The process must end when its parent is killed. After this check it runs only Amazon's client.
_BOOTSTRAP = f"""
import os, runpy, sys
{limits.ISOLATE}
if sys.platform == "linux":
    import ctypes
    size, *kept = sys.argv.pop().split(os.pathsep)
    if int(size):
        isolate(int(size), kept)
    ctypes.CDLL(None).prctl(1, {int(signal.SIGKILL)})  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv.pop()):
        sys.exit("orphaned")
else:
    del sys.argv[-2:]
runpy.run_module("awslambdaric", run_name="__main__")
"""


@dataclass(frozen=True)
class Machine:
    """The environment of a function: where AWS is, and the credentials to use."""

    endpoint: str
    region: str
    account: str
    access_key_id: str
    secret_access_key: str
    session_token: str = ""
    names: AwsNames | None = None  # if a function must use AWS's names instead of the endpoint
    internet: Internet | None = None  # if servers of this machine play other hosts


@dataclass(frozen=True)
class Result:
    """The result of an invocation."""

    payload: bytes  # JSON: the handler's answer, or {"errorType", "errorMessage", …}
    function_error: str | None = (
        None  # "Unhandled"; or, if the function was not invoked, one of the two below
    )


TOO_LARGE = "PayloadTooLarge"
THROTTLED = "TooManyRequests"


def _failed(request_id: str, error_type: str, message: str) -> Result:
    text = f"RequestId: {request_id} Error: {message}"
    return Result(json.dumps({"errorType": error_type, "errorMessage": text}).encode(), "Unhandled")


class Log:
    """One file with the log lines of all functions, complete and in order, as CloudWatch would receive them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, lines: bytes) -> None:
        """Append complete lines, each with its newline."""
        with self._lock:
            if not self._file.closed:
                self._file.write(lines)

    def close(self) -> None:
        with self._lock:
            self._file.close()


@dataclass
class _Invocation:
    payload: bytes
    timeout: int
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    future: Future[Result] = field(default_factory=Future)
    taken: float | None = None  # when the process took it, by time.monotonic
    deadline: float = 0.0  # epoch seconds
    result: Result | None = None


class _Process:
    """One process of a function, and its Runtime API."""

    def __init__(
        self,
        function: Function,
        environment: dict[str, str],
        arn: str,
        log: Log,
        *,
        isolated: bool,
        prelude: str,
    ) -> None:
        self._arn = arn
        self._prelude = prelude
        self._isolated = isolated
        self._log = log
        self._changed = threading.Condition()
        self._offered: _Invocation | None = None
        self._init_error: bytes | None = None
        self._started = time.monotonic()
        self._ready: float | None = None  # when it first asked for an invocation
        self._init_reported = False
        self._ended = False
        self._api = HttpServer(max_body=16 * MAX_PAYLOAD).start(self._answer)
        self._memory = function.memory
        try:
            self._popen = self._start(function, environment)
        except OSError:
            self._api.stop()
            raise
        self._output = _Output(self._popen, log)
        threading.Thread(target=self._watch, name=f"watch-{self.pid}", daemon=True).start()

    def _start(self, function: Function, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        base: str = getattr(sys, "_base_executable", sys.executable)
        size = function.storage if self._isolated else 0
        kept = limits.kept(function.code, *environment["PYTHONPATH"].split(os.pathsep))
        if "AWS_CA_BUNDLE" in environment:
            kept.append(str(Path(environment["AWS_CA_BUNDLE"]).parent))
        return subprocess.Popen(
            # -S and -P limit imports to PYTHONPATH and the standard library.
            [
                *(base, "-S", "-P", "-c", self._prelude + _BOOTSTRAP, function.handler, str(os.getpid())),
                os.pathsep.join([str(size), *kept]),
            ],
            cwd=function.code,
            env=environment | {"AWS_LAMBDA_RUNTIME_API": self._api.address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must not reach it, and its children must end with it
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def alive(self) -> bool:
        return not self._ended and not _doomed(self.pid)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            if not self._ended:
                os.killpg(self.pid, signal.SIGKILL)

    def wait_until_ended(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended)

    def invoke(self, invocation: _Invocation) -> Result | None:
        """Run the invocation; return its result, or None if the process ended before it took the invocation."""
        with self._changed:
            self._offered = invocation
            self._changed.notify_all()
            self._changed.wait_for(lambda: invocation.taken or self._ended, INIT_SECONDS + invocation.timeout)
            if invocation.taken:
                self._wait_for_result(invocation)
            self._offered = None
            result = invocation.result
        if result is None and not self._ended:
            self.kill()
            self.wait_until_ended()
            result = self._timed_out(invocation)
        elif result is None and invocation.taken:
            how = _exit_status(self._popen.returncode)
            result = _failed(invocation.id, "Runtime.ExitError", f"Runtime exited with error: {how}")
            self._log.write(f"RequestId: {invocation.id} Error: Runtime exited with error: {how}\n".encode())
        elif result is None and self._init_error is not None:
            result = Result(self._init_error, "Unhandled")
        self._report(invocation)
        return result

    def _wait_for_result(self, invocation: _Invocation) -> None:
        """Wait for the result, for the end of the process, or for the timeout. Kill the process if it needs too much."""
        end = (invocation.taken or 0) + invocation.timeout
        while not (invocation.result or self._ended) and (left := end - time.monotonic()) > 0:
            self._changed.wait_for(lambda: invocation.result or self._ended, min(left, limits.WATCH_SECONDS))
            if self._output.peak_memory() > self._memory:
                invocation.result = None  # a result comes too late
                self.kill()
                self._changed.wait_for(lambda: self._ended)

    def _timed_out(self, invocation: _Invocation) -> Result:
        message = f"Task timed out after {invocation.timeout:.2f} seconds"
        self._log.write(f"{_now()} {invocation.id} {message}\n\n".encode())
        return _failed(invocation.id, "Sandbox.Timedout", message)

    def _answer(self, request: Request) -> Response:
        match request.method, request.target.removeprefix("/2018-06-01/runtime/").split("/"):
            case "GET", ["invocation", "next"]:
                return self._next()
            case "POST", ["invocation", request_id, "response"]:
                if len(request.body) > MAX_PAYLOAD:
                    self._complete(request_id, _too_large(request_id, len(request.body)))
                    return json_message(413, "Exceeded maximum allowed payload size")
                return self._complete(request_id, Result(request.body))
            case "POST", ["invocation", request_id, "error"]:
                return self._complete(request_id, Result(request.body, "Unhandled"))
            case "POST", ["init", "error"]:
                self._init_error = request.body
                return Response(202)
            case _:
                return json_message(404, "Not Found")

    def _next(self) -> Response:
        with self._changed:
            self._ready = self._ready or time.monotonic()
            self._changed.wait_for(lambda: self._ended or (self._offered and not self._offered.taken))
            invocation = self._offered
            if (
                invocation is None or not self.alive()
            ):  # it was killed while idle: another process must take the invocation
                return json_message(410, "Gone")
            invocation.taken = time.monotonic()
            invocation.deadline = time.time() + invocation.timeout
            self._output.drain()
            self._log.write(f"START RequestId: {invocation.id} Version: $LATEST\n".encode())
            self._changed.notify_all()
        headers = {
            "content-type": "application/json",
            "lambda-runtime-aws-request-id": invocation.id,
            "lambda-runtime-deadline-ms": str(int(invocation.deadline * 1000)),
            "lambda-runtime-invoked-function-arn": self._arn,
            "lambda-runtime-trace-id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }
        return Response(200, tuple(headers.items()), invocation.payload)

    def _complete(self, request_id: str, result: Result) -> Response:
        with self._changed:
            invocation = self._offered
            if invocation is None or invocation.id != request_id or invocation.result is not None:
                return json_message(400, "Invalid request ID")
            self._output.drain()
            invocation.result = result
            self._changed.notify_all()
        return Response(202, (("content-type", "application/json"),), b'{"status":"OK"}')

    def _report(self, invocation: _Invocation) -> None:
        if invocation.taken is None:
            return
        milliseconds = (time.monotonic() - invocation.taken) * 1000
        parts = [
            f"REPORT RequestId: {invocation.id}",
            f"Duration: {milliseconds:.2f} ms",
            f"Billed Duration: {int(milliseconds) + 1} ms",
            f"Memory Size: {self._memory} MB",
            f"Max Memory Used: {min(self._output.peak_memory(), self._memory)} MB",
        ]
        if self._ready and not self._init_reported:
            parts.append(f"Init Duration: {(self._ready - self._started) * 1000:.2f} ms")
            self._init_reported = True
        self._log.write(f"END RequestId: {invocation.id}\n{'\t'.join(parts)}\t\n".encode())

    def _watch(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with suppress(ProcessLookupError):
            os.killpg(
                self.pid, signal.SIGKILL
            )  # its children; until it is reaped, no other process has its id
        self._popen.wait()
        self._output.close()
        self._api.stop()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class _Output:
    """Copies a process's output into the log line by line, and notes its peak memory."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Log) -> None:
        if popen.stdout is None:
            raise ValueError("started without a pipe")
        self._pipe = popen.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._pid = popen.pid
        self._log = log
        self._lock = threading.Lock()
        self._line = b""  # an incomplete line
        self._peak = 0
        self._thread = threading.Thread(target=self._pump, name=f"output-{popen.pid}", daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while self.drain():
                selector.select()

    def drain(self) -> bool:
        """Copy the bytes that the pipe holds now; return False if the pipe is closed."""
        with self._lock:
            if self._pipe.closed:  # the process ended just after its answer
                return False
            self._note_memory()
            while True:
                try:
                    chunk = os.read(self._pipe.fileno(), 65_536)
                except BlockingIOError:
                    return True
                if not chunk:
                    if self._line:
                        self._log.write(self._line + b"\n")
                        self._line = b""
                    return False
                whole, newline, self._line = (self._line + chunk).rpartition(b"\n")
                self._log.write(whole + newline)

    def _note_memory(self) -> None:
        self._peak = max(self._peak, limits.memory(self._pid))

    def peak_memory(self) -> int:
        """Return the peak memory in MiB (0 except on Linux)."""
        with self._lock:
            self._note_memory()
            return self._peak

    def close(self) -> None:
        """Copy the rest of the output after the process has ended."""
        self._thread.join(timeout=1)
        with self._lock:
            if not self._thread.is_alive():
                self._pipe.close()


class _Pool:
    """The processes of one function, and its waiting invocations."""

    def __init__(
        self, function: Function, start: Callable[[], _Process], workers: int, account: limits.Account
    ) -> None:
        self.function = function
        self._start = start
        self._limit = workers
        self._account = account
        self._changed = threading.Condition()
        self._waiting: deque[_Invocation] = deque()
        self._threads: list[threading.Thread] = []
        self._processes: dict[threading.Thread, _Process] = {}
        self._idle = 0
        self._busy = 0
        self._growing = False
        self._stopping = False
        with self._changed:
            self._add_worker()

    def submit(self, payload: bytes) -> Future[Result]:
        invocation = _Invocation(payload, self.function.timeout)
        if len(payload) > MAX_PAYLOAD:
            invocation.future.set_result(_too_large(invocation.id, len(payload), TOO_LARGE))
            return invocation.future
        with self._changed:
            if self._stopping:
                invocation.future.set_result(
                    _failed(invocation.id, "ServiceException", "the cloud is stopping")
                )
                return invocation.future
            self._waiting.append(invocation)
            self._changed.notify_all()
            self._grow_later()
        return invocation.future

    def wait_until_free(self, seconds: float) -> bool:
        """Wait until a worker is free; return whether one is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._busy + len(self._waiting) < self._limit, seconds)

    def pids(self) -> list[int]:
        with self._changed:
            return sorted(process.pid for process in self._processes.values() if process.alive())

    def stop(self) -> None:
        """Kill every process and end every thread; running invocations fail."""
        with self._changed:
            self._stopping = True
            while self._waiting:
                invocation = self._waiting.popleft()
                invocation.future.set_result(
                    _failed(invocation.id, "ServiceException", "the cloud is stopping")
                )
            self._changed.notify_all()
            for process in self._processes.values():
                process.kill()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _grow_later(self) -> None:
        if not self._growing and len(self._waiting) > self._idle and len(self._threads) < self._limit:
            self._growing = True
            timer = threading.Timer(GROW_SECONDS, self._grow)
            timer.daemon = True
            timer.start()

    def _grow(self) -> None:
        with self._changed:
            self._growing = False
            if len(self._waiting) > self._idle and not self._stopping:
                self._add_worker()
                self._grow_later()

    def _add_worker(self) -> None:
        thread = threading.Thread(
            target=self._work, name=f"{self.function.name}-{len(self._threads)}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        # PR_SET_PDEATHSIG acts when the thread that started the process ends, so this thread must outlive the process.
        with suppress(OSError):  # the first invocation starts it again, and reports the error
            self._process()
        while (invocation := self._take()) is not None:
            result = self._run_if_permitted(invocation)
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()
            invocation.future.set_result(result)
        with suppress(KeyError):
            process = self._processes[threading.current_thread()]
            process.kill()
            process.wait_until_ended()

    def _run_if_permitted(self, invocation: _Invocation) -> Result:
        if not self._account.enter():
            refused = _failed(invocation.id, "TooManyRequestsException", "Rate Exceeded.")
            return Result(refused.payload, THROTTLED)
        try:
            return self._run(invocation)
        finally:
            self._account.leave()

    def _run(self, invocation: _Invocation) -> Result:
        try:
            for _ in range(MAX_STARTS):
                if (result := self._process().invoke(invocation)) is not None:
                    return result
        except OSError as error:
            return _failed(invocation.id, "ServiceException", str(error))
        return _failed(invocation.id, "Runtime.ExitError", "Runtime exited during init")

    def _process(self) -> _Process:
        """Return this thread's process; start a new one if it has died.

        Raises:
            OSError: No process can be started.
        """
        thread = threading.current_thread()
        with self._changed:  # so that `stop` kills the new process or prevents its start
            process = self._processes.get(thread)
            if process is None or not process.alive():
                if self._stopping:
                    raise OSError("the cloud is stopping")
                process = self._processes[thread] = self._start()
        return process

    def _take(self) -> _Invocation | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            self._idle -= 1
            if not self._waiting:
                return None
            self._busy += 1
            return self._waiting.popleft()


class Functions:
    """The functions of a stack, ready to invoke. The context manager stops all their processes.

    Args:
        functions: The functions, by logical id.
        machines: The environment of each function, by logical id.
        workers: Processes of each function, at most. One starts at once. Further invocations wait.
        log: The file to which their output is appended.
        concurrency: The account's concurrent executions. An invocation beyond them is refused.
        more_workers: Processes of some functions, by logical id, where more than `workers` are needed.
        isolated: Give each process its own /tmp of the template's size, and a read-only file system around it.

    Raises:
        FileNotFoundError: A function's folder does not exist.
        subprocess.CalledProcessError: A layer's packages could not be installed.
    """

    def __init__(
        self,
        functions: Mapping[str, Function],
        machines: Mapping[str, Machine],
        *,
        workers: int,
        log: Path,
        concurrency: int = limits.ACCOUNT,
        isolated: bool = True,
        more_workers: Mapping[str, int] | None = None,
    ) -> None:
        self.log = Log(log)
        account = limits.Account(concurrency)
        self._pools: dict[str, _Pool] = {}
        try:
            for logical_id, function in functions.items():
                machine = machines[logical_id]
                environment = _environment(function, machine)
                arn = f"arn:aws:lambda:{machine.region}:{machine.account}:function:{function.name}"
                start = functools.partial(
                    _Process,
                    function,
                    environment,
                    arn,
                    self.log,
                    isolated=isolated,
                    prelude=machine.internet.prelude if machine.internet else "",
                )
                pool = _Pool(function, start, max(workers, (more_workers or {}).get(logical_id, 0)), account)
                self._pools[logical_id] = self._pools[function.name] = pool
        except BaseException:
            self.stop()
            raise

    def submit(self, name: str, payload: bytes) -> Future[Result]:
        """Queue an invocation of the function with this logical id or folder name.

        Raises:
            KeyError: There is no such function.
        """
        return self._pools[name].submit(payload)

    def invoke(self, name: str, payload: bytes) -> Result:
        """Invoke a function as `submit` does, and wait for the result."""
        return self.submit(name, payload).result()

    def wait_until_free(self, name: str, seconds: float) -> bool:
        """Wait up to `seconds` until a worker of the function is free; return whether one is."""
        return self._pools[name].wait_until_free(seconds)

    def pids(self) -> dict[str, list[int]]:
        """Return the ids of the running processes, by the function's folder name."""
        return {pool.function.name: pool.pids() for pool in self._pools.values()}

    def stop(self) -> None:
        for pool in self._pools.values():
            pool.stop()
        for pool in self._pools.values():
            pool.join()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _environment(function: Function, machine: Machine) -> dict[str, str]:
    """Return the environment variables of a function's process, under Lambda's names.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    if not function.code.is_dir():
        raise FileNotFoundError(f"{function.logical_id}: the folder {function.code} does not exist")
    given = sum(len(name.encode()) + len(value.encode()) for name, value in function.environment.items())
    if given > MAX_ENVIRONMENT:
        raise TemplateError(
            f"{function.logical_id}: its environment has {given} bytes; AWS accepts {MAX_ENVIRONMENT}"
        )
    layers = [path for layer in reversed(function.layers) for path in packages.import_path(layer)]
    for folder in (function.code, *function.layers):
        packages.compile_sources(folder)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "HOME": "/home/sbx_user1051",  # botocore would read the developer's ~/.aws/config
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONPATH": os.pathsep.join(map(str, (function.code, *layers, packages.runtime()))),
        "LAMBDA_TASK_ROOT": str(function.code),
        "_HANDLER": function.handler,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group or f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}",
        "AWS_REGION": machine.region,
        "AWS_DEFAULT_REGION": machine.region,
        "AWS_ACCESS_KEY_ID": machine.access_key_id,
        "AWS_SECRET_ACCESS_KEY": machine.secret_access_key,
        **_way_to_aws(machine),
    }
    if machine.session_token:
        environment["AWS_SESSION_TOKEN"] = machine.session_token
    return environment | function.environment


def _way_to_aws(machine: Machine) -> dict[str, str]:
    if machine.names is None:
        return {"AWS_ENDPOINT_URL": machine.endpoint}
    return {
        "HTTPS_PROXY": f"http://{machine.names.address}",
        "AWS_CA_BUNDLE": str(machine.names.certificate),
    }


def _doomed(pid: int) -> bool:
    """Return whether the process is dead or dying, even if its end has not been reported yet.

    A SIGKILL shows first as pending, then as the kernel's flag PF_EXITING, then as a zombie. Checking all three avoids
    giving an invocation to a dying process. See proc_pid_stat(5): state, flags, signal.
    """
    if sys.platform != "linux":
        return False
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    exiting, pending = 0x4, 1 << (signal.SIGKILL - 1)
    return fields[0] in "ZX" or bool(int(fields[6]) & exiting) or bool(int(fields[28]) & pending)


def _exit_status(code: int) -> str:
    if code < 0:
        return f"signal: {signal.strsignal(-code) or -code}".lower()
    return f"exit status {code}"


def _too_large(request_id: str, size: int, function_error: str = "Unhandled") -> Result:
    message = f"Payload size ({size} bytes) exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes)."
    return Result(_failed(request_id, "Function.ResponseSizeTooLarge", message).payload, function_error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
