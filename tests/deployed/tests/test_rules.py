"""What the judge says of answers that a stack could give."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, cast, override

import httpx
import pytest

from tests.deployed import scenarios
from tests.deployed.ground import Ground, enough_concurrency, of_alarms, of_status, plain
from tests.deployed.replicate_account import ReplicateAccount
from tests.deployed.stack import Stack
from tests.deployed.user import User
from tests.deployed.verdict import NotJudgedError, ProblemError, Report, without_queries
from tests.support.client import JOBS, Client
from triptych.replicate import webhooks

HOST = "photos.s3.eu-west-1.amazonaws.com"
SIGNED = "content-length;content-type;host;if-none-match"
JOB: dict[str, Any] = {"job_id": "a-job", "status": "SUCCEEDED", "updated_at": "now"}


def created(host: str = HOST, signed: str = SIGNED, seconds: int = 900) -> dict[str, Any]:
    query = f"X-Amz-SignedHeaders={signed.replace(';', '%3B')}&X-Amz-Expires={seconds}&X-Amz-Signature=0ab"
    headers = {"Content-Type": "image/jpeg", "If-None-Match": "*"}
    return {
        "job_id": "a-job",
        "upload": {"method": "PUT", "url": f"https://{host}/p?{query}", "headers": headers},
    }


@dataclass
class Visitor(Client):
    """A client of a stack that gives the same answers to each request."""

    answer: Callable[[httpx.Request], httpx.Response]
    photo: bytes = b"a photo"
    seen: list[httpx.Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.http = httpx.Client(transport=httpx.MockTransport(self._take))

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.answer(request)

    @property
    @override
    def api(self) -> str:
        return "https://api.example"

    @property
    @override
    def tokens(self) -> Sequence[str]:
        return ["e30.e30.c2ln", "e30.e30.c2ln"]


def always(status: int, **options: Any) -> Visitor:
    return Visitor(lambda _: httpx.Response(status, **options))


# ── the ground ──


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE"])
def test_complete_stack_is_good(status: str) -> None:
    assert of_status(status) is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("UPDATE_ROLLBACK_COMPLETE", "was taken back. Read the stack's events, then deploy again."),
        ("ROLLBACK_COMPLETE", "delete the stack"),
        ("ROLLBACK_FAILED", "delete the stack"),
        ("UPDATE_IN_PROGRESS", "Wait"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Wait"),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "Wait until it has been taken back"),
        ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "Wait until it has been taken back"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
        ("DELETE_FAILED", "events"),
    ],
)
def test_other_status_says_what_to_do(status: str, words: str) -> None:
    assert words in str(of_status(status))


def test_new_account_has_enough_concurrency_for_the_defaults() -> None:
    assert "at most 10" in enough_concurrency(10, generate=4, watchdog=2, announce=1)


def test_triggers_that_take_all_concurrency_are_named() -> None:
    with pytest.raises(ProblemError, match="Service Quotas"):
        enough_concurrency(10, generate=5, watchdog=2, announce=1)


def test_alarm_that_is_on_gives_its_description() -> None:
    alarms = {
        "a": {"StateValue": "OK"},
        "b": {"StateValue": "ALARM", "AlarmDescription": "Raise the quota."},
    }
    with pytest.raises(ProblemError, match=r"b is on: Raise the quota\."):
        of_alarms(alarms)


def test_alarms_without_data_are_not_on() -> None:
    assert of_alarms({"a": {"StateValue": "INSUFFICIENT_DATA"}, "b": {"StateValue": "OK"}}) == (
        "2 alarms are off, 1 of them without data yet"
    )


LAYER, LAYER_ARN = "ImagingLayer0a1b2c3d4e", "arn:aws:lambda:eu-west-1:123456789012:layer:imaging:3"


@dataclass
class Layered:
    """A stack of one function with one layer, and its Lambda client."""

    size: int
    attached: str = LAYER_ARN

    def client(self, _: str) -> Self:
        return self

    def of_kind(self, kind: str) -> dict[str, str]:
        return {LAYER: LAYER_ARN} if kind.endswith("LayerVersion") else {"GenerateFunction": "generate"}

    def templates_of_kind(self, _: str) -> list[tuple[str, str, dict[str, Any]]]:
        return [("GenerateFunction", "generate", {"Layers": [{"Ref": LAYER}]})]

    def get_function_configuration(self, **_: str) -> dict[str, Any]:
        return {"Layers": [{"Arn": self.attached}]}

    def get_layer_version_by_arn(self, **_: str) -> dict[str, Any]:
        return {"Content": {"CodeSize": self.size}}


def layers(stack: Layered) -> str:
    return Ground(cast("Stack", stack), httpx.Client()).layers()


def test_full_layer_is_good() -> None:
    assert layers(Layered(5_000_000)) == "ImagingLayer are where the template names them"


def test_empty_layer_is_named() -> None:
    """An empty ZIP file has 22 bytes."""
    with pytest.raises(ProblemError, match=r"ImagingLayer is empty \(22 bytes\)\. Deploy again"):
        layers(Layered(22))


def test_function_with_another_layer_is_named() -> None:
    with pytest.raises(ProblemError, match="GenerateFunction runs without ImagingLayer"):
        layers(Layered(5_000_000, LAYER_ARN.replace(":3", ":2")))


def test_layer_is_named_as_in_the_template() -> None:
    assert plain("TriptychLayerec6a7a3d5d") == "TriptychLayer"


# ── Replicate ──


def account(status: int, **options: Any) -> ReplicateAccount:
    return ReplicateAccount(always(status, **options).http, "https://replicate.example", "r8_x")


@dataclass
class Parameter:
    """A stack's parameter with the token, and its SSM client."""

    value: str
    kind: str = "SecureString"
    parameters: dict[str, str] = field(
        default_factory=lambda: {
            "ReplicateTokenParameter": "/a/token",
            "ReplicateBaseUrl": "https://replicate.example",
        }
    )

    def client(self, _: str) -> Self:
        return self

    def get_parameter(self, **_: object) -> dict[str, Any]:
        return {"Parameter": {"Type": self.kind, "Value": self.value}}


