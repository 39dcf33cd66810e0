"""The api handler, called as API Gateway calls it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

import api
from tests.environment import ROOT
from tests.integration.paging import pages
from tests.support.events import CONTEXT, api_event
from tests.support.photos import JPEG
from tests.support.world import World
from triptych.aws import counts, table
from triptych.aws.event_bus import Detail
from triptych.flows import record
from triptych.job import JobStatus, UploadExpired
from triptych.settings import settings
from views import CreateJob, JobView

REQUEST = {"content_type": "image/jpeg", "content_length": len(JPEG)}
SHA256 = base64.b64encode(hashlib.sha256(JPEG).digest()).decode()


@pytest.fixture
def call(world: World, context: SimpleNamespace) -> Any:
    def call(method: str, path: str, body: object = None, **options: str) -> tuple[int, Any, dict[str, str]]:
        answer = api.handler(api_event(method, path, body, **options), context)
        text = str(answer["body"] or "")
        headers = {name.lower(): value for name, value in dict(answer.get("headers") or {}).items()}
        return int(str(answer["statusCode"])), json.loads(text) if text else None, headers

    return call


def error_of(answer: tuple[int, Any, dict[str, str]], status: int) -> str:
    assert answer[0] == status, answer
    assert set(answer[1]) == {"error"}
    assert set(answer[1]["error"]) == {"code", "message"}
    assert answer[1]["error"]["message"].endswith(".")
    return str(answer[1]["error"]["code"])


def test_every_answer_has_the_security_headers(call: Any) -> None:
    status, created, headers = call("POST", "/api/v1/jobs", REQUEST)
    assert status == 201
    job = f"/api/v1/jobs/{created['job_id']}"
    etag = call("GET", job)[2]["etag"]
    answers = {
        201: headers,
        304: call("GET", job, if_none_match=etag)[2],
        200: call("GET", "/api/v1/openapi.json")[2],
        404: call("GET", "/api/v1/other")[2],
        415: call("POST", "/api/v1/jobs", REQUEST, content_type="text/plain")[2],  # before any route
        204: call("DELETE", job)[2],
    }
    expected = {
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "strict-transport-security": "max-age=63072000; includeSubDomains",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
    assert {status: seen for status, seen in answers.items() if not expected.items() <= seen.items()} == {}


def test_create_returns_the_upload_instructions(world: World, call: Any) -> None:
    status, created, _ = call(
        "POST", "/api/v1/jobs", {**REQUEST, "checksum_sha256": SHA256, "prompt": "A watercolour."}
    )
    assert status == 201
    assert set(created) == {"job_id", "status", "upload"}
    assert created["status"] == "AWAITING_UPLOAD"
    upload = created["upload"]
    assert set(upload) == {"method", "url", "headers", "expires_at"}
    assert upload["method"] == "PUT"
    assert {name.lower(): value for name, value in upload["headers"].items()} == {
        "content-type": "image/jpeg",
        "if-none-match": "*",
        "x-amz-checksum-sha256": SHA256,
    }
    assert "content-length%3Bcontent-type%3Bhost%3Bif-none-match" in upload["url"]
    assert upload["expires_at"].endswith("+09:00")
    assert world.job(created["job_id"]).request.prompt == "A watercolour."


def test_job_has_the_documented_fields(call: Any) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST)[1]["job_id"]
    status, job, headers = call("GET", f"/api/v1/jobs/{job_id}")
    assert status == 200
    assert set(job) == {
        *("job_id", "status", "created_at", "updated_at", "started_at", "ended_at", "error"),
        *("model", "style", "prompt", "metadata", "progress", "upload", "photo", "images"),
    }
    assert [image["index"] for image in job["images"]] == [0, 1, 2]
    assert set(job["images"][0]) == {
        *("index", "status", "prompt", "seed", "prediction_id", "started_at", "ended_at", "error"),
        *("url", "download_url", "preview_url", "content_type", "size", "width", "height", "color"),
    }
    assert job["images"][0]["url"] is None
    assert headers["retry-after"] == "2"
    again = call("GET", f"/api/v1/jobs/{job_id}", if_none_match=headers["etag"])
    assert again[0] == 304


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, "invalid_request"),
        ("{", 400, "invalid_request"),
        ("[]", 400, "invalid_request"),
        ("null", 400, "invalid_request"),
        ("7", 400, "invalid_request"),
        ("[" * 100_000, 400, "invalid_request"),
        ('{"content_type": "image/jpeg", "content_length": NaN}', 400, "invalid_request"),
        ('{"content_type": "image/jpeg", "content_length": 1e400}', 400, "invalid_request"),
        ({**REQUEST, "content_length": 0}, 400, "invalid_request"),
        ({**REQUEST, "content_length": -1}, 400, "invalid_request"),
        ({**REQUEST, "content_length": "12"}, 400, "invalid_request"),
        ({**REQUEST, "content_length": 1.5}, 400, "invalid_request"),
        ({**REQUEST, "content_length": 2_000_000.0}, 413, "photo_too_large"),
        ({**REQUEST, "content_length": True}, 400, "invalid_request"),
        ({**REQUEST, "content_length": 10**30}, 413, "photo_too_large"),
        ({**REQUEST, "content_length": 1_000_001}, 413, "photo_too_large"),
        ({**REQUEST, "content_type": "application/pdf"}, 415, "photo_unsupported"),
        ({**REQUEST, "content_type": "image/jpeg\r\nx: y"}, 415, "photo_unsupported"),
        ({**REQUEST, "content_type": None}, 400, "invalid_request"),
        ({"content_length": 1}, 400, "invalid_request"),
        ({**REQUEST, "checksum_sha256": "abc"}, 400, "invalid_request"),
        ({**REQUEST, "prompt": "x" * 100_000}, 400, "invalid_request"),
        ({**REQUEST, "prompt": ""}, 400, "invalid_request"),
        ({**REQUEST, "prompt": " \n\t "}, 400, "invalid_request"),
        ({**REQUEST, "prompt": "a\0b"}, 400, "invalid_request"),
        ('{"content_type": "image/jpeg", "content_length": ' + "9" * 5000 + "}", 400, "invalid_request"),
        ('{"content_type": "image/jpeg", "content_length": 10, "prompt": "\\ud800"}', 400, "invalid_request"),
        ('{"photo_of": "x", "images": [{"prompt": "\\ud800"}]}', 400, "invalid_request"),
        (
            '{"content_type": "image/jpeg", "content_length": 10, "metadata": {"a": "\\ud800"}}',
            400,
            "invalid_request",
        ),
        ({**REQUEST, "promt": "A typing error."}, 400, "invalid_request"),
    ],
)
def test_invalid_create_is_refused_and_stores_nothing(
    world: World, call: Any, body: object, status: int, code: str
) -> None:
    assert error_of(call("POST", "/api/v1/jobs", body), status) == code
    assert call("GET", "/api/v1/jobs")[1] == {"jobs": [], "cursor": None}
    assert world.replicate.requests == []


@pytest.mark.parametrize("kind", ["multipart/form-data", "application/x-www-form-urlencoded", "text/plain"])
def test_content_type_other_than_json_is_refused(call: Any, kind: str) -> None:
    assert error_of(call("POST", "/api/v1/jobs", REQUEST, content_type=kind), 415) == "not_json"


def test_json_content_type_takes_any_case_and_parameters(call: Any) -> None:
    for kind in ("APPLICATION/JSON", "application/json; charset=utf-8"):
        assert call("POST", "/api/v1/jobs", REQUEST, content_type=kind)[0] == 201


@pytest.mark.usefixtures("world")
def test_huge_body_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few clients could hold all functions of an account with such bodies."""
    body = json.dumps({f"mistake {number}": 0 for number in range(40_000)})
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("the body was read"))
    event = api_event("POST", "/api/v1/jobs", body)
    answer = api.handler(event, CONTEXT)
    assert answer["statusCode"] == 400
    assert "at most 524288 characters" in str(answer["body"])


