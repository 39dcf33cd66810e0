"""Tests of MiniStack's gaps: each is open without gaps.py, and gaps.py closes it.

A test that fails with `open` names a gap that MiniStack has closed: delete its code from gaps.py and its row from
README.md.
"""

from __future__ import annotations

import copy
import io
import json
import re
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from tests.rehearsal import gaps, ministack
from tests.rehearsal.evidence import ROLE, error_of, function, make_role, queue, received
from tests.rehearsal.ministack import Ministack
from tests.support.readme import section

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="MiniStack is set up for Linux")

LIMIT = 16  # invocations in one chain
ECHO = "def handler(event, context): return event['requestContext']['requestId']"


@dataclass(frozen=True)
class Tried:
    """A MiniStack with its gaps open or closed."""

    cloud: Ministack
    closed: bool

    def client(self, service: str) -> Any:
        return self.cloud.client(service)

    def deploy(
        self, name: str, resources: dict[str, Any], parameters: dict[str, str] | None = None, **more: Any
    ) -> str:
        """Create a stack; return its status, or the code of the refusal."""
        template = {"Resources": copy.deepcopy(resources), **copy.deepcopy(more)}
        given = parameters or {}
        if self.closed:
            gaps.close(template, given)
        formation = self.client("cloudformation")
        try:
            formation.create_stack(
                StackName=name,
                TemplateBody=json.dumps(template),
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            )
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        end = time.monotonic() + 20
        while (status := self._status(name)).endswith("_IN_PROGRESS") and time.monotonic() < end:
            time.sleep(0.1)
        return status

    def _status(self, name: str) -> str:
        (found,) = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        return str(found["StackStatus"])

    def name_of(self, stack: str, logical_id: str) -> str:
        found = self.client("cloudformation").describe_stack_resource(
            StackName=stack, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])


@pytest.fixture(scope="module", params=[False, True], ids=["open", "closed"])
def tried(request: pytest.FixtureRequest) -> Iterator[Tried]:
    with (
        TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as folder,
        ministack.running(Path(folder), closed=request.param) as cloud,
    ):
        make_role(cloud)
        yield Tried(cloud, request.param)


# ── CloudFormation ────────────────────────────────────────────────────────────────────────────────────────────


def inline(**properties: Any) -> dict[str, Any]:
    """A function of a template."""
    code = {"ZipFile": "def handler(event, context): return 1"}
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "Runtime": "python3.13",
            "Handler": "index.handler",
            "Role": ROLE,
            "Code": code,
            **properties,
        },
    }


def saved_query(tried: Tried) -> bool:
    properties = {"Name": "a", "QueryString": "fields @message"}
    resources = {
        "Query": {"Type": "AWS::Logs::QueryDefinition", "Properties": properties},
        "Queue": {"Type": "AWS::SQS::Queue"},
    }
    return tried.deploy("saved-query", resources) == "CREATE_COMPLETE"


def metric_math(tried: Tried) -> bool:
    metric = {
        "Metric": {"Namespace": "a", "MetricName": "b"},
        "Period": 60,
        "Stat": "Sum",
    }
    properties = {
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "Metrics": [
            {"Id": "a", "MetricStat": metric, "ReturnData": False},
            {"Id": "b", "Expression": "a * 2"},
        ],
    }
    resources = {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}}
    return tried.deploy("metric-math", resources) == "CREATE_COMPLETE"


def origins_of_the_transform(tried: Tried) -> bool:
    cors = {"AllowOrigins": {"Ref": "AllowedOrigins"}, "AllowMethods": ["GET"]}
    properties = {"CorsConfiguration": cors, "DefinitionBody": {"openapi": "3.0.1", "paths": {}}}
    resources = {"Api": {"Type": "AWS::Serverless::HttpApi", "Properties": properties}}
    given = {"AllowedOrigins": "https://app.example"}
    tried.deploy(
        "origins",
        resources,
        given,
        Transform="AWS::Serverless-2016-10-31",
        Parameters={"AllowedOrigins": {"Type": "CommaDelimitedList", "Default": ""}},
    )
    processed = tried.client("cloudformation").get_template(StackName="origins", TemplateStage="Processed")
    return given["AllowedOrigins"] in json.dumps(processed["TemplateBody"]["Resources"])


def recursive_loop(tried: Tried) -> bool:
    tried.deploy("recursive-loop", {"Function": inline(RecursiveLoop="Allow")})
    name = tried.name_of("recursive-loop", "Function")
    found = tried.client("lambda").get_function_recursion_config(FunctionName=name)
    return bool(found["RecursiveLoop"] == "Allow")


