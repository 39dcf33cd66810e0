"""When the watchdog looks at a job again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.localcloud.template import translate
from tests.support.jobs import START, at, uploaded_job, waiting_job
from triptych import deadlines
from triptych.aws import queues
from triptych.aws.queues import WatchdogMessage
from triptych.flows import cleanup, record, watch
from triptych.job import (
    Asked,
    Canceled,
    Job,
    JobStatus,
    PredictionNotCreated,
    UploadExpired,
    apply,
    apply_all,
)
from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget

CHOSEN = SimpleNamespace(
    upload_url_seconds=900,
    generation_deadline_seconds=1800,
    first_look_seconds=60,
    watchdog_delay_seconds=300,
)
UPLOADED = uploaded_job()


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (deadlines, watch, cleanup):
        monkeypatch.setattr(module, "settings", lambda: CHOSEN)
    monkeypatch.setattr(queues, "repeat_if_it_dies", lambda *_, **__: None)


@pytest.mark.parametrize(
    ("began", "ended", "wait"),
    [
        (9, 10, 60),  # the first look comes after a minute
        (99, 100, 100),  # as long as it has been watched
        (399, 400, 300),
        (1699, 1700, 101),  # no later than just after the deadline
        (1790, 1795.5, 5),
        (1799, 1800, 5),  # the deadline passed during the look
        (1799, 1801, 5),
        (1800, 1800, 1),
        (1800.1, 1800.5, 300),
        (1801, 1802, 300),  # `generate` has the photo, and needs time
    ],
)
def test_look_comes_ever_later_until_the_deadline(
    monkeypatch: pytest.MonkeyPatch, began: float, ended: float, wait: int
) -> None:
    monkeypatch.setattr(clock, "now", lambda: at(ended))
    assert watch._next_look(UPLOADED, at(began)) == wait


@pytest.mark.parametrize(
    ("began", "ended", "wait"),
    [
        (60, 60.5, 36),  # not after 60 s, as without a doubt
        (70, 91, 5),  # the doubt's end passed during the look
        (89, 90, 7),
        (91, 92, 9),  # the next doubt
        (95, 96, 96),
        (1699, 1700, 101),
    ],
)
def test_look_follows_the_end_of_each_doubt(
    monkeypatch: pytest.MonkeyPatch, began: float, ended: float, wait: int
) -> None:
    asked = [Asked(index, 1, at=at(1), in_doubt_until=at(91 + 4 * index)) for index in range(2)]
    doubtful = apply_all(UPLOADED, asked, at(1))
    monkeypatch.setattr(clock, "now", lambda: at(ended))
    assert watch._next_look(doubtful, at(began)) == wait


def test_doubts_of_a_job_in_line_wait_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Asked(index, 1, at=at(1), in_doubt_until=at(91)) for index in range(2)]
    throttled = PredictionNotCreated(1, 1, not_before=at(200))
    doubtful = apply_all(UPLOADED, [*asked, throttled], at(1))
    monkeypatch.setattr(clock, "now", lambda: at(60.5))
    assert watch._next_look(doubtful, at(60)) == 60


def test_job_without_a_photo_is_watched_from_its_creation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: at(200))
    assert watch._next_look(waiting_job(), at(199)) == 200
    monkeypatch.setattr(clock, "now", lambda: at(1499.5))
    assert watch._next_look(waiting_job(), at(1499)) == 1  # uploads end after 1,500 s


def looked_at(
    monkeypatch: pytest.MonkeyPatch,
    job: Job | None,
    message: WatchdogMessage,
    seconds: float,
    receives: int = 1,
) -> object:
    """Return what a look returns; `canceled` or `finished` if it hands the job over."""
    monkeypatch.setattr(clock, "now", lambda: at(seconds))
    monkeypatch.setattr(record, "read", lambda _: job)
    monkeypatch.setattr(cleanup, "stop", lambda *_: "canceled")
    from triptych.flows import finish  # noqa: PLC0415  # as the watchdog imports it

    def finished(*_: object, **__: object) -> Job:
        raise StopIteration

    monkeypatch.setattr(finish, "finish", finished)
    try:
        return watch.look(message, receives, "receipt")
    except StopIteration:
        return "finished"


def born(seconds: float, canceled_at: datetime | None = None) -> WatchdogMessage:
    return WatchdogMessage(job_id="j", born_at=at(seconds), canceled_at=canceled_at)


def test_job_that_is_not_stored_is_awaited_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked_at(monkeypatch, None, born(0), 59.9) == 5
    assert looked_at(monkeypatch, None, born(0), 60) is None


def test_retry_that_is_not_stored_yet_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked_at(monkeypatch, UPLOADED, born(10), 20) == 5
    assert looked_at(monkeypatch, UPLOADED, born(0), 20) == "finished"
    retried = replace(UPLOADED, retried_at=at(15))
    assert looked_at(monkeypatch, retried, born(10), 20) is None  # another message watches the retry
    assert looked_at(monkeypatch, retried, born(15), 20) == "finished"


def test_cancellation_that_is_not_stored_yet_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    announced = born(0, canceled_at=at(30))
    assert looked_at(monkeypatch, UPLOADED, announced, 31) == 5
    assert looked_at(monkeypatch, UPLOADED, announced, 90) is None
    canceled = apply(UPLOADED, Canceled(), at(30))
    assert looked_at(monkeypatch, canceled, announced, 31) == "canceled"
    assert looked_at(monkeypatch, canceled, born(0), 31) == "canceled"


def test_ended_job_needs_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    expired = apply_all(waiting_job(), [UploadExpired()], at(5))
    assert expired.status is JobStatus.EXPIRED
    assert looked_at(monkeypatch, expired, born(0), 6) is None


@pytest.mark.parametrize(
    ("after", "wait"),
    [(UPLOADED, 100), (apply(UPLOADED, Canceled(), START), None), (None, None)],
    ids=["open", "ended", "deleted"],
)
@pytest.mark.parametrize(("receives", "fatal"), [(13, False), (14, True)])
def test_look_that_leaves_an_open_job_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch, receives: int, after: Job | None, wait: int | None, *, fatal: bool
) -> None:
    from triptych.flows import finish  # noqa: PLC0415  # as the watchdog imports it

    told: list[bool] = []

    def finished(_: Job, __: TimeBudget, *, fatal: bool) -> Job | None:
        told.append(fatal)
        return after

    logged: list[str] = []
    monkeypatch.setattr(watch, "about_job", logged.append)
    monkeypatch.setattr(clock, "now", lambda: at(100))
    monkeypatch.setattr(record, "read", lambda _: UPLOADED)
    monkeypatch.setattr(finish, "finish", finished)
    assert watch.look(born(0), receives, "receipt") == wait
    assert (told, logged) == ([fatal], ["j"])


@pytest.mark.parametrize(
    ("receives", "repeated"),
    [
        (1, [("receipt", 45)]),
        (3, [("receipt", 45)]),
        (4, []),  # the process dies again and again, and the message has few deliveries
    ],
)
def test_first_looks_that_die_are_repeated_soon(
    monkeypatch: pytest.MonkeyPatch, receives: int, repeated: list[tuple[str, int]]
) -> None:
    done: list[tuple[str, int]] = []

    def repeat_if_it_dies(receipt_handle: str, *, seconds: int) -> None:
        done.append((receipt_handle, seconds))

    monkeypatch.setattr(queues, "repeat_if_it_dies", repeat_if_it_dies)
    looked_at(monkeypatch, UPLOADED, born(0), 60, receives)
    assert done == repeated


def test_look_is_not_repeated_while_it_may_run() -> None:
    resources: Any = translate()["Resources"]
    assert watch.LOOK_SECONDS < resources["WatchdogFunction"]["Properties"]["Timeout"] < watch.REPEAT_SECONDS
    queue = resources["WatchdogQueue"]["Properties"]
    assert queue["VisibilityTimeout"] > watch.REPEAT_SECONDS
    assert queue["RedrivePolicy"]["maxReceiveCount"] > watch.FATAL_RECEIVES > watch.REPEATED_RECEIVES


def test_deletion_is_cleaned_up_whatever_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "clean_up", lambda message, job: (message.job_id, job))
    message = born(0).model_copy(update={"left": ()})
    for job in (UPLOADED, None):
        assert looked_at(monkeypatch, job, message, 5) == ("j", job)


def test_failed_look_is_repeated_sooner_for_what_costs_money(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: at(100))
    assert watch.seconds_after_failure(born(0)) == 300
    monkeypatch.setattr(CHOSEN, "watchdog_delay_seconds", 900)
    assert watch.seconds_after_failure(born(0)) == 300
    monkeypatch.setattr(CHOSEN, "watchdog_delay_seconds", 120)
    assert watch.seconds_after_failure(born(0)) == 120
    assert watch.seconds_after_failure(born(0, canceled_at=at(40))) == 60
    assert watch.seconds_after_failure(born(90).model_copy(update={"left": ()})) == 10
