"""The AWS requests of the handlers: with retries and faults, on the in-memory stand-ins or on moto."""

from __future__ import annotations

import io
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore.client import BaseClient
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from pynamodb.exceptions import PynamoDBConnectionError

from tests.simulation.aws import Answer, Bucket, Jobs, Request, Stored, refusal
from tests.simulation.checks import Record
from tests.simulation.receiver import KEY
from tests.simulation.situations import Situation
from tests.support.function_environment import ENVIRONMENT, TOKEN
from triptych.aws import bucket as layer_bucket
from triptych.aws import counts, table
from triptych.spending import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from tests.simulation.cloud import Cloud
    from triptych.job import Job
    from triptych.spending import Order

READ_SECONDS = {"S3": 10.0}  # the clients' read timeouts; the others' are 4 s
HANGS_AGAIN = 0.9  # how often each try of a request hangs that hangs
TRIES = 3  # boto3's tries of a request
SECONDS = (0.001, 0.02)  # of each direction
# Faults of a request that AWS refuses: code, HTTP status and situation.
REFUSALS: dict[str | None, tuple[str, int, Situation | None]] = {
    "aws_error_before": ("InternalError", 500, None),
    "dynamodb_throttled": ("ThrottlingException", 400, Situation.DYNAMODB_THROTTLED),
    "s3_throttled": ("SlowDown", 503, Situation.S3_REFUSED),
    "ssm_throttled": ("ThrottlingException", 400, None),
    "secrets manager_throttled": ("ThrottlingException", 400, None),
}
BODY_SECONDS = (1, 30)  # of a slow body, for each part
_REAL_CALL = BaseClient._make_api_call  # type: ignore[attr-defined]  # every request passes this private method


class _Body(io.BytesIO):
    """The body of an answer, which comes in parts."""

    def __init__(self, content: bytes, before_a_part: Callable[[], None]) -> None:
        super().__init__(content)
        self._before_a_part = before_a_part

    def read(self, size: int | None = -1, /) -> bytes:
        self._before_a_part()
        return super().read(size)


