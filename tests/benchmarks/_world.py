"""The stack of template.yaml on moto, with jobs in it, for measurements."""

from __future__ import annotations

import io
import json
import os
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from logging import StreamHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3

from tests.benchmarks._replicate import Replicate, replicate
from tests.localcloud import aws, provision, template
from tests.localcloud.functions import Machine
from tests.support import events
from tests.support.clock import Clock
from tests.support.events import CONTEXT
from tests.support.function_environment import SECRET, TOKEN, forget_caches
from tests.support.photos import picture
from triptych.aws import bucket
from triptych.flows import create_job, open_photo, record
from triptych.job import Job, JobRequest, OutputStored, PhotoPreviewed, Preview
from triptych.pace import Pace
from triptych.replicate.tags import Tag
from triptych.runtime import clock
from triptych.runtime.observability import logger, metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from tests.localcloud.stack import Function, Stack

PHOTO = picture("JPEG", (1600, 1200), quality=90)  # small enough to reach Replicate unchanged
OUTPUT = b"an output"
PREVIEW = Preview(1024, 768, "#804020")


@dataclass(frozen=True)
class World:
    """The stack under measurement. The layer in this process uses it too."""

    machine: Machine
    stack: Stack
    replicate: Replicate

    def function(self, name: str) -> Function:
        return next(one for one in self.stack.functions.values() if one.name == name)

    @property
    def bucket(self) -> str:
        return self.stack.outputs["Bucket"]

    def new_job(self, owner: str = "ann") -> Job:
        """Create a job and upload its photo."""
        order = JobRequest(content_type="image/jpeg", size=len(PHOTO))
        job = create_job.create_job(owner, order, None)
        self.upload(job)
        return job

    def upload(self, job: Job) -> None:
        """Upload a job's photo."""
        bucket._s3().put_object(Bucket=self.bucket, Key=job.photo.key, Body=PHOTO)

    def job(self, job_id: str) -> Job:
        return _existing(record.read(job_id))

    def asked_job(self) -> Job:
        """Create a job whose three predictions are running."""
        job = self.new_job()
        return _existing(open_photo.photo_arrived(job.job_id, job.photo.key, Pace()))

    def done_job(self) -> Job:
        """Create a job whose three outputs are stored, with a preview of each and of the photo."""
        job = self.asked_job()
        stored = []
        for image in job.images:
            key = bucket.output_key(job, image.index, image.prediction_id or "", "image/png")
            output = bucket.store_output(key, "image/png", len(OUTPUT), io.BytesIO(OUTPUT))
            output = replace(output, preview=PREVIEW)
            stored.append(OutputStored(image.index, image.attempt, image.prediction_id or "", output))
        return _existing(record.move_on(job, PhotoPreviewed(PREVIEW), *stored).job)

    def webhook(self, job: Job, size: int, index: int = 0) -> dict[str, Any]:
        """Return a webhook's event: the prediction of this image succeeded with an output of `size` bytes."""
        image = job.images[index]
        url = Tag(job.job_id, index, image.attempt).on(self.stack.outputs["WebhookUrl"], TOKEN)
        query = url.partition("?")[2]
        prediction = {
            "id": image.prediction_id,
            "status": "succeeded",
            "output": self.replicate.output_url(size),
            "webhook": url,
        }
        body = json.dumps(prediction).encode()
        return events.webhook_event(body, events.signed(body, Clock(clock.now())), query)

    def stream_record(self, job: Job) -> dict[str, Any]:
        """Return the stream's event of the job's end."""
        client = boto3.client("dynamodb")
        found = client.get_item(TableName=self.stack.outputs["Table"], Key={"job_id": {"S": job.job_id}})
        record = {"eventID": uuid.uuid4().hex, "dynamodb": {"NewImage": found["Item"]}}
        return {"Records": [{**record, "eventName": "MODIFY", "eventSource": "aws:dynamodb"}]}


@contextmanager
def world(**parameters: str) -> Iterator[World]:
    """Run a stack with these template parameters. Until the context ends, this process has a function's environment."""
    with replicate(SECRET) as stand_in:
        server = aws.start()
        try:
            machine = Machine(
                server.endpoint, template.REGION, aws.ACCOUNT, aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY
            )
            session = boto3.Session(aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY, region_name=template.REGION)
            given = {"ReplicateBaseUrl": stand_in.url, "AllowedOutputHosts": "127.0.0.1"}
            # Jobs are counted as by default, but the owner needs more of them than the default limit.
            given |= {
                "DailyPicturesPerOwner": "1000000",
                "DailyPictures": "0",
                "MaxActiveJobsPerOwner": "0",
                **parameters,
            }
            stack = provision.provision(
                template.TEMPLATE,
                given,
                endpoint=server.endpoint,
                api_url="http://127.0.0.1:1",
                stack_name=template.STACK_NAME,
                region=template.REGION,
                account=aws.ACCOUNT,
            )
            session.client("ssm", endpoint_url=server.endpoint).put_parameter(
                Name=stack.parameters["ReplicateTokenParameter"], Value=TOKEN, Type="SecureString"
            )
            with patch.dict(os.environ, _environment(machine, stack)), _quiet():
                forget_caches()
                yield World(machine, stack, stand_in)
        finally:
            server.stop()


def _environment(machine: Machine, stack: Stack) -> dict[str, str]:
    """Return the environment of a function, for the layer in this process."""
    variables = {
        "AWS_ENDPOINT_URL": machine.endpoint,
        "AWS_DEFAULT_REGION": machine.region,
        "AWS_ACCESS_KEY_ID": machine.access_key_id,
        "AWS_SECRET_ACCESS_KEY": machine.secret_access_key,
    }
    for function in stack.functions.values():
        variables |= function.environment
    return variables


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard log lines after they are formatted, and count no metrics, because metrics are printed."""
    handler = logger.registered_handler
    if not isinstance(handler, StreamHandler):
        raise TypeError(type(handler))
    with Path(os.devnull).open("w") as nowhere, patch.object(metrics, "add_metric", lambda **_: None):
        before = handler.setStream(nowhere)
        try:
            yield
        finally:
            handler.setStream(before or sys.stdout)


def _existing(job: Job | None) -> Job:
    if job is None:
        raise ValueError("the job does not exist")
    return job


def timed(do: Callable[[], object]) -> float:
    """Return the seconds that `do` takes."""
    began = time.monotonic()
    do()
    return time.monotonic() - began


def ok(function: ModuleType, event: dict[str, Any]) -> None:
    """Give an event to a function of the API.

    Raises:
        RuntimeError: It does not answer 200.
    """
    answer = function.handler(event, CONTEXT)
    if answer["statusCode"] != 200:
        raise RuntimeError(str(answer))