def token_in(parameter: Parameter) -> str:
    return ReplicateAccount.of(cast("Stack", parameter), httpx.Client()).token


@pytest.mark.parametrize("value", ["r8_x", "r8_x\n", " r8_x\r\n"])
def test_blanks_around_the_token_do_no_harm(value: str) -> None:
    """The functions remove them."""
    assert token_in(Parameter(value)) == "r8_x"


@pytest.mark.parametrize("value", ["\n", "r8_x\nr8_y", "r8_é"])
def test_token_that_no_header_can_hold_is_named(value: str) -> None:
    with pytest.raises(ProblemError, match=r"/a/token is empty or .* Store the token again, .* --overwrite"):
        token_in(Parameter(value))


def test_plain_text_token_is_deleted_first() -> None:
    """The history of the parameter would keep it."""
    with pytest.raises(ProblemError, match=r"ssm delete-parameter --name /a/token.* Store the token again"):
        token_in(Parameter("r8_x", kind="String"))


def test_refused_token_says_what_to_do() -> None:
    with pytest.raises(ProblemError, match="Store the token again"):
        account(401).who()


def test_unknown_model_is_named() -> None:
    with pytest.raises(ProblemError, match="Correct ReplicateModel"):
        account(404).find("nobody/nothing")


def test_version_without_its_model_is_not_judged() -> None:
    with pytest.raises(NotJudgedError):
        account(404).find("a" * 64)


def test_only_predictions_of_the_job_are_counted_on_all_pages() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor", "0"))
        rows = [
            {"webhook": "https://x/?job_id=a-job&image=0", "created_at": f"2026-11-27T08:0{9 - number}:00Z"},
            {"webhook": "https://x/?job_id=another", "created_at": f"2026-11-27T08:0{9 - number}:00Z"},
        ]
        following = f"https://replicate.example/v1/predictions?cursor={number + 1}"
        return httpx.Response(200, json={"results": rows, "next": following})

    replicate = ReplicateAccount(Visitor(page).http, "https://replicate.example", "r8_x")
    since = datetime(2026, 11, 27, 8, 8, 30, tzinfo=UTC)
    assert replicate.predictions_of(["a-job", "no-job"], since) == 2


# ── the scenarios ──