def test_longest_order_is_accepted(call: Any) -> None:
    order = {
        **REQUEST,
        "prompt": "\N{ARTIST PALETTE}" * 2000,
        "images": [{"prompt": "\N{ARTIST PALETTE}" * 2000, "seed": 2**31 - 1}] * 10,
        "metadata": {f"{number:040}": "\N{ARTIST PALETTE}" * 200 for number in range(16)},
    }
    assert len(json.dumps(order)) > 300_000  # each character is escaped
    assert call("POST", "/api/v1/jobs", order)[0] == 201


@pytest.mark.parametrize("owner", ["\ud800", "", "x" * 3000])
def test_token_without_a_valid_owner_is_refused(call: Any, owner: str) -> None:
    assert error_of(call("GET", "/api/v1/jobs", owner=owner), 403) == "no_owner"
    assert error_of(call("POST", "/api/v1/jobs", REQUEST, owner=owner), 403) == "no_owner"


def test_unexpected_error_has_the_error_format(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(table, "get", broken)
    assert error_of(call("GET", "/api/v1/jobs/0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52"), 500) == "internal_error"


@pytest.mark.parametrize(
    ("name", "value"), [("TIMEZONE", "Asia/Seol"), ("REPLICATE_INPUT_MAPPING", '{"photo": "x"}')]
)
@pytest.mark.parametrize("path", ["/api/v1/openapi.json", "/api/v1/jobs"])
def test_invalid_setting_is_named_at_the_first_call(
    call: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, path: str
) -> None:
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    answer = call("GET", path)
    assert error_of(answer, 500) == "misconfigured"
    assert name in answer[1]["error"]["message"]


def test_replayed_create_returns_no_url_that_outlives_the_job(world: World, call: Any) -> None:
    call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")
    world.clock.advance(1100)  # upload URLs end at 1,200
    replayed = call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")[1]
    assert "X-Amz-Expires=100" in replayed["upload"]["url"]
    record.move_on(world.job(replayed["job_id"]), UploadExpired())
    assert call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")[1]["upload"] is None


def test_body_that_is_not_text_is_refused(context: SimpleNamespace, world: World) -> None:
    event = api_event("POST", "/api/v1/jobs", base64.b64encode(b"\xff\xfe\x00").decode())
    event["isBase64Encoded"] = True
    answer = api.handler(event, context)
    assert answer["statusCode"] == 400
    assert "invalid_request" in str(answer["body"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/nothing"),
        ("GET", "/api/v1/jobs/a/b/c"),
        ("POST", "/api/v1/jobs/x/again"),
    ],
)
def test_unknown_route_is_not_found(call: Any, method: str, path: str) -> None:
    assert error_of(call(method, path), 404) == "route_not_found"


@pytest.mark.parametrize(
    "job_id", ["unknown", "\x0c%25", "x" * 2000, "%00", "..", "0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52", "ü"]
)
def test_unknown_job_is_not_found(call: Any, job_id: str) -> None:
    assert error_of(call("GET", f"/api/v1/jobs/{job_id}"), 404) == "job_not_found"


def test_another_owners_job_is_not_found(call: Any) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST, owner="ann")[1]["job_id"]
    theirs = call("GET", f"/api/v1/jobs/{job_id}", owner="bob")
    none = call("GET", "/api/v1/jobs/0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52", owner="bob")
    assert theirs == none
    assert call("GET", "/api/v1/jobs", owner="bob")[1]["jobs"] == []


