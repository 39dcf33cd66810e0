"""Retries that the API refuses. The job, as the request may have read it, must allow each refusal."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.simulation.checks import RETENTION, Record, ViolationError
from tests.simulation.situations import Situation
from triptych.failures import FailureKind
from triptych.job import MOST_ATTEMPTS, MOST_BILLABLE, MOST_RETRIES

if TYPE_CHECKING:
    from tests.simulation.cloud import Cloud


class Retry:
    """A request for a retry, and the versions of its job that it may have read."""

    def __init__(self, cloud: Cloud, owner: str, job_id: str) -> None:
        self._cloud = cloud
        self._owner = owner
        self._versions = cloud.checks.versions[job_id]
        self._first = max(0, len(self._versions) - 1)

    def refused(self, body: dict[str, Any]) -> None:
        """Check an answer 409 or 429, and count its situation.

        Raises:
            ViolationError: The job allowed no such refusal.
        """
        code, message = body["error"]["code"], body["error"]["message"]
        versions = self._versions[self._first :]
        match code:
            case "nothing_to_retry":
                why, allowed = Situation.NOTHING_TO_RETRY, map(_has_nothing, versions)
            case "retry_limit_reached" if "too soon" in message:
                why, allowed = Situation.REFUSED_AT_THE_EDGE, map(self._expires_soon, versions)
            case "retry_limit_reached" if "attempts" in message:
                why, allowed = Situation.RETRIES_USED, map(_has_no_attempts, versions)
            case "retry_limit_reached":
                why, allowed = Situation.RETRIES_USED, map(_has_no_retries, versions)
            case _:
                self._cloud.checks.on_full(self._owner, code, Situation.DAY_FULL_FOR_RETRY)
                return
        if not any(allowed):
            raise ViolationError(f"a retry was refused ({message}), but its job was {versions}")
        self._cloud.faults.struck(why)

    def _expires_soon(self, record: Record) -> bool:
        longest = max(self._cloud.faults.values_of("GENERATION_DEADLINE_SECONDS"))
        left = record.created_at + RETENTION - self._cloud.now()
        return _may_succeed(record) and left <= timedelta(seconds=longest)


def _may_succeed(record: Record) -> bool:
    """Return whether a retry may help: the job has failed images, and no failure of its photo."""
    retryable = record.error is None or FailureKind[record.error.upper()].retryable
    return record.status in {"FAILED", "PARTIAL"} and retryable


def _has_nothing(record: Record) -> bool:
    return record.status != "GENERATING" and not _may_succeed(record)


def _has_no_retries(record: Record) -> bool:
    return _may_succeed(record) and record.retries == MOST_RETRIES


def _has_no_attempts(record: Record) -> bool:
    failed = (image for image in record.images if image.status == "FAILED")
    return _may_succeed(record) and all(
        image.billable >= MOST_BILLABLE or image.attempt >= MOST_ATTEMPTS for image in failed
    )
