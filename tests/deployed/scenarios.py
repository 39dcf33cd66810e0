"""The acceptance scenarios. The end-to-end tests run the same functions on the local cloud.

Each takes what it needs, returns what it saw in a few words, and raises `ProblemError` if a promise is broken.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import re
import time
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from PIL import Image

from tests.deployed.verdict import NotJudgedError, ProblemError
from tests.support.client import JOBS, Client

type Json = dict[str, Any]

WEBHOOKS = "/api/v1/webhooks/replicate"
STALE_SECONDS = 3600  # far outside of the tolerance for a webhook's timestamp
TEXT = b"This is no photo."
PATIENCE = 30  # seconds for an upload whose URL expires
LIST_SECONDS = 10  # until the list, which reads an index of the table, shows a change; usually less than one
PAGE_HEADERS = (
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
)
STRANGE_ORIGIN = "https://another-origin.example"
PREFLIGHT = {
    "access-control-request-method": "PUT",
    "access-control-request-headers": "content-type,if-none-match",
}


def expect(answer: httpx.Response, status: int, what: str) -> None:
    """Check the status of an answer.

    Raises:
        ProblemError: It is another one.
    """
    if answer.status_code != status:
        raise ProblemError(
            f"{what}: answered with {answer.status_code}, not {int(status)}. {beginning(answer)}"
        )


def beginning(answer: httpx.Response) -> str:
    """Return the beginning of an answer, if it is text, on one line."""
    kind = answer.headers.get("content-type", "")
    text = " ".join(answer.text.split())[:300] if re.search("json|xml|text", kind) else ""
    return text or f"The answer is {kind or 'empty'}."


def must(right: object, wrong: str) -> None:
    """Raise a ProblemError with the message `wrong`, unless `right` is true."""
    if not right:
        raise ProblemError(wrong)


# ── the API ──


def api_describes_itself(client: Client) -> str:
    answer = client.http.get(f"{client.api}/api/v1/openapi.json")
    expect(answer, HTTPStatus.OK, "GET openapi.json")
    return f"OpenAPI {answer.json()['openapi']}, {len(answer.json()['paths'])} paths"


def api_refuses_requests_without_a_token(client: Client) -> str:
    expect(client.http.get(client.api + JOBS), HTTPStatus.UNAUTHORIZED, "no token")
    forged = {"authorization": f"Bearer {client.tokens[0].rpartition('.')[0]}.c2lnbmF0dXJl"}
    expect(
        client.http.get(client.api + JOBS, headers=forged),
        HTTPStatus.UNAUTHORIZED,
        "a token with another signature",
    )
    return "401 without a token and with a forged one"


def api_answers_preflights(client: Client, origins: Collection[str]) -> str:
    """Check the preflight of each route that a browser calls, from each origin."""
    if not origins:
        raise NotJudgedError("AllowedOrigins is empty: only the stack's own page uses the API.")
    for origin in origins:
        for method in ("GET", "POST", "DELETE"):
            answer = _preflight(client, origin, method)
            allowed(answer, origin, method, "the API", "Check AllowedOrigins and deploy again.")
    return f"allowed from {', '.join(origins)}"


def other_origins_are_refused(client: Client, origins: Collection[str]) -> str:
    """Check that a page on an origin that AllowedOrigins does not name, or names no longer, cannot read the API."""
    if every := {"*", "https://*"}.intersection(origins):
        raise NotJudgedError(f"AllowedOrigins is {every.pop()}: every page may call the API.")
    found = _preflight(client, STRANGE_ORIGIN, "GET").headers.get("access-control-allow-origin")
    must(
        found not in {STRANGE_ORIGIN, "*"},
        f"CORS: a browser on {STRANGE_ORIGIN} may call the API, and AllowedOrigins does not name it. Look at the CORS "
        "settings of the API in the console of API Gateway: an update may have left old ones.",
    )
    return f"refused from {STRANGE_ORIGIN}"


def _preflight(client: Client, origin: str, method: str) -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type",
    }
    return client.http.options(client.api + JOBS, headers=headers)


def bad_requests_are_refused(client: Client, max_upload_bytes: int) -> str:
    refused = {
        "invalid_request": (400, {"content_type": "image/jpeg"}),
        "photo_unsupported": (415, {"content_type": "text/plain", "content_length": 1}),
        "photo_too_large": (413, {"content_type": "image/jpeg", "content_length": max_upload_bytes + 1}),
    }
    for code, (status, body) in refused.items():
        answer = client.request("POST", JOBS, json=body)
        expect(answer, status, code)
        must(answer.json()["error"]["code"] == code, f"{code}: the answer is {beginning(answer)}")
    return ", ".join(refused)


# ── the upload ──


def same_key_is_the_same_job(client: Client) -> str:
    """Repeat a request with its Idempotency-Key."""
    headers = {"idempotency-key": f"judge {time.time_ns()}"}
    body = {"content_type": "image/jpeg", "content_length": len(client.photo)}
    first, again = (client.request("POST", JOBS, json=body, headers=headers) for _ in range(2))
    for answer in (first, again):
        expect(answer, HTTPStatus.CREATED, "POST a job")
    must(
        first.json()["job_id"] == again.json()["job_id"],
        "The same Idempotency-Key made two jobs.",
    )
    return "the same job twice"


def upload_host_is_regional(created: Mapping[str, Any], hosts: Collection[str]) -> str:
    """Check the host of the presigned URL, before anything is sent there."""
    host = urlsplit(created["upload"]["url"]).netloc
    must(
        host in hosts,
        f"The upload URL is for {host}, not for {' or '.join(sorted(hosts))}. A global host redirects, which breaks a "
        "browser's preflight. Deploy unchanged code.",
    )
    return str(host)


def upload_url_signs_everything(created: Mapping[str, Any], seconds: int) -> str:
    """Check what the presigned URL signs, and that it is valid for at most `seconds`."""
    query = parse_qs(urlsplit(created["upload"]["url"]).query)
    signed = set(query["X-Amz-SignedHeaders"][0].split(";"))
    missing = {"content-length", "content-type", "host", "if-none-match"} - signed
    must(not missing, f"The upload URL does not sign {', '.join(sorted(missing))}. Deploy unchanged code.")
    lifetime = int(query["X-Amz-Expires"][0])
    must(0 < lifetime <= seconds, f"The upload URL is valid for {lifetime} s, not for {seconds} s.")
    return f"{', '.join(sorted(signed))}; valid for {lifetime} s"


def bucket_answers_preflights(client: Client, created: Mapping[str, Any], origins: Collection[str]) -> str:
    """Check the preflight of a browser's upload from each origin."""
    if not origins:
        raise NotJudgedError("No browser may upload: AllowedOrigins is empty, and ServePage is false.")
    for origin in origins:
        answer = client.http.options(created["upload"]["url"], headers={"origin": origin, **PREFLIGHT})
        allowed(answer, origin, "PUT", "the bucket", "Check the bucket's CORS rules and deploy again.")
    return f"allowed from {', '.join(origins)}"