def number_of_a_mapping(tried: Tried) -> bool:
    properties = {
        "FunctionName": {"Ref": "Function"},
        "EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]},
        "ScalingConfig": {"MaximumConcurrency": {"Ref": "Number"}},
    }
    resources = {
        "Function": inline(),
        "Queue": {"Type": "AWS::SQS::Queue"},
        "Mapping": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": properties},
    }
    tried.deploy("number", resources, {"Number": "2"}, Parameters={"Number": {"Type": "Number"}})
    sqs, url = tried.client("sqs"), tried.name_of("number", "Queue")
    sqs.send_message(QueueUrl=url, MessageBody="x")
    end, left = time.monotonic() + (30 if tried.closed else 10), True
    while left and time.monotonic() < end:
        time.sleep(0.2)
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        left = any(int(found[name]) for name in found if name.startswith("ApproximateNumberOfMessages"))
    tried.client("cloudformation").delete_stack(StackName="number")  # else no queue of the account is polled
    return not left


def callbacks_in_a_template(tried: Tried) -> bool:
    key = {"ApiKeyName": "X-Key", "ApiKeyValue": "k"}
    connection = {"AuthorizationType": "API_KEY", "AuthParameters": {"ApiKeyAuthParameters": key}}
    destination = {
        "ConnectionArn": {"Fn::GetAtt": ["Connection", "Arn"]},
        "InvocationEndpoint": "http://127.0.0.1:9/",
        "HttpMethod": "POST",
    }
    resources = {
        "Connection": {"Type": "AWS::Events::Connection", "Properties": connection},
        "Destination": {"Type": "AWS::Events::ApiDestination", "Properties": destination},
    }
    return tried.deploy("callbacks", resources) == "CREATE_COMPLETE"


# ── the HTTP API ──────────────────────────────────────────────────────────────────────────────────────────────


def routes_of_a_body(tried: Tried) -> bool:
    integration = {"uri": f"{ROLE}/none", "payloadFormatVersion": "2.0", "type": "aws_proxy"}
    paths = {"/a": {"get": {"x-amazon-apigateway-integration": integration}}}
    properties = {"Body": {"openapi": "3.0.1", "info": {"title": "a"}, "paths": paths}}
    tried.deploy("body", {"Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": properties}})
    api = tried.name_of("body", "Api")
    return [one["RouteKey"] for one in tried.client("apigatewayv2").get_routes(ApiId=api)["Items"]] == [
        "GET /a"
    ]


def endpoint_of_an_api(tried: Tried) -> bool:
    properties = {"Name": "a", "ProtocolType": "HTTP"}
    tried.deploy("endpoint", {"Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": properties}})
    api = tried.client("apigatewayv2").get_api(ApiId=tried.name_of("endpoint", "Api"))
    return ".localhost" not in api["ApiEndpoint"]


def settings_of_a_route(tried: Tried) -> bool:
    settings = {"GET /a": {"ThrottlingBurstLimit": 1, "ThrottlingRateLimit": 5}}
    stage = {"ApiId": {"Ref": "Api"}, "StageName": "$default", "RouteSettings": settings}
    resources = {
        "Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Name": "a", "ProtocolType": "HTTP"}},
        "Stage": {"Type": "AWS::ApiGatewayV2::Stage", "Properties": stage},
    }
    tried.deploy("stage", resources)
    api = tried.name_of("stage", "Api")
    found = tried.client("apigatewayv2").get_stage(ApiId=api, StageName="$default")
    return bool(found.get("RouteSettings", {}).get("GET /a") == settings["GET /a"])


def id_of_a_request(tried: Tried) -> bool:
    apis, arn = tried.client("apigatewayv2"), function(tried.cloud, "echo", ECHO)
    api = apis.create_api(Name="a", ProtocolType="HTTP")["ApiId"]
    integration = apis.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion="2.0"
    )["IntegrationId"]
    apis.create_route(ApiId=api, RouteKey="GET /a", Target=f"integrations/{integration}")
    apis.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    tried.client("lambda").add_permission(
        FunctionName="echo",
        StatementId="a",
        Action="lambda:InvokeFunction",
        Principal="apigateway.amazonaws.com",
    )
    with httpx.Client(trust_env=False, timeout=30) as http:
        answer = http.get(f"{tried.cloud.endpoint}/a", headers={"host": f"{api}.execute-api.localhost"})
    assert answer.status_code == 200, answer.text
    return answer.headers["apigw-requestid"] in answer.text


# ── Lambda and SQS ────────────────────────────────────────────────────────────────────────────────────────────

LOOP = """
import boto3, os
def handler(event, context):
    with open(os.environ["FILE"], "a") as file:
        file.write(".")
    boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody="x")
"""
LAID = "import laid, os\ndef handler(event, context): return os.path.realpath(laid.__file__) != laid.__file__"
SLOW = "import os, time\ndef handler(event, context):\n    time.sleep(3)\n    return os.getpid()"


def header_of_a_message(tried: Tried) -> bool:
    url, _ = queue(tried.cloud, "traced")
    sqs, trace = tried.client("sqs"), "Root=1-00000000-000000000000000000000000;Lineage=1:00000000:3"
    sqs.meta.events.register(
        "before-call.sqs.SendMessage",
        lambda params, **_: params["headers"].update({"X-Amzn-Trace-Id": trace}),
    )
    sqs.send_message(QueueUrl=url, MessageBody="x")
    (message,) = received(tried.cloud, url)
    return bool(message["Attributes"].get("AWSTraceHeader") == trace)


