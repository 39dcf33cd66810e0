"""The end of retention: records and objects vanish, keys are used again, and jobs are retried in their last hour."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.checks import RETENTION
from tests.simulation.clients import Client
from tests.simulation.cloud import START
from tests.simulation.situations import Situation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from tests.simulation.aws import Stored
    from tests.simulation.cloud import Cloud

LATEST_TTL = timedelta(hours=48)  # DynamoDB removes an item within a few days after its time
REUSED_WITHIN = timedelta(days=3)
REUSES, RETRIES = 0.5, 0.7  # how many clients use their key again, and how many retry late
REUSED_AFTER_DELETION = (timedelta(days=3).total_seconds(), timedelta(days=20).total_seconds())
REPLAYED = 3  # dead letters of a deleted job, beside its deletion
DURATION = timedelta(days=36).total_seconds()
EDGE = (timedelta(days=29).total_seconds(), timedelta(days=34).total_seconds())  # all of this happens in it


def plan(cloud: Cloud, clients: Sequence[Client]) -> None:
    """Schedule what happens around the end of retention of all jobs of a run."""
    random = cloud.random
    blocked = list(cloud.checks.forgotten)
    cloud.aws.expire_blocked_ids()
    for record in list(cloud.checks.records.values()):
        removed = record.created_at + RETENTION + random.random() * LATEST_TTL
        _at(cloud, removed, partial(_expire_record, cloud, record.job_id, record.created_at))
    for key, stored in cloud.aws.objects().items():
        _at(cloud, _midnight_after(stored.modified + RETENTION), partial(_expire_object, cloud, key, stored))
    for client in clients:
        if client.key and client.job_id in blocked and random.random() < REUSES:
            _reuse_deleted(cloud, client)
        expired = cloud.checks.records.get(client.job_id)
        if expired is None:
            continue
        if expired.status in {"FAILED", "PARTIAL"} and random.random() < RETRIES:
            edge = expired.created_at + RETENTION - timedelta(seconds=random.uniform(1, 3600))
            _at(cloud, edge, client.retry_at_the_edge)
        elif client.key and random.random() < REUSES:
            again = Client(cloud, client.number, reuses=expired)
            _at(cloud, expired.created_at + RETENTION + random.random() * REUSED_WITHIN, again.start)


def _reuse_deleted(cloud: Cloud, client: Client) -> None:
    """Let a client use the key of its deleted job again. Then replay dead letters of the old job."""
    job_id, random = client.job_id, cloud.random
    old = cloud.sent.pop(job_id)
    cloud.count_messages_anew(job_id)
    again = cloud.seconds(START) + random.uniform(*REUSED_AFTER_DELETION)
    _at(cloud, START + timedelta(seconds=again), partial(_start_anew, cloud, client))
    deletions = [one for one in old if _is_deletion(*one)]
    for queue, body in (*deletions[:1], *random.sample(old, min(len(old), REPLAYED))):

        def replay(queue: str = queue, body: str = body) -> None:
            if job_id in cloud.checks.records:
                if _is_deletion(queue, body):
                    cloud.faults.struck(Situation.DELETION_REPLAYED)
                cloud.send(queue, body, 0)

        _at(cloud, START + timedelta(seconds=again + random.uniform(0, 100)), replay)


def _is_deletion(queue: str, body: str) -> bool:
    return queue == "watchdog" and json.loads(body)["left"] is not None


def _start_anew(cloud: Cloud, client: Client) -> None:
    cloud.faults.struck(Situation.KEY_OF_DELETED)
    Client(cloud, client.number).start()


def _at(cloud: Cloud, moment: datetime, do: Callable[[], None]) -> None:
    cloud.engine.after(cloud.seconds(moment) - cloud.engine.now, do)


def _midnight_after(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def _expire_record(cloud: Cloud, job_id: str, created_at: datetime) -> None:
    record = cloud.checks.records.get(job_id)
    if record and record.created_at == created_at:
        cloud.aws.expire_job(job_id)
        cloud.checks.on_expired(job_id)


def _expire_object(cloud: Cloud, key: str, stored: Stored) -> None:
    if cloud.aws.expire_object(key, stored):
        cloud.checks.on_object_expired(key, stored.modified)
