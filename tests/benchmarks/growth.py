"""The requests and the time of a job, which must not grow with the number of jobs.

The figures are counts and virtual time, so they do not depend on the machine. The simulation runs all jobs in one cloud
without failures, ten new ones every 100 s. `GROWTH_JOBS=100000 python3 -m tests.benchmarks growth` takes about 20 min.
`GROWTH_SEED` draws other times and other answers: a million jobs are ten pieces, each with its own seed.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from botocore.client import BaseClient

from tests.benchmarks._report import Figure
from tests.benchmarks._world import world
from tests.simulation.burst import CONCURRENCY
from tests.simulation.clients import Client
from tests.simulation.cloud import START, Cloud
from tests.simulation.faults import JOBS_PER_SECOND, Faults
from tests.simulation.run import END
from triptych.aws import table
from triptych.job import Job, JobRequest, new_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FEW = 1_000
MANY = int(os.environ.get("GROWTH_JOBS", "10000"))
SEED = os.environ.get("GROWTH_SEED", "0")
FLAT = 1.02  # the ratio that still counts as no growth
SERVICES = ("DynamoDB", "S3", "SQS", "Replicate")
LISTED, PAGE = 10_000, 100


@dataclass(frozen=True)
class Cost:
    """The mean cost of one job."""

    requests: dict[str, float]  # by service
    seconds: float  # virtual, from the upload to the end


def measure() -> Iterator[Figure]:
    few, many = _cost(FEW), _cost(MANY)
    against = f"of {FEW:,} jobs"
    for service in SERVICES:
        name = f"{service}: requests per job, {MANY:,} jobs"
        yield Figure(name, many.requests[service], "", against, few.requests[service], at_most=FLAT)
    yield Figure(
        f"upload to end, {MANY:,} jobs", many.seconds, "virtual s", against, few.seconds, at_most=FLAT
    )
    yield from _pages()


def _cost(jobs: int) -> Cost:
    faults = Faults(Random(f"{jobs} {SEED}"), daily_limit=1_000_000)  # counted, and never reached
    with Cloud(faults, concurrency=CONCURRENCY) as cloud:
        for number in range(jobs):
            cloud.engine.after(cloud.random.uniform(0, jobs / JOBS_PER_SECOND), Client(cloud, number).start)
        cloud.checks.at_the_end(over=cloud.engine.run(jobs / JOBS_PER_SECOND + END))
        by_service = Counter(request.split()[1] for request in cloud.requests)
        checks = cloud.checks
        seconds = sum(
            checks.ended_at[record.job_id] - cloud.seconds(record.started_at)
            for record in checks.records.values()
            if record.started_at
        )
    if checks.summary() != {"SUCCEEDED": jobs}:
        raise RuntimeError(str(checks.summary()))
    return Cost({service: by_service[service] / jobs for service in SERVICES}, seconds / jobs)


def _pages() -> Iterator[Figure]:
    """Read an owner's list from the first page to the last."""
    requests: list[
        tuple[str, int]
    ] = []  # the operation of each request, and the number of items that it read
    call: Callable[..., dict[str, Any]] = vars(BaseClient)["_make_api_call"]

    def counted(client: BaseClient, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = call(client, operation, parameters)
        requests.append((operation, answer.get("ScannedCount", 0)))
        return answer

    with world():
        with table._Job.batch_write() as batch:
            for number in range(LISTED):
                batch.save(table.to_record(_job(number)))
        pages, cursor = 0, None
        with patch.object(BaseClient, "_make_api_call", counted):
            while pages == 0 or cursor:
                jobs, cursor = table.list_jobs("ann", limit=PAGE, cursor=cursor)
                pages += bool(jobs)
    if {operation for operation, _ in requests} != {"Query"} or pages != LISTED // PAGE:
        raise RuntimeError(f"{pages} pages, {Counter(requests)}")
    yield Figure(f"list of {LISTED:,} jobs: queries", len(requests), "", "pages", pages, at_most=1.02)
    most = max(read for _, read in requests)
    yield Figure("items read for any page, at most", most, "", "jobs in a page", PAGE, at_most=1)


def _job(number: int) -> Job:
    job_id = f"00000000-0000-4000-8000-{number:012x}"
    request = JobRequest(content_type="image/jpeg", size=1)
    now = START + timedelta(seconds=number)
    return new_job(
        job_id=job_id,
        owner="ann",
        request=request,
        photo_key=f"uploads/{job_id}/photo.jpg",
        image_count=3,
        now=now,
    )
