"""What MiniStack does as AWS and what it does otherwise: `.venv/bin/python -m tests.rehearsal.evidence`.

Each function below is the smallest reproduction of a behaviour that the stack relies on. It returns what it saw. AWS's
documented behaviour stands beside it in `CHECKS`, with MiniStack's where it differs. Nothing of the stack takes part, only gaps.py.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.localcloud.http_server import HttpServer, Request, Response
from tests.rehearsal import ministack
from tests.rehearsal.ministack import Ministack

type Check = Callable[[Ministack], object]

ROLE = "arn:aws:iam::000000000000:role/any"
WAIT_SECONDS = 12


@dataclass(frozen=True)
class Case:
    """A behaviour: its name, AWS's answer, the check that returns MiniStack's answer, and that answer if it differs."""

    name: str
    aws: object
    check: Check
    ministack: object = None

    @property
    def expected(self) -> object:
        return self.aws if self.ministack is None else self.ministack

    def seen(self, cloud: Ministack) -> object:
        """Return MiniStack's answer, or the code of its error."""
        try:
            return self.check(cloud)
        except ClientError as error:
            return error.response["Error"]["Code"]


# ── helpers ───────────────────────────────────────────────────────────────────────────────────────────────────


def error_of(call: Callable[[], object]) -> str:
    """Return the error code of a call, or "accepted"."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "accepted"


def make_role(cloud: Ministack) -> None:
    """Make the role of all functions and targets, which may do everything."""
    trusted = {"Service": ["lambda.amazonaws.com", "events.amazonaws.com"]}
    trust = {"Statement": [{"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}]}
    permit = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam = cloud.client("iam")
    iam.create_role(RoleName="any", AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName="any", PolicyName="any", PolicyDocument=json.dumps(permit))


def permit(cloud: Ministack, url: str, arn: str) -> None:
    """Let AWS's services send to a queue."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Statement": [statement]})
    cloud.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})