class Services:
    """DynamoDB, S3, SQS and SSM: stand-ins, or moto if `moto` is set. SQS is never moto's, because it needs virtual time."""

    def __init__(self, cloud: Cloud, *, moto: bool) -> None:
        self.moto = moto
        self._cloud = cloud
        self._bucket = Bucket(cloud.now)
        self._jobs = Jobs()
        self._items: dict[str, dict[str, Any]] = {}  # jobs in moto's table, as they were last written

    def spent(self, owner: str, day: date) -> int:
        """Return how many pictures of an owner count for a day."""
        return counts.spent(owner).on(day) if self.moto else self._jobs.spent(owner, day)

    def counted(self, job_id: str, day: date) -> int | None:
        """Return how many pictures of a job count for a day; None if moto has the table."""
        return None if self.moto else self._jobs.counted(job_id, day)

    def expire_job(self, job_id: str) -> None:
        self._jobs.expire(job_id)

    def expire_blocked_ids(self) -> None:
        """Remove the placeholders of deleted jobs."""
        for job_id in self._cloud.checks.forgotten:
            self._jobs.expire(job_id)

    def objects(self) -> dict[str, Stored]:
        """Return the bucket's objects."""
        return dict(self._bucket.objects)

    def expire_object(self, key: str, stored: Stored) -> bool:
        """Remove an object, as the bucket's lifecycle does; return False if another one lies there."""
        if self._bucket.objects.get(key) is not stored:
            return False
        del self._bucket.objects[key]
        return True

    def stored(self, prefix: str) -> dict[str, bytes]:
        """Return the objects whose keys begin with `prefix`."""
        if not self.moto:
            return {key: one.content for key, one in self._bucket.objects.items() if key.startswith(prefix)}
        s3, bucket = layer_bucket._s3(), ENVIRONMENT["BUCKET"]
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def content(self, key: str) -> bytes | None:
        """Return an object's content."""
        if not self.moto:
            found = self._bucket.objects.get(key)
            return found.content if found else None
        return self.stored(key).get(key)

    def api_call(self) -> Callable[[BaseClient, str, Request], Answer]:
        def call(client: BaseClient, operation: str, request: Request) -> Answer:
            service = client.meta.service_model.service_id
            process = self._cloud.engine.current and self._cloud.engine.current.process
            if operation == "PutObject":
                # The handler may close the file while the request is on its way.
                body = request["Body"]
                request = {**request, "Body": body if isinstance(body, bytes) else body.read()}

            def effect() -> Answer:
                if operation == "SendMessage" and process:
                    self._cloud.checks.on_send(request["QueueUrl"], process)
                return self.effect(client, service, operation, request)

            return self._tried(service, operation, effect)

        return call

    def _tried[T](self, service: str, operation: str, effect: Callable[[], T]) -> T:
        """Send a request of a handler with boto3's retries, or a request of the test at once."""
        if self._cloud.engine.current is None:
            return effect()
        faults = self._cloud.faults
        hangs = faults.happens("aws_hangs", self._cloud.engine.now)
        for tried in range(1, TRIES + 1):
            fault = (
                "aws_hangs" if hangs and self._cloud.random.random() < HANGS_AGAIN else self._fault(service)
            )
            try:
                return self._exchange(service, operation, effect, fault)
            except Exception:
                if fault and tried == TRIES:
                    faults.struck(Situation(f"{service} failed"))
                if fault is None or tried == TRIES:
                    raise
        raise AssertionError

    def _exchange[T](self, service: str, operation: str, effect: Callable[[], T], fault: str | None) -> T:
        """Send a request once."""
        faults, random = self._cloud.faults, self._cloud.random
        there, back = random.uniform(*SECONDS), random.uniform(*SECONDS)
        timeout = READ_SECONDS.get(service, 4.0)
        if fault == "aws_slow":
            there = random.uniform(0.3, 0.9) * timeout
            fault = None
        if fault:
            self._cloud.hinder()
        current = self._cloud.engine.current
        is_look = operation == "ChangeMessageVisibility" and current and current.process.name == "watchdog"
        lost = fault == "aws_hangs" and random.random() < 0.5
        strike = partial(self._strike, service, operation, effect, "aws_error_before" if lost else fault)
        try:
            return self._cloud.exchange(
                f"{service} {operation}{' of a look' if is_look else ''}",
                strike,
                there=there,
                back=None if fault == "aws_hangs" else back,
                timeout=timeout,
            )
        except TimeoutError:
            faults.struck(Situation.AWS_HUNG)
            raise ReadTimeoutError(endpoint_url=f"https://{service}") from None

    def _fault(self, service: str) -> str | None:
        faults, now = self._cloud.faults, self._cloud.engine.now
        if faults.is_down(service.lower(), now):
            faults.struck(Situation(f"{service} down"))
            return "aws_error_before" if self._cloud.random.random() < 0.9 else "aws_error_after"
        fault = faults.one_of((f"{service.lower()}_throttled", "aws_error_before", "aws_error_after"), now)
        if fault is None and faults.happens("aws_slow", now):
            faults.struck(Situation.AWS_SLOW)
            return "aws_slow"
        return fault

    def _strike[T](self, service: str, operation: str, effect: Callable[[], T], fault: str | None) -> T:
        faults = self._cloud.faults
        if fault in REFUSALS:
            code, status, situation = REFUSALS[fault]
            if situation:
                faults.struck(situation)
            raise refusal(operation, code, status)
        answer = effect()
        if fault == "aws_error_after":
            faults.struck(Situation.AWS_ANSWER_LOST)
            raise ReadTimeoutError(endpoint_url=f"https://{service}")
        return answer

    def effect(self, client: BaseClient, service: str, operation: str, request: Request) -> Answer:
        match service:
            case "SQS":
                return self._cloud.queue_request(operation, request)
            case "Secrets Manager":
                return {"SecretString": KEY}
            case _ if self.moto and service != "EventBridge":
                given = {**request}  # botocore changes it
                answer: Answer = _REAL_CALL(client, operation, given)
            case "S3":
                answer = self._bucket.handle(operation, request)
                if operation == "GetObject":
                    answer["Body"] = self._body(answer["Body"])
            case "SSM":
                answer = {"Parameter": {"Value": TOKEN}}
            case "EventBridge":
                answer = self._cloud.put_events(request)
            case _:
                raise NotImplementedError(f"{service} {operation}")
        self._check(service, operation, request)
        return answer

    def _body(self, body: io.BytesIO) -> io.BytesIO:
        """Return a body as the network delivers it."""
        kind = self._cloud.faults.one_of(("s3_body_cut", "s3_body_slow"), self._cloud.engine.now)
        return body if kind is None else _Body(body.getvalue(), partial(self._deliver, kind))

    def _deliver(self, kind: str) -> None:
        """Let the reader of a body wait for a part of it."""
        cut = kind == "s3_body_cut"
        self._cloud.hinder()
        self._cloud.faults.struck(Situation.S3_BODY_CUT if cut else Situation.S3_BODY_SLOW)
        self._cloud.engine.sleep(READ_SECONDS["S3"] if cut else self._cloud.random.uniform(*BODY_SECONDS))
        if cut:
            raise ReadTimeoutError(endpoint_url="https://S3")

    def _check(self, service: str, operation: str, request: Request) -> None:
        """Check what a request has changed."""
        match service, operation:
            case "DynamoDB", "PutItem" if "owner" in request["Item"]:
                self._written(request["Item"])
            case "DynamoDB", "TransactWriteItems":
                for item in (one["Put"]["Item"] for one in request["TransactItems"] if "Put" in one):
                    self._written(item)
            case "DynamoDB", "PutItem":
                # An item without an owner keeps the id of a deleted job.
                self._removed(request["Item"]["job_id"]["S"])
            case "DynamoDB", "DeleteItem":
                self._removed(request["Key"]["job_id"]["S"])
            case "S3", "PutObject":
                self._cloud.checks.on_object(request["Key"], request["Body"])
            case "S3", "CopyObject":
                key = request["Key"]
                self._cloud.checks.on_object(key, self.stored(key)[key])
                self._cloud.announce_object(key)
            case "S3", "DeleteObject":
                self._cloud.checks.on_removed(request["Key"])

    def _written(self, item: dict[str, Any]) -> None:
        record = Record.of_item(item)
        self._items[record.job_id] = item
        self._cloud.written(record, lambda: item)

    def _removed(self, job_id: str) -> None:
        if item := self._items.pop(job_id, None):
            self._cloud.removed(job_id, lambda: item)

    def holds(self, key: str) -> bool:
        """Return whether the object is in the bucket."""
        return self.moto or key in self._bucket.objects

    def get(self, job_id: str) -> Job | None:
        return self._of_the_table("GetItem", lambda: self._jobs.get(job_id))

    def get_keyed(self, job_id: str) -> Job | None:
        return self._of_the_table("GetItem", lambda: self._jobs.get_keyed(job_id))

    def create(self, job: Job, order: Order) -> Job:
        return self._write("PutItem", partial(self._jobs.create, job, order))

    def put(self, job: Job, order: Order | None = None) -> Job:
        return self._write("PutItem", partial(self._jobs.put, job, order))

    def check(self, order: Order) -> None:
        if order.limits != Limits():
            self._of_the_table("GetItem", lambda: self._jobs.check(order))

    def release(self, job: Job) -> None:
        self._of_the_table("TransactWriteItems", lambda: self._jobs.release(job))

    def delete(self, job: Job, *, until: datetime | None = None) -> None:
        def remove() -> None:
            self._jobs.delete(job, until=until)
            self._cloud.removed(job.job_id, lambda: table.to_record(job).to_dynamodb_dict())

        self._of_the_table("PutItem" if until else "DeleteItem", remove)

    def connection(self) -> SimpleNamespace:
        """Return a connection for the items beside the jobs. Nothing that a job needs lies there, so it keeps nothing."""
        return SimpleNamespace(
            get_item=lambda *_: self._of_the_table("GetItem", dict),
            update_item=lambda *_, **__: self._of_the_table("UpdateItem", dict),
        )

    def _write(self, operation: str, put: Callable[[], Job]) -> Job:
        def effect() -> Job:
            stored = put()
            self._cloud.written(Record.of_job(stored), lambda: table.to_record(stored).to_dynamodb_dict())
            return stored

        return self._of_the_table(operation, effect)

    def _of_the_table[T](self, operation: str, effect: Callable[[], T]) -> T:
        try:
            return self._tried("DynamoDB", operation, effect)
        except (BotoCoreError, ClientError) as error:
            raise PynamoDBConnectionError(cause=error) from error
