"""Tests of the local cloud's AWS server and of the resources that it creates."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.localcloud import aws
from tests.localcloud.provision import provision
from tests.localcloud.s3_signature import RefusedError, S3Request, authorize
from tests.localcloud.template import TEMPLATE, TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from tests.localcloud.stack import Stack

REGION = "us-east-1"
BODY = b"a photo"
SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
HEADERS = {"content-type": "image/jpeg", "if-none-match": "*", "x-amz-checksum-sha256": SHA256}


@pytest.fixture(scope="module")
def server() -> Iterator[aws.Aws]:
    running = aws.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    return boto3.Session(aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY, region_name=REGION)


@pytest.fixture(scope="module")
def s3(server: aws.Aws, session: boto3.Session) -> S3Client:
    return session.client("s3", endpoint_url=server.endpoint, config=Config(signature_version="s3v4"))


@pytest.fixture(scope="module")
def sqs(server: aws.Aws, session: boto3.Session) -> SQSClient:
    return session.client("sqs", endpoint_url=server.endpoint, config=Config(max_pool_connections=20))


@pytest.fixture(scope="module")
def dynamodb(server: aws.Aws, session: boto3.Session) -> DynamoDBClient:
    return session.client("dynamodb", endpoint_url=server.endpoint, config=Config(max_pool_connections=20))


@pytest.fixture(scope="module")
def stack(server: aws.Aws) -> Stack:
    return _provision(server, TEMPLATE, {"AllowedOrigins": "https://app.example,https://*.example.org"})


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


def _provision(server: aws.Aws, template: Path, parameters: dict[str, str], name: str = "triptych") -> Stack:
    return provision(
        template,
        parameters,
        endpoint=server.endpoint,
        api_url="http://127.0.0.1:3000",
        stack_name=name,
        region=REGION,
        account=aws.ACCOUNT,
    )


def _upload_url(s3: S3Client, stack: Stack, key: str, expires: int = 60) -> str:
    return s3.generate_presigned_url(
        "put_object",
        Params={
            "Bucket": stack.outputs["Bucket"],
            "Key": key,
            "ContentType": "image/jpeg",
            "ContentLength": len(BODY),
            "IfNoneMatch": "*",
            "ChecksumSHA256": SHA256,
        },
        ExpiresIn=expires,
    )


def _download_url(s3: S3Client, stack: Stack, key: str, **more: str) -> str:
    parameters = {"Bucket": stack.outputs["Bucket"], "Key": key, **more}
    return s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=60)


def _code(response: httpx.Response) -> str:
    return response.text.partition("<Code>")[2].partition("</Code>")[0]


def _queue(sqs: SQSClient, name: str, **attributes: str) -> str:
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]  # the stub lists literal names


# Created resources.


def test_stack_describes_functions_sources_routes_and_policies(stack: Stack, server: aws.Aws) -> None:
    generate = stack.functions["GenerateFunction"]
    assert generate.code == TEMPLATE.parent / "functions/generate"
    assert [layer.name for layer in generate.layers[:2]] == ["dependencies", "triptych"]
    assert generate.environment["WEBHOOK_URL"] == "http://127.0.0.1:3000/api/v1/webhooks/replicate"
    assert generate.environment["BUCKET"] == stack.outputs["Bucket"]
    queues = {one.queue_url: one for one in stack.event_sources if one.function == "GenerateFunction"}
    assert queues.keys() == {stack.outputs["GenerationQueueUrl"], stack.outputs["WaitingQueueUrl"]}
    source = queues[stack.outputs["GenerationQueueUrl"]]
    assert source.queue_url.startswith(server.endpoint)
    assert source.reports_batch_item_failures
    assert {(route.method, route.path) for route in stack.http_api.routes if route.authorizer is None} == {
        ("POST", "/api/v1/webhooks/replicate"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/"),
        ("GET", "/page/{file}"),
        ("GET", "/api/v1/docs"),
        ("GET", "/api/v1/styles/{style_id}/preview"),
    }
    assert {route.authorizer for route in stack.http_api.routes} == {None, "Owner"}
    owner = stack.http_api.authorizers["Owner"]
    assert owner.issuer == f"https://cognito-idp.{REGION}.amazonaws.com/{stack.outputs['UserPoolId']}"
    assert owner.audience == (stack.outputs["UserPoolClientId"],)
    (back_off,) = [one for one in stack.policies["GenerateFunction"] if one.sid == "BackOff"]
    assert back_off.action == ("sqs:ChangeMessageVisibility", "sqs:SendMessage")
    assert set(back_off.resource) == {one.queue_arn for one in queues.values()}


def test_created_resources_match_the_template(
    stack: Stack, s3: S3Client, sqs: SQSClient, dynamodb: DynamoDBClient
) -> None:
    bucket, table = stack.outputs["Bucket"], stack.outputs["Table"]
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"][
        "RestrictPublicBuckets"
    ]
    rule = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"][0]
    assert (rule["Expiration"]["Days"], rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]) == (
        30,
        1,
    )
    assert s3.get_bucket_ownership_controls(Bucket=bucket)
    assert s3.get_bucket_encryption(Bucket=bucket)
    url = stack.outputs["GenerationQueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["VisibilityTimeout"] == "300"
    assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"].endswith(
        "GenerationDeadLetterQueue"
    )
    assert "s3.amazonaws.com" in attributes["Policy"]
    described = dynamodb.describe_table(TableName=table)["Table"]
    assert described["GlobalSecondaryIndexes"][0]["IndexName"] == "by-owner"
    assert (
        dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]["AttributeName"]
        == "expires_at"
    )


def test_jwt_issuer_replaces_the_user_pool(server: aws.Aws) -> None:
    parameters = {"JwtIssuer": "https://issuer.example", "JwtAudience": "a,b"}
    stack = _provision(server, TEMPLATE, parameters, "another")
    assert stack.http_api.authorizers["Owner"].issuer == "https://issuer.example"
    assert stack.http_api.authorizers["Owner"].audience == ("a", "b")
    assert "UserPoolId" not in stack.outputs


def test_pool_issues_tokens_and_publishes_keys(
    stack: Stack, server: aws.Aws, session: boto3.Session, http: httpx.Client
) -> None:
    cognito: CognitoIdentityProviderClient = session.client("cognito-idp", endpoint_url=server.endpoint)
    pool, name, password = stack.outputs["UserPoolId"], "a@example.com", "correct horse 1 Battery!"
    cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=password, Permanent=True)
    signed_in = cognito.initiate_auth(
        ClientId=stack.outputs["UserPoolClientId"],
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": name, "PASSWORD": password},
    )
    assert signed_in["AuthenticationResult"]["IdToken"]
    assert http.get(f"{server.endpoint}/{pool}/.well-known/jwks.json").json()["keys"]


@pytest.mark.parametrize(
    ("resources", "culprit"),
    [
        (
            """
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      NotificationConfiguration: {QueueConfigurations: [{Event: "s3:ObjectCreated:*", Queue: !GetAtt Queue.Arn}]}
  Queue: {Type: AWS::SQS::Queue}
