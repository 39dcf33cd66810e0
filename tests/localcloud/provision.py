"""Creates the template's resources on the moto server, through the API of each service.

moto's own CloudFormation silently drops what it does not know. Here an unknown type, property or value is an error
that names it, so that the local cloud runs what AWS deploys.
"""

from __future__ import annotations

import itertools
import json
import re
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import ValidationError

from tests.localcloud import resources as cfn
from tests.localcloud.aws import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tests.localcloud.stack import (
    Authorizer,
    Cors,
    EventSource,
    EventTarget,
    Function,
    HttpApi,
    QueueTarget,
    Route,
    Stack,
    StreamSource,
)
from tests.localcloud.template import CODE_BUCKET, Json, Template, TemplateError, explain, load, text
from tests.localcloud.throttle import Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        CreateTableInputTypeDef,
        GlobalSecondaryIndexTypeDef,
        KeySchemaElementTypeDef,
        ProjectionTypeDef,
    )
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import (
        CORSRuleTypeDef,
        LifecycleRuleTypeDef,
        NotificationConfigurationTypeDef,
        QueueConfigurationTypeDef,
    )
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

    from tests.localcloud.policies import Statement

_FUNCTION_URI = re.compile(
    r"arn:aws:apigateway:[\w-]+:lambda:path/2015-03-31/functions/(arn:[^/]+)/invocations"
)
_SECRET = re.compile(r"\{\{resolve:secretsmanager:(arn:[^}]+)\}\}")
_ANY_METHOD = "x-amazon-apigateway-any-method"


def provision(  # noqa: PLR0913  # the settings of a deployment, all by keyword
    template: Path,
    parameters: Mapping[str, str],
    *,
    endpoint: str,
    api_url: str,
    stack_name: str,
    region: str,
    account: str,
    access_key_id: str = ACCESS_KEY_ID,
    secret_access_key: str = SECRET_ACCESS_KEY,
) -> Stack:
    """Create the template's resources on the server at `endpoint`, in the order of their dependencies.

    The server does not get the functions, layers, event source mappings, HTTP API and event rules. The returned
    `Stack` describes them.

    Raises:
        TemplateError: A part is not understood, or AWS refuses it. Resources that exist by then remain.
    """
    loaded = load(template, parameters, stack_name=stack_name, region=region, account=account)
    session = boto3.Session(access_key_id, secret_access_key, region_name=region)
    making = _Making(
        template=loaded,
        stack_name=stack_name,
        region=region,
        account=account,
        api_url=api_url,
        cognito=session.client("cognito-idp", endpoint_url=endpoint),
        dynamodb=session.client("dynamodb", endpoint_url=endpoint),
        s3=session.client("s3", endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"})),
        sqs=session.client("sqs", endpoint_url=endpoint),
        secrets_manager=lambda: session.client("secretsmanager", endpoint_url=endpoint),
    )
    for name, resource in loaded.resources.items():
        if resource.type not in {*_MAKERS, *cfn.NO_EFFECT}:
            raise TemplateError(f"{name}: resource type {resource.type} is not understood")
    for name, resource in loaded.resources.items():
        try:
            properties = loaded.scope.resolve(resource.properties)
            _MAKERS.get(resource.type, _nothing)(making, name, properties)
        except ValidationError as error:
            raise TemplateError(f"{name} ({resource.type}): {explain(error)}") from error
        except (TemplateError, ClientError) as error:
            raise TemplateError(f"{name} ({resource.type}): {error}") from error
    return Stack(
        name=stack_name,
        region=region,
        account=account,
        functions=making.functions,
        event_sources=tuple(making.event_sources),
        http_api=making.http_api,
        parameters=loaded.parameters,
        streams=tuple(making.streams),
        event_targets=tuple(making.event_targets),
        queue_targets=tuple(making.queue_targets),
        outputs=loaded.outputs(),
        policies=making.policies,
    )


@dataclass
class _Making:
    """The clients that create resources, and the resources created so far."""

    template: Template
    stack_name: str
    region: str
    account: str
    api_url: str
    cognito: CognitoIdentityProviderClient
    dynamodb: DynamoDBClient
    s3: S3Client
    sqs: SQSClient
    secrets_manager: Callable[[], Any]  # made on demand: a client takes time, and few stacks have a secret
    queues: dict[str, tuple[str, cfn.Queue]] = field(default_factory=dict)  # by ARN: URL and properties
    bucket_arns: set[str] = field(default_factory=set)
    queue_policies: dict[str, set[str]] = field(default_factory=dict)  # logical ids, by the queue's URL
    # By ARN: logical id and policies.
    roles: dict[str, tuple[str, tuple[Statement, ...]]] = field(default_factory=dict)
    layers: dict[str, Path] = field(default_factory=dict)  # by ARN
    functions: dict[str, Function] = field(default_factory=dict)  # by logical id
    # By the function's or role's logical id.
    policies: dict[str, tuple[Statement, ...]] = field(default_factory=dict)
    event_sources: list[EventSource] = field(default_factory=list)
    table_streams: set[str] = field(default_factory=set)  # ARNs
    streams: list[StreamSource] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)  # by ARN
    connections: dict[str, cfn.ApiKeyAuth] = field(
        default_factory=dict
    )  # by ARN; the API key's value is resolved
    api_destinations: dict[str, cfn.ApiDestination] = field(default_factory=dict)  # by ARN
    event_targets: list[EventTarget] = field(default_factory=list)
    queue_targets: list[QueueTarget] = field(default_factory=list)
    http_api: HttpApi = field(default_factory=lambda: HttpApi((), {}, None))

    def physical(self, name: str, given: str | None = None) -> str:
        return given or f"{self.stack_name}-{name}"

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def made(self, name: str, ref: str, **attributes: str) -> None:
        """Record a created resource, so that later resources can refer to it."""
        self.template.scope.refs[name] = ref
        self.template.scope.attributes[name] = attributes

    def folder(self, code: cfn.S3Code) -> Path:
        folder = self.template.folder / code.s3_key
        if code.s3_bucket != CODE_BUCKET or not folder.is_dir():
            raise TemplateError(f"the code {code.s3_key!r} is not a folder beside the template")
        return folder

    def function_of(self, arn_or_name: str) -> str:
        """Return the logical id of the function with this ARN or name."""
        name = arn_or_name.rpartition(":")[2]
        for logical_id in self.functions:
            if name == self.template.scope.refs[logical_id]:
                return logical_id
        raise TemplateError(f"there is no function {arn_or_name}")