def function(cloud: Ministack, name: str, code: str, **settings: Any) -> str:
    """Create a function from the code of its module; return its ARN."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("main.py", code)
    made = cloud.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="main.handler",
        Code={"ZipFile": packed.getvalue()},
        **{"Role": ROLE, "Timeout": 10, **settings},
    )
    return str(made["FunctionArn"])


def queue(cloud: Ministack, name: str, **attributes: str) -> tuple[str, str]:
    """Create a queue; return its URL and its ARN."""
    sqs = cloud.client("sqs")
    url = str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])
    return url, str(
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    )


def received(cloud: Ministack, url: str, within: float = WAIT_SECONDS) -> list[dict[str, Any]]:
    """Wait for messages; delete and return them."""
    sqs = cloud.client("sqs")
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + within
    while not found and time.monotonic() < deadline:
        found = sqs.receive_message(
            QueueUrl=url, WaitTimeSeconds=1, MaxNumberOfMessages=10, AttributeNames=["All"]
        ).get("Messages", [])
    for message in found:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def put(url: str, headers: dict[str, str], body: bytes = b"photo") -> int:
    with httpx.Client(trust_env=False) as client:
        return client.put(url, headers=headers, content=body).status_code


def presigning(cloud: Ministack) -> Any:
    """Return a client that signs URLs as the stack does, with version 4."""
    settings = {key.lower(): value for key, value in cloud.environment.items()}
    return boto3.client(
        "s3",
        endpoint_url=cloud.endpoint,
        region_name=ministack.REGION,
        aws_access_key_id=settings["aws_access_key_id"],
        aws_secret_access_key=settings["aws_secret_access_key"],
        config=Config(signature_version="s3v4", request_checksum_calculation="when_required"),
    )


def presigned(cloud: Ministack, key: str, *, seconds: int = 60) -> tuple[str, dict[str, str]]:
    s3 = presigning(cloud)
    s3.create_bucket(Bucket="photos")
    headers = {"Content-Type": "image/jpeg", "Content-Length": "5", "If-None-Match": "*"}
    url = s3.generate_presigned_url(
        "put_object",
        {
            "Bucket": "photos",
            "Key": key,
            "ContentType": "image/jpeg",
            "ContentLength": 5,
            "IfNoneMatch": "*",
        },
        ExpiresIn=seconds,
    )
    return str(url), headers


# ── S3 ────────────────────────────────────────────────────────────────────────────────────────────────────────


def put_as_signed(cloud: Ministack) -> object:
    url, headers = presigned(cloud, "a")
    return [put(url, headers), put(url, headers)]


def put_of_another_type(cloud: Ministack) -> object:
    url, headers = presigned(cloud, "b")
    return put(url, headers | {"Content-Type": "image/png"})


def put_of_another_length(cloud: Ministack) -> object:
    url, headers = presigned(cloud, "c")
    return put(url, headers | {"Content-Length": "6"}, b"photos")


def put_without_a_signed_header(cloud: Ministack) -> object:
    url, headers = presigned(cloud, "d")
    del headers["If-None-Match"]
    return put(url, headers)


def put_with_an_altered_signature(cloud: Ministack) -> object:
    url, headers = presigned(cloud, "e")
    return put(url[:-1] + ("0" if url[-1] != "0" else "1"), headers)


def put_after_expiry(cloud: Ministack) -> object:
    url, headers = presigned(cloud, "f", seconds=1)
    time.sleep(2.1)
    return put(url, headers)


def eight_puts_at_once(cloud: Ministack) -> object:
    url, headers = presigned(cloud, "g")
    with ThreadPoolExecutor(8) as pool:
        return sorted(pool.map(lambda _: put(url, headers), range(8)))


def put_with_an_unsigned_encoding(cloud: Ministack) -> object:
    url, headers = presigned(cloud, "h")
    return put(url, headers | {"Content-Encoding": "gzip"})


def put_with_a_wrong_checksum(cloud: Ministack) -> object:
    s3 = presigning(cloud)
    s3.create_bucket(Bucket="photos")
    wrong = base64.b64encode(bytes(32)).decode()
    parameters = {"Bucket": "photos", "Key": "i", "ContentLength": 5, "ChecksumSHA256": wrong}
    url = s3.generate_presigned_url("put_object", parameters)
    return put(url, {"Content-Length": "5", "x-amz-checksum-sha256": wrong})


def get_without_a_signature(cloud: Ministack) -> object:
    url, headers = presigned(cloud, "j")
    put(url, headers)
    with httpx.Client(trust_env=False) as client:
        return client.get(url.partition("?")[0]).status_code


def preflight_of_a_bucket_without_cors(cloud: Ministack) -> object:
    cloud.client("s3").create_bucket(Bucket="nocors")
    asked = {"origin": "https://a.example", "access-control-request-method": "PUT"}
    with httpx.Client(trust_env=False) as client:
        return client.options(f"{cloud.endpoint}/nocors/a", headers=asked).status_code


def notification_of_an_upload(cloud: Ministack) -> object:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="notified")
    url, arn = queue(cloud, "notified")
    permit(cloud, url, arn)
    rules = [{"Name": "prefix", "Value": "uploads/"}]
    s3.put_bucket_notification_configuration(
        Bucket="notified",
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": arn,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": rules}},
                }
            ]
        },
    )
    bodies = [json.loads(one["Body"]) for one in received(cloud, url, 3)]
    for key in ("other/a", "uploads/ä b"):
        s3.put_object(Bucket="notified", Key=key, Body=b"photo")
    bodies += [json.loads(one["Body"]) for one in received(cloud, url)]
    return [body.get("Event") or body["Records"][0]["s3"]["object"]["key"] for body in bodies]


# ── SQS and its event source ──────────────────────────────────────────────────────────────────────────────────


def delay_visibility_and_redrive(cloud: Ministack) -> object:
    dead, arn = queue(cloud, "dead")
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    url, _ = queue(cloud, "alive", RedrivePolicy=policy, VisibilityTimeout="1")
    sqs = cloud.client("sqs")
    sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=2)
    counts = [len(sqs.receive_message(QueueUrl=url).get("Messages", []))]
    for _ in range(2):
        (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, AttributeNames=["All"])["Messages"]
        counts.append(int(message["Attributes"]["ApproximateReceiveCount"]))
    time.sleep(1.2)
    counts.append(len(sqs.receive_message(QueueUrl=url).get("Messages", [])))
    return [*counts, len(received(cloud, dead))]


def move_task(cloud: Ministack) -> object:
    dead, dead_arn = queue(cloud, "dead2")
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    url, _ = queue(cloud, "alive2", RedrivePolicy=policy, VisibilityTimeout="0")
    sqs = cloud.client("sqs")
    sqs.send_message(QueueUrl=url, MessageBody="x")
    sqs.receive_message(QueueUrl=url)
    sqs.receive_message(QueueUrl=url)
    sqs.start_message_move_task(SourceArn=dead_arn)
    return [one["Body"] for one in received(cloud, url)] + received(cloud, dead, 1)


def fair_queue(cloud: Ministack) -> object:
    """Ask whether a quiet group's message comes before those of a group that has forty in flight."""
    url, _ = queue(cloud, "fair", VisibilityTimeout="60")
    sqs = cloud.client("sqs")
    for number in range(60):
        sqs.send_message(QueueUrl=url, MessageBody=f"noisy {number}", MessageGroupId="noisy")
    for _ in range(4):
        sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    sqs.send_message(QueueUrl=url, MessageBody="quiet", MessageGroupId="quiet")
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return "first" if "quiet" in [one["Body"] for one in found] else "in the order of arrival"


