"""The roles of the functions: no request is denied, and no permission is unused.

The scenarios use every permission, in one local cloud. Its server records the requests of each role, and
`tests/localcloud/policies.py` evaluates them.
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
from botocore.exceptions import ClientError
from PIL import Image

from tests.localcloud import roles, streams
from tests.localcloud.cloud import Cloud, local_cloud
from tests.localcloud.driving import Driver
from tests.localcloud.policies import Call, Statement, differences
from tests.localcloud.replicate import StandIn
from tests.localcloud.replicate_faults import Fault
from tests.replay.replay import DeadLetter, Notice
from tests.support import photo_corpus
from tests.support.events import sqs_event

PARAMETERS = {
    "CallbackUrl": "http://127.0.0.1:9/ends",
    "DailyPicturesPerOwner": "300",
    "WatchdogDelaySeconds": "1",
}
PATIENCE = 40  # seconds


@dataclass
class Operator(Driver):
    """A driver with an operator's access: log, queues, table, bucket and processes."""

    cloud: Cloud
    replicate: StandIn

    def wait[T](self, look: Callable[[], T], within: float) -> T | None:
        """Wait until `look` returns a true value; return it, or None after `within` seconds."""
        deadline = time.monotonic() + within
        while not (seen := look()):
            if time.monotonic() > deadline:
                return None
            time.sleep(0.02)  # there is no event to wait for
        return seen

    def until[T](self, look: Callable[[], T], what: str) -> T:
        """Wait until `look` returns a true value; return it."""
        seen = self.wait(look, PATIENCE)
        assert seen, f"no {what} within {PATIENCE} s"
        return seen

    @contextmanager
    def paused(self, *pids: int) -> Iterator[None]:
        """Stop the processes until the context ends."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def uses(self, role: str, action: str, folder: str) -> bool:
        """Return whether a role was used for an action on the bucket's `folder`."""
        resource = f"arn:aws:s3:::{self.cloud.bucket}/{folder}/"
        return any(
            (one.role, one.call.action) == (role, action) and one.call.resource.startswith(resource)
            for one in roles.recorded(self.cloud.aws.endpoint)
            if one.permissions
        )

    def says(self, job_id: str, message: str) -> bool:
        """Return whether a function logged a message about a job."""
        lines = [line for line in self.log().splitlines() if job_id in line]
        return any(json.loads(line)["message"] == message for line in lines)

    def item(self, job_id: str) -> dict[str, Any]:
        """Return a job's item as plain values, or an empty map."""
        key = {"job_id": {"S": job_id}}
        found = self.aws("dynamodb").get_item(TableName=self.cloud.table, Key=key, ConsistentRead=True)
        return {name: next(iter(value.values())) for name, value in found.get("Item", {}).items()}

    def opens(self, job_id: str) -> bool:
        """Return whether a job's photo was opened again after an interrupted opening."""
        return "photo_opens" in self.item(job_id)

    def objects(self, job_id: str) -> set[str]:
        """Return the folders of the bucket that hold an object of the job."""
        found = self.aws("s3").list_objects_v2(Bucket=self.cloud.bucket).get("Contents", [])
        return {item["Key"].partition("/")[0] for item in found if f"/{job_id}/" in item["Key"]}

    def send(self, queue: str, **message: object) -> None:
        self.aws("sqs").send_message(QueueUrl=self.cloud.queues[queue], MessageBody=json.dumps(message))

    def heic(self) -> dict[str, Any]:
        """Set the next upload to a photo that needs preparation; return the fields of its job."""
        self.photo = photo_corpus.write(photo_corpus.scene().resize((2400, 1600)), "HEIF")
        return {"content_type": "image/heic", "content_length": len(self.photo)}

    def slow(self) -> dict[str, Any]:
        """Set the next upload to a photo that opens in about 1 s; return the fields of its job."""
        drawn = Image.linear_gradient("L").resize((8000, 6000)).convert("RGB")
        self.photo = photo_corpus.write(drawn, "WEBP", method=0)
        return {"content_type": "image/webp", "content_length": len(self.photo)}

    @contextmanager
    def lost_events(self) -> Iterator[None]:
        """Lose S3's events of uploads until the context ends."""
        s3 = self.aws("s3")
        configuration = s3.get_bucket_notification_configuration(Bucket=self.cloud.bucket)
        configuration.pop("ResponseMetadata")
        s3.put_bucket_notification_configuration(Bucket=self.cloud.bucket, NotificationConfiguration={})
        try:
            yield
        finally:
            s3.put_bucket_notification_configuration(
                Bucket=self.cloud.bucket, NotificationConfiguration=configuration
            )


