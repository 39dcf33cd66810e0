"""One request to Replicate over a real connection: it is sent in time or not at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from triptych.replicate import transport
from triptych.runtime.budget import TimeBudget

ANSWER = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server


def post(server: socket.socket, budget: TimeBudget) -> httpx.Response:
    url = f"http://127.0.0.1:{server.getsockname()[1]}/v1/predictions"
    return transport.Exchange(budget, {"Cancel-After": "5s"}).handle_request(httpx.Request("POST", url))


def received(server: socket.socket) -> bytes:
    """Accept one connection, answer it, and return what it sent first."""
    connection, _ = server.accept()
    with connection:
        connection.settimeout(30)
        sent = connection.recv(65_536)
        if sent:
            connection.sendall(ANSWER)
        return sent


@pytest.mark.parametrize(("seconds", "is_sent"), [(60, True), (0, False)])
def test_request_is_sent_only_within_its_budget(server: socket.socket, seconds: float, is_sent: bool) -> None:  # noqa: FBT001  # a pytest parameter
    """After a freeze of the function, the POST has been recorded as not sent. It must not be sent then."""
    with ThreadPoolExecutor(1) as pool:
        sent: Future[bytes] = pool.submit(received, server)
        if is_sent:
            assert post(server, TimeBudget(seconds)).status_code == 201
        else:
            with pytest.raises(transport.TooLateToSendError):
                post(server, TimeBudget(seconds))
    assert sent.result().startswith(b"POST /v1/predictions") is is_sent
    assert (b"Cancel-After: 5s" in sent.result()) is is_sent


@pytest.mark.parametrize(("budget", "connect"), [(60, 3), (2, 2)])
def test_connection_may_take_three_seconds_of_the_budget(
    monkeypatch: pytest.MonkeyPatch, budget: float, connect: float
) -> None:
    """A server that does not answer is known early, so that the POST provably was not sent."""
    seen: list[dict[str, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return httpx.Response(200, json={})

    monkeypatch.setattr(transport, "http_transport", lambda: httpx.MockTransport(answer))
    transport.Exchange(TimeBudget(budget)).handle_request(httpx.Request("GET", "https://api.replicate.com"))
    (timeout,) = seen
    assert timeout["connect"] == pytest.approx(connect, abs=1)
    assert timeout["connect"] <= 3
    assert timeout["read"] == pytest.approx(budget, abs=1)