PARTIAL = """
import boto3, json, os
def handler(event, context):
    sqs = boto3.client("sqs")
    failed = []
    for one in event["Records"]:
        count = one["attributes"]["ApproximateReceiveCount"]
        sqs.send_message(QueueUrl=os.environ["SEEN"], MessageBody=one["body"] + count)
        if one["body"] == "bad":
            failed.append({"itemIdentifier": one["messageId"]})
    return {"batchItemFailures": failed}
"""


def partial_batch(cloud: Ministack) -> object:
    seen, _ = queue(cloud, "seen")
    dead, dead_arn = queue(cloud, "dead3")
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = queue(cloud, "batch", RedrivePolicy=policy, VisibilityTimeout="10")
    function(cloud, "partial", PARTIAL, Environment={"Variables": {"SEEN": seen}}, Timeout=5)
    sqs = cloud.client("sqs")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "5"})
    for body in ("good", "bad"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    cloud.client("lambda").create_event_source_mapping(
        FunctionName="partial",
        EventSourceArn=arn,
        BatchSize=10,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    time.sleep(14)
    bodies = [one["Body"] for one in received(cloud, seen)]
    return [*sorted(bodies), "dead:", *[one["Body"] for one in received(cloud, dead)]]


SLOW = """
import os, time
def handler(event, context):
    with open(os.environ["FILE"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(3)
"""


def killed_process(cloud: Ministack) -> object:
    """Kill the process in its first invocation; the message comes back when its visibility ends."""
    file = cloud.log.with_name("pids")
    url, arn = queue(cloud, "killed", VisibilityTimeout="6")
    function(cloud, "slow", SLOW, Environment={"Variables": {"FILE": str(file)}}, Timeout=5)
    cloud.client("lambda").create_event_source_mapping(FunctionName="slow", EventSourceArn=arn, BatchSize=1)
    began = time.monotonic()
    cloud.client("sqs").send_message(QueueUrl=url, MessageBody="x")
    while not file.exists() and time.monotonic() < began + WAIT_SECONDS:
        time.sleep(0.05)
    os.kill(int(file.read_text()), signal.SIGKILL)
    while len(file.read_text().split()) < 2 and time.monotonic() < began + 2 * WAIT_SECONDS:
        time.sleep(0.05)
    late = time.monotonic() - began > 5
    return [len(set(file.read_text().split())), "after the visibility timeout" if late else "at once"]


# ── streams, events, transactions ─────────────────────────────────────────────────────────────────────────────

STREAM = """
import boto3, os
def handler(event, context):
    for one in event["Records"]:
        key = one["dynamodb"]["Keys"]["id"]["S"]
        boto3.client("sqs").send_message(QueueUrl=os.environ["SEEN"], MessageBody=key)
        if key == "poison":
            raise ValueError(key)
"""


def stream(cloud: Ministack, name: str, code: str = STREAM, **settings: Any) -> str:
    """Make a table whose stream invokes a function; return the URL of the queue of keys that it saw."""
    seen, _ = queue(cloud, f"{name}-seen")
    table = cloud.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]
    function(cloud, name, code, Environment={"Variables": {"SEEN": seen}})
    cloud.client("lambda").create_event_source_mapping(
        FunctionName=name,
        EventSourceArn=table["LatestStreamArn"],
        StartingPosition="TRIM_HORIZON",
        BatchSize=10,
        **settings,
    )
    return seen


def write(cloud: Ministack, table: str, key: str, status: str) -> None:
    item = {"id": {"S": key}, "status": {"S": status}}
    cloud.client("dynamodb").put_item(TableName=table, Item=item)


def stream_filter(cloud: Ministack) -> object:
    pattern = {"dynamodb": {"OldImage": {"status": {"S": ["RUNS"]}}, "NewImage": {"status": {"S": ["ENDS"]}}}}
    seen = stream(cloud, "filtered", FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)}]})
    for key, status in (("a", "RUNS"), ("b", "ENDS"), ("a", "ENDS"), ("a", "ENDS")):
        write(cloud, "filtered", key, status)
    time.sleep(4)
    return [one["Body"] for one in received(cloud, seen)]


