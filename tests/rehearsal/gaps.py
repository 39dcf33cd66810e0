"""The gaps of MiniStack that this stack meets, and how each is closed. Nothing else works around MiniStack.

All were seen at MiniStack 1.5.33. A release that closes a gap lets its code go; `serve` refuses any other version, so
that an upgrade reads this file. README.md holds a reproduction for each gap.

`python -P gaps.py`, run by MiniStack's own Python, starts MiniStack with the gaps of the server closed. The gaps of the
template are closed by `close`, before `sam deploy`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sys
import threading
import time
import zlib
from contextvars import ContextVar
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SEEN_AT = "1.5.33"
LINEAGE = re.compile(r"Lineage=1:[0-9a-f]{8}:(\d+)")


# ── the template ──────────────────────────────────────────────────────────────────────────────────────────────


def close(template: dict[str, Any]) -> None:
    """Change the template in place, so that MiniStack's CloudFormation takes it."""
    _drop_saved_queries(template)
    _flatten_metric_math(template)


def _drop_saved_queries(template: dict[str, Any]) -> None:
    """1.5.33: `AWS::Logs::QueryDefinition` is not a known resource type."""
    resources = template["Resources"]
    for name in [name for name, one in resources.items() if one["Type"] == "AWS::Logs::QueryDefinition"]:
        del resources[name]


def _flatten_metric_math(template: dict[str, Any]) -> None:
    """1.5.33: an alarm with `Metrics` fails the stack. Watch one metric instead, so that what names the alarm finds it."""
    for one in template["Resources"].values():
        if one["Type"] == "AWS::CloudWatch::Alarm" and one["Properties"].pop("Metrics", None):
            one["Properties"] |= {
                "Namespace": "Rehearsal",
                "MetricName": "MetricMath",
                "Statistic": "Sum",
                "Period": 300,
            }


# ── the server ────────────────────────────────────────────────────────────────────────────────────────────────


def serve() -> None:
    """Run MiniStack until stdin ends: that is when whoever started it has stopped or died."""
    if version("ministack") != SEEN_AT:
        sys.exit(
            f"MiniStack is {version('ministack')}; the gaps were seen at {SEEN_AT}. Check each one in gaps.py."
        )
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    _set_recursive_loop()
    _read_numbers()
    _count_loops_through_queues()
    from ministack import app  # noqa: PLC0415  # only MiniStack's environment has it

    sys.argv = ["ministack"]
    app.main()


def _end_with_stdin() -> None:
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read(): its lock would be in the way of an orderly end
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _set_recursive_loop() -> None:
    """1.5.33: CloudFormation ignores a function's `RecursiveLoop`; only PutFunctionRecursionConfig sets it."""
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
    """1.5.33: the `Ref` of a Number parameter stays a string, and one such `MaximumConcurrency` stops all queues."""
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
    """1.5.33: only direct invocations are counted; a loop that leaves through SQS is not detected (its changelog, too).

    The count travels as it does on AWS: Lambda puts a lineage into the function's `_X_AMZN_TRACE_ID`, the function's
    own botocore sends that as `X-Amzn-Trace-Id`, SQS keeps the header as `AWSTraceHeader`, and the event source reads
    it there. MiniStack's own limit, metric and `RecursiveLoop` then decide. A message that is not delivered for this
    goes to the queue's dead letters, or is lost.
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


if __name__ == "__main__":
    serve()
