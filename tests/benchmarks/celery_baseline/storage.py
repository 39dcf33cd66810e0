"""The baseline's access to S3."""

from __future__ import annotations

import os

import boto3
from botocore.config import Config

BUCKET = os.environ["S3_BUCKET"]
s3 = boto3.client("s3", config=Config(signature_version="s3v4"))


def presign(key: str) -> str:
    return str(s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=3600))


def save(key: str, content: bytes, content_type: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=key, Body=content, ContentType=content_type)
