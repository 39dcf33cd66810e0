"""`RecursiveLoop` in template.yaml. After 16 rounds Lambda stops a function that sends to its own queue.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.localcloud.template import translate

RESOURCES: dict[str, Any] = translate()["Resources"]  # type: ignore[assignment]  # a template's resources are a map
FUNCTIONS = {
    name: one["Properties"] for name, one in RESOURCES.items() if one["Type"] == "AWS::Lambda::Function"
}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the statements of all policies below `node`, whatever their condition."""
    if isinstance(node, dict) and "Effect" in node:
        yield node
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from statements(child)


def queues_sent_to(role: str) -> set[str]:
    """Return the logical ids of the queues that the role may send to, or `*` for any queue."""
    resources = [
        resource
        for statement in statements(RESOURCES[role]["Properties"].get("Policies", []))
        if statement["Effect"] == "Allow"
        and {"sqs:SendMessage", "sqs:*", "*"} & {*as_list(statement["Action"])}
        for resource in as_list(statement["Resource"])
    ]
    return {resource["Fn::GetAtt"][0] if isinstance(resource, dict) else "*" for resource in resources}


def invoked_by(queue: str) -> set[str]:
    """Return the logical ids of the functions that the queue invokes."""
    mappings = [
        one["Properties"] for one in RESOURCES.values() if one["Type"] == "AWS::Lambda::EventSourceMapping"
    ]
    return {
        mapping["FunctionName"]["Ref"]
        for mapping in mappings
        if queue == "*" or mapping["EventSourceArn"]["Fn::GetAtt"][0] == queue
    }


def invoked_through_queues(function: str) -> set[str]:
    """Return the functions that messages of this function invoke, directly or through other functions."""
    found: set[str] = set()
    senders = {function}
    while senders:
        queues = {
            queue
            for sender in senders
            for queue in queues_sent_to(FUNCTIONS[sender]["Role"]["Fn::GetAtt"][0])
        }
        senders = {one for queue in queues for one in invoked_by(queue)} - found
        found |= senders
    return found


@pytest.mark.parametrize("function", FUNCTIONS)
def test_recursion_is_allowed_only_in_a_loop(function: str) -> None:
    loops = function in invoked_through_queues(function)
    assert FUNCTIONS[function].get("RecursiveLoop", "Terminate") == ("Allow" if loops else "Terminate")


def test_loops_are_found() -> None:
    loops = {function for function in FUNCTIONS if function in invoked_through_queues(function)}
    assert {"GenerateFunction", "WatchdogFunction"} <= loops < FUNCTIONS.keys()
