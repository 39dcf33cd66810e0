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
import hmac
import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from contextlib import contextmanager, nullcontext, suppress
from http import HTTPStatus
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast, override
from urllib.parse import parse_qsl

import httpx
from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from tests.localcloud.replicate_faults import FAULTS, Fault, Faults, Route
from tests.localcloud.replicate_predictions import (
    CONTENT_TYPES,
    NOT_FOUND,
    RUN_SECONDS,
    Account,
    Entry,
    Json,
    RefusedError,
    describe_model,
    invalid,
    timestamp,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
BODY_LIMIT = 10 * 2**20  # bytes
BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
LOW_CREDIT_CREATES = 6  # a minute
PREFER_WAIT = re.compile(r"wait(?:=([1-9]|[1-5][0-9]|60))?")
UNAUTHENTICATED: Json = {
    "title": "Unauthenticated",
    "detail": "You did not pass a valid authentication token",
    "status": 401,
}
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

ROUTES: tuple[tuple[str, re.Pattern[str], Route], ...] = (
    ("POST", re.compile(r"/v1/predictions"), "create"),
    ("POST", re.compile(r"/v1/(?:models|deployments)/(?P<name>[^/]+/[^/]+)/predictions"), "create"),
    ("GET", re.compile(r"/v1/predictions"), "list"),
    ("GET", re.compile(r"/v1/predictions/(?P<id>[^/]+)"), "get"),
    ("POST", re.compile(r"/v1/predictions/(?P<id>[^/]+)/cancel"), "cancel"),
    ("GET", re.compile(r"/v1/webhooks/default/secret"), "secret"),
    ("GET", re.compile(r"/v1/account"), "account"),
    ("GET", re.compile(r"/v1/models/(?P<name>[^/]+/[^/]+)(?:/versions/(?P<version>[^/]+))?"), "model"),
    ("GET", re.compile(r"/outputs/(?P<id>[^/]+)/(?P<file>[^/]+)"), "output"),
)


class Limiter:
    """A token bucket."""

    def __init__(self, burst: int, every: float) -> None:
        """Allow `burst` requests at once, and one more every `every` seconds."""
        self.burst, self.every = burst, every
        self._lock = threading.Lock()
        self._level, self._at = float(burst), time.monotonic()

    def take(self) -> tuple[int, float]:
        """Return the tokens left (-1 if none could be taken) and the seconds until the next one."""
        with self._lock:
            now = time.monotonic()
            gained = (now - self._at) / self.every if self.every else self.burst
            self._level, self._at = min(self.burst, self._level + gained), now
            if self._level < 1:
                return -1, (1 - self._level) * self.every
            self._level -= 1
            return int(self._level), max(0, 1 - self._level) * self.every


class LowCredit:
    """Replicate's limit for an account with little credit: six creates a minute, and a pause between two.

    For an account without a payment method, Replicate documents one create a second and six a minute
    (https://replicate.com/docs/topics/predictions/rate-limits). With less than $5, one every 10 s was seen.
    """

    def __init__(self, apart: float, minute: float) -> None:
        """Allow one create every `apart` seconds, and six every `minute` seconds."""
        self.apart, self.minute = apart, minute
        self._lock = threading.Lock()
        self._taken: deque[float] = deque(maxlen=LOW_CREDIT_CREATES)

    def take(self) -> tuple[int, float]:
        """Return the create requests left now (-1 if none could be taken) and the seconds until the next one."""
        with self._lock:
            now = time.monotonic()
            if (wait := self._wait(now)) > 0:
                return -1, wait
            self._taken.append(now)
            return 0, self._wait(now)

    def _wait(self, now: float) -> float:
        full = len(self._taken) == LOW_CREDIT_CREATES
        next_of_minute = self._taken[0] + self.minute if full else now
        next_of_second = self._taken[-1] + self.apart if self._taken else now
        return max(next_of_minute, next_of_second) - now


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
        creates_per_minute: int = 600,
        requests_per_minute: int = 3000,
        run_seconds: float = RUN_SECONDS,
        allow_http_webhooks: bool = False,
        faults: Sequence[Fault] = (),
    ) -> None:
        """Listen on 127.0.0.1. The arguments are those of `start`."""
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.token = token
        self.faults = Faults(tuple(faults))
        self.account = Account(
            self.url,
            self.faults,
            seconds=seconds,
            retention=retention,
            webhook_scale=webhook_scale,
            run_seconds=run_seconds,
            allow_http_webhooks=allow_http_webhooks,
        )
        self.limiters: dict[Fault | Literal["create", "other"], Limiter | LowCredit] = {}
        if creates_per_minute:
            self.limiters["create"] = Limiter(creates_per_minute, 60 / creates_per_minute)
        if requests_per_minute:
            self.limiters["other"] = Limiter(requests_per_minute, 60 / requests_per_minute)
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
            self.limiters = {of: limiter for of, limiter in self.limiters.items() if isinstance(of, str)}
        self.faults.set(faults)

    def limit(self, route: Route) -> dict[str, str]:
        """Count one request; return the ratelimit-* headers of its answer.

        Raises:
            RefusedError: 429, the limit is exceeded.
        """
        low_credit = self.faults.take("low_credit") if route == "create" else None
        with self.lock:
            if low_credit and low_credit not in self.limiters:
                self.limiters[low_credit] = LowCredit(low_credit.apart, low_credit.minute)
            limiter = self.limiters.get(low_credit or ("create" if route == "create" else "other"))
        if limiter is None:
            return {}
        left, reset = limiter.take()
        if left < 0:
            raise throttled(reset, low_credit)
        return ratelimit(left, reset) if low_credit and "ratelimit" in low_credit.hints else {}

    def ledger(self) -> Ledger:
        entries = self.account.entries()
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