""",
            r"Bucket .*DependsOn names no policy",
        ),
        (
            """
  Hasty: {Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 5}}
  Function:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.13
      Handler: a.b
      CodeUri: .
      Timeout: 6
      Events: {Work: {Type: SQS, Properties: {Queue: !GetAtt Hasty.Arn}}}
""",
            r"FunctionWork .*VisibilityTimeout of 5 s is less than the Timeout of Function, 6 s",
        ),
    ],
)
def test_undeployable_template_is_not_provisioned(
    server: aws.Aws, tmp_path: Path, resources: str, culprit: str
) -> None:
    head = 'AWSTemplateFormatVersion: "2010-09-09"\nTransform: AWS::Serverless-2016-10-31\nResources:'
    (tmp_path / "template.yaml").write_text(head + resources)
    with pytest.raises(TemplateError, match=culprit):
        _provision(server, tmp_path / "template.yaml", {}, "wrong")


# Uploads and downloads.


def test_url_accepts_one_upload_and_sends_one_event(
    stack: Stack, s3: S3Client, sqs: SQSClient, http: httpx.Client
) -> None:
    queue = stack.outputs["GenerationQueueUrl"]
    test = json.loads(sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"])
    assert (test["Service"], test["Event"]) == ("Amazon S3", "s3:TestEvent")
    assert "Records" not in test

    key = "uploads/a job/grüße+1.jpg"
    url = _upload_url(s3, stack, key)
    assert http.put(url, content=BODY, headers=HEADERS).status_code == 200
    assert http.put(url, content=BODY, headers=HEADERS).status_code == 412

    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    records = [record for message in messages for record in json.loads(message["Body"])["Records"]]
    assert len(records) == 1
    assert records[0]["eventName"] == "ObjectCreated:Put"
    assert records[0]["eventTime"]
    assert records[0]["s3"]["object"]["key"] == "uploads/a+job/gr%C3%BC%C3%9Fe%2B1.jpg"
    assert records[0]["s3"]["object"]["sequencer"]

    s3.put_object(Bucket=stack.outputs["Bucket"], Key="outputs/a.png", Body=b"x")
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)


@pytest.mark.parametrize(
    ("body", "change", "status", "code"),
    [
        (BODY, {"content-type": "image/png"}, 403, "SignatureDoesNotMatch"),
        (BODY, {"content-type": None}, 403, "SignatureDoesNotMatch"),
        (BODY, {"if-none-match": None}, 403, "SignatureDoesNotMatch"),
        (BODY, {"x-amz-checksum-sha256": None}, 403, "SignatureDoesNotMatch"),
        (BODY + b"!", {}, 403, "SignatureDoesNotMatch"),
        (b"", {}, 403, "SignatureDoesNotMatch"),
        (BODY, {"x-amz-acl": "public-read"}, 403, "AccessDenied"),
        (BODY, {"authorization": "Bearer x"}, 400, "InvalidArgument"),
        (b"another", {}, 400, "BadDigest"),
    ],
)
def test_wrong_upload_fails_as_on_s3(
    stack: Stack,
    s3: S3Client,
    http: httpx.Client,
    body: bytes,
    change: dict[str, str | None],
    status: int,
    code: str,
) -> None:
    headers = {name: value for name, value in (HEADERS | change).items() if value is not None}
    response = http.put(_upload_url(s3, stack, "uploads/wrong"), content=body, headers=headers)
    assert (response.status_code, _code(response)) == (status, code)
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=stack.outputs["Bucket"], Key="uploads/wrong")


def test_interrupted_upload_stores_nothing(stack: Stack, s3: S3Client) -> None:
    url = urlsplit(_upload_url(s3, stack, "uploads/half"))
    with socket_to(url.netloc) as connection:
        lines = [
            f"PUT {url.path}?{url.query} HTTP/1.1",
            f"Host: {url.netloc}",
            f"Content-Length: {len(BODY)}",
        ]
        lines += [f"{name}: {value}" for name, value in HEADERS.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + BODY[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=stack.outputs["Bucket"], Key="uploads/half")


def socket_to(netloc: str) -> socket.socket:
    host, port = netloc.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_presigned_url_allows_only_its_own_request(stack: Stack, s3: S3Client, http: httpx.Client) -> None:
    s3.put_object(
        Bucket=stack.outputs["Bucket"], Key="outputs/1.png", Body=b"0123456789", ContentType="image/png"
    )
    url = _download_url(
        s3, stack, "outputs/1.png", ResponseContentDisposition='attachment; filename="a b.png"'
    )
    whole = http.get(url)
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["content-disposition"] == 'attachment; filename="a b.png"'
    part = http.get(url, headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert http.get(url, headers={"if-none-match": whole.headers["etag"]}).status_code == 304

    assert http.head(url).status_code == 403
    assert http.delete(url).status_code == 403
    assert _code(http.get(f"{url}&versionId=1")) == "SignatureDoesNotMatch"
    assert _code(http.get(url.replace("1.png", "2.png"))) == "SignatureDoesNotMatch"
    assert _code(http.get(url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"))) == "SignatureDoesNotMatch"
    assert (
        _code(http.get(url.replace("X-Amz-Expires=60", "X-Amz-Expires=700000")))
        == "AuthorizationQueryParametersError"
    )
    assert _code(http.get(url.replace("Credential=test", "Credential=other"))) == "InvalidAccessKeyId"


def test_presigned_url_expires(stack: Stack, s3: S3Client) -> None:
    url = urlsplit(_download_url(s3, stack, "outputs/1.png"))
    request = S3Request("GET", url.path, url.query, {"host": url.netloc}, b"")
    secrets = {aws.ACCESS_KEY_ID: aws.SECRET_ACCESS_KEY}
    now = datetime.now(UTC)
    authorize(request, secrets, now + timedelta(seconds=58))
    with pytest.raises(RefusedError, match="Request has expired"):
        authorize(request, secrets, now + timedelta(seconds=61))
    with pytest.raises(RefusedError, match="not valid yet"):
        authorize(request, secrets, now - timedelta(minutes=16))


def test_expired_url_is_refused_over_http(stack: Stack, s3: S3Client, http: httpx.Client) -> None:
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": stack.outputs["Bucket"], "Key": "outputs/1.png"}, ExpiresIn=0
    )
    deadline = time.monotonic() + 10
    while (response := http.get(url)).status_code != 403 and time.monotonic() < deadline:
        pass
    assert "Request has expired" in response.text


@pytest.mark.parametrize("path", ["/", "/{bucket}", "/{bucket}/outputs/1.png", "/{bucket}/uploads/x"])
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer x"}, {"x-amz-target": "S3.GetObject"}])
def test_unsigned_request_is_refused(
    stack: Stack, server: aws.Aws, http: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    url = server.endpoint + path.format(bucket=stack.outputs["Bucket"])
    for method in ("GET", "PUT", "HEAD", "DELETE", "POST"):
        assert http.request(method, url, headers=headers).status_code in {400, 403}


def test_signature_version_2_is_refused(
    stack: Stack, server: aws.Aws, session: boto3.Session, http: httpx.Client
) -> None:
    old = session.client("s3", endpoint_url=server.endpoint, config=Config(signature_version="s3"))
    url = old.generate_presigned_url(
        "get_object", Params={"Bucket": stack.outputs["Bucket"], "Key": "outputs/1.png"}
    )
    assert "Signature=" in url
    assert _code(http.get(url)) == "InvalidRequest"


def test_wrong_secret_in_a_header_is_refused(stack: Stack, server: aws.Aws) -> None:
    thief = boto3.client(
        "s3",
        REGION,
        endpoint_url=server.endpoint,
        aws_access_key_id=aws.ACCESS_KEY_ID,
        aws_secret_access_key="guess",
    )
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        thief.list_objects_v2(Bucket=stack.outputs["Bucket"])


@pytest.mark.parametrize(
    ("origin", "method", "asked", "status"),
    [
        ("https://app.example", "PUT", "content-type,if-none-match", 200),
        ("https://a.example.org", "PUT", "", 200),
        ("https://evil.example", "PUT", "content-type", 403),
        ("https://app.example", "DELETE", "", 403),
        ("https://app.example", "NONSENSE", "", 400),
    ],
)
def test_preflight_is_answered_by_the_buckets_rules(
    stack: Stack, s3: S3Client, http: httpx.Client, origin: str, method: str, asked: str, status: int
) -> None:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": asked,
    }
    response = http.options(_upload_url(s3, stack, "uploads/browser"), headers=headers)
    assert response.status_code == status
    allowed = {name for name in response.headers if name.startswith("access-control-")}
    assert bool(allowed) == (status == 200)
    if status == 200:
        assert response.headers["access-control-allow-origin"] == origin
        assert "PUT" in response.headers["access-control-allow-methods"]


def test_only_allowed_origins_get_cors_headers(stack: Stack, s3: S3Client, http: httpx.Client) -> None:
    s3.put_object(Bucket=stack.outputs["Bucket"], Key="outputs/1.png", Body=b"x")
    url = _download_url(s3, stack, "outputs/1.png")
    good = http.get(url, headers={"origin": "https://app.example"})
    assert good.headers["access-control-allow-origin"] == "https://app.example"
    assert good.headers["access-control-expose-headers"] == "ETag"
    refused = http.get(f"{url}&x=1", headers={"origin": "https://app.example"})
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, True)
    for headers in ({}, {"origin": "https://evil.example"}):
        assert not [
            name for name in http.get(url, headers=headers).headers if name.startswith("access-control")
        ]


# Concurrent requests.


def test_one_of_many_conditional_writes_wins(dynamodb: DynamoDBClient, stack: Stack) -> None:
    table = stack.outputs["Table"]
    dynamodb.put_item(TableName=table, Item={"job_id": {"S": "race"}, "version": {"N": "0"}})

    def write(version: int) -> bool:
        try:
            dynamodb.update_item(
                TableName=table,
                Key={"job_id": {"S": "race"}},
                UpdateExpression="SET version = :new",
                ConditionExpression="version = :old",
                ExpressionAttributeValues={":old": {"N": str(version)}, ":new": {"N": str(version + 1)}},
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for version in range(10):
            assert sum(pool.map(write, [version] * 8)) == 1


def test_values_of_every_type_are_stored_unchanged(dynamodb: DynamoDBClient, stack: Stack) -> None:
    table = stack.outputs["Table"]
    item: dict[str, AttributeValueTypeDef] = {
        "job_id": {"S": "types"},
        "text": {"S": ""},
        "number": {"N": "1.5"},
        "bytes": {"B": b"\0\xff"},
        "flag": {"BOOL": False},
        "nothing": {"NULL": True},
        "texts": {"SS": ["a"]},
        "numbers": {"NS": ["1"]},
        "list": {"L": [{"M": {"S": {"S": "b"}, "none": {"L": []}}}, {"N": "2"}]},
        "map": {"M": {}},
    }
    dynamodb.put_item(TableName=table, Item=item)
    assert dynamodb.get_item(TableName=table, Key={"job_id": item["job_id"]})["Item"] == item


def test_one_of_many_uploads_wins(stack: Stack, s3: S3Client) -> None:
    def upload(url: str) -> int:
        return httpx.put(url, content=BODY, headers=HEADERS).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(upload, [_upload_url(s3, stack, "uploads/race")] * 8))
    assert sorted(statuses) == [200] + [412] * 7


def test_message_is_received_once(sqs: SQSClient) -> None:
    queue = _queue(sqs, "many")
    with ThreadPoolExecutor(8) as pool:
        receivers = [
            pool.submit(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=1, MaxNumberOfMessages=1)
            for _ in range(7)
        ]
        for number in range(3):
            sqs.send_message(QueueUrl=queue, MessageBody=str(number))
        received = [message["Body"] for one in receivers for message in one.result().get("Messages", [])]
    assert sorted(received) == ["0", "1", "2"]


def test_long_poll_blocks_no_request_and_wakes_at_once(sqs: SQSClient) -> None:
    queue = _queue(sqs, "slow")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=20)
        started = time.monotonic()
        for _ in range(5):
            sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])
        assert not waiting.done()
        sqs.send_message(QueueUrl=queue, MessageBody="now")
        assert waiting.result(timeout=10)["Messages"][0]["Body"] == "now"
    assert time.monotonic() - started < 10


def test_long_poll_wakes_when_a_message_is_due(sqs: SQSClient) -> None:
    queue = _queue(sqs, "delayed", VisibilityTimeout="1")
    sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=1)
    started = time.monotonic()
    for _ in ("delayed", "in flight"):
        assert sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"][0]["Body"] == "later"
    assert 1.9 < time.monotonic() - started < 10


def test_long_poll_wakes_when_a_messages_visibility_changes(sqs: SQSClient) -> None:
    queue = _queue(sqs, "back", VisibilityTimeout="60")
    sqs.send_message(QueueUrl=queue, MessageBody="again")
    (first,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=20)
        assert not wait([waiting], timeout=0.2).done
        sqs.change_message_visibility(
            QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0
        )
        assert waiting.result(timeout=10)["Messages"][0]["Body"] == "again"


def test_disconnected_client_receives_no_message(
    server: aws.Aws, sqs: SQSClient, session: boto3.Session
) -> None:
    queue = _queue(sqs, "gone")
    impatient = session.client(
        "sqs",
        endpoint_url=server.endpoint,
        config=Config(read_timeout=0.2, retries={"total_max_attempts": 1}),
    )
    with pytest.raises(Exception, match="Read timeout"):
        impatient.receive_message(QueueUrl=queue, WaitTimeSeconds=20)
    impatient.close()
    sqs.send_message(QueueUrl=queue, MessageBody="mine")
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "mine"


def test_undeleted_message_becomes_a_dead_letter(sqs: SQSClient) -> None:
    dead = _queue(sqs, "dead")
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    queue = _queue(sqs, "alive", VisibilityTimeout="0", RedrivePolicy=redrive)
    sqs.send_message(QueueUrl=queue, MessageBody="poison")
    received = [sqs.receive_message(QueueUrl=queue, AttributeNames=["All"]) for _ in range(3)]
    counts = [
        one["Messages"][0]["Attributes"]["ApproximateReceiveCount"] for one in received if "Messages" in one
    ]
    assert counts == ["1", "2"]
    assert sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=5)["Messages"][0]["Body"] == "poison"


# The server process.


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_server_ends_while_a_client_waits(end: signal.Signals, session: boto3.Session) -> None:
    running = aws.start()
    sqs = session.client(
        "sqs", endpoint_url=running.endpoint, config=Config(retries={"total_max_attempts": 1})
    )
    queue = _queue(sqs, "q")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=20)
        running.process.send_signal(end)
        assert running.process.wait(timeout=10) == 0
        assert waiting.exception(timeout=10) is not None
    running.stop()


def test_server_dies_with_its_parent() -> None:
    script = (
        "import sys, time; from tests.localcloud import aws; running = aws.start();"
        "print(running.process.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=TEMPLATE.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
    pytest.fail(f"process {pid} has not ended")