def allowed(answer: httpx.Response, origin: str, method: str, where: str, do: str) -> None:
    """Check the answer to a preflight.

    Raises:
        ProblemError: A browser would not send the request.
    """
    found = answer.headers.get("access-control-allow-origin", "none")
    methods = answer.headers.get("access-control-allow-methods", "none")
    right = answer.is_success and found in {origin, "*"} and method in methods.replace(" ", "").split(",")
    must(
        right,
        f"CORS: a browser on {origin} may not send {method} to {where}. The preflight was answered with "
        f"{answer.status_code}, allowed origin {found}, methods {methods}. {do}",
    )


def altered_uploads_are_refused(client: Client, created: Mapping[str, Any]) -> str:
    """Try uploads that are not as declared. None of them may be stored."""
    url, headers = created["upload"]["url"], created["upload"]["headers"]
    shorter = {**headers, "Content-Length": str(len(client.photo) - 1)}
    tries = {
        "another type": client.http.put(
            url, headers={**headers, "Content-Type": "text/html"}, content=client.photo
        ),
        "another length": client.http.put(url, headers=shorter, content=client.photo[:-1]),
        "another signature": client.http.put(altered(url), headers=headers, content=client.photo),
        "no If-None-Match": client.http.put(
            url,
            headers={name: value for name, value in headers.items() if name.lower() != "if-none-match"},
            content=client.photo,
        ),
    }
    for what, answer in tries.items():
        expect(answer, HTTPStatus.FORBIDDEN, f"An upload with {what}")
    return f"403 for {', '.join(tries)}"


def altered(url: str) -> str:
    """Return the presigned URL with another digit in its signature."""
    return re.sub(r"(X-Amz-Signature=)(.)", lambda found: found[1] + ("1" if found[2] == "0" else "0"), url)


