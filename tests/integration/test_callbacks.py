"""Callbacks for single jobs: who may order one, what is posted, and what happens if it is not accepted."""

from __future__ import annotations

import io
import json
import queue
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from standardwebhooks import Webhook

import announce
import callback
import orders
from tests.environment import ROOT
from tests.localcloud.http_server import HttpServer, Request, Response
from tests.support.events import sqs_event, stream_event
from tests.support.photos import JPEG
from tests.support.world import World
from triptych import callbacks, settings
from triptych.aws import callback_key, event_bus, queues, table
from triptych.flows import record
from triptych.job import Job, UploadExpired
from triptych.runtime import posts
from triptych.runtime.observability import logger

ORDER = {"content_type": "image/jpeg", "content_length": len(JPEG)}
SECRET = "/api/v1/webhook-secret"
look_up: Any = socket.getaddrinfo  # before a test replaces it


@dataclass
class Receiver:
    """The server of a client. It gives the answers in order, and then 204."""

    server: HttpServer = field(default_factory=HttpServer)
    requests: queue.SimpleQueue[Request] = field(default_factory=queue.SimpleQueue)
    answers: list[Response] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.server.url}/ends?token=private"

    def answer(self, request: Request) -> Response:
        self.requests.put(request)
        return self.answers.pop(0) if self.answers else Response(204)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    with made.server.start(made.answer):
        yield made


@pytest.fixture
def allowed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Let orders name URLs on this machine and at app.example.com."""
    key = boto3.client("secretsmanager").create_secret(Name="key", SecretString="k" * 40)["ARN"]
    world.queues["callbacks"] = world.sqs.create_queue(QueueName="callbacks")["QueueUrl"]
    monkeypatch.setenv("ALLOWED_CALLBACK_HOSTS", "127.0.0.1, app.example.com")
    monkeypatch.setenv("JOB_CALLBACK_KEY", key)
    monkeypatch.setenv("JOB_CALLBACK_QUEUE_URL", world.queues["callbacks"])
    monkeypatch.setattr(event_bus, "announce", lambda _job: None)
    elsewhere: Any = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **options: Any) -> Any:
        return (look_up if host == "127.0.0.1" else elsewhere)(host, *rest, **options)

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    settings.settings.cache_clear()
    callback_key._provider.cache_clear()
    return world


def over(world: World, call: Any, **order: object) -> str:
    """Create a job and end it, without an announcement."""
    status, created = call("POST", "/api/v1/jobs", {**ORDER, **order})
    assert status == 201, created
    job_id = str(created["job_id"])
    record.move_on(world.job(job_id), UploadExpired())
    return job_id


def ended(world: World, call: Any, context: SimpleNamespace, **order: object) -> str:
    """Create a job, end it and announce its end."""
    job_id = over(world, call, **order)
    assert announce.handler(stream_event(world.item(job_id)), context) == {"batchItemFailures": []}
    return job_id


def message_of(world: World, call: Any, context: SimpleNamespace, **order: object) -> str:
    """Create a job, end it and announce its end; return the only message of the queue."""
    ended(world, call, context, **order)
    (message,) = world.messages("callbacks")
    return message


def try_once(message: str, context: SimpleNamespace, *, tries: int = 1, receipt: str = "receipt") -> bool:
    """Invoke the function with a message of the queue; return whether SQS may delete the message."""
    event = sqs_event(message, receives=tries, receipt=receipt, queue="callbacks")
    answer: Any = callback.handler(event, context)
    return not answer["batchItemFailures"]


@pytest.fixture
def put_back(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seconds after which messages of the queue are delivered again."""
    seen: list[int] = []
    monkeypatch.setattr(queues, "put_callback_back", lambda _receipt, *, seconds: seen.append(seconds))
    return seen


# ── the order ──


def test_characters_that_sqs_refuses_reach_the_receiver(
    allowed: World, call: Any, context: SimpleNamespace, receiver: Receiver
) -> None:
    metadata = {"note": "\uffff \ufffe 사진"}
    message = message_of(allowed, call, context, callback_url=receiver.url, metadata=metadata)
    assert message.isascii()  # moto takes everything
    assert try_once(message, context)
    assert json.loads(receiver.requests.get().body)["data"]["metadata"] == metadata