def _nothing(making: _Making, name: str, properties: Json) -> None:
    cfn.NO_EFFECT[making.template.resources[name].type].model_validate(properties)
    physical = making.physical(name)
    service = making.template.resources[name].type.split("::")[1].lower()
    arn = making.arn(service, physical)
    ref = arn if making.template.resources[name].type == "AWS::SNS::Topic" else physical
    making.made(name, ref, Arn=arn)


def _bucket(making: _Making, name: str, properties: Json) -> None:
    bucket = cfn.Bucket.model_validate(properties)
    physical = making.physical(name, bucket.bucket_name).lower()
    s3 = making.s3
    if making.region == "us-east-1":
        s3.create_bucket(Bucket=physical)
    else:
        s3.create_bucket(Bucket=physical, CreateBucketConfiguration={"LocationConstraint": making.region})  # type: ignore[typeddict-item]  # the stub lists literal regions
    if block := bucket.public_access_block_configuration:
        s3.put_public_access_block(
            Bucket=physical,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": block.block_public_acls,
                "BlockPublicPolicy": block.block_public_policy,
                "IgnorePublicAcls": block.ignore_public_acls,
                "RestrictPublicBuckets": block.restrict_public_buckets,
            },
        )
    if ownership := bucket.ownership_controls:
        s3.put_bucket_ownership_controls(
            Bucket=physical,
            OwnershipControls={
                "Rules": [{"ObjectOwnership": rule.object_ownership} for rule in ownership.rules]
            },
        )
    if encryption := bucket.bucket_encryption:
        defaults = [
            one.server_side_encryption_by_default for one in encryption.server_side_encryption_configuration
        ]
        s3.put_bucket_encryption(
            Bucket=physical,
            ServerSideEncryptionConfiguration={
                "Rules": [
                    {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": default.sse_algorithm}}
                    for default in defaults
                ]
            },
        )
    if cors := bucket.cors_configuration:
        s3.put_bucket_cors(
            Bucket=physical,
            CORSConfiguration={"CORSRules": [_cors_rule(making, rule) for rule in cors.cors_rules]},
        )
    if lifecycle := bucket.lifecycle_configuration:
        s3.put_bucket_lifecycle_configuration(
            Bucket=physical,
            LifecycleConfiguration={"Rules": [_lifecycle_rule(rule) for rule in lifecycle.rules]},
        )
    if notification := bucket.notification_configuration:
        _bucket_notification(making, name, physical, notification)
    domain = f"{physical}.s3.{making.region}.amazonaws.com"
    arn = f"arn:aws:s3:::{physical}"
    making.bucket_arns.add(arn)
    making.made(name, physical, Arn=arn, RegionalDomainName=domain)


def _cors_rule(making: _Making, rule: cfn.CorsRule) -> CORSRuleTypeDef:
    origins = rule.allowed_origins
    if making.api_url in origins:  # people open the page under this machine's other name, too
        origins = [*origins, making.api_url.replace("127.0.0.1", "localhost")]
    made: CORSRuleTypeDef = {
        "AllowedOrigins": origins,
        "AllowedMethods": rule.allowed_methods,
        "AllowedHeaders": rule.allowed_headers,
        "ExposeHeaders": rule.exposed_headers,
    }
    if rule.max_age is not None:
        made["MaxAgeSeconds"] = rule.max_age
    return made


def _lifecycle_rule(rule: cfn.LifecycleRule) -> LifecycleRuleTypeDef:
    made: LifecycleRuleTypeDef = {"ID": rule.id, "Status": rule.status, "Filter": {"Prefix": rule.prefix}}
    if rule.expiration_in_days is not None:
        made["Expiration"] = {"Days": rule.expiration_in_days}
    if abort := rule.abort_incomplete_multipart_upload:
        made["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": abort.days_after_initiation}
    return made


def _queue_notification(one: cfn.QueueNotification) -> QueueConfigurationTypeDef:
    made: QueueConfigurationTypeDef = {"QueueArn": one.queue, "Events": [one.event]}
    if one.filter is not None:
        rules = one.filter.s3_key.rules
        made["Filter"] = {
            "Key": {"FilterRules": [{"Name": rule.name, "Value": rule.value} for rule in rules]}
        }
    return made


def _bucket_notification(
    making: _Making, name: str, bucket: str, notification: cfn.NotificationConfiguration
) -> None:
    for one in notification.queue_configurations:
        url, _ = _queue_by_arn(making, one.queue)
        # S3 sends a test message to the queue, so CloudFormation must create the queue's policy first.
        if not making.queue_policies.get(url, set()) & set(making.template.resources[name].depends_on):
            raise TemplateError(f"DependsOn names no policy that lets S3 send to {one.queue}")
    made: NotificationConfigurationTypeDef = {
        "QueueConfigurations": [_queue_notification(one) for one in notification.queue_configurations]
    }
    if notification.event_bridge_configuration:
        made["EventBridgeConfiguration"] = {}
    making.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=made)


