"""Responses that arrive a byte at a time: no read times out, so a time budget must end them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.function_environment import ENVIRONMENT
from tests.support.world import World
from triptych import settings
from triptych.replicate import downloads, predictions, transport
from triptych.runtime.budget import TimeBudget


@pytest.fixture(params=["in the headers", "in the body"])
def slow_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Start a server whose response never ends; yield its address."""
    stop = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    begun = b"HTTP/1.1 200 OK\r\n" + (
        b"" if "headers" in request.param else b"content-length: 100000\r\n\r\n"
    )

    def trickle(connection: socket.socket) -> None:
        with connection:
            connection.sendall(begun)
            while not stop.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=trickle, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    stop.set()
    server.close()


def test_slow_output_is_given_up(slow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = downloads.Sources(allowed=["127.0.0.1"], delivery=[])
    with (
        pytest.raises(downloads.OutputUnavailableError),
        downloads.fetch(
            f"{slow_server}/x.png",
            max_bytes=10**6,
            sources=sources,
            token=lambda: "unused",
            budget=TimeBudget(0.5),
        ),
    ):
        pass


def test_slow_answer_is_given_up(world: World, slow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real transport
    monkeypatch.setattr(transport, "READ_SECONDS", 0.5)
    monkeypatch.setattr(transport, "token", lambda **_: "a token")
    environment = {**ENVIRONMENT, "REPLICATE_BASE_URL": slow_server}
    configured = settings.Settings.model_validate(environment)
    monkeypatch.setattr(transport, "settings", lambda: configured)
    with pytest.raises(transport.ReplicateUnavailableError):
        predictions.get("p0")