def loop_through_a_queue(tried: Tried) -> bool:
    """Ask whether a function that sends its message back to its own queue is stopped."""
    file = tried.cloud.log.with_name("loop")
    dead, dead_arn = queue(tried.cloud, "loop-dead")
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    url, arn = queue(tried.cloud, "loop", RedrivePolicy=redrive, VisibilityTimeout="60")
    function(tried.cloud, "loop", LOOP, Environment={"Variables": {"FILE": str(file), "QUEUE": url}})
    client = tried.client("lambda")
    mapping = client.create_event_source_mapping(FunctionName="loop", EventSourceArn=arn, BatchSize=1)["UUID"]
    tried.client("sqs").send_message(QueueUrl=url, MessageBody="x")
    end, stopped = time.monotonic() + 60, False
    while not stopped and time.monotonic() < end and (not file.exists() or file.stat().st_size <= LIMIT):
        stopped = bool(received(tried.cloud, dead, 1))
    client.delete_event_source_mapping(UUID=mapping)
    assert stopped or file.stat().st_size > LIMIT, "the loop did not get so far"
    return stopped


def layer_of_a_process(tried: Tried) -> bool:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("python/laid.py", "")
    client = tried.client("lambda")
    layer = client.publish_layer_version(LayerName="laid", Content={"ZipFile": packed.getvalue()})
    function(tried.cloud, "laid", LAID, Layers=[layer["LayerVersionArn"]])
    return bool(json.loads(client.invoke(FunctionName="laid")["Payload"].read()))


def processes_of_a_function(tried: Tried) -> bool:
    function(tried.cloud, "slow", SLOW, Timeout=30)
    client = tried.client("lambda")

    def pid(_: int) -> int:
        return int(json.loads(client.invoke(FunctionName="slow")["Payload"].read()))

    with ThreadPoolExecutor(gaps.PROCESSES + 2) as pool:
        return len(set(pool.map(pid, range(gaps.PROCESSES + 2)))) <= gaps.PROCESSES


# ── permissions ───────────────────────────────────────────────────────────────────────────────────────────────


def notification_over_tls(tried: Tried) -> bool:
    url, arn = queue(tried.cloud, "tls")
    common = {"Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    policy = {"Statement": [{"Effect": "Allow", **common}, {"Effect": "Deny", **common, "Condition": plain}]}
    tried.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    s3 = tried.client("s3")
    s3.create_bucket(Bucket="tls")
    configuration = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    put = s3.put_bucket_notification_configuration
    return error_of(lambda: put(Bucket="tls", NotificationConfiguration=configuration)) == "accepted"


def source_of_an_event(tried: Tried) -> bool:
    iam = tried.client("iam")
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
    arn = iam.create_role(RoleName="source", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    permit = {
        "Effect": "Allow",
        "Action": "events:PutEvents",
        "Resource": "*",
        "Condition": {"StringEquals": {"events:source": "triptych"}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [permit]})
    iam.put_role_policy(RoleName="source", PolicyName="source", PolicyDocument=document)
    given = tried.client("sts").assume_role(RoleArn=arn, RoleSessionName="gaps")["Credentials"]
    events = boto3.client(
        "events",
        endpoint_url=tried.cloud.endpoint,
        region_name=ministack.REGION,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )
    entry = {"Source": "triptych", "DetailType": "x", "Detail": "{}"}
    return error_of(lambda: events.put_events(Entries=[entry])) == "accepted"


# By the check: the code of gaps.py that makes it true.
CHECKS: dict[Callable[[Tried], bool], str] = {
    saved_query: "_drop_saved_queries",
    metric_math: "_flatten_metric_math",
    origins_of_the_transform: "_tell_the_transform_the_origins",
    recursive_loop: "_set_recursive_loop",
    number_of_a_mapping: "_read_numbers",
    callbacks_in_a_template: "_make_callbacks",
    routes_of_a_body: "_import_http_apis",
    endpoint_of_an_api: "_Ports",
    settings_of_a_route: "_name_route_settings",
    id_of_a_request: "_send_request_ids",
    header_of_a_message: "_count_loops_through_queues",
    loop_through_a_queue: "_count_loops_through_queues",
    layer_of_a_process: "_unpack_once",
    processes_of_a_function: "_share_processes",
    notification_over_tls: "_count_as_tls",
    source_of_an_event: "_read_event_sources",
}


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_gap_is_open_and_can_be_closed(tried: Tried, check: Callable[[Tried], bool]) -> None:
    assert check(tried) is tried.closed, f"Look at {CHECKS[check]} in gaps.py."


def test_every_gap_has_a_check_and_a_row() -> None:
    called = re.findall(r"(?m)^ +(_\w+)\((?:template.*)?\)$", Path(gaps.__file__).read_text())
    assert {name for name in called if not name.startswith("_end")} | {"_Ports"} == set(CHECKS.values())
    text = section(f"The gaps of MiniStack {gaps.SEEN_AT}")
    assert set(re.findall(r"(?m)\| `(_\w+)`", text)) == set(CHECKS.values())
