"""Limits of AWS that no cloud on this machine enforces, checked in the text of the template."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from functools import cache
from typing import Any

import pytest

from tests.localcloud.template import TemplateError, load, translate
from tests.unit.template_plan import Plan, plan
from triptych.job import LONGEST_RUN
from triptych.settings import Settings

# Concurrent executions, and bytes of a function's environment:
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
NEW_ACCOUNT = 10
ENVIRONMENT_BYTES = 4096
# Shards of a new on-demand table's stream: 4,000 writes/s, at 1,000 for each partition.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode-initial.html
SHARDS = 4
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cfn-using-console-create-stack-parameters.html
LONGEST_STACK_NAME = "A" + "b" * 127
REGION = "ap-southeast-2.amazonaws.com.cn"  # longer than any real one
# CloudFormation's names for the longest stack name: up to 255 characters for a table, 80 for a queue.
LONGEST_OF = {
    "TABLE": f"{LONGEST_STACK_NAME}-JobsTable-ABCDEFGHIJKL",
    "WAITING_QUEUE_URL": f"https://sqs.{REGION}/123456789012/{'q' * 80}",
    "GENERATION_QUEUE_URL": f"https://sqs.{REGION}/123456789012/{'q' * 80}",
    "JOB_CALLBACK_QUEUE_URL": f"https://sqs.{REGION}/123456789012/{'q' * 80}",
    # Secrets Manager adds seven characters: https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html
    "JOB_CALLBACK_KEY": f"arn:aws-us-gov:secretsmanager:ap-southeast-2:123456789012:secret:{'s' * 62}-abcdef",
    "WATCHDOG_QUEUE_URL": f"https://sqs.{REGION}/123456789012/{'q' * 80}",
    "WEBHOOK_URL": f"https://abcdefghij.execute-api.{REGION}/api/v1/webhooks/replicate",
    "BUCKET_URL": f"https://triptych-photos-3f2504e0-4f89-41d3-9a0c-0305e82c3301.s3.{REGION}",
    "COGNITO_URL": f"https://cognito-idp.{REGION}",
    "COGNITO_CLIENT_ID": "c" * 26,
}
EVERYTHING = {
    "CallbackUrl": "https://example.com/ends",
    "AllowedCallbackHosts": "example.com",
    "ReplicateTokenKeyArn": "arn:aws:kms:us-east-1:123456789012:key/3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "PermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary",
}


@cache
def resources(*, everything: bool = True) -> dict[str, Any]:
    """Return every resource of a stack, resolved: logical id → type and properties."""
    made: Plan = plan(overrides=EVERYTHING if everything else {})
    return {name: (one.type, one.properties) for name, one in made.resources.items()}


def of_type(kind: str, *, everything: bool = True) -> dict[str, Any]:
    return {
        name: properties
        for name, (type_, properties) in resources(everything=everything).items()
        if type_ == kind
    }


# ── concurrency ──


def test_event_sources_leave_a_new_account_concurrency_for_the_api() -> None:
    mappings = of_type("AWS::Lambda::EventSourceMapping", everything=False).values()
    queues = [int(one["ScalingConfig"]["MaximumConcurrency"]) for one in mappings if "ScalingConfig" in one]
    streams = [
        int(one["ParallelizationFactor"]) * SHARDS for one in mappings if "ParallelizationFactor" in one
    ]
    assert (len(queues), len(streams)) == (3, 1)
    assert sum(queues) <= NEW_ACCOUNT * 0.6
    # All shards of the stream need a function at the same time only for a fraction of a second.
    assert sum(queues) + sum(streams) <= NEW_ACCOUNT


@pytest.mark.parametrize(
    ("parameter", "mapping", "value"),
    [
        ("GenerateConcurrency", "GenerateFunctionUpload", "20"),
        ("WaitingConcurrency", "GenerateFunctionTurn", "20"),
        ("WatchdogConcurrency", "WatchdogFunctionLook", "20"),
        ("AnnounceConcurrency", "AnnounceFunctionEnd", "4"),
    ],
)
def test_concurrency_of_each_event_source_is_a_parameter(parameter: str, mapping: str, value: str) -> None:
    properties: Any = plan(overrides={parameter: value}).resources[mapping].properties
    scaling = properties.get("ScalingConfig", {}).get("MaximumConcurrency")
    assert str(scaling or properties["ParallelizationFactor"]) == value


# ── loops: `test_template_recursion` checks that they are allowed ──


def test_alarm_watches_dropped_recursive_invocations() -> None:
    alarm = of_type("AWS::CloudWatch::Alarm")["RecursionStopped"]
    watched = {
        query["MetricStat"]["Metric"]["Dimensions"][0]["Value"]
        for query in alarm["Metrics"]
        if query.get("MetricStat", {}).get("Metric", {}).get("MetricName") == "RecursiveInvocationsDropped"
    }
    functions = of_type("AWS::Lambda::Function").items()
    assert len(watched) == sum(function.get("RecursiveLoop") == "Allow" for _, function in functions) == 2


# ── throttles of routes ──


def test_routes_without_a_token_have_their_own_throttles() -> None:
    (stage,) = of_type("AWS::ApiGatewayV2::Stage").values()
    throttle = stage["RouteSettings"]["POST /api/v1/webhooks/replicate"]
    assert throttle["ThrottlingRateLimit"] >= 250  # signed webhooks get in beside forged ones
    assert throttle["ThrottlingBurstLimit"] <= 100  # a flood that begins at once starts as many functions
    # Large answers without a token: their transfer costs.
    description = stage["RouteSettings"]["GET /api/v1/openapi.json"]
    assert description["ThrottlingRateLimit"] <= 20
    previews = stage["RouteSettings"]["GET /api/v1/styles/{style_id}/preview"]
    assert previews["ThrottlingRateLimit"] <= 20
    everything = stage["DefaultRouteSettings"]
    assert (everything["ThrottlingRateLimit"], everything["ThrottlingBurstLimit"]) == (250, 500)
    (api,) = of_type("AWS::ApiGatewayV2::Api").values()
    there = {f"{method.upper()} {path}" for path, ways in api["Body"]["paths"].items() for method in ways}
    assert stage["RouteSettings"].keys() <= there
    # API Gateway refuses an update that takes a route and its setting away together, as a changed parameter would.
    assert not any("Fn::If" in setting for setting in stage["RouteSettings"].values())


# ── sizes ──


def test_function_environment_fits_with_the_longest_parameters() -> None:
    """Lambda measures the environment as JSON, with escaped quotes, as its error message shows."""
    parameters: Any = translate()["Parameters"]
    made = plan(overrides=EVERYTHING, stack_name=LONGEST_STACK_NAME).resources
    functions: list[Any] = [one.properties for one in made.values() if one.type == "AWS::Lambda::Function"]
    assert len(functions) == 7
    for function in functions:
        variables = {
            name: _longest(name, value, parameters)
            for name, value in function["Environment"]["Variables"].items()
        }
        size = len(json.dumps(variables, ensure_ascii=False).encode())
        assert size <= ENVIRONMENT_BYTES, (function["Handler"], size)


def test_deleted_variable_leaves_no_setting_at_its_default() -> None:
    """The setting would then ignore its parameter, and no function would notice."""
    readers = {
        "IMAGE_COUNT": {"api", "page"},
        "DOWNLOAD_URL_SECONDS": {"api"},
        "MAX_PHOTO_PIXELS": {"api", "generate"},
        "MAX_PHOTO_EDGE": {"generate", "page"},
        "MAX_OUTPUT_BYTES": {"webhook", "watchdog"},
    }
    fields = Settings.model_fields.items()
    assert readers.keys() == {
        name.upper() for name, field in fields if not field.is_required() and field.default
    }
    functions: list[Any] = list(of_type("AWS::Lambda::Function").values())
    for variable, names in readers.items():
        given = {
            one["Handler"].split(".")[0] for one in functions if variable in one["Environment"]["Variables"]
        }
        assert given == names, variable


def _longest(variable: str, value: str, parameters: Any) -> str:
    """Return the value that takes the most bytes in JSON."""
    named = "".join(word.capitalize() for word in variable.split("_"))
    parameter = parameters.get("TimeZone" if variable == "TIMEZONE" else named)
    if parameter is None:  # a name or an address of a resource
        return LONGEST_OF.get(variable, str(value))
    if parameter["Type"] == "Number":
        return str(parameter["MaxValue"])
    if "AllowedValues" in parameter:
        return str(max(parameter["AllowedValues"], key=len))
    worst = ("\N{ARTIST PALETTE}", '"', "x")  # 4, 2 and 1 bytes
    # A name begins with a slash.
    pattern, known = parameter["AllowedPattern"], parameter["Default"] or "/"
    known = known if re.fullmatch(pattern, f"{known}x") else ""
    sign = next(one for one in worst if re.fullmatch(pattern, known + one))
    return sign * int(parameter["MaxLength"])


def test_unbounded_variable_is_found() -> None:
    unbounded = {"Type": "String", "Default": "", "AllowedPattern": ".*"}
    with pytest.raises(KeyError, match="MaxLength"):
        _longest("DEFAULT_PROMPT", "x", {"DefaultPrompt": unbounded})


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("DefaultPrompt", "그" * 201),
        ("DefaultPrompt", "two\nlines"),
        ("ReplicateInputMapping", '{"prompt": "그림"}'),
        ("ReplicateInputMapping", "x" * 401),
        ("AllowedOutputHosts", "h" * 161),
        ("ReplicateDeliveryHosts", "replicate.delivery."),
        ("ReplicateDeliveryHosts", "https://replicate.delivery"),
        ("ReplicateDeliveryHosts", "delivery"),
        ("ReplicateModel", "a/b c"),
        ("ReplicateTokenKeyArn", "alias/aws/ssm"),
        ("PermissionsBoundaryArn", "boundary"),
    ],
)
def test_invalid_parameter_value_is_refused_at_deployment(parameter: str, value: str) -> None:
    with pytest.raises(TemplateError, match=f"parameter {parameter}"):
        load(overrides={parameter: value})


@pytest.mark.parametrize(("function", "copies"), [("WatchdogFunction", 10), ("WebhookFunction", 1)])
def test_tmp_holds_the_outputs_of_two_invocations(function: str, copies: int) -> None:
    parameters: Any = translate()["Parameters"]
    assert copies in {1, parameters["ImageCount"]["MaxValue"]}
    needed = 2 * copies * parameters["MaxOutputBytes"]["MaxValue"]
    assert of_type("AWS::Lambda::Function")[function]["EphemeralStorage"]["Size"] * 2**20 >= needed


def test_tmp_holds_the_photos_of_two_invocations() -> None:
    parameters: Any = translate()["Parameters"]
    assert "EphemeralStorage" not in of_type("AWS::Lambda::Function")["GenerateFunction"]
    assert 2 * parameters["MaxUploadBytes"]["MaxValue"] <= 512 * 2**20


# ── names ──


@pytest.mark.parametrize("stack_name", [LONGEST_STACK_NAME, "Triptych", "a"])
def test_names_fit_for_every_stack_name(stack_name: str) -> None:
    made: list[Any] = [one.properties for one in plan(stack_name=stack_name).resources.values()]
    # The other bucket has no name of its own: CloudFormation makes one.
    (name,) = [properties["BucketName"] for properties in made if "BucketName" in properties]
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name)
    longest = {
        "LayerName": 140,
        "LogGroupName": 512,
        "DashboardName": 255,
        "Name": 255,
    }
    for properties in made:
        for key in longest.keys() & properties.keys():
            assert len(properties[key]) <= longest[key], (key, properties[key])


# ── users and data ──


def test_user_names_are_case_insensitive() -> None:
    assert of_type("AWS::Cognito::UserPool")["UserPool"]["UsernameConfiguration"] == {"CaseSensitive": False}


def test_passwords_have_every_kind_of_character() -> None:
    policy = of_type("AWS::Cognito::UserPool")["UserPool"]["Policies"]["PasswordPolicy"]
    assert policy["MinimumLength"] >= 12
    required = ("RequireLowercase", "RequireNumbers", "RequireSymbols", "RequireUppercase")
    assert all(policy[name] is True for name in required)


def test_an_authenticator_app_is_optional() -> None:
    pool = of_type("AWS::Cognito::UserPool")["UserPool"]
    assert (pool["MfaConfiguration"], pool["EnabledMfas"]) == ("OPTIONAL", ["SOFTWARE_TOKEN_MFA"])


def test_tokens_live_shortly_and_the_refresh_token_is_revocable() -> None:
    client = of_type("AWS::Cognito::UserPoolClient")["UserPoolClient"]
    units = {"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "hours"}
    assert client["TokenValidityUnits"] == units
    validity = [client[f"{token}TokenValidity"] for token in ("Access", "Id", "Refresh")]
    assert validity == [30, 30, 12]
    assert client["EnableTokenRevocation"] is True


def test_table_and_user_pool_are_protected_from_deletion() -> None:
    assert of_type("AWS::DynamoDB::Table")["JobsTable"]["DeletionProtectionEnabled"] is True
    assert of_type("AWS::Cognito::UserPool")["UserPool"]["DeletionProtection"] == "ACTIVE"


def test_protected_resources_are_retained() -> None:
    """A rollback of the first deployment would fail if it had to delete a protected resource."""
    translated: Any = translate()["Resources"]
    for name in ("JobsTable", "UserPool"):
        document = translated[name]
        assert (document["DeletionPolicy"], document["UpdateReplacePolicy"]) == ("Retain", "Retain")


# ── roles ──


def test_every_role_has_the_given_permissions_boundary() -> None:
    roles = of_type("AWS::IAM::Role")
    assert len(roles) == 8
    assert {role.get("PermissionsBoundary") for role in roles.values()} == {
        EVERYTHING["PermissionsBoundaryArn"]
    }
    assert not any("PermissionsBoundary" in r for r in of_type("AWS::IAM::Role", everything=False).values())


def test_only_readers_of_the_token_may_decrypt_it() -> None:
    reading, decrypting = set(), set()
    for name, role in of_type("AWS::IAM::Role").items():
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                if statement["Action"] == "ssm:GetParameter":
                    reading.add(name)
                if "kms:" in str(statement["Action"]):
                    decrypting.add(name)
                    assert statement["Action"] == "kms:Decrypt"
                    assert statement["Resource"] == EVERYTHING["ReplicateTokenKeyArn"]
                    assert statement["Condition"] == {
                        "StringLike": {"kms:ViaService": "ssm.us-east-1.amazonaws.*"}
                    }
    assert reading == decrypting == {"GenerateRole", "WebhookRole", "WatchdogRole"}
    assert "kms:" not in str(of_type("AWS::IAM::Role", everything=False))


def test_template_names_no_partition() -> None:
    """Except in service principals, which are the same in every partition."""
    text = json.dumps(translate())
    assert "arn:aws" not in text
    without_principals = re.sub(r'"(Service|Principal)": "[a-z0-9]+\.amazonaws\.com"', "", text)
    assert re.findall(r"[\w.${}:-]+\.amazonaws\.com", without_principals) == []


# ── spending ──


@pytest.mark.parametrize("name", ["DailyPicturesPerOwner", "DailyPictures", "MaxActiveJobsPerOwner"])
def test_spending_is_limited_by_default(name: str) -> None:
    assert int(plan().parameters[name]) > 0


def test_longest_run_is_the_longest_deadline_that_may_be_set() -> None:
    parameters: Any = translate()["Parameters"]
    assert timedelta(seconds=parameters["GenerationDeadlineSeconds"]["MaxValue"]) == LONGEST_RUN
