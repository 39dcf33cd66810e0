"""Tests of roles on the AWS server: permissions, errors and the record of calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.localcloud import aws, cloud, roles
from tests.localcloud.functions import Machine
from tests.localcloud.policies import Statement
from tests.localcloud.provision import provision
from tests.localcloud.stack import Stack
from tests.localcloud.template import TEMPLATE, TemplateError

REGION = "us-east-1"
HOME = f"{REGION}:{aws.ACCOUNT}"
TABLE = f"arn:aws:dynamodb:{HOME}:table/jobs"


def permit(action: str, resource: str, **condition: dict[str, tuple[str, ...]]) -> Statement:
    return Statement.model_validate(
        {"Sid": "Sid", "Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}
    )


COUNTS: dict[str, dict[str, tuple[str, ...]]] = {
    "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ("count *",)}
}
POLICIES = {
    "reader": [permit("s3:GetObject", "arn:aws:s3:::photos/uploads/*")],
    "lister": [
        permit("s3:GetObject", "arn:aws:s3:::photos/uploads/*"),
        permit("s3:ListBucket", "arn:aws:s3:::photos"),
    ],
    "counter": [permit("dynamodb:PutItem", TABLE), permit("dynamodb:UpdateItem", TABLE, **COUNTS)],
}


@dataclass
class World:
    endpoint: str
    sessions: dict[str, roles.Session]

    def client(self, service: str, role: str | None = None, token: str | None = None) -> Any:
        """Return a client with a role's credentials, or with the account's own."""
        session = self.sessions[role] if role else None
        return boto3.client(
            service,  # type: ignore[call-overload]  # the stub lists literal names
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=session.access_key_id if session else aws.ACCESS_KEY_ID,
            aws_secret_access_key=session.secret_access_key if session else aws.SECRET_ACCESS_KEY,
            aws_session_token=(token or session.session_token) if session else None,
            config=Config(signature_version="s3v4") if service == "s3" else Config(),
        )


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    running = aws.start()
    yield Machine(running.endpoint, REGION, aws.ACCOUNT, aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY)
    running.stop()


@pytest.fixture(scope="module")
def made(machine: Machine) -> World:
    world = World(machine.endpoint, {})
    world.client("s3").create_bucket(Bucket="photos")
    for key in ("uploads/1", "outputs/1"):
        world.client("s3").put_object(Bucket="photos", Key=key, Body=b"photo")
    world.client("sqs").create_queue(QueueName="work")
    world.client("dynamodb").create_table(
        TableName="jobs",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    return world


@pytest.fixture
def world(made: World) -> World:
    made.sessions = roles.take_on(made.endpoint, POLICIES)
    return made


def refusal(request: Callable[..., object], **options: object) -> tuple[str, int]:
    """Send a request that is refused; return the error's code and the HTTP status."""
    with pytest.raises(ClientError) as raised:
        request(**options)
    response = raised.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def used(world: World) -> set[tuple[str, str, bool]]:
    """Return the recorded calls: role, action and whether it was permitted."""
    keys = {session.access_key_id for session in world.sessions.values()}
    return {
        (one.role, one.call.action, bool(one.permissions))
        for one in roles.recorded(world.endpoint)
        if one.access_key_id in keys
    }


def test_s3_refuses_calls_outside_the_role(world: World) -> None:
    s3 = world.client("s3", "reader")
    assert s3.get_object(Bucket="photos", Key="uploads/1")["Body"].read() == b"photo"
    why = (
        "assumed-role/reader is not authorized to perform: s3:GetObject on resource: "
        "arn:aws:s3:::photos/outputs/1 because no identity-based policy allows the s3:GetObject action"
    )
    with pytest.raises(ClientError, match=why):
        s3.get_object(Bucket="photos", Key="outputs/1")
    for request, options in (
        (s3.get_object, {"Key": "outputs/1"}),
        (s3.put_object, {"Key": "uploads/2", "Body": b""}),
        (s3.copy_object, {"Key": "uploads/2", "CopySource": "photos/outputs/1"}),
        (s3.delete_objects, {"Delete": {"Objects": [{"Key": "uploads/1"}]}}),
        (s3.list_objects_v2, {"Prefix": "uploads/"}),
        (s3.get_object_acl, {"Key": "uploads/1"}),
        (s3.put_bucket_policy, {"Policy": "{}"}),
    ):
        assert refusal(request, Bucket="photos", **options) == ("AccessDenied", 403)
    objects = world.client("s3").list_objects_v2(Bucket="photos")["Contents"]
    assert [item["Key"] for item in objects] == ["outputs/1", "uploads/1"]


def test_missing_object_is_a_404_only_with_list_permission(world: World) -> None:
    missing = {"Bucket": "photos", "Key": "uploads/none"}
    lister, reader = world.client("s3", "lister"), world.client("s3", "reader")
    assert refusal(lister.get_object, **missing) == ("NoSuchKey", 404)
    assert refusal(lister.head_object, **missing) == ("404", 404)
    assert refusal(reader.get_object, **missing) == ("AccessDenied", 403)
    assert refusal(reader.head_object, **missing) == ("403", 403)
    assert ("lister", "s3:ListBucket", True) in used(world)
    assert ("reader", "s3:ListBucket", False) not in used(world)  # S3 hides the object and denies nothing


