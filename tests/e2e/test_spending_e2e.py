"""Concurrent requests fill the daily limit exactly. What is made for nothing is noticed."""

from __future__ import annotations

import random
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.localcloud import replicate
from tests.localcloud.driving import serving
from tests.localcloud.replicate_faults import Fault

TOKEN = "r8_the_token_of_this_test"
LIMIT, FAILED = 20, 8


def test_fifty_retries_and_creates_at_once_fill_the_day_exactly() -> None:
    with replicate.start(TOKEN, seconds=0.1, allow_http_webhooks=True) as stand_in:
        options = ["--replicate-url", stand_in.url, "--parameter-overrides", f"DailyPicturesPerOwner={LIMIT}"]
        with serving(*options, "ImageCount=1", environment={"REPLICATE_API_TOKEN": TOKEN}) as cloud:
            stand_in.set_faults(Fault(kind="fail"))
            failed = [cloud.start() for _ in range(FAILED)]
            assert {cloud.end_of(job_id)["status"] for job_id in failed} == {"FAILED"}
            stand_in.set_faults(Fault(kind="slow_run", seconds=60))  # no retried job ends during the test
            new_job = {"content_type": "image/jpeg", "content_length": len(cloud.photo)}

            def post(path: str) -> int:
                body = None if path.endswith("/retry") else new_job
                while True:
                    answer = cloud.request("POST", path, json=body)
                    if answer.status_code != 429 or answer.json()["error"]["code"] == "daily_limit_reached":
                        return answer.status_code

            paths = [f"/api/v1/jobs/{job_id}/retry" for job_id in failed] * 3 + ["/api/v1/jobs"] * 26
            random.Random(1).shuffle(paths)
            with ThreadPoolExecutor(len(paths)) as pool:
                answers = list(pool.map(post, paths))
            assert set(answers) == {200, 201, 429}
            items = cloud.aws("dynamodb").scan(TableName=cloud.printed["table"], ConsistentRead=True)["Items"]
            retries = [int(item.get("retries", {"N": "0"})["N"]) for item in items if "owner" in item]
            (spent,) = (item for item in items if item["job_id"]["S"].startswith("spent by owner "))
            counted = sum(
                int(value["N"]) for name, value in spent.items() if re.fullmatch(r"\d{4}-\d\d-\d\d", name)
            )
            assert max(retries) == 1
            assert len(retries) == FAILED + answers.count(201)
            assert len(retries) + sum(retries) == counted == LIMIT


def cancel_a_running_job() -> None:
    """Run a local cloud, and in it a job that is canceled, until the webhook of one of its predictions has come."""
    with (
        replicate.start(TOKEN, seconds=0.1, allow_http_webhooks=True) as stand_in,
        serving("--replicate-url", stand_in.url, environment={"REPLICATE_API_TOKEN": TOKEN}) as cloud,
    ):
        stand_in.set_faults(Fault(kind="slow_run", seconds=60))
        job_id = cloud.start()
        give_up_at = time.monotonic() + 60
        while {image["status"] for image in cloud.job(job_id)["images"]} != {"GENERATING"}:
            assert time.monotonic() < give_up_at, "no predictions"
            time.sleep(0.1)  # there is no event to wait for
        assert cloud.request("POST", f"/api/v1/jobs/{job_id}/cancel").status_code == 200
        while "PredictionsWasted" not in cloud.log():
            assert time.monotonic() < give_up_at, "no webhook of a canceled prediction"
            time.sleep(0.1)  # as above


def test_prediction_made_for_nothing_fails_its_test() -> None:
    with pytest.raises(AssertionError, match="made for nothing"):
        cancel_a_running_job()
