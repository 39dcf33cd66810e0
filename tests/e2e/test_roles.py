"""Roles and what the functions do with them, in both directions: nothing is denied, and nothing is permitted in vain.

One local cloud, on which everything happens that a permission is for. Its server keeps what was asked for in which
function's name; how it judges is `tests/localcloud/policies.py`.
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.localcloud import roles, streams
from tests.localcloud.cloud import Cloud, local_cloud
from tests.localcloud.driving import Driver
from tests.localcloud.policies import Call, Statement, differences
from tests.localcloud.replicate import StandIn
from tests.localcloud.replicate_faults import Fault
from tests.support import photo_corpus
from tests.support.events import sqs_event

PARAMETERS = {
    "CallbackUrl": "http://127.0.0.1:9/nobody",
    "DailyJobLimit": "100",
    "WatchdogDelaySeconds": "1",
}
PATIENCE = 40  # seconds


@dataclass
class World(Driver):
    """The cloud, and the means of the one who runs it: its log, its queues, its table, its processes."""

    cloud: Cloud
    replicate: StandIn

    def comes[T](self, look: Callable[[], T], within: float) -> T | None:
        """What `look` comes to, once it is something; None where it is nothing for so many seconds."""
        give_up_at = time.monotonic() + within
        while not (seen := look()):
            if time.monotonic() > give_up_at:
                return None
            time.sleep(0.02)  # tables, buckets and files tell nobody that they have changed
        return seen

    def until[T](self, look: Callable[[], T], what: str) -> T:
        """What `look` comes to, once it is something."""
        seen = self.comes(look, PATIENCE)
        assert seen, f"{what} does not happen"
        return seen

    @contextmanager
    def standing_still(self, *pids: int) -> Iterator[None]:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def uses(self, role: str, action: str, folder: str) -> bool:
        """Whether a role was used for an action on the bucket's `folder`."""
        resource = f"arn:aws:s3:::{self.cloud.bucket}/{folder}/"
        return any(
            (one.role, one.call.action) == (role, action) and one.call.resource.startswith(resource)
            for one in roles.recorded(self.cloud.aws.endpoint)
            if one.permissions
        )

    def says(self, job_id: str, message: str) -> bool:
        """Whether a function has logged a message about a job."""
        lines = [line for line in self.log().splitlines() if job_id in line]
        return any(json.loads(line)["message"] == message for line in lines)

    def record(self, job_id: str) -> dict[str, Any]:
        """A job's item in the table, as plain values; empty where there is none."""
        key = {"job_id": {"S": job_id}}
        found = self.aws("dynamodb").get_item(TableName=self.cloud.table, Key=key, ConsistentRead=True)
        return {name: next(iter(value.values())) for name, value in found.get("Item", {}).items()}

    def opens(self, job_id: str) -> bool:
        """Whether a job's photo is opened, or has been, by somebody who found that another had tried."""
        return "photo_opens" in self.record(job_id)

    def objects(self, job_id: str) -> set[str]:
        """What lies in S3 for a job: uploads, prepared, outputs."""
        found = self.aws("s3").list_objects_v2(Bucket=self.cloud.bucket).get("Contents", [])
        return {item["Key"].partition("/")[0] for item in found if f"/{job_id}/" in item["Key"]}

    def tell(self, queue: str, **message: object) -> None:
        self.aws("sqs").send_message(QueueUrl=self.cloud.queues[queue], MessageBody=json.dumps(message))

    def heic(self) -> dict[str, Any]:
        """The order of a photo that has to be prepared, which is the next that `upload` sends."""
        self.photo = photo_corpus.write(photo_corpus.scene().resize((2400, 1600)), "HEIF")
        return {"content_type": "image/heic", "content_length": len(self.photo)}

    def slow(self) -> dict[str, Any]:
        """The same, of one that takes a second to open."""
        drawn = Image.linear_gradient("L").resize((8000, 6000)).convert("RGB")
        self.photo = photo_corpus.write(drawn, "WEBP", method=0)
        return {"content_type": "image/webp", "content_length": len(self.photo)}

    @contextmanager
    def no_events(self) -> Iterator[None]:
        """S3 tells nobody of uploads, as when an event is lost."""
        s3 = self.aws("s3")
        there = s3.get_bucket_notification_configuration(Bucket=self.cloud.bucket)
        there.pop("ResponseMetadata")
        s3.put_bucket_notification_configuration(Bucket=self.cloud.bucket, NotificationConfiguration={})
        try:
            yield
        finally:
            s3.put_bucket_notification_configuration(
                Bucket=self.cloud.bucket, NotificationConfiguration=there
            )


