"""How long a message waits before it is redelivered, compared with the queue in the template."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from pydantic import BaseModel, Field

from tests.localcloud.template import load
from tests.support.jobs import START, waiting_job
from triptych import backoff
from triptych.job import Image, ImageStatus


class Redrive(BaseModel):
    max_receives: int = Field(alias="maxReceiveCount")


def test_message_is_replaced_before_it_is_dead_lettered() -> None:
    queue = load().resources["GenerationQueue"].properties
    redrive = Redrive.model_validate(queue["RedrivePolicy"])
    replaced = [receives for receives in range(1, 50) if backoff.is_worn_out(receives)]
    assert 1 < min(replaced) < redrive.max_receives


def test_waits_double_until_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, _most: 1.0)
    waits = [backoff.seconds_after(receives) for receives in range(1, 11)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@pytest.mark.parametrize(
    ("retry_after", "throttled", "seconds"),
    [(None, False, 256), (None, True, 0), (40.0, True, 40), (0.2, False, 1), (4000.0, True, 60)],
)
def test_wait_after_a_refusal_follows_retry_after(
    monkeypatch: pytest.MonkeyPatch, retry_after: float | None, seconds: int, *, throttled: bool
) -> None:
    monkeypatch.setattr("random.uniform", lambda _, _most: 1.0)
    assert backoff.seconds_after_refusal(9, retry_after, throttled=throttled) == seconds


def after(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("image", "seconds"),
    [
        (Image(0), 16),
        (Image(0, not_before=after(9)), 16),
        (Image(0, not_before=after(60)), 60),
        (Image(0, ImageStatus.REQUESTING, in_doubt_until=after(-9)), 16),
        (Image(0, ImageStatus.REQUESTING, in_doubt_until=after(8)), 8),
        (Image(0, ImageStatus.REQUESTING, in_doubt_until=after(60)), 16),
    ],
)
def test_pending_image_waits_longer_and_a_doubt_never_does(
    monkeypatch: pytest.MonkeyPatch, image: Image, seconds: int
) -> None:
    """A prediction in doubt may be found in the list earlier."""
    monkeypatch.setattr("random.uniform", lambda _, _most: 1.0)
    job = replace(waiting_job(), images=(image,))
    assert backoff.seconds_until_next(job, 4, START) == seconds
