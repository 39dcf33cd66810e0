"""Replicate answers 429: without a hint, with each hint alone, and with malformed hints."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import generate
from tests.support.events import s3_notification, sqs_event
from tests.support.world import World
from triptych import backoff, pace
from triptych.aws import queues
from triptych.flows import generate as generation
from triptych.job import ImageStatus
from triptych.replicate.transport import HttpError

DETAIL = {"detail": "Request was throttled. Your rate limit resets in ~30s."}
UNHINTED = (1, 1)  # seconds without a hint
SEVEN = (7, 8)
LONGEST = (pace.MOST_SECONDS, pace.MOST_SECONDS)

Line = list[tuple[str, int]]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The delay in seconds of each message that was put back."""
    seen: list[int] = []
    monkeypatch.setattr(queues, "put_back", lambda _receipt, *, seconds, **_: seen.append(seconds))
    return seen


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """The jobs that entered the line, each with its delay in seconds."""
    seen: Line = []
    monkeypatch.setattr(
        queues, "send_to_waiting", lambda job_id, _key, _owner, *, delay=0, **_: seen.append((job_id, delay))
    )
    return seen


def take_turn(world: World, line: Line, context: SimpleNamespace) -> float:
    """Deliver the first message of the line when its time has come; return the seconds that it waited."""
    job_id, delay = line.pop(0)
    world.clock.advance(delay)
    slept = sum(world.clock.slept)
    body = {"job_id": job_id, "original_s3_key": f"uploads/{job_id}/photo.jpg"}
    assert not generate.handler(sqs_event(body, queue="waiting"), context)["batchItemFailures"]
    return delay + sum(world.clock.slept) - slept


def first_wait(world: World, line: Line, context: SimpleNamespace) -> float:
    """Deliver the first message of the line; return the seconds until a prediction was requested for it."""
    before = world.clock.time
    asked: list[float] = []
    world.replicate.before_create = lambda _: asked.append((world.clock.time - before).total_seconds())
    take_turn(world, line, context)
    return asked[0]


def deliver(world: World, job_id: str, context: SimpleNamespace, receives: int = 1) -> bool:
    """Deliver the photo's event; return whether the message was deleted."""
    event = sqs_event(s3_notification(job_id), receives=receives)
    return not generate.handler(event, context)["batchItemFailures"]


@pytest.mark.parametrize(
    ("body", "headers", "within"),
    [
        ({}, {}, UNHINTED),
        ({"status": 429, "retry_after": 7}, {}, SEVEN),
        ({"retry_after": "7"}, {}, SEVEN),
        ({"retry_after": 10**9}, {}, LONGEST),
        ({"retry_after": -5}, {}, UNHINTED),
        ({"retry_after": 0}, {}, UNHINTED),
        ({"retry_after": "soon"}, {}, UNHINTED),
        ({"retry_after": "NaN"}, {}, UNHINTED),
        ({"retry_after": "Infinity"}, {}, UNHINTED),
        ({"retry_after": None}, {}, UNHINTED),
        ({"retry_after": [7]}, {}, UNHINTED),
        ({}, {"retry-after": "7"}, SEVEN),
        ({}, {"retry-after": "7.5"}, (7, 8)),
        ({}, {"retry-after": "86400"}, LONGEST),
        ({}, {"retry-after": "-7"}, UNHINTED),
        ({}, {"retry-after": "soon"}, UNHINTED),
        ({}, {"retry-after": "\N{SUPERSCRIPT TWO}"}, UNHINTED),
        ({"retry_after": -5}, {"retry-after": "7"}, SEVEN),
        ({"retry_after": "soon"}, {"retry-after": "7"}, SEVEN),
        ({"retry_after": 7}, {"retry-after": "200"}, SEVEN),
        ({}, {"ratelimit-remaining": "0", "ratelimit-reset": "7"}, SEVEN),
        ({}, {"ratelimit-remaining": "0", "ratelimit-reset": "1795737600"}, UNHINTED),
    ],
)
def test_job_waits_as_the_429_says(
    world: World,
    context: SimpleNamespace,
    line: Line,
    body: dict[str, Any],
    headers: dict[str, str],
    within: tuple[int, int],
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    world.replicate.before_create = lambda _: httpx.Response(429, json=DETAIL | body, headers=raw)
    job_id = world.new_job()
    assert deliver(world, job_id, context)
    assert within[0] <= first_wait(world, line, context) <= within[1]
    assert len(world.replicate.predictions) == 3


@pytest.mark.parametrize(
    ("seconds", "within"), [(7, SEVEN), (86400, LONGEST), (-7, UNHINTED)], ids=["soon", "late", "past"]
)
def test_retry_after_may_be_a_date(
    world: World, context: SimpleNamespace, line: Line, seconds: int, within: tuple[int, int]
) -> None:
    date = format_datetime(world.clock.time + timedelta(seconds=seconds), usegmt=True)
    world.replicate.before_create = lambda _: httpx.Response(429, json=DETAIL, headers={"retry-after": date})
    assert deliver(world, world.new_job(), context)
    assert within[0] <= first_wait(world, line, context) <= within[1]


@pytest.mark.parametrize(
    "date", ["Wed, 21 Oct 2026 07:28:00 -0000", "Wed, 99 Oct 2026 07:28:00 GMT", "", ","]
)
def test_malformed_date_is_ignored(date: str) -> None:
    assert HttpError(429, httpx.Headers({"retry-after": date}), b"{}").retry_after is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'"7"', b"\xff"])
def test_body_that_is_not_an_object_is_ignored(body: bytes) -> None:
    assert HttpError(429, httpx.Headers({}), body).retry_after is None
    assert HttpError(429, httpx.Headers({"retry-after": "7"}), body).retry_after == 7


@pytest.mark.parametrize("tries", range(20))
def test_backoff_is_at_most_the_longest_wait(monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    assert backoff.seconds_after(tries) <= backoff.LONGEST_SECONDS


def test_create_answered_with_202_is_accepted(
    world: World, context: SimpleNamespace, waits: list[int]
) -> None:
    def accepted(_: httpx.Request) -> httpx.Response:
        return httpx.Response(202, json=list(world.replicate.predictions.values())[-1])

    world.replicate.after_create = accepted
    job_id = world.new_job()
    assert deliver(world, job_id, context)
    assert waits == []
    assert all(image.status is ImageStatus.GENERATING for image in world.job(job_id).images)


def test_lagging_list_causes_no_second_prediction(
    world: World, context: SimpleNamespace, waits: list[int]
) -> None:
    made_at = world.clock.time
    empty: dict[str, Any] = {"next": None, "previous": None, "results": []}

    def lagging(_: httpx.Request) -> httpx.Response | None:
        late = world.clock.time - made_at < timedelta(seconds=generation.ANSWERED_SECONDS - 5)
        return httpx.Response(200, json=empty) if late else None

    world.replicate.after_create = lambda _: httpx.Response(201, text="<html>")
    world.replicate.on_read = lagging
    job_id = world.new_job()
    receives = 1
    while not deliver(world, job_id, context, receives):
        world.clock.advance(waits[-1])
        receives += 1
    assert len(world.replicate.creates) == 3
    assert all(image.status is ImageStatus.GENERATING for image in world.job(job_id).images)