def stream_destination(cloud: Ministack) -> object:
    dead, arn = queue(cloud, "stream-dead")
    seen = stream(
        cloud,
        "poisoned",
        MaximumRetryAttempts=2,
        BisectBatchOnFunctionError=True,
        DestinationConfig={"OnFailure": {"Destination": arn}},
    )
    for key in ("poison", "fine"):
        write(cloud, "poisoned", key, "RUNS")
    bodies = [json.loads(one["Body"]) for one in received(cloud, dead)]
    tries = [one["Body"] for one in received(cloud, seen)]
    conditions = [body.get("requestContext", {}).get("condition") for body in bodies]
    return [tries.count("poison") > 1, "fine" in tries, *conditions]


STREAM_PART = """
import boto3, os
def handler(event, context):
    for one in event["Records"]:
        key = one["dynamodb"]["Keys"]["id"]["S"]
        boto3.client("sqs").send_message(QueueUrl=os.environ["SEEN"], MessageBody=key)
    number = event["Records"][0]["dynamodb"]["SequenceNumber"]
    return {"batchItemFailures": [{"itemIdentifier": number}]}
"""


def stream_partial_batch(cloud: Ministack) -> object:
    """Report the first record as failed; it has to come again."""
    seen = stream(cloud, "part", STREAM_PART, FunctionResponseTypes=["ReportBatchItemFailures"])
    write(cloud, "part", "a", "RUNS")
    time.sleep(6)
    return "delivered again" if len(received(cloud, seen)) > 1 else "delivered once"


def missing_permission(cloud: Ministack) -> object:
    """Ask whether a role's missing permission is refused."""
    code = "import boto3\ndef handler(event, context): boto3.client('sqs').list_queues()"
    iam = cloud.client("iam")
    trust = {
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ]
    }
    iam.create_role(RoleName="none", AssumeRolePolicyDocument=json.dumps(trust))
    function(cloud, "poor", code, Role=ROLE.replace("any", "none"))
    answer = cloud.client("lambda").invoke(FunctionName="poor")
    return (
        json.loads(answer["Payload"].read())
        .get("errorMessage", "permitted")
        .partition("(")[2]
        .partition(")")[0]
    )