def throttled(seconds: float, fault: Fault | None = None) -> RefusedError:
    """Return a 429 with the hints of `fault`. See https://replicate.com/docs/topics/predictions/rate-limits."""
    whole = math.ceil(seconds)
    body: Json = {"detail": f"Request was throttled. Your rate limit resets in ~{whole}s."}
    headers: dict[str, str] = {}
    if fault:
        retry_after = whole if fault.retry_after is None else fault.retry_after
        if "body" in fault.hints:
            body |= {"status": 429, "retry_after": retry_after}
        if "header" in fault.hints:
            headers["retry-after"] = str(retry_after)
        if "ratelimit" in fault.hints:
            headers |= ratelimit(0, seconds)
    return RefusedError(429, body, headers)


def ratelimit(left: int, reset: float) -> dict[str, str]:
    return {"ratelimit-remaining": str(left), "ratelimit-reset": str(math.ceil(reset))}


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
            return throttled(fault.seconds, fault)
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
        path, _, query = self.path.partition("?")
        fault: Fault | None = None
        try:
            body = self._read()
            if path.startswith("/_"):
                self._serve_tests(path, body)
                return
            route, groups = self._match(path)
            if route != "output":
                self._authenticate()
            with self.server.lock:
                self.server.requests[route] += 1
            fault = self.server.faults.take("refuse", route)
            if route == "output" and not fault and not self._has_token():
                fault = self.server.faults.take("output_token")
            if fault:
                raise injected(fault)
            if route == "output":
                self._serve_output(groups["id"], groups["file"])
            else:
                self._serve_api(route, groups, dict(parse_qsl(query)), body)
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
            problem = refusal.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED}
            content_type = "application/problem+json" if problem else "application/json"
            self._answer(refusal.status, json.dumps(refusal.body).encode(), content_type, refusal.headers)

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

    def _match(self, path: str) -> tuple[Route, dict[str, str]]:
        method = "GET" if self.command == "HEAD" else self.command
        matches = [
            (verb, match, route) for verb, pattern, route in ROUTES if (match := pattern.fullmatch(path))
        ]
        for verb, match, route in matches:
            if verb == method:
                return route, match.groupdict(default="")
        if matches:
            raise RefusedError(405, {"detail": f'Method "{self.command}" not allowed.', "status": 405})
        raise RefusedError(404, NOT_FOUND)

    def _authenticate(self) -> None:
        if not self._has_token():
            raise RefusedError(401, UNAUTHENTICATED)

    def _has_token(self) -> bool:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(token.encode(), self.server.token.encode())
        return known and scheme.lower() in {"bearer", "token"}

    def _serve_api(self, route: Route, groups: dict[str, str], query: dict[str, str], body: bytes) -> None:
        account, faults = self.server.account, self.server.faults
        status, headers = 200, self.server.limit(route)
        match route:
            case "create":
                status, answer = self._create(groups.get("name"), body)
            case "get":
                answer = account.view(account.get(groups["id"]))
            case "cancel":
                answer = account.view(account.cancel(groups["id"]))
            case "list":
                answer = self._list(query)
            case _:
                answer = self._describe(route, groups)
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

    def _describe(self, route: Route, groups: dict[str, str]) -> Json:
        match route:
            case "account":
                return {"type": "user", "username": "stand-in", "name": "Stand-in", "github_url": None}
            case "model":
                return describe_model(groups["name"], groups["version"])
            case _:
                return {"key": self.server.account.secret}

    def _list(self, query: dict[str, str]) -> Json:
        faults = self.server.faults
        lag = faults.take("list_lag")
        page = self.server.account.page(query, lag=lag.seconds if lag else 0)
        odd = [WEB_ROW] if faults.take("web_row") else []
        odd += [MALFORMED_ROW] if faults.take("malformed_row") else []
        rows: list[JsonValue] = [{**row, "created_at": timestamp(time.time_ns())} for row in odd]
        return {**page, "results": rows + cast("list[JsonValue]", page["results"])}

    def _create(self, name: str | None, body: bytes) -> tuple[int, Json]:
        account = self.server.account
        wait = PREFER_WAIT.fullmatch(prefer) if (prefer := self.headers.get("prefer")) else None
        if prefer and not wait:
            raise invalid(("Prefer", "must be wait, or wait=1 to wait=60"))
        prediction = account.create(name, self.path, body, cancel_after=self.headers.get("cancel-after"))
        if wait and not account.wait(prediction, int(wait[1] or 60)):
            return 202, account.view(prediction)
        return 202 if self.server.faults.take("accepted") else 201, account.view(prediction)

    def _serve_output(self, prediction_id: str, name: str) -> None:
        faults = self.server.faults
        output = self.server.account.output(prediction_id, name, authorized="authorization" in self.headers)
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
    creates_per_minute: int = 600,
    requests_per_minute: int = 3000,
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
    parser.add_argument("--creates-per-minute", type=int, default=600)
    parser.add_argument("--requests-per-minute", type=int, default=3000)
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
