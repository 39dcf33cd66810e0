"""The stand-in for Replicate: a strict implementation of its HTTP API, in its own process.

`python -m tests.localcloud.replicate --token T` listens on 127.0.0.1 and prints `{"url": …}` on one line. It ends on
SIGINT and SIGTERM, and with its parent if stdin is a pipe. In Python, call `start`.

It also has these routes, which need no token:

* `GET /_ledger` returns a `Ledger` of every prediction and every refused request.
* `GET /_faults` returns the active faults, a list of `replicate_faults.Fault`.
* `POST /_faults` replaces them, for example with
  `[{"kind": "refuse", "status": 429, "seconds": 7, "times": 2}, {"kind": "drop_webhook"}]`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, nullcontext, suppress
from http import HTTPStatus
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Self, override

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from tests.localcloud.replicate_faults import FAULTS, Fault, Faults
from tests.localcloud.replicate_predictions import Entry, Runner
from tests.support.replicate.account import (
    CREATES_PER_MINUTE,
    REQUESTS_PER_MINUTE,
    RUN_SECONDS,
    per_minute,
    take,
)
from tests.support.replicate.api import Answer, Api, Call, Route, call, wait_seconds
from tests.support.replicate.creation import CONTENT_TYPES
from tests.support.replicate.limits import LowCredit
from tests.support.replicate.prediction import timestamp
from tests.support.replicate.refusals import UNAUTHENTICATED, Json, RefusedError, invalid, throttled

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
BODY_LIMIT = 10 * 2**20  # bytes
BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
WEB_ROW: Json = {
    "id": "0000000000000000000000000w",
    "model": "black-forest-labs/flux-schnell",
    "version": "hidden",
    "input": {"prompt": "made on the website"},
    "output": None,
    "data_removed": False,
    "error": None,
    "source": "web",
    "status": "starting",
    "urls": {
        "get": "https://api.replicate.com/v1/predictions/0000000000000000000000000w",
        "cancel": "https://api.replicate.com/v1/predictions/0000000000000000000000000w/cancel",
        "web": "https://replicate.com/p/0000000000000000000000000w",
    },
}
MALFORMED_ROW: Json = {
    "id": "0000000000000000000000null",
    "model": None,
    "version": None,
    "input": {},
    "output": None,
    "error": {"code": "deadline"},
    "status": "aborted",
    "urls": None,
}


class Refusal(BaseModel):
    """A request that the stand-in refused."""

    at: str
    method: str
    path: str
    status: int
    reason: str
    injected: bool  # a fault or the rate limit refused it


class Ledger(BaseModel):
    """All requests to the stand-in, and their results."""

    predictions: list[Entry]  # oldest first
    created: int
    billed: int
    requests: dict[Route, int]  # with a valid token, refused or not
    refused: list[Refusal]  # oldest first
    held: list[int]  # ports of the clients whose create a `hang` is delaying now


class Server(ThreadingHTTPServer):
    """The API server, and the state that its connections share."""

    daemon_threads = True
    request_queue_size = 512  # the clients of a load test connect at the same time

    def __init__(  # noqa: PLR0913  # options, all by keyword
        self,
        token: str,
        *,
        port: int = 0,
        seconds: float = 1.5,
        retention: float = 3600,
        webhook_scale: float = 1,
        creates_per_minute: int = CREATES_PER_MINUTE,
        creates_burst: int | None = None,
        requests_per_minute: int = REQUESTS_PER_MINUTE,
        run_seconds: float = RUN_SECONDS,
        allow_http_webhooks: bool = False,
        faults: Sequence[Fault] = (),
    ) -> None:
        """Listen on 127.0.0.1. The arguments are those of `start`."""
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.faults = Faults(tuple(faults))
        self.runner = Runner(
            self.url,
            self.faults,
            seconds=seconds,
            retention=retention,
            webhook_scale=webhook_scale,
            run_seconds=run_seconds,
        )
        account = self.runner.account
        self.api = Api(account, token, allow_http_webhooks=allow_http_webhooks)
        account.creates = per_minute(creates_per_minute, creates_burst)
        account.others = per_minute(requests_per_minute)
        self.low_credit: dict[Fault, LowCredit] = {}
        self.lock = threading.Lock()
        self.requests: Counter[Route] = Counter()
        self.refusals: list[Refusal] = []
        self.held: list[int] = []

    @override
    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: tuple[str, int]
    ) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may disconnect at any time
            super().handle_error(request, client_address)

    def set_faults(self, faults: tuple[Fault, ...]) -> None:
        """Replace the active faults. The limit of low credit starts again."""
        with self.lock:
            self.low_credit.clear()
        self.faults.set(faults)

    def limit(self, route: Route) -> dict[str, str]:
        """Count one request; return the ratelimit-* headers of its answer.

        Raises:
            RefusedError: 429, the limit is exceeded.
        """
        if route == "create" and (fault := self.faults.take("low_credit")):
            limit = self.low_credit.setdefault(fault, LowCredit(fault.apart, fault.minute))
            return take(limit, time.time_ns(), fault.hints)
        return self.runner.account.limit("create" if route == "create" else "other", time.time_ns())

    def ledger(self) -> Ledger:
        entries = self.runner.entries()
        with self.lock:
            return Ledger(
                predictions=entries,
                created=len(entries),
                billed=sum(entry.billed for entry in entries),
                requests=dict(self.requests),
                refused=list(self.refusals),
                held=list(self.held),
            )

    @contextmanager
    def holding(self, port: int) -> Iterator[None]:
        """List the client's port in the ledger while its create request is delayed."""
        with self.lock:
            self.held.append(port)
        try:
            yield
        finally:
            with self.lock:
                self.held.remove(port)


