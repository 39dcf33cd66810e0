"""The gaps of MiniStack that affect this stack, and the code that closes each. There are no other workarounds.

All gaps were seen in MiniStack 1.5.33. `serve` refuses any other version. After an upgrade, run test_gaps.py, and delete
the code of each gap that the release closes. README.md describes each gap.

MiniStack's own Python runs `python -P gaps.py`, which closes the server's gaps and starts MiniStack. `close` closes the
template's gaps before `sam deploy`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SEEN_AT = "1.5.33"
OPEN = "open"  # the argument that leaves the server's gaps open
ANY_METHOD = "x-amazon-apigateway-any-method"
PROCESSES = 4  # of a function, at most; as in the local cloud
WAIT_SECONDS = 60  # for one of them
LINEAGE = re.compile(r"Lineage=1:[0-9a-f]{8}:(\d+)")


# ── the template ──────────────────────────────────────────────────────────────────────────────────────────────


def close(template: dict[str, Any], parameters: Mapping[str, str]) -> None:
    """Change the template in place, so that MiniStack's CloudFormation accepts it with these parameters."""
    _drop_saved_queries(template)
    _flatten_metric_math(template)
    _tell_the_transform_the_origins(template, parameters)


def _drop_saved_queries(template: dict[str, Any]) -> None:
    """Remove each `AWS::Logs::QueryDefinition`. Gap in 1.5.33: the resource type is unknown."""
    resources = template["Resources"]
    for name in [name for name, one in resources.items() if one["Type"] == "AWS::Logs::QueryDefinition"]:
        del resources[name]


def _flatten_metric_math(template: dict[str, Any]) -> None:
    """Let alarms with `Metrics` watch one metric, so that references to them work. Gap in 1.5.33: they fail the stack."""
    for one in template["Resources"].values():
        if one["Type"] == "AWS::CloudWatch::Alarm" and one["Properties"].pop("Metrics", None):
            one["Properties"] |= {
                "Namespace": "Rehearsal",
                "MetricName": "MetricMath",
                "Statistic": "Sum",
                "Period": 300,
            }


def _tell_the_transform_the_origins(template: dict[str, Any], parameters: Mapping[str, str]) -> None:
    """Make the given `AllowedOrigins` the parameter's default. Gap in 1.5.33: SAM's transform gets defaults only.

    It writes the parameter's value into the API's CORS.
    """
    if origins := parameters.get("AllowedOrigins"):
        template["Parameters"]["AllowedOrigins"]["Default"] = origins


# ── the server ────────────────────────────────────────────────────────────────────────────────────────────────


def serve() -> None:
    """Run MiniStack until stdin closes, because the process that started it has stopped or died."""
    if version("ministack") != SEEN_AT:
        sys.exit(
            f"MiniStack is {version('ministack')}, but the gaps were seen in {SEEN_AT}. Check each gap in gaps.py."
        )
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    if OPEN not in sys.argv:
        _set_recursive_loop()
        _read_numbers()
        _count_loops_through_queues()
        _import_http_apis()
        _name_route_settings()
        _make_callbacks()
        _count_as_tls()
        _send_request_ids()
        _read_event_sources()
        _unpack_once()
        _share_processes()
    from ministack import app  # noqa: PLC0415  # only MiniStack's environment has it

    sys.argv = ["ministack"]
    app.main()


def _end_with_stdin() -> None:
    os.read(sys.stdin.fileno(), 1)  # the lock of sys.stdin.read() would block an orderly end
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _set_recursive_loop() -> None:
    """Apply a function's `RecursiveLoop`. Gap in 1.5.33: CloudFormation ignores it."""
    from ministack.services import lambda_svc  # noqa: PLC0415  # as above
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  # as above

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create, update = handlers["create"], handlers["update"]

    def created(logical_id: str, properties: dict[str, Any], stack: str) -> object:
        made = create(logical_id, properties, stack)
        lambda_svc._functions[made[0]]["recursive_loop"] = properties.get("RecursiveLoop", "Terminate")
        return made

    def updated(
        physical_id: str, old: object, new: dict[str, Any], *rest: object, **options: object
    ) -> object:
        made = update(physical_id, old, new, *rest, **options)
        name = made[0] if isinstance(made, tuple) else physical_id
        lambda_svc._functions[name]["recursive_loop"] = new.get("RecursiveLoop", "Terminate")
        return made

    handlers |= {"create": created, "update": updated}


def _read_numbers() -> None:
    """Convert numbers of event source mappings. Gap in 1.5.33: the `Ref` of a Number stays a string.

    One such `MaximumConcurrency` stops all queues.
    """
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  # as above

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]

    def reading(handler: Callable[..., object]) -> Callable[..., object]:
        return lambda *arguments, **options: handler(*map(_with_numbers, arguments), **options)

    handlers |= {name: reading(handlers[name]) for name in ("create", "update")}


