"""Clients, connections and threads of a warm invocation, counted over real connections. Counts are exact; times vary."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.session
import httpx
import pytest

from tests.benchmarks._world import World, world
from tests.simulation.functions import loaded
from tests.support.events import CONTEXT, api_event, s3_notification, sqs_event
from tests.support.function_environment import forget_caches
from triptych.aws import session
from triptych.replicate import transport
from triptych.runtime import tls

REQUEST = {"content_type": "image/jpeg", "content_length": 1}
# What a cold invocation makes: for its requests to AWS, and for those to Replicate.
FOR_AWS = {"AWS client", "TLS context", "connection"}
FOR_REPLICATE = {"HTTP transport", "thread"}


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    forget_session()
    with world() as found:
        yield found
    forget_session()


def forget_session() -> None:
    """Drop the session, which keeps the credentials that it found first."""
    session.boto3_session.cache_clear()
    session.botocore_session.cache_clear()


def generate(here: World) -> dict[str, Any]:
    return sqs_event(s3_notification(here.new_job().job_id))


def webhook(here: World) -> dict[str, Any]:
    return here.webhook(here.asked_job(), 1_000_000)


def read_job(here: World) -> dict[str, Any]:
    return api_event("GET", f"/api/v1/jobs/{here.done_job().job_id}")


def new_job(_: World) -> dict[str, Any]:
    return api_event("POST", "/api/v1/jobs", REQUEST)


def watchdog(here: World) -> dict[str, Any]:
    job = here.done_job()
    return sqs_event({"job_id": job.job_id, "born_at": job.created_at.isoformat()})


def announce(here: World) -> dict[str, Any]:
    return here.stream_record(here.done_job())


@pytest.mark.parametrize(
    ("function", "event", "limits"),
    [
        # Connections to AWS are kept; those to Replicate and to its delivery hosts are not. A request with a time
        # budget has a thread of its own.
        ("generate", generate, {"connection": 3, "thread": 3}),
        ("webhook", webhook, {"connection": 1, "thread": 1}),
        ("api", read_job, {}),
        ("api", new_job, {}),
        ("watchdog", watchdog, {}),
        ("announce", announce, {}),
    ],
)
def test_warm_invocation_reuses_clients_and_connections(
    here: World,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    event: Callable[[World], dict[str, Any]],
    limits: dict[str, int],
) -> None:
    handler = loaded(function).handler
    cold, warming, warm = event(here), event(here), event(here)
    forget_session()
    forget_caches()
    tls.context.cache_clear()
    transport.http_transport.cache_clear()
    made = counted(monkeypatch)
    handler(cold, CONTEXT)
    # Each counter counts, so that a count of 0 in a warm invocation means something.
    assert set(made) == FOR_AWS | (FOR_REPLICATE if limits else set())
    handler(warming, CONTEXT)
    made.clear()
    answer = handler(warm, CONTEXT)
    assert answer.get("statusCode") in {200, 201} or answer == {"batchItemFailures": []}
    found = Counter(made)
    if limits.get("thread", 0) > 1:
        # A request that begins when another has ended takes over its thread.
        assert 1 <= found["thread"] <= limits["thread"]
        found["thread"] = limits["thread"]
    assert found == Counter(limits)


def test_concurrent_first_requests_load_the_trust_store_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tls.context.cache_clear()
    transport.http_transport.cache_clear()
    made = counted(monkeypatch)
    meet = threading.Barrier(3)

    def first(_: int) -> None:
        meet.wait()
        transport.http_transport()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(first, range(3)))
    assert made.count("TLS context") == 1


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what is created from now on."""
    made: list[str] = []

    def count(owner: type, name: str, what: str) -> None:
        before = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            made.append(what)
            return before(*args, **kwargs)

        monkeypatch.setattr(owner, name, staticmethod(counting) if name == "__new__" else counting)

    count(botocore.session.Session, "create_client", "AWS client")
    count(httpx.HTTPTransport, "__init__", "HTTP transport")
    count(ssl.SSLContext, "__new__", "TLS context")
    count(socket.socket, "connect", "connection")
    count(threading.Thread, "start", "thread")
    return made