def _queue(making: _Making, name: str, properties: Json) -> None:
    queue = cfn.Queue.model_validate(properties)
    physical = making.physical(name, queue.queue_name)
    attributes: dict[QueueAttributeNameType, str] = {"VisibilityTimeout": str(queue.visibility_timeout)}
    if queue.delay_seconds is not None:
        attributes["DelaySeconds"] = str(queue.delay_seconds)
    if queue.message_retention_period is not None:
        attributes["MessageRetentionPeriod"] = str(queue.message_retention_period)
    if queue.receive_message_wait_time_seconds is not None:
        attributes["ReceiveMessageWaitTimeSeconds"] = str(queue.receive_message_wait_time_seconds)
    if queue.sqs_managed_sse_enabled is not None:
        attributes["SqsManagedSseEnabled"] = text(queue.sqs_managed_sse_enabled)
    if queue.redrive_policy is not None:
        attributes["RedrivePolicy"] = queue.redrive_policy.model_dump_json(by_alias=True)
    url = making.sqs.create_queue(QueueName=physical, Attributes=attributes)["QueueUrl"]
    arn = making.arn("sqs", physical)
    making.queues[arn] = (url, queue)
    making.made(name, url, Arn=arn, QueueName=physical, QueueUrl=url)


def _queue_by_arn(making: _Making, arn: str) -> tuple[str, cfn.Queue]:
    if arn not in making.queues:
        raise TemplateError(f"there is no queue {arn}")
    return making.queues[arn]


