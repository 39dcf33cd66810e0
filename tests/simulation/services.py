"""The AWS requests of the handlers: with retries and faults, on the in-memory stand-ins or on moto."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from botocore.client import BaseClient
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from pynamodb.exceptions import PynamoDBConnectionError

from tests.simulation.aws import Answer, Bucket, Jobs, Request, refusal
from tests.simulation.checks import Record
from tests.simulation.situations import Situation
from tests.support.function_environment import ENVIRONMENT, TOKEN
from triptych.aws import bucket as layer_bucket

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tests.simulation.cloud import Cloud
    from triptych.aws.table import Day
    from triptych.job import Job

TRIES = 3  # boto3's tries of a request
SECONDS = (0.001, 0.02)  # of each direction
# Faults of a request that AWS refuses: code, HTTP status and situation.
REFUSALS: dict[str | None, tuple[str, int, Situation | None]] = {
    "aws_error_before": ("InternalError", 500, None),
    "dynamodb_throttled": ("ThrottlingException", 400, Situation.DYNAMODB_THROTTLED),
    "s3_throttled": ("SlowDown", 503, Situation.S3_REFUSED),
    "ssm_throttled": ("ThrottlingException", 400, None),
}
_REAL_CALL = BaseClient._make_api_call  # type: ignore[attr-defined]  # every request passes this private method


class Services:
    """DynamoDB, S3, SQS and SSM: stand-ins, or moto if `moto` is set. SQS is never moto's, because it needs virtual time."""

    def __init__(self, cloud: Cloud, *, moto: bool) -> None:
        self.moto = moto
        self._cloud = cloud
        self._bucket = Bucket(cloud.now)
        self._jobs = Jobs()

    def stored(self, prefix: str) -> dict[str, bytes]:
        """Return the objects whose keys begin with `prefix`."""
        if not self.moto:
            return {key: one.content for key, one in self._bucket.objects.items() if key.startswith(prefix)}
        s3, bucket = layer_bucket._s3(), ENVIRONMENT["BUCKET"]
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def api_call(self) -> Callable[[BaseClient, str, Request], Answer]:
        def call(client: BaseClient, operation: str, request: Request) -> Answer:
            service = client.meta.service_model.service_id
            if operation == "PutObject":
                # The handler may close the file while the request is on its way.
                body = request["Body"]
                request = {**request, "Body": body if isinstance(body, bytes) else body.read()}
            return self._tried(service, operation, lambda: self.effect(client, service, operation, request))

        return call

    def _tried[T](self, service: str, operation: str, effect: Callable[[], T]) -> T:
        """Send a request of a handler with boto3's retries, or a request of the test at once."""
        if self._cloud.engine.current is None:
            return effect()
        faults = self._cloud.faults
        for tried in range(1, TRIES + 1):
            fault = self._fault(service)
            strike = partial(self._strike, service, operation, effect, fault)
            there, back = self._cloud.random.uniform(*SECONDS), self._cloud.random.uniform(*SECONDS)
            try:
                return self._cloud.exchange(f"{service} {operation}", strike, there=there, back=back)
            except Exception:
                if fault and tried == TRIES:
                    faults.struck(Situation(f"{service} failed"))
                if fault is None or tried == TRIES:
                    raise
        raise AssertionError

    def _fault(self, service: str) -> str | None:
        faults, now = self._cloud.faults, self._cloud.engine.now
        if faults.is_down(service.lower(), now):
            faults.struck(Situation(f"{service} down"))
            return "aws_error_before" if self._cloud.random.random() < 0.9 else "aws_error_after"
        return faults.one_of((f"{service.lower()}_throttled", "aws_error_before", "aws_error_after"), now)

    def _strike[T](self, service: str, operation: str, effect: Callable[[], T], fault: str | None) -> T:
        faults = self._cloud.faults
        if fault in REFUSALS:
            code, status, situation = REFUSALS[fault]
            if situation:
                faults.struck(situation)
            raise refusal(operation, code, status)
        answer = effect()
        if fault:
            faults.struck(Situation.AWS_ANSWER_LOST)
            raise ReadTimeoutError(endpoint_url=f"https://{service}")
        return answer

    def effect(self, client: BaseClient, service: str, operation: str, request: Request) -> Answer:
        match service:
            case "SQS":
                return self._cloud.queue_request(operation, request)
            case _ if self.moto:
                given = {**request}  # botocore changes it
                answer: Answer = _REAL_CALL(client, operation, given)
            case "S3":
                answer = self._bucket.handle(operation, request)
            case "SSM":
                answer = {"Parameter": {"Value": TOKEN}}
            case _:
                raise NotImplementedError(f"{service} {operation}")
        match service, operation:
            case "DynamoDB", "PutItem" if "owner" in request["Item"]:
                self._cloud.checks.on_record(Record.of_item(request["Item"]))
            case "DynamoDB", "PutItem":
                # An item without an owner keeps the id of a deleted job.
                self._cloud.checks.on_forgotten(request["Item"]["job_id"]["S"])
            case "DynamoDB", "DeleteItem":
                self._cloud.checks.on_forgotten(request["Key"]["job_id"]["S"])
            case "S3", "PutObject":
                self._cloud.checks.on_object(request["Key"], request["Body"])
            case "S3", "DeleteObject":
                self._cloud.checks.on_removed(request["Key"])
        return answer

    def get(self, job_id: str) -> Job | None:
        return self._of_the_table("GetItem", lambda: self._jobs.get(job_id))

    def create(self, job: Job, day: Day) -> Job:
        return self._write("PutItem", partial(self._jobs.create, job, day))

    def put(self, job: Job, day: Day | None = None) -> Job:
        return self._write("PutItem", partial(self._jobs.put, job, day))

    def check(self, owner: str, day: Day) -> None:
        if day.limit:
            self._of_the_table("GetItem", lambda: self._jobs.check(owner, day))

    def delete(self, job: Job, *, until: datetime | None = None) -> None:
        def remove() -> None:
            self._jobs.delete(job, until=until)
            self._cloud.checks.on_forgotten(job.job_id)

        self._of_the_table("PutItem" if until else "DeleteItem", remove)

    def _write(self, operation: str, put: Callable[[], Job]) -> Job:
        def effect() -> Job:
            stored = put()
            self._cloud.checks.on_record(Record.of_job(stored))
            return stored

        return self._of_the_table(operation, effect)

    def _of_the_table[T](self, operation: str, effect: Callable[[], T]) -> T:
        try:
            return self._tried("DynamoDB", operation, effect)
        except (BotoCoreError, ClientError) as error:
            raise PynamoDBConnectionError(cause=error) from error