def upload_is_accepted_once(client: Client, created: Mapping[str, Any]) -> str:
    expect(client.upload(created), HTTPStatus.OK, "The upload")
    second = client.upload(created)
    must(
        second.status_code == HTTPStatus.PRECONDITION_FAILED,
        f"A second upload was answered with {second.status_code}, not 412: the photo can be replaced. "
        "Deploy unchanged code.",
    )
    return "200, then 412"


def expired_upload_is_refused(client: Client, seconds: int) -> str:
    """Wait until the URL of another job expires, if `seconds`, its lifetime, is short."""
    if seconds > PATIENCE:
        raise NotJudgedError(f"An upload URL expires only after {seconds} s (UploadUrlSeconds).")
    created = client.create()
    time.sleep(seconds + 1)  # the clock of S3 decides
    expect(client.upload(created), HTTPStatus.FORBIDDEN, "An upload after the URL's end")
    return f"403 after {seconds} s"


# ── the images ──


def job_succeeds(client: Client, job_id: str, count: int, within: float) -> Json:
    """Wait for all images; check that each is another picture."""
    job = client.end_of(job_id, within=within, every=1)
    errors = [one["error"] for one in (job, *job["images"]) if one["error"]]
    must(
        job["status"] == "SUCCEEDED",
        f"Job {job_id} is {job['status']}: "
        + " ".join(sorted({f"{error['code']}. {error['message']}" for error in errors}))
        + " Find the code in functions/README.md.",
    )
    must(len(job["images"]) == count, f"The job has {len(job['images'])} images, not {count}.")
    outputs = []
    for image in job["images"]:
        answer = client.http.get(image["url"])
        expect(answer, HTTPStatus.OK, f"Image {image['index']}")
        must(
            len(answer.content) == image["size"],
            f"Image {image['index']} has {len(answer.content)} bytes, not {image['size']}.",
        )
        Image.open(io.BytesIO(answer.content)).verify()
        outputs.append(answer.content)
    must(len(set(outputs)) == count, "Two images are the same. Check the model's seed.")
    return job


def outputs_are_private(client: Client, job: Mapping[str, Any]) -> str:
    """Check that a URL gives no access without its signature."""
    url = urlsplit(job["images"][0]["url"])._replace(query="").geturl()
    expect(client.http.get(url), HTTPStatus.FORBIDDEN, "An output's URL, unsigned")
    return "403 without a signature"


def jobs_are_private(client: Client, job: Mapping[str, Any]) -> str:
    """Check that another user's token gives no access."""
    if len(client.tokens) == 1:
        raise NotJudgedError("There is only one user. Give a second --token.")
    path = f"{JOBS}/{job['job_id']}"
    for method, where in (("GET", path), ("DELETE", path), ("POST", f"{path}/retry")):
        expect(client.request(method, where, user=1), HTTPStatus.NOT_FOUND, f"{method} of another user's job")
    must(job["job_id"] not in client.request("GET", JOBS, user=1).text, "Another user's list has the job.")
    return "404 for another user"


def etag_saves_an_answer(client: Client, job_id: str) -> str:
    path = f"{JOBS}/{job_id}"
    first = client.request("GET", path)
    expect(first, HTTPStatus.OK, "GET the job")
    again = client.request("GET", path, headers={"if-none-match": first.headers["etag"]})
    if again.status_code == HTTPStatus.OK and again.headers["etag"] != first.headers["etag"]:
        # The ETag changes when its URLs approach their end.
        again = client.request("GET", path, headers={"if-none-match": again.headers["etag"]})
    expect(again, HTTPStatus.NOT_MODIFIED, "GET the job with its ETag")
    return "304"


def job_is_listed(client: Client, job_id: str) -> str:
    answer = client.request("GET", f"{JOBS}?limit=10")
    expect(answer, HTTPStatus.OK, "GET the list")
    must(job_id in {job["job_id"] for job in answer.json()["jobs"]}, f"The list lacks job {job_id}.")
    return f"{len(answer.json()['jobs'])} jobs"


def retry_changes_nothing(client: Client, job: Mapping[str, Any]) -> str:
    """Retry a job that has no failed image, or whose photo was refused. Nothing may be paid for."""
    answer = client.request("POST", f"{JOBS}/{job['job_id']}/retry")
    expect(answer, HTTPStatus.CONFLICT, "Retry")
    code = answer.json()["error"]["code"]
    must(code == "nothing_to_retry", f"The retry was refused as {code}, not as nothing_to_retry.")
    after = client.job(job["job_id"])
    for name in ("status", "updated_at"):
        must(after[name] == job[name], f"The retry changed {name} to {after[name]}.")
    return f"the job stays {job['status']}"


