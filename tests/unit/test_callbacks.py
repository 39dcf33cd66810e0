"""Callbacks for single jobs: their signature, as another library checks it, and the times of their tries."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from tests.localcloud.template import translate
from tests.support.jobs import waiting_job
from triptych import callbacks

NOW = datetime.now(UTC)


def test_signature_is_that_of_the_published_example() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    sent = datetime.fromtimestamp(1614265330, UTC)
    assert callbacks.headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', sent) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(owner=st.text(min_size=1), key=st.text(), body=st.dictionaries(st.text(), st.integers()))
def test_library_of_the_standard_accepts_the_signature(owner: str, key: str, body: dict[str, int]) -> None:
    raw = json.dumps(body).encode()
    secret = callbacks.secret_of(owner, key)
    headers = callbacks.headers(secret, "job-1", raw, datetime.now(UTC))
    assert Webhook(secret).verify(raw, headers) == body
    with pytest.raises(WebhookVerificationError):
        Webhook(callbacks.secret_of(owner + "x", key)).verify(raw, headers)


def test_each_owner_and_each_key_has_another_secret() -> None:
    secrets = {callbacks.secret_of(owner, key) for owner in ("ann", "bob") for key in ("k1", "k2")}
    assert len(secrets) == 4
    # The standard asks for 24 to 64 bytes.
    assert {len(base64.b64decode(one.removeprefix("whsec_"))) for one in secrets} == {32}


def test_tries_go_on_for_a_day_at_growing_intervals() -> None:
    waits = [callbacks.seconds_to_next(tries) for tries in range(1, callbacks.MOST_TRIES)]
    assert timedelta(hours=24) <= timedelta(seconds=sum(waits)) <= timedelta(hours=25)
    assert waits == sorted(waits)
    assert (
        max(waits) <= 43200
    )  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
    assert sum(waits[:4]) >= 60  # a receiver that restarts for a minute


@pytest.mark.parametrize("tries", [-1, 0, 1, 22, 23, 10**6])
def test_every_number_of_tries_has_a_wait(tries: int) -> None:
    assert callbacks.seconds_to_next(tries) in callbacks.WAITS


def test_queue_keeps_a_callback_longer_than_the_last_try() -> None:
    resources: Any = translate()["Resources"]
    queue, letters = (
        resources[name]["Properties"] for name in ("JobCallbackQueue", "JobCallbackDeadLetterQueue")
    )
    assert queue["RedrivePolicy"]["maxReceiveCount"] > callbacks.MOST_TRIES
    assert queue["MessageRetentionPeriod"] > sum(callbacks.WAITS) + 86400
    assert letters["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]
    # Lambda asks for six times the function's timeout: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    assert queue["VisibilityTimeout"] >= 6 * resources["CallbackFunction"]["Properties"]["Timeout"]


def test_id_names_one_end_of_a_job() -> None:
    job = waiting_job()
    assert callbacks.message_id(job) == callbacks.message_id(replace(job, version=9))
    assert callbacks.message_id(job) != callbacks.message_id(
        replace(job, updated_at=job.updated_at + timedelta(seconds=1))
    )
    assert job.job_id in callbacks.message_id(job)
