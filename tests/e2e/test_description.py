"""The API against its OpenAPI description: a fuzzer, and many create requests at once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.localcloud.driving import PYTHON, Driver, serving

# The first check expects every string to be a valid cursor. The second expects 405 where API Gateway answers 404: a method
# without a route, such as TRACE.
EXCLUDED_CHECKS = "positive_data_acceptance,unsupported_method"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Driver]:
    limits = "DailyPicturesPerOwner=0 DailyPictures=0 MaxActiveJobsPerOwner=0"
    with serving("--parameter-overrides", limits, wastes=True) as driver:  # a test deletes a running job
        yield driver


@pytest.fixture(scope="module")
def described(cloud: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("described") / "openapi.json"
    path.write_text(cloud.http.get(cloud.printed["api"] + "/api/v1/openapi.json").raise_for_status().text)
    return path


def test_no_answer_is_undocumented_and_none_is_a_5xx(cloud: Driver, described: Path, tmp_path: Path) -> None:
    command = [str(PYTHON.with_name("schemathesis")), "run", str(described), "--url", cloud.printed["api"]]
    command += [
        "--header",
        f"Authorization: Bearer {cloud.printed['tokens'][0]}",
        "--exclude-checks",
        EXCLUDED_CHECKS,
    ]
    command += [
        "--max-examples",
        "40",
        "--phases",
        "examples,coverage,fuzzing,stateful",
        "--seed",
        "1",
        "--no-color",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-6000:]


def test_fifty_creates_at_once_with_one_key_make_one_job(cloud: Driver) -> None:
    def create(_: int) -> str:
        body = {"content_type": "image/jpeg", "content_length": len(cloud.photo)}
        answer = cloud.request("POST", "/api/v1/jobs", json=body, headers={"idempotency-key": "fifty"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["job_id"])

    with ThreadPoolExecutor(50) as pool:
        assert len(set(pool.map(create, range(50)))) == 1


def test_fifty_creates_at_once_respect_a_limit_of_ten() -> None:
    with serving("--parameter-overrides", "DailyPicturesPerOwner=30") as cloud:

        def create(_: int) -> int:
            body = {"content_type": "image/jpeg", "content_length": len(cloud.photo)}
            return cloud.request("POST", "/api/v1/jobs", json=body).status_code

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(create, range(50)))
        assert sorted(set(answers)) == [201, 429]
        assert answers.count(201) == 10
        assert len(cloud.request("GET", "/api/v1/jobs?limit=100").json()["jobs"]) == 10


def test_deleted_job_leaves_no_object_in_s3(cloud: Driver) -> None:
    job_id = cloud.start()
    assert cloud.request("DELETE", f"/api/v1/jobs/{job_id}").status_code == 204
    assert cloud.request("GET", f"/api/v1/jobs/{job_id}").status_code == 404
    listed = cloud.aws("s3").list_objects_v2(Bucket=cloud.printed["bucket"])
    assert job_id not in json.dumps([item["Key"] for item in listed.get("Contents", [])])
