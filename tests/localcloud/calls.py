"""What a request to AWS asks for, as IAM sees it: actions, resources and condition keys.

A request that is not understood asks for an action that no policy can name, so that it is denied, and says why.

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
# What of a query changes nothing about the action: the signature, the headers of the answer, where a list begins.
S3_MODIFIERS = frozenset(
    {
        *("x-id", "list-type", "prefix", "delimiter", "max-keys", "marker"),
        *("continuation-token", "start-after", "fetch-owner", "encoding-type"),
    }
)
# The batch requests, which are permitted as what they are batches of.
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
    """What a request of a service that speaks JSON asks for.

    Args:
        target: the header X-Amz-Target, as AmazonSQS.SendMessage.
        body: the request's.
        home: region and account, as they stand in an ARN.
        hash_key: of a table's name, the name of its hash key.
    """
    service, _, operation = target.partition(".")
    match service:
        case "DynamoDB_20120810":
            return list(_dynamodb(operation, body, home, hash_key))
        case "DynamoDBStreams_20120810":
            # An iterator is its stream's ARN, and more behind a bar.
            stream = str(body.get("ShardIterator") or body.get("StreamArn") or "*").partition("|")[0]
            return [Call(f"dynamodb:{operation}", "*" if operation == "ListStreams" else stream)]
        case "AmazonSQS":
            queue = str(body.get("QueueUrl", "*")).rpartition("/")[2]
            return [Call(f"sqs:{SQS_BATCHES.get(operation, operation)}", f"arn:aws:sqs:{home}:{queue}")]
        case "AmazonSSM":
            name = str(body.get("Name", "*")).removeprefix("/")
            return [Call(f"ssm:{operation}", f"arn:aws:ssm:{home}:parameter/{name}")]
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
    """What a request to S3 asks for. Of a DeleteObjects, S3 would do what is permitted; here all is or nothing.

    Args:
        method: the HTTP method.
        bucket: the bucket's name.
        key: the object's, or nothing.
        parameters: of the query.
        headers: their names in lower case.
        body: the request's.
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
    """To see which objects there are: asked for by a list, and by S3 itself before it says that there is no object."""
    return Call("s3:ListBucket", f"arn:aws:s3:::{bucket}", {} if prefix is None else {"s3:prefix": (prefix,)})
