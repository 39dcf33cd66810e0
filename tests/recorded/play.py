"""Plays the steps of a recorded case on a cloud and compares its answers with AWS's. README.md describes the steps."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree as ET

import boto3
import httpx
from botocore import auth
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.recorded.cases import Case

ANY = "{any}"  # in an answer: any value but none
_POLL_SECONDS = 0.1


@dataclass
class Cloud:
    """A cloud to play on: its endpoint, the account's key and its region."""

    endpoint: str
    access_key_id: str
    secret_access_key: str
    region: str
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        if service not in self._clients:
            session = boto3.Session(self.access_key_id, self.secret_access_key, region_name=self.region)
            config = Config(
                signature_version="s3v4" if service == "s3" else None,
                s3={"addressing_style": "path"},
                parameter_validation=False,  # the cloud refuses what it does not accept
                retries={"total_max_attempts": 1},
                proxies={},
            )
            self._clients[service] = session.client(service, endpoint_url=self.endpoint, config=config)  # type: ignore[call-overload]  # the stub lists literal names
        return self._clients[service]

    def prepare(self, account: str) -> dict[str, str]:
        """Make a bucket and queues for one case; return the names that the case uses."""
        name = f"case-{uuid.uuid4().hex}"
        self.client("s3").create_bucket(Bucket=name)
        names = {"name": name, "bucket": name, "region": self.region, "account": account}
        for one, queue in (("queue", name), ("dead_letter", f"{name}-dead"), ("other", f"{name}-other")):
            url = self.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
            names |= {one: url, f"{one}_arn": f"arn:aws:sqs:{self.region}:{account}:{queue}"}
        return {**names, "dead_letters": names["dead_letter"]}


def differences(case: Case, cloud: Cloud, names: dict[str, str]) -> dict[str, str]:
    """Play a case; return what AWS and the cloud answered, by the place of each difference, such as "2.Error.Code".

    Args:
        case: The case.
        cloud: The cloud.
        names: A value for each name that the steps use as {name}, such as {bucket}. Saved values are added.
    """
    found: dict[str, str] = {}
    with httpx.Client(trust_env=False) as http:
        for number, step in enumerate(case.content["steps"], 1):
            end = time.monotonic() + step.get("within", 0)
            while True:
                answer = _http(step, cloud, http, names) if "http" in step else _call(step, cloud, names)
                differing = dict(compare(filled(step.get("answer", {}), names), answer))
                if not differing or time.monotonic() > end:
                    break
                time.sleep(_POLL_SECONDS)
            found |= {f"{number}.{place}": text for place, text in differing.items()}
            if "answer" not in step and answer["status"] >= 300:
                return found | {f"{number}.status": f"this step is needed for the next ones: {answer}"}
            try:
                names |= {name: str(_at(answer, path)) for name, path in step.get("save", {}).items()}
            except (KeyError, IndexError):
                return found | {f"{number}.save": f"the next steps need a value of this answer: {answer}"}
            time.sleep(step.get("pause", 0))
    return found


def name_of(case: Case) -> str:
    return f"{case.file}: {case.name}"


def assert_listed(case: Case, listed: Mapping[str, tuple[str, str]], found: dict[str, str]) -> None:
    """Assert that the case differs from AWS exactly in the listed places: name → reason and places."""
    _, places = listed.get(name_of(case), ("", ""))
    assert set(found) == set(places.split()), found


