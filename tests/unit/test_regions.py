"""The page may reach exactly the hosts that the functions sign for, in every region and partition.

These tests set no `AWS_ENDPOINT_URL`: on the local cloud it would hide the hosts.
"""

from __future__ import annotations

import uuid
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config

from tests.localcloud import s3_cors
from tests.localcloud.resources import CorsConfiguration
from tests.localcloud.template import Template, load
from tests.support.function_environment import ENVIRONMENT, forget_caches
from tests.support.jobs import waiting_job
from tests.support.page_function import page_with, policy
from tests.unit.template_plan import Attributes
from triptych.aws import bucket

BUCKET = f"triptych-photos-{uuid.uuid5(uuid.NAMESPACE_URL, 'triptych')}"  # as the local template makes the stack's id


class Region(NamedTuple):
    name: str
    partition: str
    suffix: str
    console: str


# https://docs.aws.amazon.com/general/latest/gr/s3.html, https://docs.amazonaws.cn/en_us/aws/latest/userguide/endpoints-arns.html,
# https://docs.aws.amazon.com/govcloud-us/latest/UserGuide/using-govcloud-endpoints.html, https://docs.aws.eu/
REGIONS = [
    Region("us-east-1", "aws", "amazonaws.com", "console.aws.amazon.com"),
    Region("us-west-2", "aws", "amazonaws.com", "console.aws.amazon.com"),
    Region("ap-northeast-2", "aws", "amazonaws.com", "console.aws.amazon.com"),
    Region("eu-central-1", "aws", "amazonaws.com", "console.aws.amazon.com"),
    Region("cn-north-1", "aws-cn", "amazonaws.com.cn", "console.amazonaws.cn"),
    Region("cn-northwest-1", "aws-cn", "amazonaws.com.cn", "console.amazonaws.cn"),
    Region("us-gov-west-1", "aws-us-gov", "amazonaws.com", "console.amazonaws-us-gov.com"),
    Region("us-gov-east-1", "aws-us-gov", "amazonaws.com", "console.amazonaws-us-gov.com"),
    Region("eusc-de-east-1", "aws-eusc", "amazonaws.eu", "console.aws.amazon.com"),
]


@pytest.fixture(params=REGIONS, ids=[region.name for region in REGIONS])
def region(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Region:
    """Set the environment of a function in the region, as Lambda does."""
    found: Region = request.param
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    here = {**ENVIRONMENT, "AWS_DEFAULT_REGION": found.name, "AWS_REGION": found.name, "BUCKET": BUCKET}
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    # A new session: the cached one belongs to another region.
    monkeypatch.setattr("triptych.aws.session.boto3_session", lambda: boto3.Session(region_name=found.name))
    forget_caches()
    return found


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    forget_caches()


@cache
def stack(region: Region) -> Template:
    """Load the template for the region, with AWS's values for the resources that the page uses."""
    template = load(region=region.name, overrides={"AllowedOrigins": "https://app.example"})
    for name in template.resources:
        template.scope.refs[name] = f"<{name}>"
        template.scope.attributes[name] = Attributes(f"<{name}>")
    # The values that CloudFormation returns.
    api = f"https://abc123.execute-api.{region.name}.{region.suffix}"
    template.scope.attributes["HttpApi"] = {"ApiEndpoint": api}
    return template


def properties(template: Template, name: str) -> Any:
    return template.scope.resolve(template.resources[name].properties)


def urls() -> list[str]:
    upload, _ = bucket.presign_upload(waiting_job(), 60)
    photo = bucket.presign_photo("uploads/a/photo.jpg", "a.0.1", 60)
    return [upload, photo, bucket.link("outputs/a/0.png")]


def test_urls_are_signed_for_the_host_the_page_may_reach(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = properties(stack(region), "PageFunction")["Environment"]["Variables"]
    page = page_with(monkeypatch, **{name: str(value) for name, value in environment.items()})
    allowed = policy(page)
    for url in urls():
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}" == page.BUCKET
        assert page.BUCKET in allowed["img-src"].split()
        assert page.BUCKET in allowed["connect-src"].split()
        query = parse_qs(parts.query)
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        assert f"/{region.name}/s3/" in query["X-Amz-Credential"][0]
    assert f"https://cognito-idp.{region.name}.{region.suffix}" in allowed["connect-src"].split()


def test_bucket_allows_the_pages_own_origin(region: Region) -> None:
    cors = CorsConfiguration.model_validate(properties(stack(region), "PhotosBucket")["CorsConfiguration"])
    rules = [
        s3_cors.Rule(rule.allowed_origins, rule.allowed_methods, rule.allowed_headers, (), None)
        for rule in cors.cors_rules
    ]
    origin = f"https://abc123.execute-api.{region.name}.{region.suffix}"
    assert s3_cors.answer(rules, origin, "PUT", "content-type,if-none-match")
    assert s3_cors.answer(rules, "https://evil.example", "PUT") is None


def test_arns_and_urls_use_the_regions_partition(region: Region) -> None:
    template = stack(region)
    policy_of_queue = properties(template, "UploadsToGenerationQueue")["PolicyDocument"]
    name = properties(template, "PhotosBucket")["BucketName"]
    assert f"'arn:{region.partition}:s3:::{name}'" in str(policy_of_queue)
    outputs = template.outputs()
    assert outputs["DashboardUrl"].startswith(f"https://{region.name}.{region.console}/cloudwatch/")
    issuer = f"https://cognito-idp.{region.name}.{region.suffix}/<UserPool>"
    assert issuer in str(properties(template, "HttpApi"))


def test_default_client_signs_us_east_1_for_the_global_host() -> None:
    """The control: botocore's behaviour without the option `us_east_1_regional_endpoint`."""
    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    s3 = boto3.Session("id", "secret", region_name="us-east-1").client("s3", config=config)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "a"})
    assert urlsplit(url).netloc == f"{BUCKET}.s3.amazonaws.com"
