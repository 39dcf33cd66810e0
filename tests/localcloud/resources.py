"""The properties that the local cloud understands, by resource type, in CloudFormation's spelling.

A property that is missing here is an error that names it. A property with the type `Annotated[Json, …]` is accepted
without effect, for the reason in its annotation.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic import Json as JsonText
from pydantic.alias_generators import to_camel

from tests.localcloud import limits
from tests.localcloud.patterns import Pattern
from tests.localcloud.policies import Policy
from tests.localcloud.template import Json, Strict, text

type Text = Annotated[str, BeforeValidator(text)]
type Tags = Annotated[Json, "the local cloud does not read tags"]


class Camel(BaseModel):
    """A part of a template that AWS spells in camel case; otherwise as `Strict`."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


# S3


class PublicAccessBlock(Strict):
    block_public_acls: bool = False
    block_public_policy: bool = False
    ignore_public_acls: bool = False
    restrict_public_buckets: bool = False


class OwnershipRule(Strict):
    object_ownership: Literal["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"]


class OwnershipControls(Strict):
    rules: list[OwnershipRule]


class DefaultEncryption(Strict):
    sse_algorithm: Annotated[Literal["AES256"], Field(alias="SSEAlgorithm")]


class EncryptionRule(Strict):
    server_side_encryption_by_default: DefaultEncryption


class BucketEncryption(Strict):
    server_side_encryption_configuration: list[EncryptionRule]


class CorsRule(Strict):
    allowed_origins: list[str]
    allowed_methods: list[str]
    allowed_headers: tuple[str, ...] = ()
    exposed_headers: tuple[str, ...] = ()
    max_age: int | None = None  # seconds


class CorsConfiguration(Strict):
    cors_rules: list[CorsRule]


class AbortMultipart(Strict):
    days_after_initiation: int


class LifecycleRule(Strict):
    id: str
    status: Literal["Enabled", "Disabled"]
    prefix: str = ""
    expiration_in_days: int | None = None
    abort_incomplete_multipart_upload: AbortMultipart | None = None


class LifecycleConfiguration(Strict):
    rules: list[LifecycleRule]


class FilterRule(Strict):
    name: Literal["prefix", "suffix"]
    value: str


class KeyFilter(Strict):
    rules: list[FilterRule]


class NotificationFilter(Strict):
    s3_key: Annotated[KeyFilter, Field(alias="S3Key")]


class QueueNotification(Strict):
    event: Literal[
        "s3:ObjectCreated:*",
        "s3:ObjectCreated:CompleteMultipartUpload",
        "s3:ObjectCreated:Copy",
        "s3:ObjectCreated:Post",
        "s3:ObjectCreated:Put",
    ]
    queue: str  # ARN
    filter: NotificationFilter | None = None


class EventBridgeConfiguration(Strict):
    event_bridge_enabled: Literal[True] = True


class NotificationConfiguration(Strict):
    queue_configurations: tuple[QueueNotification, ...] = ()
    event_bridge_configuration: EventBridgeConfiguration | None = None


class Bucket(Strict):
    bucket_name: str | None = None
    public_access_block_configuration: PublicAccessBlock | None = None
    ownership_controls: OwnershipControls | None = None
    bucket_encryption: BucketEncryption | None = None
    cors_configuration: CorsConfiguration | None = None
    lifecycle_configuration: LifecycleConfiguration | None = None
    notification_configuration: NotificationConfiguration | None = None
    tags: Tags = None


# SQS


class RedrivePolicy(Camel):
    dead_letter_target_arn: str
    max_receive_count: int


class Queue(Strict):
    queue_name: str | None = None
    delay_seconds: int | None = None
    maximum_message_size: int | None = None  # bytes
    message_retention_period: int | None = None  # seconds
    receive_message_wait_time_seconds: int | None = None
    redrive_policy: RedrivePolicy | None = None
    sqs_managed_sse_enabled: bool | None = None
    visibility_timeout: int = 30  # seconds
    tags: Tags = None


class QueuePolicy(Strict):
    queues: list[str]  # URLs
    policy_document: dict[str, Json]


# DynamoDB


class AttributeDefinition(Strict):
    attribute_name: str
    attribute_type: Literal["S", "N", "B"]


class Key(Strict):
    attribute_name: str
    key_type: Literal["HASH", "RANGE"]


class Projection(Strict):
    projection_type: Literal["ALL", "KEYS_ONLY", "INCLUDE"]
    non_key_attributes: list[str] | None = None


class GlobalSecondaryIndex(Strict):
    index_name: str
    key_schema: list[Key]
    projection: Projection


class PointInTimeRecovery(Strict):
    point_in_time_recovery_enabled: bool


class StreamSpecification(Strict):
    stream_view_type: Literal["NEW_AND_OLD_IMAGES"]