def _queue_policy(making: _Making, name: str, properties: Json) -> None:
    policy = cfn.QueuePolicy.model_validate(properties)
    for url in policy.queues:
        making.sqs.set_queue_attributes(
            QueueUrl=url, Attributes={"Policy": json.dumps(policy.policy_document)}
        )
        making.queue_policies.setdefault(url, set()).add(name)
    making.made(name, making.physical(name))


def _table(making: _Making, name: str, properties: Json) -> None:
    table = cfn.Table.model_validate(properties)
    physical = making.physical(name, table.table_name)
    request: CreateTableInputTypeDef = {
        "TableName": physical,
        "BillingMode": table.billing_mode,
        "AttributeDefinitions": [
            {"AttributeName": one.attribute_name, "AttributeType": one.attribute_type}
            for one in table.attribute_definitions
        ],
        "KeySchema": _keys(table.key_schema),
        "DeletionProtectionEnabled": table.deletion_protection_enabled,
    }
    if table.global_secondary_indexes:
        request["GlobalSecondaryIndexes"] = [_index(one) for one in table.global_secondary_indexes]
    if table.stream_specification:
        view = table.stream_specification.stream_view_type
        request["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": view}
    described = making.dynamodb.create_table(**request)["TableDescription"]
    if recovery := table.point_in_time_recovery_specification:
        making.dynamodb.update_continuous_backups(
            TableName=physical,
            PointInTimeRecoverySpecification={
                "PointInTimeRecoveryEnabled": recovery.point_in_time_recovery_enabled
            },
        )
    if ttl := table.time_to_live_specification:
        making.dynamodb.update_time_to_live(
            TableName=physical,
            TimeToLiveSpecification={"AttributeName": ttl.attribute_name, "Enabled": ttl.enabled},
        )
    arn = making.arn("dynamodb", f"table/{physical}")
    if stream := described.get("LatestStreamArn"):
        making.table_streams.add(stream)
        making.made(name, physical, Arn=arn, StreamArn=stream)
    else:
        making.made(name, physical, Arn=arn)


def _index(index: cfn.GlobalSecondaryIndex) -> GlobalSecondaryIndexTypeDef:
    projection: ProjectionTypeDef = {"ProjectionType": index.projection.projection_type}
    if index.projection.non_key_attributes is not None:
        projection["NonKeyAttributes"] = index.projection.non_key_attributes
    return {"IndexName": index.index_name, "KeySchema": _keys(index.key_schema), "Projection": projection}


def _keys(schema: list[cfn.Key]) -> list[KeySchemaElementTypeDef]:
    return [{"AttributeName": key.attribute_name, "KeyType": key.key_type} for key in schema]