def test_right_upload_url_is_good() -> None:
    assert scenarios.upload_host_is_regional(created(), {HOST}) == HOST
    assert "valid for 900 s" in scenarios.upload_url_signs_everything(created(), 900)


@pytest.mark.parametrize("host", ["photos.s3.amazonaws.com", "s3.eu-west-1.amazonaws.com", "example.com"])
def test_other_upload_host_is_named(host: str) -> None:
    with pytest.raises(ProblemError, match=host):
        scenarios.upload_host_is_regional(created(host), {HOST})


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (created(signed="content-type;host"), "content-length, if-none-match"),
        (created(seconds=901), "valid for 901 s"),
    ],
    ids=["signed headers", "lifetime"],
)
def test_weak_upload_url_is_named(url: dict[str, Any], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        scenarios.upload_url_signs_everything(url, 900)


def test_accepted_second_upload_is_named() -> None:
    with pytest.raises(ProblemError, match="the photo can be replaced"):
        scenarios.upload_is_accepted_once(always(200), created())


def test_accepted_altered_upload_is_named() -> None:
    client = Visitor(lambda request: httpx.Response(200 if "if-none-match" not in request.headers else 403))
    with pytest.raises(ProblemError, match="An upload with no If-None-Match"):
        scenarios.altered_uploads_are_refused(client, created())


def test_altered_uploads_differ_from_the_right_one_in_one_thing() -> None:
    client = always(403)
    scenarios.altered_uploads_are_refused(client, created())
    assert [
        (
            request.headers["content-type"],
            len(request.content),
            request.url.params["X-Amz-Signature"],
            "if-none-match" in request.headers,
        )
        for request in client.seen
    ] == [
        ("text/html", 7, "0ab", True),
        ("image/jpeg", 6, "0ab", True),
        ("image/jpeg", 7, "1ab", True),
        ("image/jpeg", 7, "0ab", False),
    ]


PERMITTED = {"access-control-allow-origin": "*", "access-control-allow-methods": "PUT, GET"}


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {}),
        (403, PERMITTED),
        (200, {}),
        (200, {**PERMITTED, "access-control-allow-origin": "https://b.example"}),
        (200, {**PERMITTED, "access-control-allow-methods": "GET"}),
    ],
)
def test_preflight_that_stops_a_browser_is_named(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(ProblemError, match=r"https://a\.example may not send PUT"):
        scenarios.bucket_answers_preflights(always(status, headers=headers), created(), ["https://a.example"])


def test_preflight_that_lets_a_browser_upload_is_good() -> None:
    client = always(200, headers=PERMITTED)
    scenarios.bucket_answers_preflights(client, created(), ["https://a.example"])
    (request,) = client.seen
    assert request.headers["access-control-request-headers"] == "content-type,if-none-match"


@pytest.mark.parametrize("permitted", ["*", scenarios.STRANGE_ORIGIN])
def test_api_that_any_page_may_call_is_named(permitted: str) -> None:
    client = always(200, headers={"access-control-allow-origin": permitted})
    with pytest.raises(ProblemError, match="may call the API"):
        scenarios.other_origins_are_refused(client, [])
    for every in ("*", "https://*"):
        with pytest.raises(NotJudgedError):
            scenarios.other_origins_are_refused(client, [every])


@pytest.mark.parametrize("headers", [{}, {"access-control-allow-origin": "https://a.example"}])
def test_api_that_no_other_page_may_call_is_good(headers: dict[str, str]) -> None:
    scenarios.other_origins_are_refused(always(200, headers=headers), ["https://a.example"])


def test_retry_that_starts_again_is_named() -> None:
    with pytest.raises(ProblemError, match="Retry: answered with 200, not 409"):
        scenarios.retry_changes_nothing(always(200, json={**JOB, "status": "GENERATING"}), JOB)


def after_the_delete(lists: Sequence[tuple[int, bool]]) -> Visitor:
    """Return a client whose list answers with these statuses, with the deleted job or without; the last one repeats."""
    left = list(lists)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return httpx.Response(204)
        if request.url.path != JOBS:
            return httpx.Response(404)
        status, has_it = left.pop(0) if len(left) > 1 else left[0]
        return httpx.Response(status, json={"jobs": [JOB] if has_it else [], "cursor": None})

    return Visitor(answer)


def test_list_may_hold_a_deleted_job_for_seconds() -> None:
    """It reads an index, which DynamoDB updates a little later than the table."""
    client = after_the_delete([(200, True), (200, True), (200, False)])
    assert scenarios.deleted_job_is_gone(client, {**JOB, "images": []}) == "204, then 404"


@pytest.mark.parametrize(
    ("status", "words"),
    [(200, "The list still has the deleted job"), (500, "GET the list: answered with 500")],
)
def test_list_that_keeps_a_deleted_job_is_named(
    monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    monkeypatch.setattr(scenarios, "LIST_SECONDS", 0)
    with pytest.raises(ProblemError, match=words):
        scenarios.deleted_job_is_gone(after_the_delete([(status, True)]), {**JOB, "images": []})


def test_accepted_webhook_is_named() -> None:
    with pytest.raises(ProblemError, match="A webhook with no signature"):
        scenarios.forged_webhooks_are_refused(always(200), "a-job", None)


def test_old_webhook_is_signed_as_replicate_signs() -> None:
    secret = "whsec_" + base64.b64encode(b"k" * 24).decode()
    at = int(time.time())
    headers = scenarios.signed("{}", secret.removeprefix("whsec_"), at)
    assert webhooks.is_signed(headers, b"{}", secret, datetime.fromtimestamp(at, UTC))


def test_failed_job_gives_its_codes() -> None:
    error = {"code": "replicate_out_of_credit", "message": "The credit is used up."}
    job = {
        "job_id": "a-job",
        "status": "FAILED",
        "error": error,
        "images": [{"error": error, "status": "FAILED"}],
    }
    with pytest.raises(ProblemError, match=r"replicate_out_of_credit\. The credit is used up"):
        scenarios.job_succeeds(always(200, json=job), "a-job", 1, 1)


def test_short_upload_url_must_be_short_to_be_awaited() -> None:
    with pytest.raises(NotJudgedError):
        scenarios.expired_upload_is_refused(always(200), 900)


# ── the lines ──


def test_owner_is_the_subject_of_the_token() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "ann"}).encode()).decode().rstrip("=")
    assert User(f"e30.{claims}.x").owner == "ann"


