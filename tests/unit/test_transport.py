"""One request to Replicate: its limits of time and size, and what its errors and headers say."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, override

import httpx
import pytest
from pydantic import BaseModel

from tests.support.fake_replicate import streamed
from tests.support.jobs import START
from tests.support.serving import serving
from triptych.pace import Left
from triptych.replicate import transport
from triptych.runtime import clock, tls
from triptych.runtime.budget import TimeBudget

pytestmark = pytest.mark.usefixtures("configured")
REQUEST = httpx.Request("GET", "https://api.replicate.com/v1/predictions")


class Closing(httpx.SyncByteStream):
    """A body in pieces, which knows whether it was closed."""

    def __init__(self, *pieces: bytes, after_each: Callable[[], object] = tuple) -> None:
        self.pieces = pieces
        self.after_each = after_each
        self.closed = False

    @override
    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            yield piece
            self.after_each()

    @override
    def close(self) -> None:
        self.closed = True


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[httpx.Response], None]:
    """Let Replicate answer so."""

    def answer(response: httpx.Response) -> None:
        monkeypatch.setattr(transport, "http_transport", lambda: httpx.MockTransport(lambda _: response))

    return answer


def exchanged(seconds: float = 60) -> tuple[transport.Exchange, httpx.Response]:
    exchange = transport.Exchange(TimeBudget(seconds))
    return exchange, exchange.handle_request(REQUEST)


def test_answer_is_read_whole_and_closed(answer: Callable[[httpx.Response], None]) -> None:
    body = Closing(b'{"id"', b': "p"}')
    answer(httpx.Response(201, stream=body, headers={"ratelimit-remaining": "5", "ratelimit-reset": "3"}))
    exchange, response = exchanged()
    assert (response.status_code, response.content, exchange.body) == (201, exchange.body, b'{"id": "p"}')
    assert exchange.left == Left(5, 3)
    assert body.closed


@pytest.mark.parametrize("most", [7, 6])
def test_answer_may_be_only_so_large(
    answer: Callable[[httpx.Response], None], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", most)
    body = Closing(b"1234", b"567")
    answer(httpx.Response(200, stream=body))
    if most == 7:
        assert exchanged()[0].body == b"1234567"
    else:
        with pytest.raises(httpx.ReadTimeout):
            exchanged()
    assert body.closed


def test_answer_that_does_not_end_is_given_up(
    answer: Callable[[httpx.Response], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = threading.Event()
    monkeypatch.setattr(TimeBudget, "is_spent", property(lambda _: spent.is_set()))
    answer(httpx.Response(200, stream=Closing(b"1", b"2", b"3", after_each=spent.set)))
    with pytest.raises(httpx.ReadTimeout):
        exchanged()


def test_error_keeps_what_the_client_would_drop(answer: Callable[[httpx.Response], None]) -> None:
    answer(streamed(b'{"retry_after": 7}', 429, ratelimit_remaining="0"))
    exchange = transport.Exchange(TimeBudget(60))
    with pytest.raises(transport.HttpError, match="HTTP 429") as error:
        exchange.handle_request(REQUEST)
    assert (error.value.status, error.value.retry_after) == (429, 7)
    assert exchange.left == Left(0, None)


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({}, None),
        ({"ratelimit-reset": "3"}, None),
        ({"ratelimit-remaining": "2"}, Left(2, None)),
        ({"ratelimit-remaining": "many"}, None),
        ({"ratelimit-remaining": "2", "ratelimit-reset": "inf"}, Left(2, None)),
        ({"ratelimit-remaining": "2", "ratelimit-reset": "soon"}, None),
    ],
)
def test_headers_of_the_limit_may_make_no_sense(headers: dict[str, str], left: Left | None) -> None:
    assert transport._left(httpx.Headers(headers)) == left


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("0", None),
        ("-0.5", None),
        ("-1", None),
        ("inf", None),
        ("soon", None),
        (None, None),
    ],
)
def test_wait_is_a_positive_number(value: str | None, seconds: float | None) -> None:
    headers = httpx.Headers({"retry-after": value} if value else {})
    assert transport.HttpError(429, headers, b"{}").retry_after == seconds


def test_wait_may_be_until_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: START)
    date = format_datetime(START + timedelta(seconds=9), usegmt=True)
    assert transport._retry_after_in_header(date) == 9


@pytest.mark.parametrize(("seconds", "connect", "read"), [(60, 3, 60), (2, 2, 2), (0, 0.1, 0.1)])
def test_request_has_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, seconds: float, connect: float, read: float
) -> None:
    seen: list[dict[str, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return streamed(b"{}")

    monkeypatch.setattr(transport, "http_transport", lambda: httpx.MockTransport(answer))
    monkeypatch.setattr(TimeBudget, "is_spent", False)
    monkeypatch.setattr(TimeBudget, "seconds_left", seconds)
    exchanged()
    assert (seen[0]["connect"], seen[0]["read"]) == (connect, read)


def test_no_connection_is_kept_and_the_certificates_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that Replicate has closed meanwhile looks like a lost answer."""
    connections: set[tuple[str, int]] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            connections.add(self.client_address)
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Log nothing."""

    made: list[Any] = []
    whole = httpx.HTTPTransport

    def keep(**options: Any) -> httpx.HTTPTransport:
        made.append(options)
        return whole(**options)

    monkeypatch.setattr(httpx, "HTTPTransport", keep)
    with (
        serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port,
        inspect.unwrap(transport.http_transport)() as sender,
        httpx.Client(transport=sender) as client,
    ):
        for _ in range(2):
            client.get(f"http://127.0.0.1:{port}/")
    assert len(connections) == 2
    assert made[0]["verify"] is tls.context()


def test_modules_of_a_request_are_imported_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr(transport, "import_module", imported.append)
    transport.prepare()
    assert "replicate.client" in imported


# ── a request that changes nothing ──


class Read(BaseModel):
    name: str


class Reading:
    """Replicate answers with a body, or fails, after some seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fresh: list[bool] = []  # how the token was read
        self.over = threading.Event()
        monkeypatch.setattr(transport, "token", self.token)
        monkeypatch.setattr(transport, "client", lambda _, exchange: exchange)

    def token(self, *, fresh: bool = False) -> str:
        self.fresh.append(fresh)
        return "a token"

    def read(self, answer: bytes | Exception, *, late: float = 0) -> Read:
        def request(exchange: Any) -> None:
            self.over.wait(late)
            if isinstance(answer, Exception):
                raise answer
            exchange.body = answer

        return transport.read(Read, request)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    return Reading(monkeypatch)