def test_list_is_paged_newest_first(world: World, call: Any) -> None:
    made = []
    for _ in range(5):
        made.append(call("POST", "/api/v1/jobs", REQUEST)[1]["job_id"])
        world.clock.advance(1)
    call("POST", "/api/v1/jobs", REQUEST, owner="bob")
    seen: list[str] = []
    for jobs in pages(call, "limit=2"):
        assert len(jobs) <= 2
        seen += [job["job_id"] for job in jobs]
    assert seen == made[::-1]


def test_cursor_reads_only_the_owners_jobs(world: World, call: Any) -> None:
    made: dict[str, list[str]] = {"ann": [], "bob": []}
    for _ in range(3):
        for owner, jobs in made.items():
            jobs.append(call("POST", "/api/v1/jobs", REQUEST, owner=owner)[1]["job_id"])
            world.clock.advance(1)
    cursor = call("GET", "/api/v1/jobs?limit=1", owner="ann")[1]["cursor"]  # after ann's newest job

    def after_cursor(owner: str) -> list[str]:
        page = call("GET", f"/api/v1/jobs?cursor={cursor}", owner=owner)[1]
        return [job["job_id"] for job in page["jobs"]]

    assert after_cursor("ann") == made["ann"][1::-1]
    assert after_cursor("bob") == made["bob"][1::-1]


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "cursor=" + base64.urlsafe_b64encode(b"{}").decode(),
        "cursor=" + base64.urlsafe_b64encode(b'{"created_at": "now", "job_id": "x"}').decode(),
        "cursor=%FF%FE",
        "cursor="
        + base64.urlsafe_b64encode(b'{"created_at":"2026-11-24T00:00:00.000000+0000","job_id":""}').decode(),
        "cursor="
        + base64.urlsafe_b64encode(
            b'{"created_at":"2026-1-1T0:0:0.0+0000","job_id":"0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52"}'
        ).decode(),
        "cursor=!"  # a good cursor, but for this sign
        + base64.urlsafe_b64encode(
            b'{"created_at":"2026-11-24T00:00:00.000000+0000","job_id":"0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52"}'
        ).decode(),
        "cursor="
        + base64.urlsafe_b64encode(
            b'{"created_at":"2026-11-24T00:00:00.000000+0000","job_id":"0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52",'
            b'"owner":"bob"}'
        ).decode(),
        "cursor=",
    ],
)
def test_invalid_cursor_is_refused(call: Any, query: str) -> None:
    assert error_of(call("GET", f"/api/v1/jobs?{query}"), 400) == "bad_cursor"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=-1", "limit=1.5", "cursor=" + "A" * 2000]
)
def test_invalid_query_is_refused(call: Any, query: str) -> None:
    assert error_of(call("GET", f"/api/v1/jobs?{query}"), 400) == "invalid_request"