def callback(cloud: Ministack) -> object:
    """Return the statuses that an API destination's receiver gave, with a retry policy of two attempts."""
    statuses, keys = [503, 204], []
    changed = threading.Event()

    def answer(request: Request) -> Response:
        keys.append(request.header("x-key"))
        if len(keys) > 1:
            changed.set()
        return Response(statuses[min(len(keys), 2) - 1])

    events = cloud.client("events")
    with HttpServer().start(answer) as server:
        connection = events.create_connection(
            Name="c",
            AuthorizationType="API_KEY",
            AuthParameters={"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "k"}},
        )
        destination = events.create_api_destination(
            Name="d",
            ConnectionArn=connection["ConnectionArn"],
            InvocationEndpoint=f"{server.url}/",
            HttpMethod="POST",
        )
        events.put_rule(Name="r", EventPattern='{"source": ["triptych"]}')
        target = {"Id": "t", "Arn": destination["ApiDestinationArn"], "RoleArn": ROLE}
        policy = {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 60}
        events.put_targets(Rule="r", Targets=[{**target, "RetryPolicy": policy}])
        events.put_events(Entries=[{"Source": "triptych", "DetailType": "x", "Detail": "{}"}])
        changed.wait(WAIT_SECONDS)
    return keys


def fifty_transactions(cloud: Ministack) -> object:
    dynamodb = cloud.client("dynamodb")
    dynamodb.create_table(
        TableName="days",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    def create(number: int) -> str:
        count = {
            "TableName": "days",
            "Key": {"id": {"S": "day"}},
            "UpdateExpression": "ADD jobs :one",
            "ConditionExpression": "attribute_not_exists(jobs) OR jobs < :limit",
            "ExpressionAttributeValues": {":one": {"N": "1"}, ":limit": {"N": "10"}},
        }
        job = {
            "TableName": "days",
            "Item": {"id": {"S": f"job{number}"}},
            "ConditionExpression": "attribute_not_exists(id)",
        }
        return error_of(
            lambda: dynamodb.transact_write_items(TransactItems=[{"Update": count}, {"Put": job}])
        )

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(create, range(50)))
    return [dynamodb.scan(TableName="days")["Count"] - 1, answers.count("accepted")]


# ── Lambda's limits ───────────────────────────────────────────────────────────────────────────────────────────

LIMITS = """
import os
def handler(event, context):
    if event["do"] == "memory":
        return len(bytearray(400 * 2**20))
    if event["do"] == "write":
        open(os.path.join(os.path.dirname(__file__), "x"), "w").close()
    if event["do"] == "tmp":
        with open("/tmp/rehearsal-evidence", "wb") as file:
            try:
                for _ in range(600):
                    file.write(bytes(2**20))
            finally:
                os.unlink(file.name)
    if event["do"] == "time":
        import time; time.sleep(4)
    if event["do"] == "answer":
        return "x" * (7 * 2**20)
    return os.environ.get(event["do"], "done")
"""


def limit(what: str) -> Check:
    """Return a check that invokes a function which goes over a limit."""

    def check(cloud: Ministack) -> object:
        name = f"limit-{what}"
        function(cloud, name, LIMITS, MemorySize=128, Timeout=3 if what == "time" else 20)
        answer = cloud.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"do": what}))
        return "refused" if answer.get("FunctionError") else "permitted"

    return check


def reserved_concurrency(cloud: Ministack) -> object:
    """Invoke a function of one reserved execution twice at once."""
    function(cloud, "reserved", LIMITS)
    client = cloud.client("lambda")
    client.put_function_concurrency(FunctionName="reserved", ReservedConcurrentExecutions=1)
    payload = json.dumps({"do": "time"})
    with ThreadPoolExecutor(2) as pool:
        codes = pool.map(
            lambda _: error_of(lambda: client.invoke(FunctionName="reserved", Payload=payload)), range(2)
        )
        return sorted(codes)


def environment_of_5_kb(cloud: Ministack) -> object:
    return error_of(lambda: function(cloud, "big", LIMITS, Environment={"Variables": {"A": "x" * 5000}}))


def payload_of_7_mb(cloud: Ministack) -> object:
    function(cloud, "payload", LIMITS)
    payload = json.dumps({"do": "x", "more": "x" * (7 * 2**20)})
    return error_of(lambda: cloud.client("lambda").invoke(FunctionName="payload", Payload=payload))


def unknown_property(cloud: Ministack) -> object:
    template = {"Resources": {"Q": {"Type": "AWS::SQS::Queue", "Properties": {"DelaySecond": 1}}}}
    formation = cloud.client("cloudformation")
    if (
        code := error_of(lambda: formation.create_stack(StackName="typo", TemplateBody=json.dumps(template)))
    ) != "accepted":
        return code
    time.sleep(3)
    return formation.describe_stacks(StackName="typo")["Stacks"][0]["StackStatus"]


