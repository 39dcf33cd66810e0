"""The page in a real browser, under the host names that AWS gives to the API, the bucket and Cognito."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.config import Config

from tests.localcloud import replicate, sample
from tests.localcloud.aws_names import AwsNames
from tests.localcloud.cloud import Cloud, local_cloud
from tests.support.browser import MAY_BE_SKIPPED, browsing

pytestmark = pytest.mark.skipif(MAY_BE_SKIPPED, reason="there is no chromium with its chromedriver here")
REGION = "ap-northeast-2"
TOKEN = "r8_the_token_of_this_test"
EMAIL, PASSWORD = "lovelace@example.com", "First-password-1"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsNames]:
    with AwsNames(REGION, tmp_path_factory.mktemp("names")) as made:
        yield made


@pytest.fixture(scope="module")
def cloud(names: AwsNames) -> Iterator[Cloud]:
    """A local cloud whose functions and whose Replicate know AWS's names only."""
    server = replicate.Server(TOKEN, seconds=0.3)
    context = ssl.create_default_context(cafile=str(names.certificate))
    proxy = f"http://{names.address}"
    server.runner._http = httpx.Client(proxy=proxy, verify=context, timeout=30, trust_env=False)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPLICATE_API_TOKEN", TOKEN)
        # Only the page's own origin lets the browser upload.
        parameters = {"AllowedOrigins": "https://app.example"}
        with local_cloud(parameters, replicate_url=server.url, names=names) as made:
            yield made
    server.shutdown()
    server.server_close()


def test_page_makes_three_pictures_under_awss_names(
    cloud: Cloud, names: AwsNames, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """CSP, CORS and presigned hosts are those of AWS: another origin fails in the browser."""
    cognito = boto3.client(
        "cognito-idp",
        region_name=REGION,
        endpoint_url=cloud.aws.endpoint,
        aws_access_key_id=cloud.aws.access_key_id,
        aws_secret_access_key=cloud.aws.secret_access_key,
        config=Config(proxies={}),
    )
    pool = cloud.stack.outputs["UserPoolId"]
    cognito.admin_create_user(UserPoolId=pool, Username=EMAIL, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=EMAIL, Password=PASSWORD, Permanent=True)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(sample.photo())
    flags = (f"--host-resolver-rules=MAP *.amazonaws.com {names.address}", "--ignore-certificate-errors")
    with browsing(tmp_path_factory.mktemp("profile"), *flags) as browser:
        browser.origins()
        browser.open(cloud.stack.outputs["PageUrl"])
        browser.find("#email").send_keys(EMAIL)
        browser.find("#password").send_keys(PASSWORD)
        browser.click("#sign-in button")
        browser.find("#studio")
        browser.choose(photo)
        browser.find("#preview")
        browser.click("#make")
        browser.says("#status", "All three pictures are ready")
        browser.until(lambda: len(browser.pictures()) == 3, "3 pictures")
        bucket = f"https://{cloud.bucket}.s3.{REGION}.amazonaws.com"
        assert all(picture.startswith(f"{bucket}/previews/") for picture in browser.pictures())
        assert browser.complaints() == []
        assert browser.origins() == {names.api_url, bucket, f"https://cognito-idp.{REGION}.amazonaws.com"}
