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
from triptych import backoff
from triptych.aws import queues
from triptych.flows import generate as generation
from triptych.job import ImageStatus
from triptych.replicate.transport import HttpError

DETAIL = {"detail": "Request was throttled. Your rate limit resets in ~30s."}
FIRST_BACKOFF = (1, 3)  # seconds without a hint
SEVEN = (7, 8)
LONGEST = (backoff.LONGEST_SECONDS, backoff.LONGEST_SECONDS)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The delay in seconds of each message that was put back."""
    seen: list[int] = []
    monkeypatch.setattr(queues, "put_back", lambda _receipt, *, seconds: seen.append(seconds))
    return seen


def deliver(world: World, job_id: str, context: SimpleNamespace, receives: int = 1) -> bool:
    """Deliver the photo's event; return whether the message was deleted."""
    event = sqs_event(s3_notification(job_id), receives=receives)
    return not generate.handler(event, context)["batchItemFailures"]


@pytest.mark.parametrize(
    ("body", "headers", "within"),
    [
        ({}, {}, FIRST_BACKOFF),
        ({"status": 429, "retry_after": 7}, {}, SEVEN),
        ({"retry_after": "7"}, {}, SEVEN),
        ({"retry_after": 10**9}, {}, LONGEST),
        ({"retry_after": -5}, {}, FIRST_BACKOFF),
        ({"retry_after": 0}, {}, FIRST_BACKOFF),
        ({"retry_after": "soon"}, {}, FIRST_BACKOFF),
        ({"retry_after": "NaN"}, {}, FIRST_BACKOFF),
        ({"retry_after": "Infinity"}, {}, FIRST_BACKOFF),
        ({"retry_after": None}, {}, FIRST_BACKOFF),
        ({"retry_after": [7]}, {}, FIRST_BACKOFF),
        ({}, {"retry-after": "7"}, SEVEN),
        ({}, {"retry-after": "7.5"}, (8, 9)),
        ({}, {"retry-after": "86400"}, LONGEST),
        ({}, {"retry-after": "-7"}, FIRST_BACKOFF),
        ({}, {"retry-after": "soon"}, FIRST_BACKOFF),
        ({}, {"retry-after": "\N{SUPERSCRIPT TWO}"}, FIRST_BACKOFF),
        ({"retry_after": -5}, {"retry-after": "7"}, SEVEN),
        ({"retry_after": "soon"}, {"retry-after": "7"}, SEVEN),
        ({"retry_after": 7}, {"retry-after": "200"}, SEVEN),
        ({}, {"ratelimit-remaining": "0", "ratelimit-reset": "7"}, FIRST_BACKOFF),
        ({}, {"ratelimit-remaining": "0", "ratelimit-reset": "1795737600"}, FIRST_BACKOFF),
    ],
)
def test_job_waits_as_the_429_says(
    world: World,
    context: SimpleNamespace,
    waits: list[int],
    body: dict[str, Any],
    headers: dict[str, str],
    within: tuple[int, int],
) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    world.replicate.before_create = lambda _: httpx.Response(429, json=DETAIL | body, headers=raw)
    job_id = world.new_job()
    assert not deliver(world, job_id, context)
    assert within[0] <= waits[0] <= within[1]
    world.replicate.before_create = lambda _: None
    world.clock.advance(waits[0])
    assert deliver(world, job_id, context, 2)
    assert len(world.replicate.predictions) == 3


@pytest.mark.parametrize(
    ("seconds", "within"), [(7, SEVEN), (86400, LONGEST), (-7, FIRST_BACKOFF)], ids=["soon", "late", "past"]
)
def test_retry_after_may_be_a_date(
    world: World, context: SimpleNamespace, waits: list[int], seconds: int, within: tuple[int, int]
) -> None:
    date = format_datetime(world.clock.time + timedelta(seconds=seconds), usegmt=True)
    world.replicate.before_create = lambda _: httpx.Response(429, json=DETAIL, headers={"retry-after": date})
    assert not deliver(world, world.new_job(), context)
    assert within[0] <= waits[0] <= within[1]


@pytest.mark.parametrize(
    "date", ["Wed, 21 Oct 2026 07:28:00 -0000", "Wed, 99 Oct 2026 07:28:00 GMT", "", ","]
)
def test_malformed_date_is_ignored(date: str) -> None:
    assert HttpError(429, httpx.Headers({"retry-after": date}), b"{}").retry_after is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'"7"', b"\xff"])
def test_body_that_is_not_an_object_is_ignored(body: bytes) -> None:
    assert HttpError(429, httpx.Headers({}), body).retry_after is None
    assert HttpError(429, httpx.Headers({"retry-after": "7"}), body).retry_after == 7


def test_throttled_job_without_a_hint_is_received_soon(
    world: World, context: SimpleNamespace, waits: list[int]
) -> None:
    world.replicate.before_create = lambda _: httpx.Response(429, json=DETAIL)
    job_id = world.new_job()
    for receives in range(1, backoff.MOST_RECEIVES):
        assert not deliver(world, job_id, context, receives)
        world.clock.advance(waits[-1])
    assert max(waits) <= backoff.TURN_SECONDS * 1.25 + 1


def test_low_credit_without_a_hint_is_waited_for(
    world: World, context: SimpleNamespace, waits: list[int]
) -> None:
    """Replicate takes one create a second and six a minute; other jobs use the first four."""
    taken = [world.clock.time - timedelta(seconds=age) for age in (3, 2, 1, 0)]

    def low_credit(_: httpx.Request) -> httpx.Response | None:
        now = world.clock.time
        in_a_minute = [at for at in taken if now - at < timedelta(seconds=60)]
        if len(in_a_minute) == 6 or now - taken[-1] < timedelta(seconds=1):
            return httpx.Response(429, json=DETAIL)
        taken.append(now)
        return None

    world.replicate.before_create = low_credit
    job_id = world.new_job()
    for receives in range(1, backoff.MOST_RECEIVES):
        if deliver(world, job_id, context, receives):
            break
        world.clock.advance(waits[-1])
    assert len(world.replicate.predictions) == 3
    assert all(image.status is ImageStatus.GENERATING for image in world.job(job_id).images)
    assert sum(waits) < 120


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
