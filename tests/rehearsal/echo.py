"""The API of tests/recorded/http_api.py as a stack on MiniStack."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tests.recorded import http_api
from tests.rehearsal import ministack

if TYPE_CHECKING:
    from tests.rehearsal.ministack import Ministack

STACK = "echo"
START_SECONDS = 60
_PREFIX = f"arn:aws:apigateway:{ministack.REGION}:lambda:path/2015-03-31/functions"


def deploy(cloud: Ministack, issuer: str) -> str:
    """Create the stack; return the API's URL.

    Raises:
        RuntimeError: The stack was not created.
    """
    formation = cloud.client("cloudformation")
    formation.create_stack(
        StackName=STACK, TemplateBody=json.dumps(_template(issuer)), Capabilities=["CAPABILITY_IAM"]
    )
    end = time.monotonic() + START_SECONDS
    while True:
        (found,) = formation.describe_stacks(StackName=STACK)["Stacks"]
        if found["StackStatus"] == "CREATE_COMPLETE":
            return str(found["Outputs"][0]["OutputValue"])
        if found["StackStatus"] != "CREATE_IN_PROGRESS" or time.monotonic() > end:
            raise RuntimeError(f"the stack is {found['StackStatus']}: {found.get('StackStatusReason')}")
        time.sleep(0.1)  # there is no event to wait for


def _template(issuer: str) -> dict[str, Any]:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    function = {
        "Code": {"ZipFile": http_api.HANDLER},
        "Handler": "index.handler",
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "Runtime": "python3.13",
        "Timeout": 20,
    }
    permission = {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": "Echo"},
        "Principal": "apigateway.amazonaws.com",
    }
    burst = {"ThrottlingBurstLimit": 2, "ThrottlingRateLimit": http_api.RATE}
    stage = {
        "ApiId": {"Ref": "Api"},
        "AutoDeploy": True,
        "RouteSettings": {http_api.LIMITED: burst},
        "StageName": "$default",
    }
    return {
        "Resources": {
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]}},
            },
            "Echo": {"Type": "AWS::Lambda::Function", "Properties": function},
            "Permission": {"Type": "AWS::Lambda::Permission", "Properties": permission},
            "Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Body": _description(issuer)}},
            "Stage": {"Type": "AWS::ApiGatewayV2::Stage", "Properties": stage},
        },
        "Outputs": {"Url": {"Value": {"Fn::GetAtt": ["Api", "ApiEndpoint"]}}},
    }


def _description(issuer: str) -> dict[str, Any]:
    integration = {
        "type": "aws_proxy",
        "httpMethod": "POST",
        "payloadFormatVersion": "2.0",
        "uri": {"Fn::Sub": f"{_PREFIX}/${{Echo.Arn}}/invocations"},
    }
    paths: dict[str, dict[str, Any]] = {}
    for method, path, needs_token in http_api.ROUTES:
        name = "x-amazon-apigateway-any-method" if method == "ANY" else method.lower()
        paths.setdefault(path, {})[name] = {
            "x-amazon-apigateway-integration": integration,
            "security": [{"own": []}] if needs_token else [],
        }
    authorizer = {
        "type": "jwt",
        "identitySource": "$request.header.Authorization",
        "jwtConfiguration": {"issuer": issuer, "audience": [http_api.AUDIENCE]},
    }
    scheme = {"type": "oauth2", "x-amazon-apigateway-authorizer": authorizer}
    return {
        "openapi": "3.0.1",
        "info": {"title": "echo", "version": "1"},
        "paths": paths,
        "components": {"securitySchemes": {"own": scheme}},
        "x-amazon-apigateway-cors": http_api.CORS,
    }
