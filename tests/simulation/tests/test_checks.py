"""Tests of the simulation's checks: each leaves a hole in the layer or in a stand-in, which a run must notice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulation import retention
from tests.simulation.__main__ import too_rare
from tests.simulation.aws import Jobs
from tests.simulation.checks import ViolationError
from tests.simulation.clients import Client
from tests.simulation.cloud import START, Cloud
from tests.simulation.faults import HIGHEST, JOBS_PER_SECOND, Faults
from tests.simulation.moto_aws import moto_aws
from tests.simulation.run import END, Result, run
from tests.simulation.situations import Situation
from triptych.aws import table
from triptych.flows import create_job, owner
from triptych.spending import Limits

if TYPE_CHECKING:
    from triptych.job import Job
    from triptych.spending import Order

JOBS = 20
THOUSAND = 1000
DELETIONS = {"client_deletes": 0.6, "client_deletes_soon": 0.6, "finished_late": 0.2}


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


def test_job_that_comes_back_after_its_deletion_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert broken(**DELETIONS) is None

    def put(jobs: Jobs, job: Job, order: Order | None = None) -> Job:
        stored = jobs.get(job.job_id)
        if stored and stored.version != job.version:
            raise table.ConflictError(job.job_id)
        return jobs._write(job, order)

    monkeypatch.setattr(Jobs, "put", put)
    assert "came back" in (broken(**DELETIONS) or "")


def test_deleted_job_that_lies_in_the_table_is_noticed() -> None:
    with Cloud(Faults(Random(1))) as cloud:
        client = Client(cloud, 0)
        cloud.engine.after(0, client.start)
        cloud.engine.run(END)
        stored = table.get(client.job_id)
        assert stored
        client.ask("delete")
        over = cloud.engine.run(2 * END)
        cloud.checks.at_the_end(over=over)
        cloud.aws._jobs._jobs[client.job_id] = stored
        with pytest.raises(ViolationError, match="is still in the table"):
            cloud.checks.at_the_end(over=over)


def test_refused_retry_at_once_is_no_retry() -> None:
    """A photo that is no photo cannot be retried."""
    faults = Faults(Random(1), {"client_retries_at_once": 1.0, "client_uploads_rubbish": 1.0}, until=900)
    found = run(1, JOBS, faults)
    assert found.violation is None
    assert found.situations[Situation.NOTHING_TO_RETRY] == JOBS
    assert found.situations[Situation.RETRIED_AT_ONCE] == 0


def test_only_deletions_count_as_replayed_deletions(monkeypatch: pytest.MonkeyPatch) -> None:
    deletions = 0
    send = Cloud.send

    def counted(cloud: Cloud, queue: str, body: str, delay: float, group: str | None = None) -> None:
        nonlocal deletions
        replayed = cloud.engine.now > retention.REUSED_AFTER_DELETION[0]
        deletions += replayed and bool(json.loads(body).get("born_at")) and '"left":null' not in body
        send(cloud, queue, body, delay, group)

    monkeypatch.setattr(Cloud, "send", counted)
    found = run(1, JOBS, Faults(Random(1), {"client_deletes": 0.9}, until=900, retention=True))
    assert found.violation is None
    assert found.situations[Situation.DELETION_REPLAYED] == deletions > 0


def result(situations: Counter[Situation], injected: Counter[str]) -> Result:
    return Result(1, THOUSAND, "", situations=situations, injected=injected)


def test_situation_or_fault_that_is_too_rare_is_told() -> None:
    situations, injected = Counter(dict.fromkeys(Situation, 100)), Counter(dict.fromkeys(HIGHEST, 1))
    assert too_rare([result(situations, injected)]) == []
    situations[Situation.RETRIED] = 4
    del injected["client_cancels_soon"]
    assert too_rare([result(situations, injected)]) == [Situation.RETRIED, "client_cancels_soon"]
    assert too_rare([replace(result(situations, injected), jobs=THOUSAND - 1)]) == []


def test_deletion_of_an_open_job_reaches_the_stream_of_moto() -> None:
    with moto_aws(), Cloud(Faults(Random(1)), moto=True) as cloud:
        client = Client(cloud, 0)
        cloud.engine.after(0, client.start)
        cloud.engine.after(1, lambda: client.ask("delete"))
        cloud.checks.at_the_end(over=cloud.engine.run(END))
        assert client.job_id in cloud.checks.forgotten
        assert "announce: DynamoDB TransactWriteItems" in cloud.requests
        assert cloud.aws.spent(client.owner, START.date()) == 0


@pytest.mark.parametrize(("limit", "noticed"), [(0, "are allowed"), (6, "no more than 30"), (30, None)])
def test_other_limit_of_the_stack_is_noticed(
    monkeypatch: pytest.MonkeyPatch, limit: int, noticed: str | None
) -> None:
    faults = Faults(Random(1), until=900, daily_limit=24, stack_limit=30)
    monkeypatch.setattr(create_job, "limits", lambda: Limits(pictures_of_owner=24, pictures=limit))
    found = run(1, JOBS, faults)
    assert found.violation is None if noticed is None else noticed in (found.violation or "")
    assert (found.situations[Situation.STACK_FULL] > 0) == (noticed is None)


def test_stored_output_may_disappear_only_in_an_older_answer() -> None:
    def answer(second: int, status: str) -> dict[str, Any]:
        image = {"status": status, "url": "https://photos"}
        return {"status": "SUCCEEDED", "updated_at": f"2026-11-24T12:00:0{second}.000Z", "images": [image]}

    with Cloud(Faults(Random(1))) as cloud:
        client = Client(cloud, 0)
        client._seen(200, answer(2, "STORED"))
        client._seen(200, answer(1, "GENERATING"))
        with pytest.raises(ViolationError, match="disappeared"):
            client._seen(200, answer(3, "GENERATING"))
