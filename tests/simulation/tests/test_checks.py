"""Tests of the simulation's checks: each leaves a hole in the layer or in a stand-in, which a run must notice."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.simulation.faults import JOBS_PER_SECOND, Faults
from tests.simulation.run import run
from triptych.flows import owner

if TYPE_CHECKING:
    import pytest

    from triptych.job import Job

JOBS = 20


def broken(**rates: float) -> str | None:
    """Run some jobs with these faults; return the promise that was broken."""
    return run(1, JOBS, Faults(Random(1), rates, until=JOBS / JOBS_PER_SECOND + 600)).violation


def test_refused_retry_of_a_failed_job_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"predictions_all_fail": 0.5, "client_retries": 0.9}
    assert broken(**rates) is None
    retry = owner.retry

    def forgetful(job: Job) -> Job | None:
        if job.job_id[0] in "01234567":
            raise owner.NothingToRetryError
        return retry(job)

    monkeypatch.setattr(owner, "retry", forgetful)
    assert "a retry was refused" in (broken(**rates) or "")
