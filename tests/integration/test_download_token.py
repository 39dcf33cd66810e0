"""Outputs that require Replicate's API token, and the hosts that may get it."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace

import httpx
import pytest

import generate
import watchdog
import webhook
from tests.support.events import s3_notification, sqs_event, webhook_for
from tests.support.fake_replicate import streamed
from tests.support.function_environment import SECRET, TOKEN, forget_caches
from tests.support.photos import PNG
from tests.support.world import World
from triptych.job import ImageStatus, JobStatus
from triptych.replicate import transport, webhooks
from triptych.runtime.observability import logger

AUTHORIZED = f"Bearer {TOKEN}"
OUTPUT = "https://replicate.delivery/p0/out.png"
CDN = "https://cdn.example/out.png"


@pytest.fixture
def job_id(world: World, context: SimpleNamespace) -> str:
    """Create a job whose predictions p0, p1 and p2 run."""
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    return job_id


def allow(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    monkeypatch.setenv("ALLOWED_OUTPUT_HOSTS", hosts)
    forget_caches()


def finish(world: World, context: SimpleNamespace, output: str = OUTPUT) -> int:
    """Finish p0 with this output, send its webhook and return the status code."""
    done = world.replicate.finish("p0", output=output)
    return int(webhook.handler(webhook_for(done, world.clock), context)["statusCode"])


def downloads(world: World) -> list[tuple[str, str | None]]:
    """Return the URL and the Authorization header of each request for an output."""
    return [
        (str(request.url), request.headers.get("authorization"))
        for request in world.replicate.requests
        if request.url.host != "api.replicate.com"
    ]


def requires_token(status: int = 401) -> Callable[[httpx.Request], httpx.Response]:
    """Answer like a host that requires the token."""

    def answer(request: httpx.Request) -> httpx.Response:
        right = request.headers.get("authorization") == AUTHORIZED
        return streamed(PNG) if right else httpx.Response(status)

    return answer


def no_token() -> str:
    raise transport.NoTokenError("no token")


def illegal(request: httpx.Request) -> httpx.Response:
    """Fail like the real transport with a header value that h11 refuses."""
    raise httpx.LocalProtocolError(f"Illegal header value {request.headers['authorization']!r}")


def stored(world: World, job_id: str) -> int:
    return len(world.job(job_id).having(ImageStatus.STORED))


@pytest.mark.parametrize("status", [401, 403])
def test_output_that_requires_the_token_is_stored(
    world: World, context: SimpleNamespace, job_id: str, status: int
) -> None:
    world.replicate.on_download = requires_token(status)
    assert finish(world, context) == 200
    assert stored(world, job_id) == 1
    assert downloads(world) == [(OUTPUT, None), (OUTPUT, AUTHORIZED)]


def test_watchdog_stores_outputs_that_require_the_token(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    world.replicate.on_download = requires_token()
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    world.clock.advance(300)
    message = {"job_id": job_id, "born_at": world.job(job_id).watched_since.isoformat()}
    watchdog.handler(sqs_event(message), context)
    assert world.job(job_id).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("status", [400, 402, 404, 407, 500])
def test_other_errors_are_not_answered_with_the_token(
    world: World, context: SimpleNamespace, job_id: str, status: int
) -> None:
    world.replicate.on_download = requires_token(status)
    assert finish(world, context) == 503
    assert downloads(world) == [(OUTPUT, None)]


@pytest.mark.parametrize("status", [401, 403])
def test_token_is_sent_once(world: World, context: SimpleNamespace, job_id: str, status: int) -> None:
    world.replicate.on_download = lambda _: httpx.Response(status)
    assert finish(world, context) == 503
    assert downloads(world) == [(OUTPUT, None), (OUTPUT, AUTHORIZED)]
    assert stored(world, job_id) == 0


@pytest.mark.parametrize("target", [CDN, "https://replicate.delivery/there.png"])
def test_redirect_is_followed_without_the_token(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    allow(monkeypatch, "replicate.delivery,cdn.example")

    def answer(request: httpx.Request) -> httpx.Response:
        if str(request.url) == target:
            return streamed(PNG)
        if request.headers.get("authorization") == AUTHORIZED:
            return httpx.Response(302, headers={"location": target})
        return httpx.Response(401)

    world.replicate.on_download = answer
    assert finish(world, context) == 200
    assert stored(world, job_id) == 1
    assert downloads(world) == [(OUTPUT, None), (OUTPUT, AUTHORIZED), (target, None)]


def test_redirect_after_the_token_was_sent_is_checked(
    world: World, context: SimpleNamespace, job_id: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        known = "authorization" in request.headers
        return httpx.Response(302 if known else 401, headers={"location": "https://evil.example/"})

    world.replicate.on_download = answer
    assert finish(world, context) == 200
    assert downloads(world) == [(OUTPUT, None), (OUTPUT, AUTHORIZED)]
    (failed,) = world.job(job_id).having(ImageStatus.FAILED)
    assert failed.error
    assert failed.error.code == "output_host_not_allowed"


def test_allowed_host_other_than_a_delivery_host_gets_no_token(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, "replicate.delivery,cdn.example")
    world.replicate.on_download = requires_token()
    assert finish(world, context, CDN) == 503
    assert downloads(world) == [(CDN, None)]


def test_plain_http_gets_no_token(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, "replicate.delivery,127.0.0.1")
    world.replicate.on_download = requires_token()
    assert finish(world, context, "http://replicate.delivery/p0/out.png") == 200
    assert downloads(world) == []  # refused before it is requested
    (failed,) = world.job(job_id).having(ImageStatus.FAILED)
    assert failed.error
    assert failed.error.code == "output_host_not_allowed"


def test_loopback_gets_the_token_only_as_a_delivery_host(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = "http://127.0.0.1:8000/out.png"
    allow(monkeypatch, "replicate.delivery,127.0.0.1")
    world.replicate.on_download = requires_token()
    assert finish(world, context, here) == 503
    assert downloads(world) == [(here, None)]
    monkeypatch.setenv("REPLICATE_DELIVERY_HOSTS", "replicate.delivery,127.0.0.1")
    forget_caches()
    assert finish(world, context, here) == 200
    assert downloads(world)[1:] == [(here, None), (here, AUTHORIZED)]


@pytest.mark.parametrize("first", [CDN, OUTPUT])
def test_redirect_target_gets_no_token(
    world: World, context: SimpleNamespace, job_id: str, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    allow(monkeypatch, "replicate.delivery,cdn.example")
    target = "https://replicate.delivery/there.png"
    world.replicate.on_download = lambda request: (
        httpx.Response(302, headers={"location": target})
        if str(request.url) == first
        else httpx.Response(401)
    )
    assert finish(world, context, first) == 503
    assert downloads(world) == [(first, None), (target, None)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "no token"), (f"{TOKEN}\u00e9", "UnicodeEncodeError"), (f"{TOKEN}\nx", "LocalProtocolError")],
    ids=["none", "not ASCII", "two lines"],
)
def test_output_without_a_usable_token_is_unavailable(
    world: World,
    context: SimpleNamespace,
    job_id: str,
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    reason: str,
) -> None:
    lines = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", lines)
    if value is None:
        monkeypatch.setattr(transport, "token", no_token)
    else:
        monkeypatch.setattr(transport, "token", lambda: value)
    monkeypatch.setattr(webhooks, "_known_secret", lambda _: SECRET)
    world.replicate.on_download = lambda request: (
        illegal(request) if "authorization" in request.headers else httpx.Response(401)
    )
    assert finish(world, context) == 503
    assert stored(world, job_id) == 0
    assert f"OutputUnavailableError: {reason}" in lines.getvalue()
    assert TOKEN not in lines.getvalue()