def test_same_key_and_request_return_the_same_job(call: Any) -> None:
    first = call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")[1]
    assert call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")[1]["job_id"] == first["job_id"]
    assert call("POST", "/api/v1/jobs", REQUEST, idempotency_key="l")[1]["job_id"] != first["job_id"]
    assert (
        call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k", owner="bob")[1]["job_id"]
        != first["job_id"]
    )
    assert len(call("GET", "/api/v1/jobs")[1]["jobs"]) == 2


def test_id_in_capitals_names_the_same_job(call: Any) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST)[1]["job_id"]
    path = f"/api/v1/jobs/{job_id.upper()}"
    assert call("GET", path)[1]["job_id"] == job_id
    assert call("POST", f"{path}/cancel")[1]["job_id"] == job_id
    assert call("DELETE", path)[0] == 204
    assert call("GET", path)[0] == 404


def test_same_key_of_two_owners_makes_two_jobs(call: Any) -> None:
    jobs = {
        call("POST", "/api/v1/jobs", REQUEST, owner=owner, idempotency_key="k")[1]["job_id"]
        for owner in ("ann", "bob")
    }
    assert len(jobs) == 2


def test_same_key_with_another_request_is_refused(call: Any) -> None:
    call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")
    for other in (
        {**REQUEST, "content_length": 7},
        {**REQUEST, "prompt": "Other."},
        {**REQUEST, "checksum_sha256": SHA256},
    ):
        assert (
            error_of(call("POST", "/api/v1/jobs", other, idempotency_key="k"), 409) == "idempotency_key_used"
        )


def test_same_key_used_concurrently_creates_one_job(
    world: World, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = counts.create
    inner: list[Any] = []

    def other_first(*args: Any) -> Any:
        if not inner:
            inner.append(None)
            inner.append(call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k"))
        return create(*args)

    monkeypatch.setattr(counts, "create", other_first)
    outer = call("POST", "/api/v1/jobs", REQUEST, idempotency_key="k")
    assert outer[0] == 201
    assert outer[1]["job_id"] == inner[1][1]["job_id"]
    assert world.job(outer[1]["job_id"]).status is JobStatus.AWAITING_UPLOAD


@pytest.mark.parametrize("key", ["", "x" * 300])
def test_invalid_idempotency_key_is_refused(call: Any, key: str) -> None:
    assert error_of(call("POST", "/api/v1/jobs", REQUEST, idempotency_key=key), 400) == "invalid_request"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/jobs", "GET, POST"),
        ("PATCH", "/api/v1/jobs/x", "DELETE, GET"),
        ("GET", "/api/v1/jobs/x/retry", "POST"),
    ],
)
def test_wrong_method_is_answered_with_the_allowed_methods(
    call: Any, method: str, path: str, allowed: str
) -> None:
    answer = call(method, path)
    assert error_of(answer, 405) == "method_not_allowed"
    assert ", ".join(sorted(answer[2]["allow"].split(", "))) == allowed


def test_openapi_names_every_route_and_only_our_errors(call: Any) -> None:
    status, described, _ = call("GET", "/api/v1/openapi.json")
    assert status == 200
    assert described["openapi"].startswith("3.1")
    operations = {
        f"{method.upper()} {path}": operation["responses"]
        for path, item in described["paths"].items()
        for method, operation in item.items()
    }
    webhook = "POST /api/v1/webhooks/replicate"  # Replicate's own
    documented = [
        route
        for document in ("README.md", "functions/README.md")
        for route in re.findall(r"^\| `([A-Z]+ /api/v1/[^`?]+)", (ROOT / document).read_text(), re.MULTILINE)
        if not route.endswith("/docs")  # the page's
    ]
    assert sorted([*operations, webhook]) == sorted(documented)
    assert all("422" not in responses for responses in operations.values())
    operations.pop("GET /api/v1/styles/{style_id}/preview")  # needs no token
    for responses in operations.values():
        assert {"401", "403", "429", "500"} <= set(responses)
    size = described["components"]["schemas"]["CreateJob"]["properties"]["content_length"]
    assert size["exclusiveMinimum"] == 0
    assert "gt" not in size