# Scenarios.


def run_with_a_prepared_photo_and_delete(operator: Operator) -> None:
    body = operator.heic()
    created = operator.request("POST", "/api/v1/jobs", json=body, headers={"idempotency-key": "k"}).json()
    assert operator.upload(created).status_code == 200
    job_id = created["job_id"]
    job = operator.end_of(job_id)
    assert len(operator.pictures(job)) == 3
    for url in (job["photo"]["url"], job["photo"]["preview_url"], job["images"][0]["preview_url"]):
        assert operator.http.get(url).status_code == 200
    assert job_id in operator.request("GET", "/api/v1/jobs").text
    assert operator.objects(job_id) == {"uploads", "prepared", "outputs", "previews"}
    other = operator.request("POST", "/api/v1/jobs", json={"photo_of": job_id, "image_count": 1}).json()
    assert operator.end_of(other["job_id"])["status"] == "SUCCEEDED"
    with operator.paused(*operator.pids()["watchdog"]):  # it may otherwise delete first
        assert operator.request("DELETE", f"/api/v1/jobs/{job_id}").status_code == 204
        assert operator.objects(job_id) == set()


def upload_after_a_deletion(operator: Operator) -> None:
    created = operator.create()
    assert operator.request("DELETE", f"/api/v1/jobs/{created['job_id']}").status_code == 204
    assert operator.upload(created).status_code == 200
    operator.until(lambda: not operator.objects(created["job_id"]), "removal of the late photo")


def delete_during_the_opening_of_the_photo(operator: Operator) -> None:
    """The event is lost, so the watchdog finds the photo; the item shows when it is opened."""
    for _ in range(5):  # the photo may be opened before the processes are stopped
        with operator.lost_events():
            created = operator.create(**operator.slow())
            assert operator.upload(created).status_code == 200
        job_id = created["job_id"]
        pids = operator.pids()["generate"]
        operator.until(partial(operator.opens, job_id), "second opening of the photo")
        with operator.paused(*pids):
            assert operator.request("DELETE", f"/api/v1/jobs/{job_id}").status_code == 204
        if operator.wait(lambda: operator.uses("GenerateFunction", "s3:DeleteObject", "prepared"), within=5):
            return
    pytest.fail("generate removed no prepared photo of a deleted job")


def lose_the_message_of_a_retry_and_the_webhooks(operator: Operator) -> None:
    operator.replicate.set_faults(Fault(kind="fail", times=1), Fault(kind="drop_webhook"))
    created = operator.create(**operator.heic())
    assert operator.upload(created).status_code == 200
    job_id = created["job_id"]
    assert operator.end_of(job_id)["status"] == "PARTIAL"
    with operator.paused(*operator.pids()["generate"]):
        assert operator.request("POST", f"/api/v1/jobs/{job_id}/retry").status_code == 200
        assert operator.end_of(job_id)["status"] == "SUCCEEDED"
    assert "prepared" in operator.objects(job_id)


def fail_a_prediction_whose_output_a_retry_asked_for_again(operator: Operator) -> None:
    """The webhook tells first. The item is changed here: a retry with such an output would need a passed deadline."""
    operator.replicate.set_faults(Fault(kind="slow_run", seconds=3), Fault(kind="fail", times=1))
    with operator.paused(*operator.pids()["watchdog"]):
        job_id = operator.start()
        ids = "attribute_exists(images[0].prediction_id)"
        change = "SET " + ", ".join(f"images[{index}].reclaimed = :yes" for index in range(3))

        def reclaimed() -> bool:
            try:
                operator.aws("dynamodb").update_item(
                    TableName=operator.cloud.table,
                    Key={"job_id": {"S": job_id}},
                    UpdateExpression=change,
                    ConditionExpression=ids,
                    ExpressionAttributeValues={":yes": {"BOOL": True}},
                )
            except ClientError:
                return False
            return True

        operator.until(reclaimed, "prediction")
        assert operator.end_of(job_id)["status"] == "SUCCEEDED"