def test_no_line_shows_the_query_of_a_url() -> None:
    text = "GET https://photos.example/a.png?X-Amz-Signature=0ab failed"
    assert without_queries(text) == "GET https://photos.example/a.png?… failed"


def raising(error: Exception) -> Callable[[], str]:
    def check() -> str:
        raise error

    return check


def test_verdict_names_what_failed() -> None:
    out = io.StringIO()
    report = Report(out)
    assert report.check("first", lambda: "seen")
    assert report.check("second", raising(NotJudgedError("not here")))
    assert not report.check("third", raising(ProblemError("Do this.")))
    assert not report.check("fourth", raising(KeyError("etag")))
    assert report.end(3) == 1
    assert "third: Do this." in out.getvalue()
    assert "fourth: KeyError: 'etag'" in out.getvalue()
    assert "1 ok, 1 not judged, 2 failed" in out.getvalue()
    assert out.getvalue().endswith("Predictions paid for: 3.\nThe stack is not good: third, fourth.\n")


@pytest.mark.parametrize(
    ("spent", "words"),
    [(2, "Predictions paid for: 2.\n"), (None, "Look at https://replicate.com/predictions.\n")],
)
def test_interrupted_judgement_says_what_was_spent(spent: int | None, words: str) -> None:
    out, as_json = io.StringIO(), io.StringIO()
    Report(out).interrupted(spent)
    assert out.getvalue().endswith(words)
    Report(as_json, as_json=True).interrupted(spent)
    assert json.loads(as_json.getvalue())["predictions"] == spent


def test_good_verdict_exits_with_zero() -> None:
    out = io.StringIO()
    report = Report(out, as_json=True)
    report.check("first", lambda: "seen")
    assert report.end(0) == 0
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[0] | {"seconds": 0} == {"check": "first", "result": "ok", "seconds": 0, "detail": "seen"}
    assert lines[1]["verdict"] == "ok"
