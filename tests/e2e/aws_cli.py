"""A stand-in for `aws`, with commands of the documents, for machines without AWS CLI.

It takes values as AWS CLI does: from `file://`, as JSON, or as the shorthand `Name=a,Value=b`. It appends its arguments to
the file `$AWS_CLI_LOG`.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import boto3
import jmespath  # type: ignore[import-untyped]  # no py.typed
from botocore.stub import Stubber

LISTS = frozenset({"--user-attributes"})
PLAIN_LISTS = frozenset({"--attribute-names"})
FLAGS = frozenset({"--permanent"})
# Operations that no cloud here has: botocore checks the request against AWS's model, and this is the answer.
ANSWERS = {"start-message-move-task": {"TaskHandle": "a-handle"}}


def shorthand(text: str) -> dict[str, str]:
    """Parse `Name=a,Value=b`. A comma or = in a value breaks it, as in AWS CLI."""
    return dict(part.split("=", 1) for part in text.split(","))


def value(name: str, words: list[str]) -> object:
    """Parse the words after a parameter."""
    if name in FLAGS:
        return True
    if name in PLAIN_LISTS:
        return words
    if name in LISTS:
        return [shorthand(word) for word in words]
    (word,) = words
    text = Path(word.removeprefix("file://")).read_text() if word.startswith("file://") else word
    if name != "--auth-parameters":
        return text
    return json.loads(text) if text.startswith("{") else shorthand(text)


def main() -> None:
    """Send one request; print the part of the answer that `--query` selects."""
    service, operation, *rest = sys.argv[1:]
    with Path(os.environ["AWS_CLI_LOG"]).open("a") as log:
        log.write(json.dumps(sys.argv[1:]) + "\n")
    parameters: dict[str, list[str]] = {}
    for word in rest:
        if word.startswith("--"):
            parameters[word] = []
        else:
            parameters[list(parameters)[-1]].append(word)
    query = parameters.pop("--query", ["@"])
    parameters.pop("--output", None)
    client = boto3.client(service)  # type: ignore[call-overload]  # any service
    camel = {name: "".join(part.capitalize() for part in name[2:].split("-")) for name in parameters}
    method = operation.replace("-", "_")
    with Stubber(client) if operation in ANSWERS else nullcontext() as stub:
        if stub:
            stub.add_response(method, ANSWERS[operation])
        answer = getattr(client, method)(
            **{camel[name]: value(name, words) for name, words in parameters.items()}
        )
    found = jmespath.search(query[0], answer)
    sys.stdout.write(f"{found if isinstance(found, str) else json.dumps(found, default=str)}\n")


if __name__ == "__main__":
    main()
