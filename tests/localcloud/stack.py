"""The contents of template.yaml as plain values, from which the local cloud is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path  # dataclass fields have this type

from tests.localcloud import limits
from tests.localcloud.patterns import Pattern
from tests.localcloud.policies import Statement
from tests.localcloud.throttle import Rate


@dataclass(frozen=True)
class Function:
    """A Lambda function of the template."""

    logical_id: str
    code: Path  # the folder with the handler's module
    handler: str  # "module.function"
    timeout: int  # seconds
    memory: int  # MiB
    environment: dict[str, str]
    layers: tuple[Path, ...]  # the ContentUri of each, in the template's order
    log_group: str | None = None  # None: the function's default group
    storage: int = limits.TMP  # MiB of /tmp

    @property
    def name(self) -> str:
        """The name of the function's folder, such as api or generate."""
        return self.code.name


@dataclass(frozen=True)
class EventSource:
    """A queue that invokes a function."""

    queue_url: str
    queue_arn: str
    function: str  # logical id
    batch_size: int
    batching_window: int  # seconds
    maximum_concurrency: int | None
    reports_batch_item_failures: bool


@dataclass(frozen=True)
class StreamSource:
    """A table's stream that invokes a function."""

    stream_arn: str
    function: str  # logical id
    patterns: tuple[Pattern, ...]  # a record must match one of them
    batch_size: int
    maximum_retries: int
    bisects: bool  # splits a batch if the whole invocation fails
    reports_batch_item_failures: bool
    failure_destination: str  # the URL of a queue or the ARN of a bucket


@dataclass(frozen=True)
class QueueTarget:
    """A queue that receives the events of a rule on the default bus."""

    rule: str  # name
    pattern: Pattern
    queue_arn: str


@dataclass(frozen=True)
class EventTarget:
    """An API destination that receives the events of a rule on the default bus."""

    rule: str  # name
    rule_arn: str
    pattern: Pattern
    arn: str
    method: str
    url: str
    header: str  # the header that the connection adds
    header_value: str
    maximum_retries: int
    maximum_age: int  # seconds
    dead_letter_queue_url: str
    role: str  # logical id of the role that EventBridge assumes for the call


@dataclass(frozen=True)
class Authorizer:
    """A JWT authorizer of the HTTP API."""

    name: str
    issuer: str
    audience: tuple[str, ...]


@dataclass(frozen=True)
class Cors:
    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: int = 0  # seconds
    allow_credentials: bool = False


@dataclass(frozen=True)
class Route:
    method: str  # GET, …, or ANY
    path: str  # may hold {name} and {name+}; or $default
    function: str  # logical id
    authorizer: str | None  # an Authorizer's name


@dataclass(frozen=True)
class HttpApi:
    routes: tuple[Route, ...]
    authorizers: dict[str, Authorizer]
    cors: Cors | None
    throttles: Mapping[str, Rate] = field(default_factory=dict)  # by the route's key, such as "GET /"


@dataclass(frozen=True)
class Stack:
    """The created stack. Dictionaries have logical ids as keys."""

    name: str
    region: str
    account: str
    functions: dict[str, Function]
    event_sources: tuple[EventSource, ...]
    http_api: HttpApi
    parameters: dict[str, str]
    streams: tuple[StreamSource, ...] = ()
    event_targets: tuple[EventTarget, ...] = ()
    queue_targets: tuple[QueueTarget, ...] = ()
    outputs: dict[str, str] = field(default_factory=dict)
    # The permissions of each function, by its logical id, and of each role that another service assumes, by the role's.
    policies: dict[str, tuple[Statement, ...]] = field(default_factory=dict)