def injected(fault: Fault) -> RefusedError:
    """Return the refusal of a `refuse` fault, in Replicate's words."""
    match fault.status:
        case HTTPStatus.UNAUTHORIZED:
            return RefusedError(401, UNAUTHENTICATED)
        case HTTPStatus.PAYMENT_REQUIRED:
            detail = (
                "You have insufficient credit to run this model. Go to https://replicate.com/account/billing"
            )
            return RefusedError(402, {"title": "Insufficient credit", "detail": detail, "status": 402})
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            return invalid(("input.prompt", "is not allowed"))
        case HTTPStatus.TOO_MANY_REQUESTS:
            return throttled(fault.seconds, fault.hints, fault.retry_after)
        case status:
            return RefusedError(status, {"detail": responses.get(status, "Error"), "status": status})


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "triptych-replicate-stand-in"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one packet

    def _serve(self) -> None:
        fault: Fault | None = None
        try:
            body = self._read()
            if self.path.startswith("/_"):
                self._serve_tests(self.path.partition("?")[0], body)
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = call(self.command, self.path, headers, body)
            route = asked.route
            if route != "output":
                self.server.api.authenticate(headers)
            with self.server.lock:
                self.server.requests[route] += 1
            fault = self.server.faults.take("refuse", route)
            if route == "output" and not fault and not self.server.api.has_token(headers):
                fault = self.server.faults.take("output_token")
            if fault:
                raise injected(fault)
            if route == "output":
                self._serve_output(asked.parts["id"], asked.parts["file"])
            else:
                self._serve_api(asked)
        except RefusedError as refusal:
            entry = Refusal(
                at=timestamp(time.time_ns()),
                method=self.command,
                path=self.path,
                status=refusal.status,
                reason=str(refusal),
                injected=fault is not None or refusal.status == HTTPStatus.TOO_MANY_REQUESTS,
            )
            with self.server.lock:
                self.server.refusals.append(entry)
            answer = Answer(refusal.status, refusal.body, refusal.headers)
            self._answer(answer.status, json.dumps(answer.body).encode(), answer.content_type, answer.headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  # http.server prescribes these names

    def _read(self) -> bytes:
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not length.isdecimal():
            self.close_connection = True
            raise RefusedError(411, {"detail": "A Content-Length is required", "status": 411})
        if int(length) > BODY_LIMIT:
            self.close_connection = True
            raise RefusedError(413, {"detail": "Request body is too large", "status": 413})
        return self.rfile.read(int(length))

    def _serve_api(self, asked: Call) -> None:
        faults, route = self.server.faults, asked.route
        headers = self._limited(route)
        status, answer = self._applied(asked)
        if fault := faults.take("drop_fields", route):
            answer = {name: value for name, value in answer.items() if name not in fault.fields}
        if fault := faults.take("hang", route):
            with self.server.holding(self.client_address[1]) if route == "create" else nullcontext():
                time.sleep(fault.seconds)
        if faults.take("cut", route):
            self.close_connection = True
        elif fault := faults.take("bad_gateway", route):
            self._answer(fault.gateway_status, BAD_GATEWAY, "text/html")
        else:
            page = faults.take("no_json", route)
            content = (
                (BAD_GATEWAY, "text/html") if page else (json.dumps(answer).encode(), "application/json")
            )
            self._answer(status, *content, headers)

    def _limited(self, route: Route) -> dict[str, str]:
        with self.server.runner.lock:
            return self.server.limit(route)

    def _applied(self, asked: Call) -> tuple[int, Json]:
        """Apply the request to the account; return the status and the body of its answer."""
        faults, runner = self.server.faults, self.server.runner
        with runner.lock:
            runner.account.echoes = faults.take("echo") is not None
            if asked.route == "list":
                lag = faults.take("list_lag")
                runner.account.lag = lag.seconds if lag else 0
                odd = [WEB_ROW] if faults.take("web_row") else []
                odd += [MALFORMED_ROW] if faults.take("malformed_row") else []
                runner.account.odd_rows = [{**row, "created_at": timestamp(time.time_ns())} for row in odd]
            answer = self.server.api.serve(asked, time.time_ns())
            if asked.route != "create":
                return answer.status, answer.body
            run = runner.run(str(answer.body["id"]))
            run.route = self.path
        if seconds := wait_seconds(asked):
            ended = runner.wait(run, seconds)
            return (201 if ended else 202), runner.view(run)
        return (202 if faults.take("accepted") else 201), answer.body

    def _serve_output(self, prediction_id: str, name: str) -> None:
        faults = self.server.faults
        output = self.server.runner.output(prediction_id, name, authorized="authorization" in self.headers)
        content_type = CONTENT_TYPES[name.rpartition(".")[2]]
        if fault := faults.take("hang", "output"):
            time.sleep(fault.seconds)
        if fault := faults.take("bad_gateway", "output"):
            self._answer(fault.gateway_status, BAD_GATEWAY, "text/html")
        elif fault := faults.take("output_redirect"):
            self._answer(302, b"", content_type, {"location": fault.url})
        elif faults.take("output_html"):
            self._answer(200, BAD_GATEWAY, content_type)
        elif fault := faults.take("output_oversized"):
            self._answer(200, output.ljust(fault.size, b"\0"), content_type, chunked=fault.chunked)
        elif faults.take("cut", "output"):
            self._answer(200, output, content_type, send=len(output) // 2)
        else:
            self._answer(200, output, content_type)

    def _serve_tests(self, path: str, body: bytes) -> None:
        match self.command, path:
            case "GET", "/_ledger":
                self._answer(200, self.server.ledger().model_dump_json().encode(), "application/json")
                return
            case "POST", "/_faults":
                try:
                    self.server.set_faults(FAULTS.validate_json(body))
                except ValidationError as error:
                    self._answer(422, error.json().encode(), "application/json")
                    return
            case "GET", "/_faults":
                pass
            case _:
                self._answer(404, b"{}", "application/json")
                return
        self._answer(200, FAULTS.dump_json(self.server.faults.all()), "application/json")

    def _answer(
        self,
        status: int,
        body: bytes,
        content_type: str,
        headers: dict[str, str] | None = None,
        *,
        chunked: bool = False,
        send: int | None = None,
    ) -> None:
        """Send an answer. With `send`, send only so many bytes of the body and cut the connection."""
        self.send_response(status)
        self.send_header("content-type", content_type)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if chunked:
            self.send_header("transfer-encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("content-length", str(len(body)))
        if send is not None:
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:send])

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests; the ledger holds them."""


class StandIn:
    """A running stand-in, seen from its parent process."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.url = url
        self._process = process
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ledger(self) -> Ledger:
        return Ledger.model_validate_json(self._http.get("/_ledger").raise_for_status().content)

    def set_faults(self, *faults: Fault) -> None:
        """Replace the active faults; without arguments, remove them."""
        self._http.post("/_faults", content=FAULTS.dump_json(faults)).raise_for_status()

    def stop(self) -> None:
        """End the process and wait for it. A second call does nothing."""
        self._http.close()
        with self._process:
            self._process.terminate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def start(  # noqa: PLR0913  # options, all by keyword
    token: str,
    *,
    port: int = 0,
    seconds: float = 1.5,
    retention: float = 3600,
    webhook_scale: float = 1,
    creates_per_minute: int = CREATES_PER_MINUTE,
    creates_burst: int | None = None,
    requests_per_minute: int = REQUESTS_PER_MINUTE,
    run_seconds: float = RUN_SECONDS,
    allow_http_webhooks: bool = False,
    faults: Sequence[Fault] = (),
) -> StandIn:
    """Start the stand-in in its own process, which ends with `stop` or with this process.

    Args:
        token: The API token that it accepts.
        port: The port on 127.0.0.1; 0 takes a free one.
        seconds: The approximate duration of a prediction.
        retention: How long a prediction's data are kept after its end, in seconds.
        webhook_scale: The factor for the pauses between the deliveries of a webhook, which take up to a minute.
        creates_per_minute: The rate limit for creates, and its burst; 0 is none.
        creates_burst: Another burst.
        requests_per_minute: The rate limit for all other requests to the API, and its burst; 0 is none.
        run_seconds: The time after which a running prediction fails.
        allow_http_webhooks: Accept webhook URLs with http too; Replicate accepts only https.
        faults: The active faults.

    Raises:
        RuntimeError: The stand-in did not start; stderr holds its output.
    """
    command = [sys.executable, "-m", "tests.localcloud.replicate", f"--token={token}", f"--port={port}"]
    command += [f"--seconds={seconds}", f"--retention={retention}", f"--webhook-scale={webhook_scale}"]
    command += [f"--creates-per-minute={creates_per_minute}", f"--requests-per-minute={requests_per_minute}"]
    command += [f"--run-seconds={run_seconds}"]
    command += [] if creates_burst is None else [f"--creates-burst={creates_burst}"]
    command += ["--allow-http-webhooks"] if allow_http_webhooks else []
    command += [f"--fault={fault.model_dump_json()}" for fault in faults]
    # A new session, so that Ctrl-C in the terminal reaches only the parent, which ends the stand-in.
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    ready = process.stdout.readline() if process.stdout else ""
    if not ready:
        raise RuntimeError(f"the stand-in for Replicate ended with {process.wait()}")
    return StandIn(process, TypeAdapter(dict[str, str]).validate_json(ready)["url"])


def main(arguments: list[str] | None = None) -> None:
    """Run the stand-in until a signal or the end of its parent."""
    parser = argparse.ArgumentParser(prog="python -m tests.localcloud.replicate", description=__doc__)
    parser.add_argument("--token", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--retention", type=float, default=3600)
    parser.add_argument("--webhook-scale", type=float, default=1)
    parser.add_argument("--creates-per-minute", type=int, default=CREATES_PER_MINUTE)
    parser.add_argument("--creates-burst", type=int)
    parser.add_argument("--requests-per-minute", type=int, default=REQUESTS_PER_MINUTE)
    parser.add_argument("--run-seconds", type=float, default=RUN_SECONDS)
    parser.add_argument(
        "--allow-http-webhooks",
        action="store_true",
        help="accept webhook URLs with http too; Replicate accepts only https, but the local cloud's API is plain http",
    )
    parser.add_argument(
        "--fault", dest="faults", action="append", default=[], type=Fault.model_validate_json, metavar="JSON"
    )
    options = parser.parse_args(arguments)
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    server = Server(**vars(options))
    threading.Thread(
        target=server.serve_forever, args=(0.1,), daemon=True
    ).start()  # polls often, to end soon
    threading.Thread(target=_end_with_parent, args=(end,), daemon=True).start()
    print(json.dumps({"url": server.url}), flush=True)  # noqa: T201  # the parent reads it
    end.wait()
    server.shutdown()
    server.server_close()


def _end_with_parent(end: threading.Event) -> None:
    """Set `end` when stdin closes, if it is a pipe or a socket: its other end is the parent's."""
    with suppress(OSError):
        mode = os.fstat(0).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            while os.read(0, 4096):
                pass
            end.set()


if __name__ == "__main__":
    main()
