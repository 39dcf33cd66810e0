"""The IAM actions, resources and condition keys of a request to AWS.

An unknown request gets an action that no policy can name. It is therefore denied, and the error names the request.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from tests.localcloud.policies import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

S3_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
# Query parameters that do not change the action.
S3_MODIFIERS = frozenset(
    {
        *("x-id", "list-type", "prefix", "delimiter", "max-keys", "marker"),
        *("continuation-token", "start-after", "fetch-owner", "encoding-type"),
    }
)
# IAM permits a batch request under the action of its single request.
SQS_BATCHES = {
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "DeleteMessageBatch": "DeleteMessage",
    "SendMessageBatch": "SendMessage",
}
TRANSACTION = {
    "ConditionCheck": "ConditionCheckItem",
    "Delete": "DeleteItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
}

type Body = Mapping[str, Any]


def of_target(target: str, body: Body, home: str, hash_key: Callable[[str], str]) -> list[Call]:
    """Return the calls of a request to a service with a JSON protocol.

    Args:
        target: The header X-Amz-Target, such as AmazonSQS.SendMessage.
        body: The request's body.
        home: Region and account, as an ARN holds them.
        hash_key: Returns the name of a table's hash key.
    """
    service, _, operation = target.partition(".")
    match service:
        case "DynamoDB_20120810":
            return list(_dynamodb(operation, body, home, hash_key))
        case "DynamoDBStreams_20120810":
            # An iterator begins with its stream's ARN and a bar.
            stream = str(body.get("ShardIterator") or body.get("StreamArn") or "*").partition("|")[0]
            return [Call(f"dynamodb:{operation}", "*" if operation == "ListStreams" else stream)]
        case "AmazonSQS":
            queue = str(body.get("QueueUrl", "*")).rpartition("/")[2]
            return [Call(f"sqs:{SQS_BATCHES.get(operation, operation)}", f"arn:aws:sqs:{home}:{queue}")]
        case "AmazonSSM" | "secretsmanager":
            name = str(body.get("Name", "*")).removeprefix("/")
            secret = str(body.get("SecretId", "*"))
            on_parameter = Call(f"ssm:{operation}", f"arn:aws:ssm:{home}:parameter/{name}")
            return [on_parameter if service == "AmazonSSM" else Call(f"secretsmanager:{operation}", secret)]
        case "AWSEvents" if operation == "PutEvents":
            events = {
                (str(entry.get("EventBusName", "default")), str(entry.get("Source", "")))
                for entry in body["Entries"]
            }
            return [
                Call(
                    "events:PutEvents", f"arn:aws:events:{home}:event-bus/{bus}", {"events:source": (source,)}
                )
                for bus, source in sorted(events)
            ]
    return [Call(target or "a request without a target", "*")]


def _dynamodb(operation: str, body: Body, home: str, hash_key: Callable[[str], str]) -> Iterable[Call]:
    if operation == "TransactWriteItems":
        for item in body["TransactItems"]:
            for kind, request in item.items():
                yield from _dynamodb(TRANSACTION[kind], request, home, hash_key)
        return
    if operation == "TransactGetItems":
        for item in body["TransactItems"]:
            yield from _dynamodb("GetItem", item["Get"], home, hash_key)
        return
    table = str(body.get("TableName", "*")).rpartition("/")[2]
    arn = f"arn:aws:dynamodb:{home}:table/{table}"
    if "IndexName" in body:
        arn += f"/index/{body['IndexName']}"
    item = body.get("Key") or body.get("Item")
    leading = item[hash_key(table)] if item else {}
    keys = {"dynamodb:LeadingKeys": tuple(map(str, leading.values()))} if leading else {}
    yield Call(f"dynamodb:{operation}", arn, keys)


def of_s3(
    method: str,
    bucket: str,
    key: str,
    parameters: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
) -> list[Call]:
    """Return the calls of a request to S3.

    S3 executes the permitted part of a DeleteObjects; the local cloud executes all of it or nothing.

    Args:
        method: The HTTP method.
        bucket: The bucket's name.
        key: The object's key, or "".
        parameters: The query parameters.
        headers: The headers, names in lower case.
        body: The request's body.
    """
    arn = f"arn:aws:s3:::{bucket}"
    asked = {
        name
        for name in parameters
        if name not in S3_MODIFIERS and not name.lower().startswith(("x-amz-", "response-"))
    }
    match method, bool(key), sorted(asked):
        case "GET" | "HEAD", True, []:
            return [Call("s3:GetObject", f"{arn}/{key}")]
        case "GET" | "HEAD", False, []:
            return [list_bucket(bucket, parameters.get("prefix"))]
        case "PUT", True, []:
            source = unquote(headers.get("x-amz-copy-source", "")).removeprefix("/")
            reads = [Call("s3:GetObject", f"arn:aws:s3:::{source}")] if source else []
            return [Call("s3:PutObject", f"{arn}/{key}"), *reads]
        case "DELETE", True, []:
            return [Call("s3:DeleteObject", f"{arn}/{key}")]
        case "POST", False, ["delete"]:
            found = ET.fromstring(body).iter(f"{S3_NAMESPACE}Key")
            return [Call("s3:DeleteObject", f"{arn}/{one.text}") for one in found]
    return [Call(f"s3:{' '.join((method, *sorted(asked)))}", f"{arn}/{key}" if key else arn)]


def list_bucket(bucket: str, prefix: str | None = None) -> Call:
    """Return the ListBucket call. A list needs it, and so does a 404: S3 hides a missing object from other clients."""
    return Call("s3:ListBucket", f"arn:aws:s3:::{bucket}", {} if prefix is None else {"s3:prefix": (prefix,)})