def test_repeated_image_calls_no_host_back_that_lost_permission(
    allowed: World, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://app.example.com/ends"
    job_id = call("POST", "/api/v1/jobs", {**ORDER, "callback_url": url})[1]["job_id"]
    early = call("POST", f"/api/v1/jobs/{job_id}/images/0/again")[1]
    assert early["error"]["code"] != "invalid_request"  # but its photo is missing
    monkeypatch.setenv("ALLOWED_CALLBACK_HOSTS", "example.org")
    settings.settings.cache_clear()
    status, answer = call("POST", f"/api/v1/jobs/{job_id}/images/0/again")
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert "callback_url" in answer["error"]["message"]


@pytest.mark.parametrize(
    "url", ["https://app.example.com/ends", "https://eu.app.example.com:8443/?a=b", "http://127.0.0.1:99/"]
)
def test_order_may_name_a_url_at_an_allowed_host(allowed: World, call: Any, url: str) -> None:
    job_id = call("POST", "/api/v1/jobs", {**ORDER, "callback_url": url})[1]["job_id"]
    assert allowed.job(job_id).request.callback_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example.com/ends",
        "https://example.com/ends",
        "https://app.example.com.evil.example/",
        "https://app.example.com@evil.example/",
        "https://evil.example/#app.example.com",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://localhost/",
        "ftp://app.example.com/",
        "app.example.com",
        "https://app.example.com:port/",
        "https://app.example.com:65536/",
        "https://app.example.com:99999/",
        "https://app.example.com:0/",
        "https://xn--a.app.example.com/",
        "https://xn--app.example.com/",
        "//app.example.com/",
        "",
        "https://app.example.com/" + "x" * 2000,
    ],
)
def test_order_with_any_other_url_is_refused(allowed: World, call: Any, url: str) -> None:
    status, answer = call("POST", "/api/v1/jobs", {**ORDER, "callback_url": url})
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert "callback_url" in answer["error"]["message"]
    assert call("GET", "/api/v1/jobs")[1]["jobs"] == []


def test_stack_without_hosts_calls_nobody_back(world: World, call: Any) -> None:
    status, answer = call("POST", "/api/v1/jobs", {**ORDER, "callback_url": "https://app.example.com/"})
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert call("GET", SECRET)[0] == 404
    assert call("GET", "/api/v1/limits")[1]["callback_hosts"] == []


def test_limits_name_the_hosts(allowed: World, call: Any) -> None:
    assert call("GET", "/api/v1/limits")[1]["callback_hosts"] == ["127.0.0.1", "app.example.com"]


def test_secret_is_each_owners_own(allowed: World, call: Any) -> None:
    ann, bob = (call("GET", SECRET, owner=owner)[1]["secret"] for owner in ("ann", "bob"))
    assert ann != bob
    assert ann == call("GET", SECRET, owner="ann")[1]["secret"]
    assert ann.startswith("whsec_")