def test_page_and_api_accept_the_same_prompts(world: World, call: Any) -> None:
    described = call("GET", "/api/v1/openapi.json")[1]
    limits = described["components"]["schemas"]["CreateJob"]["properties"]["prompt"]
    page = (ROOT / "functions/page/static/settings.js").read_text()
    assert f"LONGEST_PROMPT = {limits['maxLength']};" in page


def test_description_is_closed_and_has_examples(call: Any) -> None:
    described = call("GET", "/api/v1/openapi.json")[1]
    schemas = described["components"]["schemas"]
    codes = set(schemas["RequestErrorView"]["properties"]["code"]["enum"])
    assert {"invalid_request", "photo_gone", "nothing_to_retry"} <= codes
    assert "prediction_failed" in schemas["ErrorView"]["properties"]["code"]["enum"]
    assert schemas["JobView"]["properties"]["created_at"]["format"] == "date-time"
    assert schemas["JobView"]["properties"]["job_id"]["format"] == "uuid"
    for name in (
        "CreateJob",
        "JobCreated",
        "JobView",
        "JobList",
        "LimitsView",
        "StyleList",
        "UsageView",
        "ErrorResponse",
    ):
        for example in schemas[name]["examples"]:
            missing = set(schemas[name].get("required", ())) - set(example)
            assert not missing, (name, missing)
    assert JobView.model_validate(schemas["JobView"]["examples"][0])
    for order in schemas["CreateJob"]["examples"]:
        CreateJob.model_validate(order)
    tags = {tag["name"] for tag in described["tags"]}
    for item in described["paths"].values():
        for operation in item.values():
            assert set(operation["tags"]) <= tags
    assert "InitiateAuth" in described["components"]["securitySchemes"]["token"]["description"]
    assert "Authorization: Bearer" in described["components"]["securitySchemes"]["token"]["description"]
    for word in ("SignatureDoesNotMatch", "PreconditionFailed", "BadDigest", "AllowedOrigins"):
        assert word in described["info"]["description"]


def test_parameters_are_described_as_a_client_sends_them(call: Any) -> None:
    described = call("GET", "/api/v1/openapi.json")[1]
    parameters = {
        (operation["operationId"], parameter["name"]): parameter
        for item in described["paths"].values()
        for operation in item.values()
        for parameter in operation.get("parameters", ())
    }
    assert len(parameters) > 10
    for name, parameter in parameters.items():  # a parameter is left out, and never null
        assert "null" not in json.dumps(parameter["schema"]), name
    assert parameters["getJob", "job_id"]["schema"]["format"] == "uuid"  # as in the job
    metadata = parameters["listJobs", "metadata"]
    assert (metadata["style"], metadata["explode"]) == ("form", True)
    assert re.match(metadata["schema"]["propertyNames"]["pattern"], "metadata.order")
    entries = described["components"]["schemas"]["CreateJob"]["properties"]["metadata"]
    assert entries["additionalProperties"]["type"] == "string"
    assert re.match(entries["propertyNames"]["pattern"], "order")


def test_event_is_described_as_it_is_sent(world: World, call: Any) -> None:
    described = call("GET", "/api/v1/openapi.json")[1]
    body = described["webhooks"]["jobEnded"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    detail = described["components"]["schemas"]["JobEnded"]
    sent = Detail.of(world.job(call("POST", "/api/v1/jobs", REQUEST)[1]["job_id"])).model_dump()
    assert set(detail["properties"]) == set(sent)
    example = described["webhooks"]["jobEnded"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    Detail.model_validate(example["detail"])
    assert body["properties"]["detail"]["$ref"].endswith("/JobEnded")
    of_a_job = described["components"]["schemas"]["JobView"]["properties"]
    for field in ("job_id", "created_at", "updated_at"):
        assert detail["properties"][field]["format"] == of_a_job[field]["format"]
    codes = [
        described["components"]["schemas"][name]["properties"]["code"]["enum"]
        for name in ("EndedError", "ErrorView")
    ]
    assert codes[0] == codes[1]


def test_unneeded_body_is_ignored(world: World, call: Any) -> None:
    job_id = call("POST", "/api/v1/jobs", REQUEST)[1]["job_id"]
    assert call("POST", f"/api/v1/jobs/{job_id}/cancel", "{", content_type="text/plain")[0] == 200