def unknown_type(cloud: Ministack) -> object:
    template = {"Resources": {"Q": {"Type": "AWS::SQS::Queues"}}}
    formation = cloud.client("cloudformation")
    return error_of(lambda: formation.create_stack(StackName="type", TemplateBody=json.dumps(template)))


CHECKS = (
    Case("presigned PUT, then a second one", [200, 412], put_as_signed),
    Case("presigned PUT of another type", 403, put_of_another_type),
    Case("presigned PUT of another length", 403, put_of_another_length),
    Case("presigned PUT without a signed header", 403, put_without_a_signed_header),
    Case("presigned PUT with an altered signature", 403, put_with_an_altered_signature),
    Case("presigned PUT after its expiry", 403, put_after_expiry),
    Case("eight presigned PUTs at once", [200] + [412] * 7, eight_puts_at_once),
    Case("presigned PUT with an unsigned Content-Encoding", 200, put_with_an_unsigned_encoding),
    Case("presigned PUT with a wrong SHA-256", 400, put_with_a_wrong_checksum),
    Case("GET of a private object without a signature", 403, get_without_a_signature),
    Case("preflight of a bucket without CORS", 403, preflight_of_a_bucket_without_cors),
    Case(
        "S3 notification, its prefix and test event",
        ["s3:TestEvent", "uploads/%C3%A4+b"],
        notification_of_an_upload,
    ),
    Case("DelaySeconds, visibility, receive counts, redrive", [0, 1, 2, 0, 1], delay_visibility_and_redrive),
    Case("move task from a dead-letter queue", ["x"], move_task, "InvalidAction"),
    Case("quiet group of a fair queue", "first", fair_queue, "in the order of arrival"),
    Case("partial batch response", ["bad1", "bad2", "good1", "dead:", "bad"], partial_batch),
    Case("killed process of a function", [2, "after the visibility timeout"], killed_process),
    Case("filter of a stream", ["a"], stream_filter),
    Case(
        "OnFailure destination of a stream",
        [True, True, "RetryAttemptsExhausted"],
        stream_destination,
        [True, False],
    ),
    Case("partial batch response of a stream", "delivered again", stream_partial_batch, "delivered once"),
    Case("role without the permission", "AccessDenied", missing_permission),
    Case("API destination: key, and a retry after 503", ["k", "k"], callback, ["k"]),
    Case("fifty transactions against a limit of ten", [10, 10], fifty_transactions),
    Case("time limit", "refused", limit("time")),
    Case("reserved concurrency", ["TooManyRequestsException", "accepted"], reserved_concurrency),
    Case("answer over 6 MB", "refused", limit("answer"), "permitted"),
    Case("memory over the function's size", "refused", limit("memory"), "permitted"),
    Case("write outside /tmp", "refused", limit("write"), "permitted"),
    Case("/tmp over 512 MB", "refused", limit("tmp"), "permitted"),
    Case("environment over 4 KB", "InvalidParameterValueException", environment_of_5_kb, "accepted"),
    Case("payload over 6 MB", "RequestEntityTooLargeException", payload_of_7_mb, "accepted"),
    Case("unknown type in a template", "ValidationError", unknown_type),
    Case("unknown property in a template", "ROLLBACK_COMPLETE", unknown_property, "CREATE_COMPLETE"),
)


def main() -> None:
    """Print a table of all checks."""
    with running() as cloud:
        for case in CHECKS:
            seen = case.seen(cloud)
            verdict = "as AWS" if seen == case.aws else "otherwise"
            sys.stdout.write(f"| {case.name} | {case.aws} | {seen} | {verdict} |\n")
            sys.stdout.flush()


@contextmanager
def running() -> Iterator[Ministack]:
    """Run a MiniStack for the checks."""
    with (
        TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as folder,
        ministack.running(Path(folder)) as cloud,
    ):
        make_role(cloud)
        yield cloud


if __name__ == "__main__":
    main()