def test_unreadable_key_is_the_operators_mistake(
    allowed: World, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_CALLBACK_KEY", "gone")
    settings.settings.cache_clear()
    status, answer = call("GET", SECRET)
    assert (status, answer["error"]["code"]) == (500, "misconfigured")


def test_one_more_image_calls_back_at_the_same_url(allowed: World, call: Any) -> None:
    url = "https://app.example.com/"
    job_id = call("POST", "/api/v1/jobs", {**ORDER, "callback_url": url})[1]["job_id"]
    assert orders.request_for_another(allowed.job(job_id), 0).callback_url == url


def test_repeated_order_is_compared_with_its_url(allowed: World, call: Any) -> None:
    first = {**ORDER, "callback_url": "https://app.example.com/a"}
    made = call("POST", "/api/v1/jobs", first, idempotency_key="k")
    assert call("POST", "/api/v1/jobs", first, idempotency_key="k")[1]["job_id"] == made[1]["job_id"]
    other = {**ORDER, "callback_url": "https://app.example.com/b"}
    assert (
        call("POST", "/api/v1/jobs", other, idempotency_key="k")[1]["error"]["code"] == "idempotency_key_used"
    )


# ── the callback ──


def test_callbacks_of_an_owner_form_one_group(allowed: World, context: SimpleNamespace, call: Any) -> None:
    for owner in ("ann", "ann", "bob"):
        order = {**ORDER, "callback_url": "https://app.example.com/"}
        job_id = str(call("POST", "/api/v1/jobs", order, owner=owner)[1]["job_id"])
        record.move_on(allowed.job(job_id), UploadExpired())
        announce.handler(stream_event(allowed.item(job_id)), context)
    answer = allowed.sqs.receive_message(
        QueueUrl=allowed.queues["callbacks"], MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
    )
    groups = sorted(message["Attributes"]["MessageGroupId"] for message in answer["Messages"])
    assert len(groups) == 3
    assert len(set(groups)) == 2
    assert not {"ann", "bob"} & set(groups)  # SQS keeps attributes outside the encrypted body


def test_end_is_posted_and_signed(
    allowed: World, context: SimpleNamespace, call: Any, receiver: Receiver
) -> None:
    job_id = ended(allowed, call, context, callback_url=receiver.url, metadata={"order": "A-17"})
    (message,) = allowed.messages("callbacks")
    allowed.clock.time = datetime.now(UTC)  # the library compares with the real time
    assert try_once(message, context)
    request = receiver.requests.get(timeout=10)
    assert (request.method, request.target) == ("POST", "/ends?token=private")
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    headers = {name: str(request.header(name)) for name in names}
    body = Webhook(call("GET", SECRET)[1]["secret"]).verify(request.body, headers)
    assert (body["type"], body["data"]["job_id"], body["data"]["status"]) == (
        "job.expired",
        job_id,
        "EXPIRED",
    )
    assert body["data"]["metadata"] == {"order": "A-17"}
    assert body["timestamp"] == body["data"]["updated_at"]
    assert "private" not in request.body.decode()


def test_job_without_a_url_sends_no_message(allowed: World, context: SimpleNamespace, call: Any) -> None:
    ended(allowed, call, context)
    assert allowed.messages("callbacks") == []


def test_job_of_a_time_with_callbacks_ends_without_them(
    allowed: World, context: SimpleNamespace, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = over(allowed, call, callback_url="https://app.example.com/")
    monkeypatch.delenv("JOB_CALLBACK_QUEUE_URL")
    settings.settings.cache_clear()
    event = stream_event(allowed.item(job_id))
    assert announce.handler(event, context) == {"batchItemFailures": []}


def announced_after_an_outage(
    world: World, call: Any, context: SimpleNamespace, module: Any, name: str, error: Exception
) -> str:
    """End a job with a callback. Announcing it fails three times, because this step does, and then succeeds."""

    def fail(_: object) -> None:
        raise error

    job_id = over(world, call, callback_url="https://app.example.com/")
    event = stream_event(world.item(job_id))
    with pytest.MonkeyPatch.context() as outage:
        outage.setattr(module, name, fail)
        answers: list[Any] = [announce.handler(event, context) for _ in range(3)]
    assert [len(answer["batchItemFailures"]) for answer in answers] == [1, 1, 1]
    assert announce.handler(event, context) == {"batchItemFailures": []}
    return job_id


def test_refused_event_does_not_repeat_the_callback(
    allowed: World, context: SimpleNamespace, call: Any
) -> None:
    """Lambda delivers the record again until the event bus takes the event, which may last for hours."""
    announced_after_an_outage(allowed, call, context, event_bus, "announce", event_bus.EventRefusedError())
    assert len(allowed.messages("callbacks")) == 1


def test_refused_message_does_not_repeat_the_event(
    allowed: World, context: SimpleNamespace, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(job: Job) -> None:
        events.append(job.job_id)

    events: list[str] = []
    monkeypatch.setattr(event_bus, "announce", put)
    refused = ClientError({"Error": {"Code": "InternalError"}}, "SendMessage")
    job_id = announced_after_an_outage(allowed, call, context, queues, "send_to_callbacks", refused)
    assert events == [job_id]
    assert len(allowed.messages("callbacks")) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 429, 500, 503])
def test_refused_callback_is_tried_again_later(
    allowed: World, context: SimpleNamespace, call: Any, receiver: Receiver, put_back: list[int], status: int
) -> None:
    message = message_of(allowed, call, context, callback_url=receiver.url)
    receiver.answers = [Response(status, headers=(("Location", receiver.url),))] * 2
    assert not try_once(message, context, tries=1)
    assert not try_once(message, context, tries=4)
    assert try_once(message, context, tries=5)
    assert put_back == [5, 60]
    requests = [receiver.requests.get(timeout=10) for _ in range(3)]
    assert len({request.header("webhook-id") for request in requests}) == 1
    assert receiver.requests.empty()


def test_receiver_that_refuses_for_a_day_is_given_up(
    allowed: World, context: SimpleNamespace, call: Any, receiver: Receiver, put_back: list[int]
) -> None:
    message = message_of(allowed, call, context, callback_url=receiver.url)
    receiver.answers = [Response(503)] * 2
    assert not try_once(message, context, tries=callbacks.MOST_TRIES - 1)
    assert try_once(message, context, tries=callbacks.MOST_TRIES)
    assert put_back == [7200]


def test_callback_without_a_key_becomes_a_dead_letter(
    allowed: World,
    context: SimpleNamespace,
    call: Any,
    receiver: Receiver,
    put_back: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = message_of(allowed, call, context, callback_url=receiver.url)
    monkeypatch.setenv("JOB_CALLBACK_KEY", "gone")
    settings.settings.cache_clear()
    assert not try_once(message, context, tries=callbacks.MOST_TRIES)
    assert receiver.requests.empty()


def test_receiver_that_wants_no_more_is_left_alone(
    allowed: World, context: SimpleNamespace, call: Any, receiver: Receiver, put_back: list[int]
) -> None:
    message = message_of(allowed, call, context, callback_url=receiver.url)
    receiver.answers = [Response(410)]
    assert try_once(message, context)
    assert put_back == []


def test_receiver_that_is_gone_is_tried_again(
    allowed: World, context: SimpleNamespace, call: Any, put_back: list[int]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    message = message_of(allowed, call, context, callback_url=f"http://127.0.0.1:{port}/")
    assert not try_once(message, context)
    assert put_back == [5]


def test_receiver_that_does_not_answer_is_tried_again(
    allowed: World,
    context: SimpleNamespace,
    call: Any,
    put_back: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(posts, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ended(allowed, call, context, callback_url=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        (message,) = allowed.messages("callbacks")
        assert not try_once(message, context, tries=3)
    assert put_back == [30]


def test_receiver_that_never_stops_answering_is_hung_up_on(
    allowed: World, context: SimpleNamespace, call: Any, put_back: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts, "SECONDS", 0.5)
    ends_at = time.monotonic() + 20
    with socket.create_server(("127.0.0.1", 0)) as endless, ThreadPoolExecutor(1) as pool:

        def answer() -> bool:
            """Return whether the caller hangs up before the test gives up."""
            connection, _ = endless.accept()
            with connection:
                connection.settimeout(20)
                try:
                    while time.monotonic() < ends_at:
                        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                except OSError:
                    return time.monotonic() < ends_at
            return False

        hung_up = pool.submit(answer)
        ended(allowed, call, context, callback_url=f"http://127.0.0.1:{endless.getsockname()[1]}/")
        (message,) = allowed.messages("callbacks")
        assert not try_once(message, context)
        assert hung_up.result(timeout=30)
    assert put_back == [5]


def test_cookie_of_a_receiver_is_not_sent_back(
    allowed: World, context: SimpleNamespace, call: Any, receiver: Receiver, put_back: list[int]
) -> None:
    message = message_of(allowed, call, context, callback_url=receiver.url)
    receiver.answers = [Response(503, headers=(("Set-Cookie", "tracked=1; Path=/"),))]
    assert not try_once(message, context)
    assert try_once(message, context)
    assert [receiver.requests.get(timeout=10).header("cookie") for _ in range(2)] == ["", ""]
    assert put_back == [5]


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fd00::1"])
def test_name_that_leads_inside_is_not_called(
    allowed: World,
    context: SimpleNamespace,
    call: Any,
    put_back: list[int],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
) -> None:
    message = message_of(allowed, call, context, callback_url="https://app.example.com/")
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (address, 443))])
    called: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        called.append(request)
        return httpx.Response(200)

    monkeypatch.setattr(posts, "http_client", lambda: httpx.Client(transport=httpx.MockTransport(answer)))
    assert not try_once(message, context)
    assert (put_back, called) == ([5], [])


def test_name_with_a_public_address_is_called_there(
    allowed: World, context: SimpleNamespace, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = message_of(allowed, call, context, callback_url="https://app.example.com/")
    called: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        called.append(request)
        return httpx.Response(200)

    monkeypatch.setattr(posts, "http_client", lambda: httpx.Client(transport=httpx.MockTransport(answer)))
    assert try_once(message, context)
    assert [request.extensions["triptych_addresses"] for request in called] == [("104.16.1.1",)]


def test_host_that_is_no_longer_allowed_is_not_called(
    allowed: World,
    context: SimpleNamespace,
    call: Any,
    receiver: Receiver,
    put_back: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = message_of(allowed, call, context, callback_url=receiver.url)
    monkeypatch.setenv("ALLOWED_CALLBACK_HOSTS", "app.example.com")
    settings.settings.cache_clear()
    assert not try_once(message, context)
    assert put_back == [5]
    assert receiver.requests.empty()


def test_deleted_job_is_called_back_all_the_same(
    allowed: World, context: SimpleNamespace, call: Any, receiver: Receiver
) -> None:
    job_id = ended(allowed, call, context, callback_url=receiver.url)
    assert call("DELETE", f"/api/v1/jobs/{job_id}")[0] == 204
    assert table.get(job_id) is None
    (message,) = allowed.messages("callbacks")
    assert try_once(message, context)
    assert json.loads(receiver.requests.get(timeout=10).body)["data"]["job_id"] == job_id


def test_url_and_secret_stand_in_no_log(
    allowed: World,
    context: SimpleNamespace,
    call: Any,
    receiver: Receiver,
    put_back: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", written)
    message = message_of(allowed, call, context, callback_url=receiver.url)
    receiver.answers = [Response(500)]
    try_once(message, context)
    try_once(message, context)
    log = written.getvalue()
    assert '"not delivered"' in log
    assert '"delivered"' in log
    for private in ("private", "whsec_", str(receiver.server.url), "k" * 40):
        assert private not in log


def test_unreadable_message_is_dropped_and_counted(
    allowed: World, context: SimpleNamespace, put_back: list[int]
) -> None:
    assert try_once("{}", context)
    assert put_back == []


def test_example_beside_the_handler_is_a_message() -> None:
    example = json.loads((ROOT / "functions/callback/event.json").read_text())
    (record_,) = example["Records"]
    message = queues.CallbackMessage.model_validate_json(record_["body"])
    assert message.job_id in message.webhook_id
    assert json.loads(message.body)["data"]["job_id"] == message.job_id


def test_message_is_put_back_in_its_own_queue(
    allowed: World, context: SimpleNamespace, call: Any, receiver: Receiver
) -> None:
    ended(allowed, call, context, callback_url=receiver.url)
    url = allowed.queues["callbacks"]
    (received,) = allowed.sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)["Messages"]
    receiver.answers = [Response(503)]
    assert not try_once(received["Body"], context, tries=1, receipt=received["ReceiptHandle"])
    hidden = {"QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessagesNotVisible"]}
    attributes = allowed.sqs.get_queue_attributes(**hidden)["Attributes"]
    assert attributes == {"ApproximateNumberOfMessagesNotVisible": "1"}
