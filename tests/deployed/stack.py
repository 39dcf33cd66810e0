"""A deployed stack: its outputs, parameters, resources and template, read from CloudFormation."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ProfileNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

# The regional host in us-east-1 too, as the functions use it. Each request ends within seconds.
# An emulator on this machine needs no proxy.
FOLDERS = ("uploads", "prepared", "outputs", "previews")  # of the bucket
LOCAL = "AWS_ENDPOINT_URL" in os.environ
CONFIG = Config(
    proxies={} if LOCAL else None,
    s3={"us_east_1_regional_endpoint": "regional"},
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "max_attempts": 5},
)


def connect(name: str, region: str | None) -> Stack:
    """Return the stack, or end the command if AWS_PROFILE is wrong.

    Args:
        name: The stack's name.
        region: Its region. Without one, AWS_REGION counts, as for AWS CLI: boto3 reads only AWS_DEFAULT_REGION.
    """
    try:
        return Stack(boto3.Session(region_name=region or os.environ.get("AWS_REGION") or None), name)
    except ProfileNotFound as error:
        sys.exit(f"{error}. Correct AWS_PROFILE.")


@dataclass(frozen=True)
class Resource:
    """One resource of the stack."""

    kind: str  # AWS::S3::Bucket
    name: str  # its name, ARN or URL


@dataclass(eq=False)
class Stack:
    """A stack. Everything is read when it is first needed, and then kept."""

    session: boto3.Session
    name: str

    @functools.cache  # noqa: B019  # a process judges one stack
    def client(self, service: Any) -> Any:
        return self.session.client(service, config=CONFIG)

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        (found,) = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return dict(found)

    @functools.cached_property
    def outputs(self) -> dict[str, str]:
        return {one["OutputKey"]: one["OutputValue"] for one in self.description.get("Outputs", [])}

    @functools.cached_property
    def parameters(self) -> dict[str, str]:
        return {one["ParameterKey"]: one["ParameterValue"] for one in self.description.get("Parameters", [])}

    def number(self, parameter: str) -> int:
        return int(self.parameters[parameter])

    @functools.cached_property
    def resources(self) -> dict[str, Resource]:
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return {
            one["LogicalResourceId"]: Resource(one["ResourceType"], one.get("PhysicalResourceId", ""))
            for page in pages.paginate(StackName=self.name)
            for one in page["StackResourceSummaries"]
        }

    def of_kind(self, kind: str) -> dict[str, str]:
        """Return the resources of a type: logical id → name."""
        return {name: one.name for name, one in self.resources.items() if one.kind == kind}

    @functools.cached_property
    def template(self) -> dict[str, dict[str, Any]]:
        """The resources of the template, as the SAM transform has written them."""
        answer = self.client("cloudformation").get_template(StackName=self.name, TemplateStage="Processed")
        return dict(answer["TemplateBody"]["Resources"])

    def templates_of_kind(self, kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield logical id, name and properties of each resource that exists, if its condition let it exist."""
        for logical_id, name in self.of_kind(kind).items():
            yield logical_id, name, self.template[logical_id]["Properties"]

    @property
    def origin(self) -> str:
        """The origin of the page, which is the API's."""
        return self.outputs["ApiUrl"]

    @property
    def endpoint(self) -> str | None:
        """The emulator that answers for AWS, or None."""
        url = str(self.client("s3").meta.endpoint_url)
        return None if ".amazonaws." in url else url

    @functools.cached_property
    def bucket_hosts(self) -> set[str]:
        """The hosts that a presigned URL may have: the bucket's regional one, or an emulator's."""
        host = str(self.client("s3").meta.endpoint_url).partition("://")[2]
        return {f"{self.outputs['Bucket']}.{host}"} | ({host} if self.endpoint else set())