def wait_in_line(operator: Operator) -> None:
    """Replicate throttles, and the watchdog takes the message for lost."""
    operator.replicate.set_faults(
        Fault(kind="refuse", on="create", status=429, seconds=4, hints=("body",), times=3)
    )
    job_id = operator.start()
    operator.until(lambda: operator.says(job_id, "waits in line"), "place in line")
    assert operator.end_of(job_id)["status"] == "SUCCEEDED"


def handle_messages_of_an_unreadable_record(operator: Operator) -> None:
    for queue in ("GenerationQueueUrl", "WaitingQueueUrl"):
        job_id = str(uuid.uuid4())
        item = {"job_id": {"S": job_id}, "owner": {"S": "nobody"}}
        operator.aws("dynamodb").put_item(TableName=operator.cloud.table, Item=item)
        message = {"job_id": job_id, "original_s3_key": f"uploads/{job_id}/photo.jpg"}
        url = operator.cloud.stack.outputs[queue]
        operator.aws("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(message))
        operator.until(partial(operator.says, job_id, "put back"), "back-off")
        operator.aws("dynamodb").delete_item(TableName=operator.cloud.table, Key={"job_id": {"S": job_id}})


def put_a_message_back_very_often(operator: Operator) -> None:
    """A message close to its last receive is replaced by a new one. An integration test follows that one."""
    with operator.lost_events():
        job_id = operator.start()
        key = operator.item(job_id)["photo_key"]
    operator.replicate.set_faults(Fault(kind="refuse", on="create", status=503, times=3))
    message = {"job_id": job_id, "original_s3_key": key}
    event = json.dumps(sqs_event(message, receives=15)).encode()
    assert json.loads(operator.cloud.functions.invoke("GenerateFunction", event).payload) == {
        "batchItemFailures": []
    }
    assert operator.request("POST", f"/api/v1/jobs/{job_id}/cancel").status_code == 200


def cancel_during_the_copy_of_outputs(operator: Operator) -> None:
    operator.replicate.set_faults(Fault(kind="hang", on="output", seconds=2))
    job_id = operator.start()
    operator.until(
        lambda: any(
            entry.output_fetches
            for entry in operator.replicate.ledger().predictions
            if entry.webhook and job_id in entry.webhook
        ),
        "download of an output",
    )
    assert operator.request("POST", f"/api/v1/jobs/{job_id}/cancel").json()["status"] == "CANCELED"
    operator.until(
        lambda: operator.uses("WebhookFunction", "s3:DeleteObject", "outputs"), "removal of a late output"
    )


def retry_a_failed_image(operator: Operator) -> None:
    operator.replicate.set_faults(Fault(kind="fail", times=1))
    job_id = operator.start()
    assert operator.end_of(job_id)["status"] == "PARTIAL"
    assert operator.request("POST", f"/api/v1/jobs/{job_id}/retry").status_code == 200
    assert operator.end_of(job_id)["status"] == "SUCCEEDED"


def finish_an_interrupted_deletion(operator: Operator) -> None:
    """The deletion stops after its first step, and objects arrive later."""
    job_id = operator.create()["job_id"]
    with operator.lost_events():
        for kind in ("uploads", "prepared", "outputs", "previews"):
            operator.aws("s3").put_object(
                Bucket=operator.cloud.bucket, Key=f"{kind}/{job_id}/late.jpg", Body=b""
            )
    operator.send("watchdog", job_id=job_id, born_at=datetime.now(UTC).isoformat(), left=[])
    operator.until(lambda: not (operator.item(job_id) or operator.objects(job_id)), "end of the deletion")


def send_a_message_without_a_photo(operator: Operator) -> None:
    job_id = operator.create()["job_id"]
    operator.send("generation", job_id=job_id, original_s3_key=f"uploads/{job_id}/photo.jpg")
    operator.until(lambda: operator.says(job_id, "no such photo"), "check of the photo")


def end_with_an_unreadable_record(operator: Operator) -> None:
    """Its record lies whole in the bucket of dead letters. EventBridge sends its name to the queue, for the alarm."""
    job_id = str(uuid.uuid4())
    item = {"job_id": {"S": job_id}}
    for status in ("GENERATING", "SUCCEEDED"):
        operator.aws("dynamodb").put_item(
            TableName=operator.cloud.table, Item={**item, "status": {"S": status}}
        )
    outputs = operator.cloud.stack.outputs
    queue, bucket = outputs["AnnounceDeadLetterQueueUrl"], outputs["AnnounceDeadLetterBucket"]
    messages = operator.until(
        lambda: operator.aws("sqs").receive_message(QueueUrl=queue).get("Messages"), "dead letter"
    )
    key = Notice.model_validate_json(messages[0]["Body"]).key
    body = operator.aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    (record,) = DeadLetter.model_validate_json(body).event.records
    assert record["dynamodb"]["NewImage"] == {**item, "status": {"S": "SUCCEEDED"}}


SCENARIOS: Sequence[Callable[[Operator], None]] = (
    run_with_a_prepared_photo_and_delete,
    upload_after_a_deletion,
    delete_during_the_opening_of_the_photo,
    lose_the_message_of_a_retry_and_the_webhooks,
    put_a_message_back_very_often,
    fail_a_prediction_whose_output_a_retry_asked_for_again,
    wait_in_line,  # from then on, processes know that Replicate throttles
    handle_messages_of_an_unreadable_record,
    cancel_during_the_copy_of_outputs,
    retry_a_failed_image,
    finish_an_interrupted_deletion,
    send_a_message_without_a_photo,
    end_with_an_unreadable_record,
)


@dataclass(frozen=True)
class Seen:
    policies: dict[str, tuple[Statement, ...]]
    calls: tuple[tuple[str, Call], ...]

    def differences(self, role: str, *statements: Statement) -> list[str]:
        """Return the differences with other statements for a role."""
        return differences({**self.policies, role: statements}, self.calls)


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "LONGEST_BACKOFF", 0)
        with local_cloud(PARAMETERS) as cloud, httpx.Client(trust_env=False, timeout=30) as http:
            assert cloud.replicate
            photo = photo_corpus.write(photo_corpus.scene(), "JPEG")
            for scenario in SCENARIOS:
                cloud.replicate.set_faults()
                try:
                    scenario(Operator(cloud.description(), http, photo, cloud, cloud.replicate))
                except Exception as error:
                    for one in roles.recorded(cloud.aws.endpoint):
                        if not one.permissions:
                            error.add_note(f"{one.role} is denied {one.call}")
                    raise
            recorded = roles.recorded(cloud.aws.endpoint)
            yield Seen(cloud.stack.policies, tuple((one.role, one.call) for one in recorded))


def test_roles_permit_exactly_what_the_functions_do(seen: Seen) -> None:
    assert differences(seen.policies, seen.calls) == []


def test_permission_removed_from_a_role_is_missed(seen: Seen) -> None:
    """Every action and every resource of every statement, one at a time."""
    checked = 0
    for role, statements in seen.policies.items():
        for place, statement in enumerate(statements):
            narrower = [
                statement.model_copy(update={name: tuple(one for one in values if one != removed)})
                for name, values in (("action", statement.action), ("resource", statement.resource))
                for removed in values
            ]
            for changed in narrower:
                found = seen.differences(role, *statements[:place], changed, *statements[place + 1 :])
                assert found, (role, statement.sid, changed)
                assert all(line.startswith(f"{role} is denied ") for line in found), found
                checked += 1
    assert checked > 60  # the template has more than 60 permissions


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
