"""One owner of a stack: the jobs, the objects, the count of pictures and the user.

The jobs are deleted by the stack's own function, as its API does it: that cancels their predictions and removes outputs
that arrive later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer

from tests.deployed.stack import FOLDERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deployed.stack import Stack

ROUNDS = 5  # the index may lag behind the table

type Json = dict[str, Any]


class UnfinishedError(Exception):
    """Something of the owner remains. The message says what."""


@dataclass(frozen=True)
class Owner:
    """An owner: the `sub` of a user's tokens."""

    stack: Stack
    sub: str

    # ── what there is ──

    def jobs(self) -> list[Json]:
        """Return the owner's jobs as the table holds them, newest first."""
        pages = self.stack.client("dynamodb").get_paginator("query")
        found = pages.paginate(
            TableName=self.stack.outputs["Table"],
            IndexName="by-owner",
            KeyConditionExpression="#owner = :sub",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":sub": {"S": self.sub}},
            ScanIndexForward=False,
        )
        return [_plain(item) for page in found for item in page["Items"]]

    def spending(self) -> Json:
        """Return what the table holds about the owner's use, or an empty map."""
        found = self.stack.client("dynamodb").get_item(
            TableName=self.stack.outputs["Table"], Key=self._spending, ConsistentRead=True
        )
        return _plain(found.get("Item", {}))

    def user(self) -> Json | None:
        """Return the user in the stack's own pool, or None if there is none."""
        if "UserPoolId" not in self.stack.outputs:
            return None
        found = self.stack.client("cognito-idp").list_users(
            UserPoolId=self.stack.outputs["UserPoolId"], Filter=f"sub = {json.dumps(self.sub)}"
        )["Users"]
        return dict(found[0]) if found else None

    def keys(self, job_id: str) -> Iterator[str]:
        """Yield the keys of a job's objects."""
        pages = self.stack.client("s3").get_paginator("list_objects_v2")
        for folder in FOLDERS:
            for page in pages.paginate(Bucket=self.stack.outputs["Bucket"], Prefix=f"{folder}/{job_id}/"):
                yield from (item["Key"] for item in page.get("Contents", []))

    # ── export ──

    def export(self, folder: Path) -> int:
        """Write everything into a new folder; return how many pictures there are.

        Raises:
            FileExistsError: The folder exists.
        """
        folder.mkdir(parents=True)
        jobs = self.jobs()
        content = {"owner": self.sub, "user": self.user(), "spending": self.spending(), "jobs": jobs}
        text = json.dumps(content, indent=2, default=str, ensure_ascii=False)
        (folder / "owner.json").write_text(f"{text}\n", "utf-8")
        count = 0
        for job in jobs:
            for key in self.keys(job["job_id"]):
                file = folder / job["job_id"] / key.replace(f"/{job['job_id']}/", "-")
                file.parent.mkdir(exist_ok=True)
                self.stack.client("s3").download_file(self.stack.outputs["Bucket"], key, str(file))
                count += 1
        return count

    # ── erase ──

    def erase(self) -> int:
        """Delete the user, then every job with its objects, then the count of pictures; return how many jobs.

        Raises:
            UnfinishedError: Something remains.
        """
        self._delete_user()
        erased: set[str] = set()
        for _ in range(ROUNDS):
            left = [job["job_id"] for job in self.jobs() if job["job_id"] not in erased]
            if not left:
                break
            for job_id in left:
                self._delete_job(job_id)
                erased.add(job_id)
        else:
            raise UnfinishedError(
                "New jobs appear all the time. Disable the user, and run this command again."
            )
        self.stack.client("dynamodb").delete_item(TableName=self.stack.outputs["Table"], Key=self._spending)
        return len(erased)

    def _delete_user(self) -> None:
        if user := self.user():
            self.stack.client("cognito-idp").admin_delete_user(
                UserPoolId=self.stack.outputs["UserPoolId"], Username=user["Username"]
            )

    def _delete_job(self, job_id: str) -> None:
        answer = self.stack.client("lambda").invoke(
            FunctionName=self.stack.resources["ApiFunction"].name,
            Payload=json.dumps(_deletion(job_id, self.sub)).encode(),
        )
        said = json.loads(answer["Payload"].read())
        gone = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND}  # not found: deleted meanwhile
        if answer.get("FunctionError") or said.get("statusCode") not in gone:
            raise UnfinishedError(f"Job {job_id} could not be deleted: {json.dumps(said)[:300]}")
        if remaining := list(self.keys(job_id)):
            raise UnfinishedError(f"Job {job_id} is deleted, but {remaining[0]} remains. Delete it in S3.")

    @property
    def _spending(self) -> Json:
        return {"job_id": {"S": f"spent by owner {self.sub}"}}


def _deletion(job_id: str, sub: str) -> Json:
    """Return API Gateway's event for the owner's DELETE."""
    path = f"/api/v1/jobs/{job_id}"
    return {
        "version": "2.0",
        "routeKey": "DELETE /api/v1/jobs/{job_id}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {},
        "requestContext": {
            "authorizer": {"jwt": {"claims": {"sub": sub}, "scopes": None}},
            "http": {
                "method": "DELETE",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "",
                "userAgent": "operator",
            },
            "requestId": "operator",
            "stage": "$default",
        },
        "isBase64Encoded": False,
    }


def _plain(item: Json) -> Json:
    """Return a DynamoDB item as plain values, without the one that only its locking needs."""
    read = TypeDeserializer().deserialize
    return {name: _simple(read(value)) for name, value in item.items() if name != "version"}


def _simple(value: Any) -> Any:
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case set():
            return sorted(value)
        case list():
            return [_simple(one) for one in value]
        case dict():
            return {name: _simple(one) for name, one in value.items()}
    return value