def _user_pool(making: _Making, name: str, properties: Json) -> None:
    pool = cfn.UserPool.model_validate(properties)
    password = pool.policies.password_policy
    made = making.cognito.create_user_pool(
        PoolName=making.physical(name, pool.user_pool_name),
        UsernameAttributes=pool.username_attributes,
        AutoVerifiedAttributes=pool.auto_verified_attributes,
        AdminCreateUserConfig={
            "AllowAdminCreateUserOnly": pool.admin_create_user_config.allow_admin_create_user_only
        },
        Policies={
            "PasswordPolicy": {
                "MinimumLength": password.minimum_length,
                "RequireLowercase": password.require_lowercase,
                "RequireUppercase": password.require_uppercase,
                "RequireNumbers": password.require_numbers,
                "RequireSymbols": password.require_symbols,
                "TemporaryPasswordValidityDays": password.temporary_password_validity_days,
            }
        },
        DeletionProtection=pool.deletion_protection,
        UsernameConfiguration={"CaseSensitive": pool.username_configuration.case_sensitive},
    )["UserPool"]
    if pool.enabled_mfas:
        making.cognito.set_user_pool_mfa_config(
            UserPoolId=made["Id"],
            SoftwareTokenMfaConfiguration={"Enabled": True},
            MfaConfiguration=pool.mfa_configuration,
        )
    provider = f"cognito-idp.{making.region}.amazonaws.com/{made['Id']}"
    making.made(name, made["Id"], Arn=made["Arn"], ProviderName=provider, ProviderURL=f"https://{provider}")


def _user_pool_client(making: _Making, name: str, properties: Json) -> None:
    client = cfn.UserPoolClient.model_validate(properties)
    made = making.cognito.create_user_pool_client(
        UserPoolId=client.user_pool_id,
        ClientName=making.physical(name, client.client_name),
        ExplicitAuthFlows=client.explicit_auth_flows,
        PreventUserExistenceErrors=client.prevent_user_existence_errors or "LEGACY",
        EnableTokenRevocation=client.enable_token_revocation,
        AccessTokenValidity=client.access_token_validity,
        IdTokenValidity=client.id_token_validity,
        RefreshTokenValidity=client.refresh_token_validity,
        TokenValidityUnits={
            "AccessToken": client.token_validity_units.access_token,
            "IdToken": client.token_validity_units.id_token,
            "RefreshToken": client.token_validity_units.refresh_token,
        },
    )["UserPoolClient"]
    making.made(name, made["ClientId"], ClientId=made["ClientId"])


def _role(making: _Making, name: str, properties: Json) -> None:
    role = cfn.Role.model_validate(properties)
    physical = making.physical(name)
    arn = f"arn:aws:iam::{making.account}:role/{physical}"
    statements = [policy.policy_document.statement for policy in role.policies]
    making.roles[arn] = name, tuple(itertools.chain(*statements))
    making.made(name, physical, Arn=arn)


def _role_by_arn(making: _Making, arn: str) -> tuple[str, tuple[Statement, ...]]:
    if arn not in making.roles:
        raise TemplateError(f"there is no role {arn}")
    return making.roles[arn]


def _log_group(making: _Making, name: str, properties: Json) -> None:
    physical = making.physical(name, cfn.LogGroup.model_validate(properties).log_group_name)
    making.made(name, physical, Arn=making.arn("logs", f"log-group:{physical}:*"))


def _layer(making: _Making, name: str, properties: Json) -> None:
    layer = cfn.LayerVersion.model_validate(properties)
    arn = making.arn("lambda", f"layer:{making.physical(name, layer.layer_name)}:1")
    making.layers[arn] = making.folder(layer.content)
    making.made(name, arn, LayerVersionArn=arn)


def _function(making: _Making, name: str, properties: Json) -> None:
    function = cfn.Function.model_validate(properties)
    physical = making.physical(name, function.function_name)
    if unknown := [arn for arn in function.layers if arn not in making.layers]:
        raise TemplateError(f"there is no layer {unknown[0]}")
    making.functions[name] = Function(
        logical_id=name,
        code=making.folder(function.code),
        handler=function.handler,
        timeout=function.timeout,
        memory=function.memory_size,
        environment=function.environment.variables,
        layers=tuple(making.layers[arn] for arn in function.layers),
        log_group=function.logging_config.log_group or f"/aws/lambda/{physical}",
        storage=function.ephemeral_storage.size,
    )
    _, making.policies[name] = _role_by_arn(making, function.role)
    making.made(name, physical, Arn=making.arn("lambda", f"function:{physical}"))