def test_presigned_url_has_the_permissions_of_its_signer(world: World) -> None:
    def fetch(role: str, key: str, token: str | None = None) -> httpx.Response:
        s3 = world.client("s3", role, token)
        parameters = {"Bucket": "photos", "Key": key}
        return httpx.get(s3.generate_presigned_url("get_object", Params=parameters), trust_env=False)

    assert fetch("reader", "uploads/1").text == "photo"
    assert fetch("reader", "outputs/1").status_code == 403
    assert fetch("reader", "uploads/none").status_code == 403
    assert fetch("lister", "uploads/none").status_code == 404
    assert "InvalidToken" in fetch("reader", "uploads/1", "another").text
    assert used(world) == {  # a presigned URL to a missing object records no denied ListBucket
        ("reader", "s3:GetObject", True),
        ("reader", "s3:GetObject", False),
        ("lister", "s3:GetObject", True),
        ("lister", "s3:ListBucket", True),
    }


def test_each_item_of_a_transaction_needs_its_permission(world: World) -> None:
    dynamodb = world.client("dynamodb", "counter")

    def key(name: str) -> dict[str, Any]:
        return {"TableName": "jobs", "Key": {"id": {"S": name}}}

    def transact(counted: str) -> None:
        dynamodb.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": "jobs", "Item": {"id": {"S": counted}}}},
                {"Update": {**key(f"{counted}s"), "UpdateExpression": "SET jobs = :n", **one}},
            ]
        )

    one = {"ExpressionAttributeValues": {":n": {"N": "1"}}}
    transact("count 1")
    denied = ("AccessDeniedException", 400)
    assert refusal(transact, counted="job 1") == denied
    assert refusal(dynamodb.get_item, **key("count 1")) == denied
    assert refusal(dynamodb.scan, TableName="jobs") == denied
    assert refusal(dynamodb.update_item, **key("job 1")) == denied
    items = world.client("dynamodb").scan(TableName="jobs")["Items"]
    assert {item["id"]["S"] for item in items} == {"count 1", "count 1s"}


def test_each_service_refuses_with_its_own_error(world: World) -> None:
    sqs = world.client("sqs", "reader")
    url = f"{world.endpoint}/{aws.ACCOUNT}/work"
    assert refusal(sqs.send_message, QueueUrl=url, MessageBody="x") == ("AccessDenied", 403)
    assert refusal(sqs.receive_message, QueueUrl=url) == ("AccessDenied", 403)
    denied = ("AccessDeniedException", 400)
    assert refusal(world.client("ssm", "reader").get_parameter, Name="/x") == denied
    entry = {"Source": "triptych", "DetailType": "x", "Detail": "{}"}
    assert refusal(world.client("events", "reader").put_events, Entries=[entry]) == denied
    assert refusal(world.client("dynamodbstreams", "reader").list_streams) == denied
    unknown = ("UnrecognizedClientException", 400)
    assert refusal(world.client("ssm", "reader", "another").get_parameter, Name="/x") == unknown


def test_accounts_key_may_do_everything_and_is_not_recorded(world: World) -> None:
    assert world.client("s3").get_object(Bucket="photos", Key="outputs/1")
    assert world.client("sqs").list_queues()["QueueUrls"]
    assert used(world) == set()


@pytest.fixture(scope="module")
def stack(machine: Machine) -> Stack:
    return provision(
        TEMPLATE,
        {"CallbackUrl": "http://127.0.0.1:9/"},
        endpoint=machine.endpoint,
        api_url="http://127.0.0.1:9",
        stack_name="triptych",
        region=REGION,
        account=aws.ACCOUNT,
    )


def test_each_function_has_its_own_credentials(machine: Machine, stack: Stack) -> None:
    machines = cloud._take_on_roles(machine, stack)
    keys = {one.access_key_id for one in machines.values()}
    assert machines.keys() == stack.functions.keys()
    assert len(keys) == len(machines)
    assert machine.access_key_id not in keys


@pytest.mark.parametrize(
    ("role", "sid", "complaint"),
    [
        ("PageFunction", "Logs", "PageFunction: its role does not permit logs:CreateLogStream on arn:aws:"),
        ("CallbackRole", "Callback", "CallbackRole: .* events:InvokeApiDestination on arn:aws:events:"),
    ],
)
def test_role_without_logging_or_calling_permission_is_an_error(
    machine: Machine, stack: Stack, role: str, sid: str, complaint: str
) -> None:
    rest = tuple(one for one in stack.policies[role] if one.sid != sid)
    with pytest.raises(TemplateError, match=complaint):
        cloud._take_on_roles(machine, replace(stack, policies={**stack.policies, role: rest}))