def test_answer_is_read_as_its_kind(reading: Reading) -> None:
    assert reading.read(b'{"name": "p"}') == Read(name="p")
    assert reading.fresh == [False]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"{}", "ValidationError"),
        (httpx.ReadError("a secret"), "ReadError"),
        (transport.TooLateToSendError(), "TooLateToSendError"),
    ],
)
def test_unusable_answer_says_its_kind_alone(
    reading: Reading, answer: bytes | Exception, reason: str
) -> None:
    with pytest.raises(transport.ReplicateUnavailableError) as error:
        reading.read(answer)
    assert str(error.value) == reason


@pytest.mark.parametrize(("status", "fresh"), [(401, [False, True]), (403, [False]), (503, [False])])
def test_refused_token_is_read_again(reading: Reading, status: int, fresh: list[bool]) -> None:
    with pytest.raises(transport.HttpError):
        reading.read(transport.HttpError(status, httpx.Headers(), b""))
    assert reading.fresh == fresh


def test_slow_answer_is_given_up(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_SECONDS", 0)
    monkeypatch.setattr(transport, "GRACE_SECONDS", 0)
    with pytest.raises(transport.ReplicateUnavailableError, match="too slow"):
        reading.read(b'{"name": "p"}', late=60)
    reading.over.set()


def test_answer_that_is_about_to_end_is_awaited(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_SECONDS", 0)
    monkeypatch.setattr(transport, "GRACE_SECONDS", 30)
    assert reading.read(b'{"name": "p"}', late=0.05) == Read(name="p")


def test_what_the_client_cannot_read_is_read_here(reading: Reading) -> None:
    """Its own models refuse answers that are good enough."""

    def request(exchange: Any) -> None:
        exchange.body = b'{"name": "p"}'
        raise KeyError("urls")

    assert transport.read(Read, request) == Read(name="p")


# ── the token ──


class Parameter:
    """What the parameter with the token holds, at the first reading and later."""

    def __init__(self, *values: str) -> None:
        self.values = [*values]
        self.asked: list[dict[str, object]] = []

    def get(self, _name: str, **options: object) -> str:
        self.asked.append(options)
        return self.values.pop(0)


@pytest.mark.parametrize(
    ("fresh", "values"), [(False, ["r8_a\n"]), (True, [" r8_a "]), (False, ["r8\0", "r8_a"])]
)
def test_token_that_no_header_can_hold_is_read_again(
    monkeypatch: pytest.MonkeyPatch, values: list[str], *, fresh: bool
) -> None:
    parameter = Parameter(*values)
    monkeypatch.setattr(transport, "parameters", SimpleNamespace(provider=lambda: parameter))
    assert transport.token(fresh=fresh) == "r8_a"
    forced = [fresh, True][: len(values)]
    options = {"decrypt": True, "max_age": 300}
    assert parameter.asked == [{**options, "force_fetch": force} for force in forced]
    assert parameter.values == []


def test_kept_token_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    parameter = Parameter("r8_a")
    monkeypatch.setattr(transport, "parameters", SimpleNamespace(provider=lambda: parameter))
    transport.token()
    assert parameter.asked[0]["force_fetch"] is False


@pytest.mark.parametrize("bad", ["r8_\N{BULLET}", "r8\0"])
def test_token_that_no_header_can_hold_is_none(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    monkeypatch.setattr(transport, "parameters", SimpleNamespace(provider=lambda: Parameter(bad)))
    with pytest.raises(transport.NoTokenError):
        transport.token(fresh=True)