class TimeToLive(Strict):
    attribute_name: str
    enabled: bool


class Table(Strict):
    table_name: str | None = None
    billing_mode: Literal["PAY_PER_REQUEST"]
    deletion_protection_enabled: bool = False
    attribute_definitions: list[AttributeDefinition]
    key_schema: list[Key]
    global_secondary_indexes: tuple[GlobalSecondaryIndex, ...] = ()
    point_in_time_recovery_specification: PointInTimeRecovery | None = None
    stream_specification: StreamSpecification | None = None
    time_to_live_specification: TimeToLive | None = None
    tags: Tags = None


# Cognito


class AdminCreateUser(Strict):
    allow_admin_create_user_only: bool


class PasswordPolicy(Strict):
    minimum_length: int
    require_lowercase: bool = False
    require_uppercase: bool = False
    require_numbers: bool = False
    require_symbols: bool = False
    temporary_password_validity_days: int = 7


class PoolPolicies(Strict):
    password_policy: PasswordPolicy


class UsernameConfiguration(Strict):
    case_sensitive: bool


class UserPool(Strict):
    user_pool_name: str | None = None
    deletion_protection: Literal["ACTIVE", "INACTIVE"] = "INACTIVE"
    enabled_mfas: Annotated[tuple[Literal["SOFTWARE_TOKEN_MFA"], ...], Field(alias="EnabledMfas")] = ()
    mfa_configuration: Literal["OFF", "ON", "OPTIONAL"] = "OFF"
    username_configuration: UsernameConfiguration = UsernameConfiguration(CaseSensitive=True)
    username_attributes: tuple[Literal["email", "phone_number"], ...] = ()
    auto_verified_attributes: tuple[Literal["email", "phone_number"], ...] = ()
    admin_create_user_config: AdminCreateUser
    policies: PoolPolicies
    user_pool_tags: Tags = None


type Unit = Literal["seconds", "minutes", "hours", "days"]


class TokenValidityUnits(Strict):
    access_token: Unit = "hours"
    id_token: Unit = "hours"
    refresh_token: Unit = "days"