def _event_source(making: _Making, name: str, properties: Json) -> None:
    match properties:
        case {"EventSourceArn": str(arn)} if arn.split(":")[2] == "dynamodb":
            return _stream_source(making, name, properties)
    source = cfn.EventSourceMapping.model_validate(properties)
    url, queue = _queue_by_arn(making, source.event_source_arn)
    function = making.functions[making.function_of(source.function_name)]
    if queue.visibility_timeout < function.timeout:
        raise TemplateError(
            f"the queue's VisibilityTimeout of {queue.visibility_timeout} s is less than "
            f"the Timeout of {function.logical_id}, {function.timeout} s"
        )
    making.event_sources.append(
        EventSource(
            queue_url=url,
            queue_arn=source.event_source_arn,
            function=function.logical_id,
            batch_size=source.batch_size,
            batching_window=source.maximum_batching_window_in_seconds,
            maximum_concurrency=source.scaling_config.maximum_concurrency if source.scaling_config else None,
            reports_batch_item_failures="ReportBatchItemFailures" in source.function_response_types,
        )
    )
    return making.made(name, making.physical(name))


def _stream_source(making: _Making, name: str, properties: Json) -> None:
    source = cfn.StreamMapping.model_validate(properties)
    if source.event_source_arn not in making.table_streams:
        raise TemplateError(f"there is no stream {source.event_source_arn}")
    making.streams.append(
        StreamSource(
            stream_arn=source.event_source_arn,
            function=making.function_of(source.function_name),
            patterns=tuple(one.pattern for one in source.filter_criteria.filters),
            batch_size=source.batch_size,
            maximum_retries=source.maximum_retry_attempts,
            bisects=source.bisect_batch_on_function_error,
            reports_batch_item_failures="ReportBatchItemFailures" in source.function_response_types,
            failure_destination=_failure_destination(
                making, source.destination_config.on_failure.destination
            ),
        )
    )
    making.made(name, making.physical(name))


def _failure_destination(making: _Making, arn: str) -> str:
    if arn in making.bucket_arns:
        return arn
    return _queue_by_arn(making, arn)[0]


def _secret(making: _Making, name: str, properties: Json) -> None:
    secret = cfn.Secret.model_validate(properties)
    settings = secret.generate_secret_string
    client = making.secrets_manager()
    value: str = client.get_random_password(
        PasswordLength=settings.password_length, ExcludePunctuation=settings.exclude_punctuation
    )["RandomPassword"]
    arn: str = client.create_secret(Name=making.physical(name, secret.name), SecretString=value)["ARN"]
    making.secrets[arn] = value
    making.made(name, arn, Id=arn)


def _connection(making: _Making, name: str, properties: Json) -> None:
    connection = cfn.Connection.model_validate(properties)
    key = connection.auth_parameters.api_key_auth_parameters
    if reference := _SECRET.fullmatch(key.api_key_value):
        if reference[1] not in making.secrets:
            raise TemplateError(f"there is no secret {reference[1]}")
        key = key.model_copy(update={"api_key_value": making.secrets[reference[1]]})
    physical = making.physical(name, connection.name)
    arn = making.arn("events", f"connection/{physical}/{uuid.uuid4()}")
    making.connections[arn] = key
    making.made(name, physical, Arn=arn)


def _api_destination(making: _Making, name: str, properties: Json) -> None:
    destination = cfn.ApiDestination.model_validate(properties)
    if destination.connection_arn not in making.connections:
        raise TemplateError(f"there is no connection {destination.connection_arn}")
    physical = making.physical(name, destination.name)
    arn = making.arn("events", f"api-destination/{physical}/{uuid.uuid4()}")
    making.api_destinations[arn] = destination
    making.made(name, physical, Arn=arn)