# What happens.


def made_of_a_prepared_photo_and_deleted(world: World) -> None:
    order = world.heic()
    created = world.request("POST", "/api/v1/jobs", json=order, headers={"idempotency-key": "k"}).json()
    assert world.upload(created).status_code == 200
    job_id = created["job_id"]
    assert len(world.pictures(world.end_of(job_id))) == 3
    assert job_id in world.request("GET", "/api/v1/jobs").text
    assert world.objects(job_id) == {"uploads", "prepared", "outputs"}
    with world.standing_still(*world.pids()["watchdog"]):  # which may otherwise be faster
        assert world.request("DELETE", f"/api/v1/jobs/{job_id}").status_code == 204
        assert world.objects(job_id) == set()


def uploaded_after_it_was_deleted(world: World) -> None:
    created = world.create()
    assert world.request("DELETE", f"/api/v1/jobs/{created['job_id']}").status_code == 204
    assert world.upload(created).status_code == 200
    world.until(lambda: not world.objects(created["job_id"]), "the late photo's removal")


def deleted_while_its_photo_is_opened(world: World) -> None:
    """The event is lost: the watchdog finds the photo, and the table tells when it is being opened."""
    for _ in range(5):  # it may be opened before anybody is made to stand still
        with world.no_events():
            created = world.create(**world.slow())
            assert world.upload(created).status_code == 200
        job_id = created["job_id"]
        pids = world.pids()["generate"]
        world.until(partial(world.opens, job_id), "opening the photo")
        with world.standing_still(*pids):
            assert world.request("DELETE", f"/api/v1/jobs/{job_id}").status_code == 204
        if world.comes(lambda: world.uses("GenerateFunction", "s3:DeleteObject", "prepared"), within=5):
            return
    pytest.fail("no prepared photo of a deleted job was removed by whoever had opened it")


def left_to_the_watchdog(world: World) -> None:
    """Replicate has no time, the message that waits for it is lost, and so is every webhook."""
    refused = Fault(kind="refuse", on="create", status=429, seconds=4, hints=("body",), times=3)
    world.replicate.set_faults(refused, Fault(kind="drop_webhook"))
    created = world.create(**world.heic())
    assert world.upload(created).status_code == 200
    job_id = created["job_id"]
    world.until(lambda: world.says(job_id, "put back"), "back-off")
    world.aws("sqs").purge_queue(QueueUrl=world.cloud.queues["generation"])
    assert world.end_of(job_id)["status"] == "SUCCEEDED"
    assert "prepared" in world.objects(job_id)


def put_back_very_often(world: World) -> None:
    """A message that SQS would soon give up is exchanged for a new one, which brings the pictures."""
    with world.no_events():
        job_id = world.start()
        key = world.record(job_id)["photo_key"]
    world.replicate.set_faults(Fault(kind="refuse", on="create", status=429, seconds=1, times=3))
    message = {"job_id": job_id, "original_s3_key": key}
    event = json.dumps(sqs_event(message, receives=15)).encode()
    assert json.loads(world.cloud.functions.invoke("GenerateFunction", event).payload) == {
        "batchItemFailures": []
    }
    assert world.end_of(job_id)["status"] == "SUCCEEDED"


def canceled_while_its_pictures_are_copied(world: World) -> None:
    world.replicate.set_faults(Fault(kind="hang", on="output", seconds=2))
    job_id = world.start()
    world.until(
        lambda: any(
            entry.output_fetches
            for entry in world.replicate.ledger().predictions
            if entry.webhook and job_id in entry.webhook
        ),
        "the copy of a picture",
    )
    assert world.request("POST", f"/api/v1/jobs/{job_id}/cancel").json()["status"] == "CANCELED"
    world.until(
        lambda: world.uses("WebhookFunction", "s3:DeleteObject", "outputs"), "the removal of a late picture"
    )


def failed_and_tried_again(world: World) -> None:
    world.replicate.set_faults(Fault(kind="fail", times=1))
    job_id = world.start()
    assert world.end_of(job_id)["status"] == "PARTIAL"
    assert world.request("POST", f"/api/v1/jobs/{job_id}/retry").status_code == 200
    assert world.end_of(job_id)["status"] == "SUCCEEDED"