class UserPoolClient(Strict):
    client_name: str | None = None
    enable_token_revocation: bool = True
    access_token_validity: int = 1
    id_token_validity: int = 1
    refresh_token_validity: int = 30
    token_validity_units: TokenValidityUnits = TokenValidityUnits()
    user_pool_id: str
    explicit_auth_flows: list[
        Literal["ALLOW_USER_PASSWORD_AUTH", "ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
    ]
    prevent_user_existence_errors: Literal["ENABLED", "LEGACY"] | None = None


# IAM


class InlinePolicy(Strict):
    policy_name: str
    policy_document: Policy


class Role(Strict):
    permissions_boundary: Annotated[Json, "the policy lies in an account that does not exist here"] = None
    assume_role_policy_document: Annotated[Json, "the local cloud assumes each role that the template uses"]
    managed_policy_arns: Annotated[
        Json, "the content of AWS's policies is unknown here; template.yaml names none"
    ] = None
    policies: tuple[InlinePolicy, ...] = ()
    tags: Tags = None


# Lambda


class S3Code(Strict):
    s3_bucket: Annotated[str, Field(alias="S3Bucket")]
    s3_key: Annotated[str, Field(alias="S3Key")]


class Environment(Strict):
    variables: dict[str, Text]


class EphemeralStorage(Strict):
    size: Annotated[int, Field(ge=512, le=10240)]  # MiB


class LoggingConfig(Strict):
    log_format: Annotated[Json, "the functions format their lines themselves"] = None
    log_group: str | None = None


class Function(Strict):
    function_name: str | None = None
    code: S3Code
    handler: Annotated[str, Field(pattern=r"\w+\.\w+")]
    runtime: Literal["python3.13"]
    role: str  # ARN
    timeout: Annotated[int, Field(ge=1, le=900)] = 3  # seconds
    memory_size: Annotated[int, Field(ge=128, le=10240)] = 128  # MiB
    environment: Environment = Environment(Variables={})
    layers: tuple[str, ...] = ()  # ARNs
    description: Annotated[Json, "for people"] = None
    architectures: Annotated[Json, "functions run on this machine's architecture"] = None
    ephemeral_storage: EphemeralStorage = EphemeralStorage(Size=limits.TMP)
    recursive_loop: Annotated[Literal["Allow", "Terminate"], "the local cloud stops no loop"] = "Terminate"
    logging_config: LoggingConfig = LoggingConfig()
    tags: Tags = None


class LayerVersion(Strict):
    layer_name: str | None = None
    content: S3Code
    description: Annotated[Json, "for people"] = None
    compatible_runtimes: Annotated[Json, "for people"] = None
    compatible_architectures: Annotated[Json, "for people"] = None


class ScalingConfig(Strict):
    maximum_concurrency: Annotated[int, Field(ge=2, le=1000)]


class EventSourceMapping(Strict):
    event_source_arn: str
    function_name: str
    batch_size: Annotated[int, Field(ge=1, le=10000)] = 10
    maximum_batching_window_in_seconds: Annotated[int, Field(ge=0, le=300)] = 0
    function_response_types: tuple[Literal["ReportBatchItemFailures"], ...] = ()
    scaling_config: ScalingConfig | None = None
    enabled: Literal[True] = True
    tags: Tags = None


class Filter(Strict):
    pattern: JsonText[Pattern]


class FilterCriteria(Strict):
    filters: Annotated[tuple[Filter, ...], Field(min_length=1)]


class OnFailure(Strict):
    destination: str  # the ARN of a queue or a bucket


class DestinationConfig(Strict):
    on_failure: OnFailure


class StreamMapping(Strict):
    """An event source mapping of a table's stream."""

    event_source_arn: str
    function_name: str
    starting_position: Literal["TRIM_HORIZON"]
    filter_criteria: FilterCriteria
    batch_size: Annotated[int, Field(ge=1, le=10000)] = 100
    parallelization_factor: Annotated[Json, "one thread reads the stream"] = None
    function_response_types: tuple[Literal["ReportBatchItemFailures"], ...] = ()
    bisect_batch_on_function_error: bool = False
    maximum_retry_attempts: Annotated[int, Field(ge=0, le=10000)]
    destination_config: DestinationConfig
    enabled: Literal[True] = True
    tags: Tags = None


# Secrets Manager


class GenerateSecretString(Strict):
    password_length: int = 32
    exclude_punctuation: bool = False


class Secret(Strict):
    name: str | None = None
    description: Annotated[Json, "for people"] = None
    generate_secret_string: GenerateSecretString
    tags: Tags = None


# CloudWatch Logs


class LogGroup(Strict):
    """A log group. All lines go into one file; only the permission to write them is checked."""

    log_group_name: str | None = None
    retention_in_days: Annotated[Json, "a local cloud ends sooner"]


# EventBridge


class ApiKeyAuth(Strict):
    api_key_name: str
    api_key_value: str


class AuthParameters(Strict):
    api_key_auth_parameters: ApiKeyAuth


class Connection(Strict):
    name: str | None = None
    description: Annotated[Json, "for people"] = None
    authorization_type: Literal["API_KEY"]
    auth_parameters: AuthParameters


class ApiDestination(Strict):
    name: str | None = None
    description: Annotated[Json, "for people"] = None
    connection_arn: str
    http_method: Literal["POST", "PUT"]
    invocation_endpoint: str  # URL
    invocation_rate_limit_per_second: Annotated[Json, "jobs on one machine end more slowly"] = None


class RetryPolicy(Strict):
    maximum_event_age_in_seconds: Annotated[int, Field(ge=60, le=86400)]
    maximum_retry_attempts: Annotated[int, Field(ge=0, le=185)]


class DeadLetterConfig(Strict):
    arn: str  # a queue's


class QueueTarget(Strict):
    id: str
    arn: str  # a queue's


class DestinationTarget(Strict):
    id: str
    arn: str  # an API destination's
    role_arn: str
    retry_policy: RetryPolicy
    dead_letter_config: DeadLetterConfig


class EventRule(Strict):
    name: str | None = None
    description: Annotated[Json, "for people"] = None
    event_pattern: Pattern
    state: Literal["ENABLED"] = "ENABLED"
    targets: tuple[DestinationTarget | QueueTarget, ...]
    tags: Tags = None


# API Gateway


class Integration(Camel):
    type: Literal["aws_proxy"]
    http_method: Literal["POST"]
    uri: str
    payload_format_version: Literal["2.0"]


class Operation(Camel):
    integration: Annotated[Integration, Field(alias="x-amazon-apigateway-integration")]
    security: tuple[dict[str, list[str]], ...] = ()
    responses: Annotated[Json, "API Gateway does not check a function's answer"] = None
    parameters: Annotated[Json, "the path holds them"] = None


class JwtConfiguration(Camel):
    issuer: str
    audience: list[str]


class JwtAuthorizer(Camel):
    type: Literal["jwt"]
    identity_source: Literal["$request.header.Authorization"]
    jwt_configuration: JwtConfiguration


class SecurityScheme(Camel):
    type: Literal["oauth2"]
    authorizer: Annotated[JwtAuthorizer, Field(alias="x-amazon-apigateway-authorizer")]


class Components(Camel):
    security_schemes: dict[str, SecurityScheme] = {}


class ApiCors(Camel):
    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: int = 0  # seconds
    allow_credentials: bool = False


class OpenApi(Camel):
    openapi: Literal["3.0.1"]
    paths: dict[str, dict[str, Operation]]
    components: Components = Components()
    cors: Annotated[ApiCors | None, Field(alias="x-amazon-apigateway-cors")] = None
    info: Annotated[Json, "for people"] = None
    tags: Tags = None


class Api(Strict):
    body: OpenApi


class AccessLog(Strict):
    destination_arn: Text
    format: JsonText[dict[str, str]]


class RouteSettings(Strict):
    """A token bucket, as API Gateway throttles."""

    throttling_burst_limit: Annotated[int, Field(gt=0)]
    throttling_rate_limit: Annotated[float, Field(gt=0)]  # requests a second


class Stage(Strict):
    api_id: str
    stage_name: Literal["$default"]
    auto_deploy: Literal[True]
    default_route_settings: Annotated[Json, "clients on one machine do not reach the throttle"] = None
    route_settings: dict[str, RouteSettings] = Field(default_factory=dict)
    access_log_settings: Annotated[AccessLog | None, "the local log holds the functions' lines only"] = None
    tags: Tags = None


# Resources without effect here. Their properties are known, so that a misspelt one is an error.


class Dimension(Strict):
    name: str
    value: Text


class Metric(Strict):
    namespace: str
    metric_name: str
    dimensions: tuple[Dimension, ...]


class MetricStat(Strict):
    metric: Metric
    period: Annotated[int, Field(ge=60)]  # seconds
    stat: str


class MetricQuery(Strict):
    """A metric, or an expression over the others."""

    id: Annotated[str, Field(pattern=r"[a-z]\w*")]
    expression: str | None = None
    label: str | None = None
    metric_stat: MetricStat | None = None
    return_data: bool = True

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if (self.expression is None) == (self.metric_stat is None):
            raise ValueError("it must have either Expression or MetricStat")
        return self


class Alarm(Strict):
    """An alarm. It has no effect: metrics are only log lines here."""

    alarm_description: str
    namespace: str | None = None
    metric_name: str | None = None
    dimensions: tuple[Dimension, ...] = ()
    statistic: str | None = None
    period: int | None = None  # seconds
    metrics: tuple[MetricQuery, ...] = ()
    evaluation_periods: int
    datapoints_to_alarm: int | None = None
    threshold: float
    comparison_operator: str
    treat_missing_data: Literal["notBreaching", "breaching", "ignore", "missing"]
    alarm_actions: tuple[Text, ...] = ()
    ok_actions: Annotated[tuple[Text, ...], Field(alias="OKActions")] = ()

    @model_validator(mode="after")
    def _watches_one_thing(self) -> Self:
        single = (self.namespace, self.metric_name, self.statistic, self.period)
        returned = [query.id for query in self.metrics if query.return_data]
        if None in single if not self.metrics else any(single) or len(returned) != 1:
            raise ValueError("it must watch one metric, or one returned query of Metrics")
        return self


class Dashboard(Strict):
    """A dashboard. It has no effect: there is no console."""

    dashboard_name: Text | None = None
    dashboard_body: JsonText[dict[str, list[dict[str, Json]]]]


class QueryDefinition(Strict):
    """A saved query. It has no effect: the log is a file."""

    name: Text
    log_group_names: tuple[Text, ...]
    query_string: str


class Permission(Strict):
    """A permission to invoke. It has no effect: the local cloud invokes every function that the template connects."""

    action: Literal["lambda:InvokeFunction"]
    function_name: Text
    principal: str
    source_arn: Text


class Topic(Strict):
    """A topic. It has no effect: there are no alarms. Its `Ref` is its ARN, as on AWS."""

    topic_name: str | None = None


class TopicPolicy(Strict):
    """The policy of a topic. It has no effect, as `Topic`."""

    topics: tuple[Text, ...]
    policy_document: Json


class Subscription(Strict):
    """A subscription of a topic. It has no effect, as `Topic`."""

    topic_arn: Text
    protocol: Literal["email"]
    endpoint: Text


class BucketPolicy(Strict):
    """A bucket policy. It is not applied: moto ignores a Deny's Condition, so "TLS only" would refuse every request."""

    bucket: Text
    policy_document: Json


NO_EFFECT: dict[str, type[Strict]] = {
    "AWS::CloudWatch::Alarm": Alarm,
    "AWS::CloudWatch::Dashboard": Dashboard,
    "AWS::Lambda::Permission": Permission,
    "AWS::Logs::QueryDefinition": QueryDefinition,
    "AWS::S3::BucketPolicy": BucketPolicy,
    "AWS::SNS::Subscription": Subscription,
    "AWS::SNS::Topic": Topic,
    "AWS::SNS::TopicPolicy": TopicPolicy,
}