def no_photo_is_refused(client: Client) -> Json:
    """Upload a text as a JPEG; return the failed job. It may cost no prediction."""
    created = client.create(content_length=len(TEXT))
    upload = created["upload"]
    expect(
        client.http.put(upload["url"], headers=upload["headers"], content=TEXT),
        HTTPStatus.OK,
        "Upload a text",
    )
    job = client.end_of(created["job_id"], within=180, every=1)
    code = (job["error"] or {}).get("code")
    must(job["status"] == "FAILED" and code == "photo_unsupported", f"A text is {job['status']}, {code}.")
    must(not any(image["prediction_id"] for image in job["images"]), f"Job {job['job_id']} paid for a text.")
    return job


def cancel_ends_a_job(client: Client) -> str:
    job_id = client.create()["job_id"]
    answer = client.request("POST", f"{JOBS}/{job_id}/cancel")
    expect(answer, HTTPStatus.OK, "Cancel")
    must(answer.json()["status"] == "CANCELED", f"The job is {answer.json()['status']} after the cancel.")
    return "CANCELED before its upload"


def deleted_job_is_gone(client: Client, job: Mapping[str, Any]) -> str:
    path = f"{JOBS}/{job['job_id']}"
    expect(client.request("DELETE", path), HTTPStatus.NO_CONTENT, "DELETE the job")
    expect(client.request("GET", path), HTTPStatus.NOT_FOUND, "GET the deleted job")
    give_up_at = time.monotonic() + LIST_SECONDS
    while job["job_id"] in _listed(client):
        must(
            time.monotonic() < give_up_at,
            f"The list still has the deleted job {job['job_id']}, {LIST_SECONDS} s after the delete.",
        )
        time.sleep(0.5)  # there is no event to wait for
    for image in job["images"]:
        if image["url"] and client.http.get(image["url"]).is_success:
            raise ProblemError(f"Image {image['index']} of the deleted job can still be downloaded.")
    return "204, then 404"


def _listed(client: Client) -> str:
    answer = client.request("GET", JOBS)
    expect(answer, HTTPStatus.OK, "GET the list")
    return answer.text


# ── webhooks ──


def forged_webhooks_are_refused(client: Client, job_id: str, secret: str | None) -> str:
    """Send webhooks that Replicate did not send. `secret` is its signing secret, to make an old one."""
    url = f"{client.api}{WEBHOOKS}?job_id={job_id}&image=0&attempt=1"
    body = json.dumps({"id": "forged", "status": "succeeded", "output": "https://replicate.delivery/x.png"})
    now = int(time.time())
    forged = {
        "no signature": {},
        "another key": signed(body, base64.b64encode(bytes(24)).decode(), now),
    }
    if secret:
        forged["an old timestamp"] = signed(body, secret.removeprefix("whsec_"), now - STALE_SECONDS)
    for what, headers in forged.items():
        answer = client.http.post(url, content=body, headers={"content-type": "application/json", **headers})
        expect(answer, HTTPStatus.UNAUTHORIZED, f"A webhook with {what}")
    status = client.job(job_id)["status"]
    must(status == "AWAITING_UPLOAD", f"A forged webhook changed the job to {status}.")
    return f"401 for {', '.join(forged)}"


def signed(body: str, key: str, at: int) -> dict[str, str]:
    """Return the headers of a webhook: https://replicate.com/docs/topics/webhooks/verify-webhook."""
    content = f"msg_judge.{at}.{body}".encode()
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), content, hashlib.sha256)).decode()
    return {
        "webhook-id": "msg_judge",
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{signature}",
    }


# ── the page ──


def page_is_served(http: httpx.Client, url: str, hosts: Collection[str]) -> str:
    answer = http.get(url)
    expect(answer, HTTPStatus.OK, "GET the page")
    policy = answer.headers.get("content-security-policy", "")
    must("default-src 'none'" in policy, f"The page's Content-Security-Policy is {policy or 'missing'}.")
    must(
        any(host in policy for host in hosts),
        f"The page's Content-Security-Policy does not allow {' or '.join(sorted(hosts))}. Deploy again.",
    )
    missing = [name for name in PAGE_HEADERS if name not in answer.headers]
    must(not missing, f"The page's answer has no {', '.join(missing)}. Deploy unchanged code.")
    return "200, with its Content-Security-Policy and the other headers"
