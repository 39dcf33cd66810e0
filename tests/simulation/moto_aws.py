"""moto's AWS in this process, for runs on the real code of the jobs table."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from tests.support.function_environment import BUCKET, ENVIRONMENT, TOKEN, forget_caches

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def moto_aws() -> Iterator[None]:
    """Create what the functions need of S3, SSM and DynamoDB, until the context ends."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        region = {"LocationConstraint": "ap-northeast-2"}
        boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=region)  # type: ignore[arg-type]  # a region, to the stubs
        boto3.client("ssm").put_parameter(Name="/triptych/replicate-token", Value=TOKEN, Type="SecureString")
        boto3.client("dynamodb").create_table(
            TableName="jobs",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "job_id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "job_id", "KeyType": "HASH"}],
        )
        forget_caches()
        yield
        forget_caches()