def _event_rule(making: _Making, name: str, properties: Json) -> None:
    rule = cfn.EventRule.model_validate(properties)
    physical = making.physical(name, rule.name)
    arn = making.arn("events", f"rule/{physical}")
    for target in rule.targets:
        if isinstance(target, cfn.QueueTarget):
            _queue_by_arn(making, target.arn)
            making.queue_targets.append(QueueTarget(physical, rule.event_pattern, target.arn))
            continue
        destination = making.api_destinations.get(target.arn)
        if destination is None:
            raise TemplateError(f"there is no API destination {target.arn}")
        key = making.connections[destination.connection_arn]
        role, making.policies[role] = _role_by_arn(making, target.role_arn)
        making.event_targets.append(
            EventTarget(
                rule=physical,
                rule_arn=arn,
                pattern=rule.event_pattern,
                arn=target.arn,
                method=destination.http_method,
                url=destination.invocation_endpoint,
                header=key.api_key_name,
                header_value=key.api_key_value,
                maximum_retries=target.retry_policy.maximum_retry_attempts,
                maximum_age=target.retry_policy.maximum_event_age_in_seconds,
                dead_letter_queue_url=_queue_by_arn(making, target.dead_letter_config.arn)[0],
                role=role,
            )
        )
    making.made(name, physical, Arn=arn)


def _api(making: _Making, name: str, properties: Json) -> None:
    body = cfn.Api.model_validate(properties).body
    if making.http_api.routes:
        raise TemplateError("only one HTTP API is supported")
    authorizers = {
        scheme_name: Authorizer(
            name=scheme_name,
            issuer=scheme.authorizer.jwt_configuration.issuer,
            audience=tuple(scheme.authorizer.jwt_configuration.audience),
        )
        for scheme_name, scheme in body.components.security_schemes.items()
    }
    making.http_api = HttpApi(
        routes=tuple(
            _route(making, authorizers, method, path, operation)
            for path, operations in body.paths.items()
            for method, operation in operations.items()
        ),
        authorizers=authorizers,
        cors=Cors(**dict(body.cors)) if body.cors else None,
    )
    making.made(name, name.lower(), ApiEndpoint=making.api_url, ApiId=name.lower())


def _route(
    making: _Making, authorizers: Mapping[str, Authorizer], method: str, path: str, operation: cfn.Operation
) -> Route:
    where = f"Body.paths.{path}.{method}"
    uri = _FUNCTION_URI.fullmatch(operation.integration.uri)
    if uri is None:
        raise TemplateError(f"{where}: integration {operation.integration.uri} is not understood")
    # SAM writes `NONE` for a public route. API Gateway has no such authorizer and leaves the route public.
    asked = {name: scopes for one in operation.security for name, scopes in one.items() if name != "NONE"}
    if len(asked) > 1 or any(asked.values()) or not asked.keys() <= authorizers.keys():
        raise TemplateError(f"{where}: security {operation.security} is not understood")
    return Route(
        method="ANY" if method == _ANY_METHOD else method.upper(),
        path=path,
        function=making.function_of(uri[1]),
        authorizer=next(iter(asked), None),
    )


def _stage(making: _Making, name: str, properties: Json) -> None:
    stage = cfn.Stage.model_validate(properties)
    throttles = {
        key: Rate(one.throttling_burst_limit, one.throttling_rate_limit)
        for key, one in stage.route_settings.items()
    }
    there = {f"{route.method} {route.path}" for route in making.http_api.routes}
    if unknown := throttles.keys() - there:  # API Gateway refuses the stage
        raise TemplateError(f"RouteSettings: there is no route {', '.join(sorted(unknown))}")
    making.http_api = replace(making.http_api, throttles=throttles)
    making.made(name, stage.stage_name)


_MAKERS: Mapping[str, Callable[[_Making, str, Json], None]] = {
    "AWS::ApiGatewayV2::Api": _api,
    "AWS::ApiGatewayV2::Stage": _stage,
    "AWS::Cognito::UserPool": _user_pool,
    "AWS::Cognito::UserPoolClient": _user_pool_client,
    "AWS::DynamoDB::Table": _table,
    "AWS::Events::ApiDestination": _api_destination,
    "AWS::Events::Connection": _connection,
    "AWS::Events::Rule": _event_rule,
    "AWS::IAM::Role": _role,
    "AWS::Lambda::EventSourceMapping": _event_source,
    "AWS::Lambda::Function": _function,
    "AWS::Lambda::LayerVersion": _layer,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::S3::Bucket": _bucket,
    "AWS::SecretsManager::Secret": _secret,
    "AWS::SQS::Queue": _queue,
    "AWS::SQS::QueuePolicy": _queue_policy,
}
