"""Guards of the layer that a run can leave out, to show that the simulation notices it.

`python -m tests.simulation --without GUARD` leaves one out.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tests.simulation.faults import JOBS_PER_SECOND, LASTING_SECONDS, Deployment, Faults
from tests.simulation.functions import environments, load_all
from triptych import spending
from triptych.aws import bucket
from triptych.deadlines import upload_urls_end
from triptych.flows import cleanup, doubts, finish, open_photo, wait_in_line, watch
from triptych.job import DeadlinePassed
from triptych.models import PRESETS
from triptych.replicate import predictions, transport
from triptych.settings import settings
from triptych.successors import Successors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from triptych.aws.queues import WatchdogMessage
    from triptych.job import Image, Job
    from triptych.replicate.listing import Listed

_proves_absence = doubts._proves_absence
_clean_up = cleanup.clean_up
_cancel_all = predictions.cancel_all


def _with(module: object, **replaced: Any) -> SimpleNamespace:
    """Return a module with other values of some names."""
    return SimpleNamespace(**{**vars(module), **replaced})


def _any_absence(_listed: Listed, _job: Job, image: Image, _since: datetime, now: datetime) -> bool:
    return not (image.in_doubt_until and now < image.in_doubt_until)


def _without_siblings(listed: Listed, job: Job, image: Image, since: datetime, now: datetime) -> bool:
    return _proves_absence(listed, replace(job, images=(image,)), image, since, now)


def _whatever_the_age(message: WatchdogMessage, job: Job | None) -> int | None:
    return _clean_up(message, job and replace(job, created_at=message.born_at))


def _canceled(prediction_ids: Sequence[str]) -> bool:
    _cancel_all(prediction_ids)
    return True


def _other_fields() -> set[str]:
    return {mapping.image for mapping in PRESETS.values()} - {settings().input_mapping.image}


class _AnyNumber(int):
    def __ne__(self, _: object) -> bool:
        return False

    __hash__ = int.__hash__


@contextmanager
def _forgetful_announce() -> Iterator[None]:
    load_all()
    with ExitStack() as stack:
        for module in environments()["announce"]:
            stack.enter_context(patch.object(module, "REMEMBERED", 0))
        yield


@dataclass(frozen=True)
class Guard:
    """A guard, and the faults of a run in which it matters."""

    leave_out: Callable[[], AbstractContextManager[object]]
    rates: dict[str, float]
    list_lag: float = 0.0
    per_minute: float = 600.0
    retention: bool = False
    lasting: bool = False  # faults go on through the deadlines
    changed: dict[str, str] = field(default_factory=dict)  # parameters, by a deployment in the middle

    def faults(self, seed: int, jobs: int) -> Faults:
        """Return the faults of a run with so many jobs."""
        lasts = LASTING_SECONDS if self.lasting else 600
        faults = Faults(Random(f"guard {seed}"), dict(self.rates), until=jobs / JOBS_PER_SECOND + lasts)
        faults.lasting = self.lasting
        faults.list_lag, faults.retention = self.list_lag, self.retention
        if self.changed:
            faults.deployment = Deployment(jobs / JOBS_PER_SECOND / 2, self.changed)
        if self.per_minute != faults.per_minute:
            faults.per_minute, faults.burst = self.per_minute, 1
        return faults


GUARDS = {
    # A deadline ends the job only if its owner has not retried it meanwhile.
    "earlier-deadline": Guard(
        lambda: patch.object(finish, "DeadlinePassed", lambda _: DeadlinePassed(_AnyNumber())),
        {
            "client_retries_at_once": 1.0,
            "finished_too_late": 0.5,
            "message_duplicated": 0.5,
            "predictions_all_fail": 0.3,
            "aws_slow": 0.1,
            "body_trickles": 0.3,
        },
        lasting=True,
    ),
    # At its deadline, a job ends whose looks all die.
    "fatal-looks": Guard(
        lambda: patch.object(watch, "FATAL_RECEIVES", 1000),
        {"crash_before": 0.03, "webhook_dropped": 0.7, "create_cut_after": 0.3},
        lasting=True,
    ),
    # A prediction is recognized after a deployment with a model that takes the photo in another field.
    "any-field": Guard(
        lambda: patch.object(predictions, "_prompt_fields", _other_fields),
        {"create_cut_after": 0.5, "webhook_dropped": 0.9, "finished_late": 0.2},
        list_lag=35.0,
        changed={"REPLICATE_MODEL": "google/nano-banana-2"},
    ),
    # A 404 for a new prediction is believed only after a while.
    "fresh-404": Guard(
        lambda: patch.object(finish, "SEEN_BY", timedelta()), {"get_unknown": 0.5, "webhook_dropped": 0.5}
    ),
    # An output that its job does not keep is removed.
    "unkept-output": Guard(
        lambda: patch.object(bucket, "remove_output", lambda _: None), {"client_acts_during_copy": 0.3}
    ),
    # A photo that arrives after its job was deleted is removed.
    "late-photo": Guard(
        lambda: patch.object(open_photo, "bucket", _with(bucket, remove=lambda _: None)),
        {"client_deletes": 0.5, "client_uploads_after_deleting": 0.9},
    ),
    # The clean-up of a deleted job goes on as long as its upload URL is valid. It takes many deletions for one to matter.
    "uploads-until": Guard(
        lambda: patch.object(cleanup, "upload_deadline", lambda job: job.created_at),
        {"client_deletes": 0.8, "client_uploads_after_deleting": 1.0, "s3_event_lost": 0.9},
    ),
    # A job waits for an upload that began in the last second of a renewed URL.
    "slow-upload": Guard(
        lambda: patch.object(finish, "upload_deadline", upload_urls_end),
        {"client_renews_url": 1.0},
    ),
    # A list that may lag behind does not prove that there is no prediction.
    "lag": Guard(
        lambda: patch.object(doubts, "_proves_absence", _any_absence),
        {"create_500_after": 0.2, "create_alike": 0.7, "webhook_dropped": 0.3},
        list_lag=35.0,
    ),
    # A list without a prediction that is known lags behind.
    "known-prediction": Guard(
        lambda: patch.object(doubts, "_proves_absence", _without_siblings),
        {"create_cut_after": 0.3, "webhook_dropped": 0.7, "list_lags_long": 0.7},
    ),
    # A message of the line that a later one replaced leaves the line.
    "replaced-message": Guard(
        lambda: patch.object(wait_in_line, "_is_replaced", lambda *_: False), {}, per_minute=6.0
    ),
    # A cancellation that failed is tried again.
    "cancel-again": Guard(
        lambda: patch.object(predictions, "cancel_all", _canceled),
        {"client_cancels_soon": 0.3, "finished_late": 0.5, "cancel_failed": 0.8},
    ),
    # A deletion that is replayed spares a new job with the same id.
    "new-job": Guard(
        lambda: patch.object(cleanup, "clean_up", _whatever_the_age), {"client_deletes": 0.5}, retention=True
    ),
    # Of the copies of a watchdog message, only one has successors.
    "copies": Guard(
        lambda: patch.object(Successors, "has_later", lambda *_: False),
        {"message_duplicated": 0.8, "aws_error_after": 0.1, "client_deletes": 0.5, "cancel_failed": 0.9},
    ),
    # A request that was recorded as not sent is not sent any more, by a thread that Lambda has frozen meanwhile.
    "too-late-to-send": Guard(
        lambda: patch.object(transport.Exchange, "_trace", lambda *_: None), {"create_connects_late": 0.5}
    ),
    # An image in doubt counts toward its owner's day: it may have a prediction.
    "doubt-counts": Guard(
        lambda: patch.object(spending, "_cost", lambda image, _: int(image.prediction_id is not None)),
        {"create_cut_after": 0.5, "client_deletes_soon": 0.5, "client_cancels_soon": 0.5},
    ),
    # An end whose event is refused is not called back once more.
    "done-steps": Guard(_forgetful_announce, {"event_refused": 0.9, "client_wants_callback": 1.0}),
}


@contextmanager
def without(guard: str | None) -> Iterator[None]:
    """Leave out a guard, if one is named, until the context ends."""
    with ExitStack() as stack:
        if guard:
            stack.enter_context(GUARDS[guard].leave_out())
        yield
