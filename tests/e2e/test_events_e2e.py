"""The event of a job's end, in the log and at `CallbackUrl`, with faults; a local cloud whose server dies."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.localcloud.driving import Driver, serving
from tests.localcloud.http_server import HttpServer, Request, Response

# Of an image: no URL, no prompt.
EVENT = {"index", "status", "seed", "prediction_id", "content_type", "size", "error"}


@dataclass
class Callback:
    """The client's server. It answers 503 to the next `failures` requests."""

    server: HttpServer = field(default_factory=HttpServer)
    requests: queue.SimpleQueue[Request] = field(default_factory=queue.SimpleQueue)
    failures: int = 0
    accepted: Counter[str] = field(default_factory=Counter)  # by job
    changed: threading.Condition = field(default_factory=threading.Condition)

    def answer(self, request: Request) -> Response:
        self.requests.put(request)
        with self.changed:
            if self.failures:
                self.failures -= 1
                return Response(503)
            body = json.loads(request.body)
            self.accepted[body.get("detail", body.get("data"))["job_id"]] += 1
            self.changed.notify_all()
        return Response(204)

    def wait_for(self, *job_ids: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.accepted.keys() >= set(job_ids), 90), self.accepted


@pytest.fixture(scope="module")
def callback() -> Iterator[Callback]:
    made = Callback()
    with made.server.start(made.answer):
        yield made


@pytest.fixture(scope="module")
def cloud(callback: Callback) -> Iterator[Driver]:
    overrides = [
        f"CallbackUrl={callback.server.url}/ends",
        "AllowedCallbackHosts=127.0.0.1",
        "UploadUrlSeconds=2",
        "WatchdogDelaySeconds=1",
    ]
    with serving("--parameter-overrides", *overrides) as driver:
        yield driver


def test_end_of_a_job_is_logged_and_called_back(cloud: Driver, callback: Callback) -> None:
    job_id = cloud.start(prompt="A very private prompt.")
    job = cloud.end_of(job_id)
    callback.wait_for(job_id)
    request = callback.requests.get(timeout=10)
    event = json.loads(request.body)
    assert event in cloud.ends_of(job_id)
    assert (request.method, request.target) == ("POST", "/ends")
    secrets = cloud.aws("secretsmanager")
    (secret,) = [one for one in secrets.list_secrets()["SecretList"] if "JobCallbackKey" not in one["Name"]]
    key = secrets.get_secret_value(SecretId=secret["ARN"])["SecretString"]
    assert request.header("x-triptych-key") == key
    assert (event["source"], event["detail-type"]) == ("triptych", "Job Succeeded")
    detail = event["detail"]
    shared = ("job_id", "status", "created_at", "updated_at", "error")
    assert {name: detail[name] for name in shared} == {name: job[name] for name in shared}
    assert detail["images"] == [
        {name: value for name, value in image.items() if name in EVENT} for image in job["images"]
    ]
    for private in ("A very private prompt.", "http:", "X-Amz", "uploads/", "outputs/"):
        assert private not in request.body.decode()


def test_failed_callback_gets_the_event_again(cloud: Driver, callback: Callback) -> None:
    callback.failures = 2
    job_id = str(cloud.create()["job_id"])  # without a photo
    assert cloud.end_of(job_id)["status"] == "EXPIRED"
    callback.wait_for(job_id)
    assert callback.failures == 0
    assert [event["detail-type"] for event in cloud.ends_of(job_id)] == ["Job Expired"]


def test_two_refused_callbacks_of_one_end_arrive(cloud: Driver, callback: Callback) -> None:
    while not callback.requests.empty():
        callback.requests.get()
    ordered = Callback(failures=2)
    callback.failures = 2
    with ordered.server.start(ordered.answer):
        job_id = cloud.start(callback_url=f"{ordered.server.url}/mine")
        job = cloud.end_of(job_id)
        ordered.wait_for(job_id)
        callback.wait_for(job_id)
    requests = [ordered.requests.get(timeout=10) for _ in range(3)]
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    library = Webhook(cloud.request("GET", "/api/v1/webhook-secret").json()["secret"])
    for request in requests:
        body = library.verify(request.body, {name: str(request.header(name)) for name in names})
        assert (body["type"], body["data"]["updated_at"]) == ("job.succeeded", job["updated_at"])
    assert len({request.header("webhook-id") for request in requests}) == 1


def test_waiting_client_sees_the_change_at_once(cloud: Driver) -> None:
    job_id = str(cloud.create()["job_id"])
    table = cloud.aws("dynamodb")
    (name,) = table.list_tables()["TableNames"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cloud.request, "GET", f"/api/v1/jobs/{job_id}?wait=20")
        ends_at = time.monotonic() + 15
        while not any("until" in item for item in table.scan(TableName=name)["Items"]):
            assert time.monotonic() < ends_at
        assert not waiting.done()
        cloud.request("POST", f"/api/v1/jobs/{job_id}/cancel")
        assert waiting.result(timeout=30).json()["status"] == "CANCELED"


def test_canceled_job_ends(cloud: Driver, callback: Callback) -> None:
    callback.failures = 0  # the test before may have failed
    job_id = str(cloud.create()["job_id"])
    assert cloud.request("POST", f"/api/v1/jobs/{job_id}/cancel").status_code == 200
    callback.wait_for(job_id)
    (event,) = cloud.ends_of(job_id)
    assert (event["detail-type"], event["detail"]["status"]) == ("Job Canceled", "CANCELED")


def test_killed_announce_loses_no_event(cloud: Driver, callback: Callback) -> None:
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.2):
            for pid in cloud.pids()["announce"]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        jobs = [str(cloud.create()["job_id"]) for _ in range(4)]
        for job_id in jobs:
            cloud.end_of(job_id)
        stop.wait(2)  # the first deliveries of the events are killed, too
    finally:
        stop.set()
        killer.join()
    callback.wait_for(*jobs)
    sqs = cloud.aws("sqs")
    for url in sqs.list_queues()["QueueUrls"]:
        if "DeadLetter" in url:
            assert "Messages" not in sqs.receive_message(QueueUrl=url)


def child(parent: int, module: str) -> int:
    """Return the id of the child process of `parent` that runs `module`."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            words = stat.with_name("cmdline").read_bytes().split(b"\0")
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent and module.encode() in words:
                return int(stat.parent.name)
    raise AssertionError(f"process {parent} has no child that runs {module}")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("tests.localcloud.aws", "the AWS server (moto)"),
        ("tests.localcloud.replicate", "the stand-in for Replicate"),
    ],
)
def test_serve_ends_when_a_server_under_it_dies(module: str, name: str, tmp_path: Path) -> None:
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr, serving(stderr=stderr) as cloud:
        pids = [pid for pids in cloud.pids().values() for pid in pids]
        os.kill(child(cloud.process.pid, module), signal.SIGKILL)
        assert cloud.process.wait(timeout=30) == 1
    assert f"triptych: {name}" in errors.read_text()
    assert "has ended" in errors.read_text()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