def compare(aws: object, here: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Return each place where `here` lacks AWS's answer. More fields than AWS's are no difference."""
    match aws, here:
        case dict(), dict():
            for name, value in aws.items():
                yield from compare(value, here.get(name), f"{place}.{name}".lstrip("."))
        case list(), list() if len(aws) == len(here):
            for number, (one, other) in enumerate(zip(aws, here, strict=True)):
                yield from compare(one, other, f"{place}.{number}".lstrip("."))
        case _ if aws == ANY:
            if here in (None, "", [], {}):
                yield place, "AWS: a value; here: none"
        case _ if aws != here:
            yield place, f"AWS: {aws!r}; here: {here!r}"


def _call(step: dict[str, Any], cloud: Cloud, names: dict[str, str]) -> dict[str, Any]:
    """Call an operation of an SDK's client; return its answer with the HTTP status."""
    service, _, operation = step["call"].partition(".")
    client = cloud.client(service)
    headers = step.get("headers", {})

    def add_headers(request: Any, **_: object) -> None:
        for name, value in headers.items():
            request.headers[name] = value

    client.meta.events.register_first(f"before-send.{service}", add_headers, unique_id="recorded")
    try:
        answer = dict(getattr(client, operation)(**filled(step.get("with", {}), names)))
    except ClientError as error:
        answer = dict(error.response)
    finally:
        client.meta.events.unregister(f"before-send.{service}", unique_id="recorded")
    if "Body" in answer:
        answer["Body"] = answer["Body"].read().decode()
    for message in answer.get("Messages", []):
        if message["Body"].startswith("{"):
            message["Json"] = json.loads(message["Body"])
    if "Messages" in answer:  # a standard queue has no order
        answer["Messages"].sort(key=lambda message: message["Body"])
    return {"status": answer.pop("ResponseMetadata")["HTTPStatusCode"], **answer}


def _http(step: dict[str, Any], cloud: Cloud, http: httpx.Client, names: dict[str, str]) -> dict[str, Any]:
    """Send a request without an SDK; return status, headers, and the body or the elements of an error's XML."""
    url = _url(step, cloud, names)
    headers = {name.lower(): value for name, value in step.get("headers", {}).items()}
    response = http.request(step["http"], url, headers=headers, content=step.get("body", ""))
    answer: dict[str, Any] = {
        "status": response.status_code,
        "headers": {name.lower(): value for name, value in response.headers.items()},
    }
    if response.text.lstrip().startswith(("<?xml", "<Error>")):
        answer["Error"] = {one.tag: one.text or "" for one in ET.fromstring(response.text)}
    else:
        answer["body"] = response.text
    return answer


def _url(step: dict[str, Any], cloud: Cloud, names: dict[str, str]) -> str:
    """Return the URL of an object, presigned if the step says for which operation."""
    if "presign" not in step:
        return f"{cloud.endpoint}/{names['bucket']}/{quote(step.get('key', ''))}"
    age = timedelta(seconds=step.get("age", 0))
    now = datetime.now(UTC).replace(tzinfo=None) - age
    with mock.patch.object(auth, "get_current_datetime", return_value=now):
        url = cloud.client("s3").generate_presigned_url(
            step["presign"], Params=filled(step["with"], names), ExpiresIn=step.get("seconds", 60)
        )
    if old := step.get("replace"):
        url = url.replace(old[0], old[1])
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "without" not in step and "query" not in step:
        return str(url)
    query = {**step.get("query", {}), **query}
    for name in step.get("without", []):
        del query[name]
    return str(urlunsplit(parts._replace(query=urlencode(query, quote_via=quote, safe=""))))


def filled(value: Any, names: dict[str, str]) -> Any:
    """Return the value with each {name} replaced, and long, JSON and binary texts written out."""
    match value:
        case {"repeat": text, "times": times}:
            value = text * times
        case {"json": inner}:
            value = json.dumps(filled(inner, names))
        case {"bytes": text}:
            value = text.encode()
        case dict():
            value = {name: filled(member, names) for name, member in value.items()}
        case list():
            value = [filled(member, names) for member in value]
        case str():
            for name, text in names.items():
                value = value.replace(f"{{{name}}}", text)
    return value


def _at(answer: Any, path: str) -> Any:
    for name in path.split("."):
        answer = answer[int(name)] if isinstance(answer, list) else answer[name]
    return answer
