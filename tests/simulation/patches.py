"""Patches of the layer's I/O, clocks and random numbers."""

from __future__ import annotations

import os
import random
import secrets
import uuid
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from urllib.parse import urlencode

import httpx
from aws_lambda_powertools.utilities import parameters
from botocore.client import BaseClient
from replicate.prediction import Predictions

from tests.simulation.functions import load_all
from tests.simulation.network import Network
from tests.simulation.receiver import HOST, Receiver
from tests.support.function_environment import ENVIRONMENT
from triptych import settings
from triptych.aws import bucket, callback_key, counts, durations, links, table
from triptych.job import Preview
from triptych.photo.previews import Made
from triptych.replicate import listing
from triptych.runtime.observability import logger, metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tests.simulation.cloud import Cloud
    from triptych.replicate.predictions import Prediction

QUEUES = {
    f"{name.upper()}_QUEUE_URL": f"https://sqs/{name}" for name in ("generation", "waiting", "watchdog")
}
CALLBACKS = {
    "ALLOWED_CALLBACK_HOSTS": HOST,
    "JOB_CALLBACK_QUEUE_URL": "https://sqs/callback",
    "JOB_CALLBACK_KEY": "arn:of-the-key",
}


class Deployed:
    """The settings of the running function, with which it was deployed."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def __getattr__(self, name: str) -> object:
        return getattr(self._cloud.settings(), name)


PREVIEW = Made(b"RIFF\x04\0\0\0WEBP", Preview(1, 1, "#000000"))


@contextmanager
def patched_io(cloud: Cloud) -> Iterator[None]:
    """Send every request to `cloud`, and take time and random numbers from it, until the context ends."""
    engine, chance = cloud.engine, cloud.random
    downloads = httpx.Client(transport=Network(cloud), follow_redirects=False)
    with ExitStack() as stack:
        put = stack.enter_context
        limits = {
            "DAILY_PICTURES_PER_OWNER": str(cloud.faults.daily_limit),
            "DAILY_PICTURES": str(cloud.faults.stack_limit),
            "MAX_ACTIVE_JOBS_PER_OWNER": "100" if cloud.faults.daily_limit else "0",
        }
        put(patch.dict(os.environ, {**ENVIRONMENT, **QUEUES, **CALLBACKS, **limits}))
        put(patch.object(settings, "Settings", SimpleNamespace(model_validate=lambda _: Deployed(cloud))))
        settings.settings.cache_clear()
        durations._process.cache_clear()
        callback_key._provider.cache_clear()
        put(patch.object(BaseClient, "_make_api_call", cloud.aws.api_call()))
        put(patch("triptych.replicate.transport.http_transport", lambda: Network(cloud)))
        put(patch("triptych.replicate.downloads.http_client", lambda: downloads))
        put(patch("triptych.runtime.posts.http_client", Receiver(cloud).client))
        put(patch("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("104.16.1.1", 443))]))
        put(patch("triptych.runtime.clock.now", cloud.clock))
        put(patch("triptych.runtime.clock.monotonic", lambda: engine.now))
        put(patch("triptych.runtime.clock.sleep", engine.sleep))
        put(patch("triptych.runtime.budget.run_in_threads", engine.run_tasks))
        put(patch("triptych.photo.bounded.run", lambda task: task()))  # a fork of many threads, and real time
        put(
            patch("triptych.photo.previews.make", lambda *_: PREVIEW)
        )  # decoding takes longer than all the rest
        load_all()
        put(patch.object(parameters.base, "datetime", SimpleNamespace(now=cloud.now)))
        put(patch.object(uuid, "uuid4", lambda: uuid.UUID(int=chance.getrandbits(128), version=4)))
        put(patch.object(secrets, "randbelow", chance.randrange))
        put(patch.object(random, "uniform", chance.uniform))
        put(patch.object(random, "randrange", chance.randrange))
        put(patch.object(metrics, "add_metric", cloud.count))
        put(_quiet())
        # The layer reads the answer itself, and does not use what the client library makes of a list.
        put(patch.object(Predictions, "list", lambda self, cursor: self._client._request("GET", cursor)))
        put(patch.object(listing, "_prediction_or_none", _row_reader()))
        if cloud.aws.moto:
            put(patch("moto.s3.models.utcnow", lambda: cloud.now().replace(tzinfo=None)))
        else:
            # Signing and PynamoDB take more than half of the time of a job.
            aws = cloud.aws
            for room, names in (
                (table, ("get", "get_keyed", "put", "delete", "connection")),
                (counts, ("create", "put", "check", "release")),
            ):
                for name in names:
                    put(patch.object(room, name, getattr(aws, name)))
            put(patch.object(bucket._s3(), "generate_presigned_url", _presigned))
            put(patch.object(links, "presigned", _linked))
        yield
    settings.settings.cache_clear()


def _presigned(_: str, *, Params: dict[str, str], ExpiresIn: int) -> str:  # noqa: N803  # boto3's names
    """Return a presigned URL without the signature, which would take 0.5 ms."""
    query = {"X-Amz-Expires": ExpiresIn}
    if "ResponseContentDisposition" in Params:
        query["response-content-disposition"] = Params["ResponseContentDisposition"]  # type: ignore[assignment]  # urlencode takes both
    return f"https://{Params['Bucket']}.s3.amazonaws.com/{Params['Key']}?{urlencode(query)}"


def _linked(where: links.Place, key: str, disposition: str | None, life: int, since: datetime) -> str:
    """Return an owner's URL without the signature."""
    return f"{where.url}/{key}?{urlencode({'of': since, 'for': life, 'as': disposition})}"


def _row_reader() -> Callable[[dict[str, Any]], Prediction | None]:
    """Return the layer's reader of rows, which reads a row of another user once: they are most of a busy list."""
    read = listing._prediction_or_none
    others: dict[str, Prediction | None] = {}

    def read_once(row: dict[str, Any]) -> Prediction | None:
        name = row["id"]
        if not name.startswith("other"):
            return read(row)
        if name not in others:
            others[name] = read(row)
        return others[name]

    return read_once


@contextmanager
def _quiet() -> Iterator[None]:
    level = logger.log_level
    logger.setLevel("CRITICAL")
    try:
        yield
    finally:
        logger.setLevel(level)
