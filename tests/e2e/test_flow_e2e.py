"""The whole template in the local cloud, driven from outside, with faults at Replicate and killed processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.deployed import scenarios
from tests.deployed.replicate_account import ReplicateAccount
from tests.deployed.verdict import ProblemError
from tests.environment import ROOT
from tests.localcloud import replicate
from tests.localcloud.driving import PYTHON, Driver, serving
from tests.localcloud.http_server import HttpServer, Request, Response
from tests.localcloud.replicate_faults import Fault
from tests.localcloud.replicate_predictions import Entry

TOKEN = "r8_the_token_of_this_test"
UPLOAD_URL_SECONDS = 6
ORIGIN = "https://app.example"
PNG = b"\x89PNG\r\n\x1a\n" + b"an output" * 10 + b"IEND\xaeB`\x82"


@pytest.fixture(scope="module")
def stand_in() -> Iterator[replicate.StandIn]:
    with replicate.start(TOKEN, seconds=0.3, webhook_scale=0.2, allow_http_webhooks=True) as server:
        yield server


@pytest.fixture(scope="module")
def shared(stand_in: replicate.StandIn) -> Iterator[Driver]:
    options = ["--replicate-url", stand_in.url, "--parameter-overrides"]
    options += [
        "WatchdogDelaySeconds=2",
        "GenerationDeadlineSeconds=120",
        f"UploadUrlSeconds={UPLOAD_URL_SECONDS}",
    ]
    # The redirects of a test lead to localhost, which is not a delivery host.
    options += ["AllowedOutputHosts=localhost", f"AllowedOrigins={ORIGIN}"]
    with serving(*options, environment={"REPLICATE_API_TOKEN": TOKEN}) as driver:
        yield driver


@pytest.fixture
def cloud(shared: Driver, stand_in: replicate.StandIn) -> Driver:
    stand_in.set_faults()
    return shared


def predictions_of(stand_in: replicate.StandIn, job_id: str) -> list[Entry]:
    return [entry for entry in stand_in.ledger().predictions if entry.webhook and job_id in entry.webhook]


def test_photo_becomes_three_images(cloud: Driver, stand_in: replicate.StandIn) -> None:
    job_id = cloud.start(prompt="A linocut.")
    job = cloud.end_of(job_id)
    assert job["status"] == "SUCCEEDED"
    outputs = cloud.pictures(job)
    assert len(set(outputs)) == 3
    assert [image["size"] for image in job["images"]] == [len(output) for output in outputs]
    made = predictions_of(stand_in, job_id)
    assert len(made) == 3
    photo = hashlib.sha256(cloud.photo).hexdigest()
    for entry in made:
        assert entry.fetched
        assert entry.fetched.sha256 == photo
        assert entry.webhook
        assert entry.webhook.partition("?")[0].endswith("/api/v1/webhooks/replicate")
        assert entry.input
        assert entry.input["prompt"] == "A linocut."
        assert not any(fetch.authorized for fetch in entry.output_fetches)
    stored = cloud.aws("s3").list_objects_v2(Bucket=cloud.printed["bucket"], Prefix=f"outputs/{job_id}/")[
        "Contents"
    ]
    assert [item["Key"] for item in stored] == [f"outputs/{job_id}/{index}.png" for index in range(3)]


def test_celery_message_bills_no_prediction_twice(cloud: Driver, stand_in: replicate.StandIn) -> None:
    job_id = cloud.start()
    message = json.dumps({"job_id": job_id, "original_s3_key": f"uploads/{job_id}/photo.jpg"})
    sqs = cloud.aws("sqs")
    for _ in range(5):
        sqs.send_message(QueueUrl=cloud.printed["queues"]["generation"], MessageBody=message)
    assert cloud.end_of(job_id)["status"] == "SUCCEEDED"
    assert len(predictions_of(stand_in, job_id)) == 3


FAULTS = {
    "no webhooks": [Fault(kind="drop_webhook")],
    "each webhook five times": [Fault(kind="duplicate_webhook", copies=5)],
    "processing after succeeded": [Fault(kind="reorder_webhooks")],
    "answers cut after creating": [Fault(kind="cut", on="create", times=3)],
    "answers cut after creating, no webhooks": [
        Fault(kind="cut", on="create", times=3),
        Fault(kind="drop_webhook"),
    ],
    "answers after 45 s": [Fault(kind="hang", on="create", times=3, seconds=45)],
    "answers after 45 s, no webhooks": [
        Fault(kind="hang", on="create", times=3, seconds=45),
        Fault(kind="drop_webhook"),
    ],
    "502 in HTML after creating": [Fault(kind="bad_gateway", on="create", times=3)],
    "502 in HTML after creating, no webhooks": [
        Fault(kind="bad_gateway", on="create", times=3),
        Fault(kind="drop_webhook"),
    ],
    "answers cut after creating, echoes": [
        Fault(kind="cut", on="create", times=3),
        Fault(kind="drop_webhook", times=1),
        Fault(kind="echo"),
    ],
    "outputs for the token only": [Fault(kind="output_token", status=401)],
    "outputs for the token only, no webhooks": [
        Fault(kind="output_token", status=403),
        Fault(kind="drop_webhook"),
    ],
    "answers without fields": [Fault(kind="drop_fields", on="create", fields=("version", "model"))],
    "429 four times": [Fault(kind="refuse", on="create", status=429, seconds=1, times=4)],
    "outputs fail four times": [Fault(kind="refuse", on="output", status=500, times=4)],
    "outputs cut three times": [Fault(kind="cut", on="output", times=3)],
    "forged webhooks": [
        Fault(kind="forge_webhook"),
        Fault(kind="unsign_webhook"),
        Fault(kind="stale_webhook"),
    ],
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_misbehaving_replicate_costs_three_predictions_for_three_images(
    cloud: Driver, stand_in: replicate.StandIn, faults: list[Fault]
) -> None:
    stand_in.set_faults(*faults)
    job_id = cloud.start()
    job = cloud.end_of(job_id)
    assert job["status"] == "SUCCEEDED", job
    assert len(set(cloud.pictures(job))) == 3
    assert len(predictions_of(stand_in, job_id)) == 3


@pytest.mark.parametrize("webhooks", [True, False], ids=["webhooks", "no webhooks"])
def test_redirect_to_another_host_carries_no_token(
    cloud: Driver,
    stand_in: replicate.StandIn,
    webhooks: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    seen: list[Request] = []

    def answer(request: Request) -> Response:
        seen.append(request)
        return Response(200, (("content-type", "image/png"),), PNG)

    with HttpServer().start(answer) as elsewhere:
        url = f"http://localhost:{elsewhere.port}/out.png"
        faults = [Fault(kind="output_token", status=401), Fault(kind="output_redirect", url=url)]
        stand_in.set_faults(*faults, *([] if webhooks else [Fault(kind="drop_webhook")]))
        job_id = cloud.start()
        job = cloud.end_of(job_id)
    assert job["status"] == "SUCCEEDED"
    assert cloud.pictures(job) == [PNG] * 3
    authorized = [
        fetch.authorized for entry in predictions_of(stand_in, job_id) for fetch in entry.output_fetches
    ]
    assert authorized == [True] * len(seen)
    assert len(seen) >= 3
    for request in seen:
        assert not request.header("authorization")
        assert TOKEN not in str(request)


def test_job_without_a_photo_expires(cloud: Driver) -> None:
    job_id = cloud.create()["job_id"]
    job = cloud.end_of(job_id)
    assert job["status"] == "EXPIRED"
    assert job["error"]["code"] == "upload_expired"


def test_killed_generate_continues_in_another_process(cloud: Driver, stand_in: replicate.StandIn) -> None:
    stand_in.set_faults(Fault(kind="hang", on="create", times=3, seconds=8))
    before = len(stand_in.ledger().predictions)
    job_id = cloud.start()
    deadline = time.monotonic() + 20
    while len(stand_in.ledger().predictions) < before + 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)  # there is no event to wait for
    for pid in cloud.pids()["generate"]:
        os.kill(pid, signal.SIGKILL)
    job = cloud.end_of(job_id)
    assert job["status"] == "SUCCEEDED"
    assert len(predictions_of(stand_in, job_id)) == 3


def test_jobs_end_while_processes_are_killed_under_load(cloud: Driver, stand_in: replicate.StandIn) -> None:
    stop = threading.Event()

    def kill() -> None:
        turn = 0
        while not stop.wait(0.5):
            pids = [pid for pids in cloud.pids().values() for pid in pids]
            if pids:
                os.kill(pids[turn % len(pids)], signal.SIGKILL)
            turn += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        jobs = []
        for _ in range(12):
            created = cloud.request(
                "POST",
                "/api/v1/jobs",
                json={"content_type": "image/jpeg", "content_length": len(cloud.photo)},
            )
            if created.status_code == 201 and cloud.upload(created.json()).status_code == 200:
                jobs.append(created.json()["job_id"])
    finally:
        stop.wait(3)
        stop.set()
        killer.join()
    assert jobs
    for job_id in jobs:
        ended = cloud.end_of(job_id, within=300)
        assert ended["status"] == "SUCCEEDED", ended
        assert len(predictions_of(stand_in, job_id)) == 3


def test_other_users_see_neither_job_nor_outputs(cloud: Driver) -> None:
    job = cloud.end_of(cloud.start())
    scenarios.api_refuses_requests_without_a_token(cloud)
    scenarios.jobs_are_private(cloud, job)
    scenarios.outputs_are_private(cloud, job)


def test_upload_is_accepted_once_and_only_as_declared(cloud: Driver) -> None:
    created = cloud.create()
    scenarios.upload_url_signs_everything(created, UPLOAD_URL_SECONDS)
    scenarios.altered_uploads_are_refused(cloud, created)
    scenarios.upload_is_accepted_once(cloud, created)
    cloud.end_of(created["job_id"])


def test_expired_upload_url_is_refused(cloud: Driver) -> None:
    scenarios.expired_upload_is_refused(cloud, UPLOAD_URL_SECONDS)


def test_text_costs_no_prediction(cloud: Driver, stand_in: replicate.StandIn) -> None:
    job = scenarios.no_photo_is_refused(cloud)
    scenarios.retry_changes_nothing(cloud, job)
    assert predictions_of(stand_in, job["job_id"]) == []


def test_job_is_listed_polled_canceled_and_deleted(cloud: Driver) -> None:
    job = scenarios.job_succeeds(cloud, cloud.start(), 3, 90)
    scenarios.etag_saves_an_answer(cloud, job["job_id"])
    scenarios.job_is_listed(cloud, job["job_id"])
    scenarios.retry_changes_nothing(cloud, job)
    scenarios.deleted_job_is_gone(cloud, job)
    scenarios.cancel_ends_a_job(cloud)
    scenarios.same_key_is_the_same_job(cloud)


def test_forged_webhooks_change_nothing(cloud: Driver, stand_in: replicate.StandIn) -> None:
    account = ReplicateAccount(cloud.http, stand_in.url, TOKEN)
    job_id = cloud.create()["job_id"]
    scenarios.forged_webhooks_are_refused(cloud, job_id, account.signing_secret())


def test_browsers_may_call_the_api_and_upload(cloud: Driver) -> None:
    scenarios.api_answers_preflights(cloud, [ORIGIN])
    created = cloud.create()
    scenarios.bucket_answers_preflights(cloud, created, [ORIGIN, cloud.api])
    with pytest.raises(ProblemError, match=r"may not send PUT to the bucket"):
        scenarios.bucket_answers_preflights(cloud, created, ["https://other.example"])


def test_page_may_upload_from_localhost_too(cloud: Driver) -> None:
    origin = cloud.api.replace("127.0.0.1", "localhost")
    scenarios.bucket_answers_preflights(cloud, cloud.create(), [origin])


def test_the_log_holds_no_secret(cloud: Driver) -> None:
    cloud.end_of(cloud.start(prompt="A very private prompt."))
    log = cloud.log()
    assert "job ended" in log
    for secret in (TOKEN, "X-Amz-Signature", "whsec_", "A very private prompt.", *cloud.printed["tokens"]):
        assert secret not in log


def test_job_id_is_on_the_log_lines_of_every_function(cloud: Driver) -> None:
    answer = cloud.request(
        "POST",
        "/api/v1/jobs",
        json={"content_type": "image/jpeg", "content_length": len(cloud.photo)},
        headers={"origin": ORIGIN},
    )
    assert "apigw-requestid" in answer.headers["access-control-expose-headers"]
    cloud.upload(answer.json())
    job_id = cloud.end_of(answer.json()["job_id"])["job_id"]
    cloud.ends_of(job_id)
    objects = [json.loads(line) for line in cloud.log().splitlines() if line.startswith("{")]
    lines = [line for line in objects if line.get("job_id") == job_id]
    assert {line["correlation_id"] for line in lines} == {job_id}
    assert {line["service"] for line in lines} >= {"api", "generate", "webhook"}
    (created,) = [line for line in lines if line["message"] == "job created"]
    assert created["request_id"] == answer.headers["apigw-requestid"]
    counted = [line for line in objects if "_aws" in line and "JobsSucceeded" in line]
    assert {line["Stack"] for line in counted} == {"triptych"}


def test_dead_letter_queues_stay_empty(cloud: Driver) -> None:
    assert cloud.messages("generation_dlq") == cloud.messages("watchdog_dlq") == 0


def test_two_local_clouds_run_side_by_side_and_clean_up(cloud: Driver) -> None:
    with serving() as second:
        assert second.printed["api"] != cloud.printed["api"]
        assert second.end_of(second.start())["status"] == "SUCCEEDED"
        pids = [pid for pids in second.pids().values() for pid in pids]
        assert pids
        addresses = [urlsplit(second.printed[name]) for name in ("api", "pids")] + [
            urlsplit(second.printed["aws"]["endpoint"])
        ]
    assert second.process.returncode == 0
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()
    for address in addresses:
        with socket.socket() as probe:
            assert probe.connect_ex((str(address.hostname), int(address.port or 0))) != 0


def test_first_command_makes_three_images(tmp_path: Path) -> None:
    command = [str(PYTHON), "-m", "tests.localcloud"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = [tmp_path / line for line in done.stdout.splitlines() if line.endswith(".png")]
    assert len({path.read_bytes() for path in printed}) == 3
