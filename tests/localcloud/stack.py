"""What template.yaml turns into: plain values that the parts of the local cloud are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # a dataclass's field type

from tests.localcloud.patterns import Pattern
from tests.localcloud.policies import Statement


@dataclass(frozen=True)
class Function:
    """A Lambda function, as the template describes it."""

    logical_id: str
    code: Path  # folder that holds the handler's module
    handler: str  # "module.function"
    timeout: int  # seconds
    memory: int  # MiB
    environment: dict[str, str]
    layers: tuple[Path, ...]  # ContentUri of each, in the order in which the template names them
    log_group: str | None = None  # None: one of its own

    @property
    def name(self) -> str:
        """The folder's name: api, generate, webhook, watchdog."""
        return self.code.name


@dataclass(frozen=True)
class EventSource:
    """A queue that a function is invoked from."""

    queue_url: str
    queue_arn: str
    function: str  # logical id
    batch_size: int
    batching_window: int  # seconds
    maximum_concurrency: int | None
    reports_batch_item_failures: bool


@dataclass(frozen=True)
class StreamSource:
    """A table's stream that a function is invoked from."""

    stream_arn: str
    function: str  # logical id
    patterns: tuple[Pattern, ...]  # of which a record matches one
    batch_size: int
    maximum_retries: int
    bisects: bool  # a batch that failed altogether
    reports_batch_item_failures: bool
    failure_queue_url: str


@dataclass(frozen=True)
class EventTarget:
    """An API destination that a rule of the default bus sends events to."""

    rule: str  # name
    rule_arn: str
    pattern: Pattern
    arn: str
    method: str
    url: str
    header: str  # that the connection adds
    header_value: str
    maximum_retries: int
    maximum_age: int  # seconds
    dead_letter_queue_url: str
    role: str  # that EventBridge takes on to call it: its logical id


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
    path: str  # with {name} and {name+} in it, or $default
    function: str  # logical id
    authorizer: str | None  # an Authorizer's name


@dataclass(frozen=True)
class HttpApi:
    routes: tuple[Route, ...]
    authorizers: dict[str, Authorizer]
    cors: Cors | None


@dataclass(frozen=True)
class Stack:
    """Everything that was made, by its logical id where it has one."""

    name: str
    region: str
    account: str
    functions: dict[str, Function]
    event_sources: tuple[EventSource, ...]
    http_api: HttpApi
    parameters: dict[str, str]
    streams: tuple[StreamSource, ...] = ()
    event_targets: tuple[EventTarget, ...] = ()
    outputs: dict[str, str] = field(default_factory=dict)
    # What each function may do, by its logical id; and what a role permits that another service takes on, by its own.
    policies: dict[str, tuple[Statement, ...]] = field(default_factory=dict)