def _with_numbers(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    numbers = ("MaximumConcurrency", "ParallelizationFactor")
    return {key: int(value) if key in numbers else _with_numbers(value) for key, value in node.items()}


def _count_loops_through_queues() -> None:
    """Count invocations through queues. Gap in 1.5.33: only direct invocations are counted, as its changelog says.

    The count travels as on AWS: Lambda puts a lineage into the function's `_X_AMZN_TRACE_ID`. The function's botocore
    sends it as `X-Amzn-Trace-Id`. SQS keeps the header as `AWSTraceHeader`, where the event source reads it.
    MiniStack's own limit, metric and `RecursiveLoop` then apply. A stopped message goes to the dead-letter queue, or is
    lost if there is none.
    """
    from ministack.services import lambda_svc, sqs  # noqa: PLC0415  # as above

    header: ContextVar[str] = ContextVar("header", default="")
    handle: Callable[..., Any] = sqs.handle_request
    attributes: Callable[..., dict[str, str]] = sqs._build_send_sys_attrs
    run_batch: Callable[..., None] = lambda_svc._run_sqs_batch

    async def keep_header(method: str, path: str, headers: dict[str, str], *rest: object) -> Any:
        header.set(headers.get("x-amzn-trace-id", ""))
        return await handle(method, path, headers, *rest)

    def with_header(*arguments: object) -> dict[str, str]:
        kept = attributes(*arguments)
        return {"AWSTraceHeader": header.get(), **kept} if header.get() else kept

    def trace_id(config: dict[str, str], _inbound: str | None = None) -> str:
        root = (
            f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"
        )
        function = zlib.crc32(config["FunctionArn"].encode())
        return f"{root};Lineage=1:{function:08x}:{lambda_svc._invoke_depth.get()}"

    def counted(mapping: Any, function: Any, event: Any, batch: Any, url: str, name: str) -> None:
        found = [LINEAGE.search(message["sys"].get("AWSTraceHeader", "")) for message in batch]
        depth = 1 + max((int(one[1]) for one in found if one), default=0)
        if lambda_svc._recursive_loop_drop(mapping["FunctionName"], function, depth) is None:
            lambda_svc._invoke_depth.set(depth)
            run_batch(mapping, function, event, batch, url, name)
            return
        queue = sqs._queues[url]
        redrive = json.loads(queue["attributes"].get("RedrivePolicy", "{}"))
        if not redrive:
            sqs._delete_messages_for_esm(url, {message["receipt_handle"] for message in batch})
            return
        with sqs._queues_lock:
            for message in batch:
                message |= {"receive_count": int(redrive["maxReceiveCount"]), "visible_at": time.time()}
            sqs._dlq_sweep(queue)

    sqs.handle_request = keep_header
    sqs._build_send_sys_attrs = with_header
    lambda_svc._xray_trace_id_for_invocation = trace_id
    lambda_svc._run_sqs_batch = counted


def _import_http_apis() -> None:
    """Import the `Body` of an HTTP API and give the API a URL. Gap in 1.5.33: CloudFormation ignores `Body`.

    `ApiEndpoint` is a name below `localhost` there, which most resolvers do not know. Here it is a port of 127.0.0.1.
    """
    from ministack import app  # noqa: PLC0415  # as above
    from ministack.services import apigateway  # noqa: PLC0415  # as above
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  # as above

    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    create, update, delete = (handlers[name] for name in ("create", "update", "delete"))
    ports = _Ports(app.app)
    app.app = ports.application

    def created(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
        api, attributes = create(logical_id, properties, stack)
        endpoint = apigateway._apis[api]["apiEndpoint"] = ports.open(api)
        _import_body(apigateway, api, properties)
        return api, {**attributes, "ApiEndpoint": endpoint}

    def updated(api: str, old: object, new: dict[str, Any], *rest: object, **options: object) -> object:
        made = update(api, old, new, *rest, **options)
        _import_body(apigateway, api, new)
        return made

    def deleted(api: str, *rest: object) -> None:
        delete(api, *rest)
        ports.close(api)

    handlers |= {"create": created, "update": updated, "delete": deleted}


def _name_route_settings() -> None:
    """Keep the settings of routes under the API's names. Gap in 1.5.33: under CloudFormation's, GetStage returns none."""
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  # as above

    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Stage"]

    def naming(handler: Callable[..., object]) -> Callable[..., object]:
        return lambda *arguments, **options: handler(*map(_with_api_names, arguments), **options)

    handlers |= {name: naming(handlers[name]) for name in ("create", "update") if name in handlers}


def _with_api_names(node: Any) -> Any:
    if not isinstance(node, dict) or "RouteSettings" not in node:
        return node
    routes = {
        route: {name[0].lower() + name[1:]: value for name, value in settings.items()}
        for route, settings in node["RouteSettings"].items()
    }
    return {**node, "RouteSettings": routes}


def _import_body(apigateway: Any, api: str, properties: dict[str, Any]) -> None:
    """Make the routes, integrations, authorizers and CORS that the OpenAPI document describes."""
    body = properties.get("Body", {})
    apigateway._apis[api] |= {"name": body.get("info", {}).get("title", api)}
    cors = body.get("x-amazon-apigateway-cors")
    apigateway._apis[api].pop("corsConfiguration", None)
    if cors:
        origins = cors.get("allowOrigins", [])
        origins = origins.split(",") if isinstance(origins, str) else origins
        apigateway._apis[api]["corsConfiguration"] = {
            **cors,
            "allowOrigins": origins,
            "maxAge": int(cors.get("maxAge", 0)),
        }
    schemes = body.get("components", {}).get("securitySchemes", {})
    apigateway._authorizers[api] = {}
    for name, scheme in schemes.items():
        found = scheme["x-amazon-apigateway-authorizer"]
        apigateway._authorizers[api][name] = {
            "authorizerId": name,
            "authorizerType": "JWT",
            "name": name,
            "identitySource": [found["identitySource"]],
            "jwtConfiguration": found["jwtConfiguration"],
        }
    routes, integrations = {}, {}
    for path, methods in body.get("paths", {}).items():
        for method, operation in methods.items():
            key = f"{'ANY' if method == ANY_METHOD else method.upper()} {path}"
            number = f"{zlib.crc32(key.encode()):08x}"
            target = operation["x-amazon-apigateway-integration"]
            integrations[number] = {
                "integrationId": number,
                "integrationType": "AWS_PROXY",
                "integrationUri": target["uri"],
                "integrationMethod": "POST",
                "payloadFormatVersion": target["payloadFormatVersion"],
            }
            names = [name for one in operation.get("security", []) for name in one if name in schemes]
            routes[number] = {
                "routeId": number,
                "routeKey": key,
                "target": f"integrations/{number}",
                "authorizationType": "JWT" if names else "NONE",
                "authorizerId": names[0] if names else None,
            }
    apigateway._integrations[api], apigateway._routes[api] = integrations, routes


class _Ports:
    """Ports of 127.0.0.1, one for each HTTP API. A port's requests reach the application with the API's host name."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self._loop: Any = None
        self._ends: dict[str, asyncio.Event] = {}

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve as MiniStack does, and remember the event loop."""
        self._loop = asyncio.get_running_loop()
        await self._application(scope, receive, send)

    def open(self, api: str) -> str:
        """Listen for the API; return its URL."""
        server = socket.create_server(("127.0.0.1", 0))
        self._ends[api] = asyncio.Event()
        asyncio.run_coroutine_threadsafe(self._serve(api, server), self._loop)
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    def close(self, api: str) -> None:
        if end := self._ends.pop(api, None):
            self._loop.call_soon_threadsafe(end.set)

    async def _serve(self, api: str, server: socket.socket) -> None:
        from hypercorn.asyncio import serve  # noqa: PLC0415  # only MiniStack's environment has it
        from hypercorn.config import Config  # noqa: PLC0415  # as above

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return  # MiniStack has started; no lifespan is needed
            headers = [pair for pair in scope["headers"] if pair[0].lower() != b"host"]
            host = (b"host", f"{api}.execute-api.localhost".encode())
            await self._application({**scope, "headers": [host, *headers]}, receive, send)

        config = Config()
        config.bind = [f"fd://{server.detach()}"]
        config.keep_alive_timeout = 75
        await serve(application, config, shutdown_trigger=self._ends[api].wait)


def _make_callbacks() -> None:
    """Make connections and API destinations. Gap in 1.5.33: EventBridge has both, CloudFormation does not know them."""
    from ministack.services import eventbridge  # noqa: PLC0415  # as above
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  # as above

    def handlers(kind: str, arn: str) -> dict[str, Callable[..., Any]]:
        def call(operation: str, data: dict[str, Any]) -> dict[str, Any]:
            status, _, body = getattr(eventbridge, f"_{operation}_{kind}")(data)
            if status != 200:
                raise ValueError(body)
            return dict(json.loads(body))

        def create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
            name = properties.get("Name") or provisioners._physical_name(stack, logical_id, max_len=64)
            return name, {"Arn": call("create", {**properties, "Name": name})[arn]}

        def update(name: str, _old: object, new: dict[str, Any], _stack: str) -> tuple[str, dict[str, Any]]:
            return name, {"Arn": call("update", {**new, "Name": name})[arn]}

        def delete(name: str, _properties: object) -> None:
            call("delete", {"Name": name})

        return {"create": create, "update": update, "delete": delete}

    provisioners._RESOURCE_HANDLERS |= {
        "AWS::Events::Connection": handlers("connection", "ConnectionArn"),
        "AWS::Events::ApiDestination": handlers("api_destination", "ApiDestinationArn"),
    }


def _count_as_tls() -> None:
    """Count every request as one over TLS. Gap in 1.5.33: so are not even those that AWS's own services send.

    Matters with `AUTH=true` only: a queue's policy that denies plain HTTP then refuses S3's notifications.
    """
    from ministack import app  # noqa: PLC0415  # as above
    from ministack.core import iam_evaluator  # noqa: PLC0415  # as above

    pin = iam_evaluator.pin_request_origin
    iam_evaluator._request_origin = ContextVar("ministack_request_origin", default=("127.0.0.1", True))
    app.pin_request_origin = lambda address, _: pin(address, secure_transport=True)


def _send_request_ids() -> None:
    """Send the event's request id as `apigw-requestid`. Gap in 1.5.33: the header has an id of its own."""
    from ministack.services import apigateway  # noqa: PLC0415  # as above

    current: ContextVar[str] = ContextVar("request_id", default="")
    execute, new_id = apigateway.handle_execute, apigateway.new_uuid

    async def executed(*arguments: object, **options: object) -> Any:
        current.set(secrets.token_urlsafe(11) + "=")
        status, headers, body = await execute(*arguments, **options)
        return status, {**headers, "apigw-requestid": current.get()}, body

    apigateway.handle_execute = executed
    apigateway.new_uuid = lambda: current.get() or new_id()


def _read_event_sources() -> None:
    """Give PutEvents the condition key `events:source`. Gap in 1.5.33: it is missing, so such a permission never applies."""
    from ministack.core import iam_actions  # noqa: PLC0415  # as above

    context: Callable[..., dict[str, Any]] = iam_actions.request_tag_context

    def with_source(service: str, action: str, body: bytes, parameters: object) -> dict[str, Any]:
        found = context(service, action, body, parameters)
        if action == "events:PutEvents":
            sources = {entry.get("Source", "") for entry in json.loads(body)["Entries"]}
            if len(sources) == 1:  # AWS judges each entry; no key means a denial here
                found = {**found, "events:source": sources.pop()}
        return found

    iam_actions.request_tag_context = with_source


def _unpack_once() -> None:
    """Unpack each layer once, and link to it from each process's folder. Gap in 1.5.33: each process has a copy.

    An update starts all functions anew. It removes the copies, file by file, before MiniStack answers another request:
    on a loaded machine it answered nothing for two minutes.
    """
    from ministack.core import lambda_runtime  # noqa: PLC0415  # as above

    unpacked: dict[str, str] = {}
    lock = threading.Lock()

    class Archive(zipfile.ZipFile):
        def namelist(self) -> list[str]:
            return []  # MiniStack looks at each name, and these archives are SAM's

        def extractall(self, path: Any = None, members: object = None, pwd: object = None) -> None:
            digest = hashlib.sha256(Path(str(self.filename)).read_bytes()).hexdigest()
            with lock:
                if digest not in unpacked:
                    folder = tempfile.mkdtemp(prefix="unpacked-")
                    super().extractall(folder, super().namelist())
                    unpacked[digest] = folder
            for entry in Path(unpacked[digest]).iterdir():
                Path(path, entry.name).symlink_to(entry)

    lambda_runtime.zipfile = SimpleNamespace(ZipFile=Archive, BadZipFile=zipfile.BadZipFile)


def _share_processes() -> None:
    """Let invocations wait for one of `PROCESSES` processes of the function. Gap in 1.5.33: fifty start fifty at once.

    On AWS each has a machine of its own. Here, on few cores, some answer after API Gateway's 30 s.
    """
    from ministack.services import lambda_svc  # noqa: PLC0415  # as above

    acquire, release = lambda_svc.acquire_worker, lambda_svc.release_worker
    released = threading.Condition()

    def acquire_or_wait(*arguments: object, **options: Any) -> Any:
        options["max_concurrency"] = options.get("max_concurrency") or PROCESSES
        end = time.monotonic() + WAIT_SECONDS
        with released:
            while (found := acquire(*arguments, **options))[0] is None and time.monotonic() < end:
                released.wait(WAIT_SECONDS)
        return found

    def release_and_tell(worker: object) -> None:
        release(worker)
        with released:
            released.notify_all()

    lambda_svc.acquire_worker, lambda_svc.release_worker = acquire_or_wait, release_and_tell


if __name__ == "__main__":
    serve()