def deleted_by_halves(world: World) -> None:
    """The function that deletes dies after its first step, and what was under way arrives later."""
    job_id = world.create()["job_id"]
    with world.no_events():
        for kind in ("uploads", "prepared", "outputs"):
            world.aws("s3").put_object(Bucket=world.cloud.bucket, Key=f"{kind}/{job_id}/late.jpg", Body=b"")
    world.tell("watchdog", job_id=job_id, born_at=datetime.now(UTC).isoformat(), left=[])
    world.until(lambda: not (world.record(job_id) or world.objects(job_id)), "the rest of a deletion")


def asked_for_without_a_photo(world: World) -> None:
    job_id = world.create()["job_id"]
    world.tell("generation", job_id=job_id, original_s3_key=f"uploads/{job_id}/photo.jpg")
    world.until(lambda: world.says(job_id, "no such photo"), "a look for the photo")


def ended_in_a_way_that_cannot_be_told(world: World) -> None:
    item = {"job_id": {"S": str(uuid.uuid4())}}
    for status in ("GENERATING", "SUCCEEDED"):
        world.aws("dynamodb").put_item(TableName=world.cloud.table, Item={**item, "status": {"S": status}})
    queue = world.cloud.stack.outputs["AnnounceDeadLetterQueueUrl"]
    world.until(lambda: world.aws("sqs").receive_message(QueueUrl=queue).get("Messages"), "a dead letter")


EVENTS: Sequence[Callable[[World], None]] = (
    made_of_a_prepared_photo_and_deleted,
    uploaded_after_it_was_deleted,
    deleted_while_its_photo_is_opened,
    left_to_the_watchdog,
    put_back_very_often,
    canceled_while_its_pictures_are_copied,
    failed_and_tried_again,
    deleted_by_halves,
    asked_for_without_a_photo,
    ended_in_a_way_that_cannot_be_told,
)


@dataclass(frozen=True)
class Seen:
    policies: dict[str, tuple[Statement, ...]]
    asked: tuple[tuple[str, Call], ...]

    def differences(self, role: str, *statements: Statement) -> list[str]:
        """What they would be with other statements for a role."""
        return differences({**self.policies, role: statements}, self.asked)


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "LONGEST_BACKOFF", 0)
        with local_cloud(PARAMETERS) as cloud, httpx.Client(trust_env=False, timeout=30) as http:
            assert cloud.replicate
            photo = photo_corpus.write(photo_corpus.scene(), "JPEG")
            for happen in EVENTS:
                cloud.replicate.set_faults()
                try:
                    happen(World(cloud.description(), http, photo, cloud, cloud.replicate))
                except Exception as error:
                    for judged in roles.recorded(cloud.aws.endpoint):
                        if not judged.permissions:
                            error.add_note(f"{judged.role} is denied {judged.call}")
                    raise
            recorded = roles.recorded(cloud.aws.endpoint)
            yield Seen(cloud.stack.policies, tuple((one.role, one.call) for one in recorded))


def test_roles_permit_exactly_what_the_functions_do(seen: Seen) -> None:
    assert differences(seen.policies, seen.asked) == []


def test_permission_removed_from_a_role_is_missed(seen: Seen) -> None:
    """Every action and every resource of every statement, one at a time."""
    tried = 0
    for role, statements in seen.policies.items():
        for place, statement in enumerate(statements):
            narrower = [
                statement.model_copy(update={name: tuple(one for one in values if one != left_out)})
                for name, values in (("action", statement.action), ("resource", statement.resource))
                for left_out in values
            ]
            for instead in narrower:
                found = seen.differences(role, *statements[:place], instead, *statements[place + 1 :])
                assert found, (role, statement.sid, instead)
                assert all(line.startswith(f"{role} is denied ") for line in found), found
                tried += 1
    assert tried > 60  # of what template.yaml permits


@pytest.mark.parametrize(
    ("role", "action", "resource"),
    [
        ("ApiFunction", "dynamodb:Scan", "table/triptych-JobsTable"),
        ("WebhookFunction", "s3:GetObject", "arn:aws:s3:::triptych-photos-other/uploads/*"),
        ("PageFunction", "ssm:GetParameter", "*"),
    ],
)
def test_permission_added_to_a_role_is_reported_as_unused(
    seen: Seen, role: str, action: str, resource: str
) -> None:
    added = Statement(Sid="Added", Effect="Allow", Action=(action,), Resource=(resource,))
    found = seen.differences(role, *seen.policies[role], added)
    assert found == [f"{role} never uses {action} on {resource} (Added)"]
