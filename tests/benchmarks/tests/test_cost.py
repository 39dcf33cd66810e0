"""Tests of counting and pricing requests."""

from __future__ import annotations

import json
import re

import pytest

from tests.benchmarks import _prices, cost
from tests.support import readme

BUCKET = "http://127.0.0.1:4000/triptych-photos"


def recorded(method: str, url: str, target: str = "", **body: object) -> dict[str, object]:
    headers = {"X-Amz-Target": target} if target else {}
    return {"method": method, "url": url, "headers": headers, "body": json.dumps(body), "body_encoded": False}


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (recorded("POST", "http://x/", "DynamoDB_20120810.PutItem"), "DynamoDB PutItem"),
        (recorded("POST", "http://x/", "DynamoDBStreams_20120810.GetRecords"), None),
        (
            recorded("POST", "http://x/", "AmazonSQS.SendMessage", QueueUrl="http://x/watchdog"),
            "SQS SendMessage",
        ),
        (
            recorded("POST", "http://x/", "AmazonSQS.DeleteMessageBatch", QueueUrl="http://x/watchdog"),
            "SQS message",
        ),
        (recorded("POST", "http://x/", "AmazonSQS.ReceiveMessage", QueueUrl="http://x/watchdog"), None),
        (
            recorded("POST", "http://x/", "AmazonSQS.DeleteMessage", QueueUrl="http://x/local-event-bus-log"),
            None,
        ),
        (recorded("POST", "http://x/", "AmazonSSM.GetParameter"), "SSM GetParameter"),
        (recorded("POST", "http://x/", "AWSEvents.PutEvents"), "EventBridge PutEvents"),
        (recorded("PUT", f"{BUCKET}/uploads/j/photo.jpg?X-Amz-Signature=0"), "S3 PutObject by the client"),
        (recorded("GET", f"{BUCKET}/prepared/j/photo.jpg?X-Amz-Signature=0"), "S3 GetObject by Replicate"),
        (recorded("GET", f"{BUCKET}/outputs/j/0.png?X-Amz-Signature=0"), "S3 GetObject by the client"),
        (recorded("GET", f"{BUCKET}/uploads/j/photo.jpg"), "S3 GetObject"),
        (recorded("PUT", f"{BUCKET}/prepared/j/photo.jpg"), "S3 PutObject of a prepared photo"),
        (recorded("PUT", f"{BUCKET}/previews/j/0.webp"), "S3 PutObject of a preview"),
        (recorded("GET", f"{BUCKET}/previews/j/0.webp?X-Amz-Signature=0"), "S3 GetObject by the client"),
        (recorded("PUT", f"{BUCKET}/outputs/j/0.png"), "S3 PutObject"),
        (recorded("HEAD", f"{BUCKET}/uploads/j/photo.jpg"), "S3 HeadObject"),
        (recorded("DELETE", f"{BUCKET}/uploads/j/photo.jpg"), "S3 DELETE"),
    ],
)
def test_request_is_counted_under_its_name_in_the_budget(entry: dict[str, object], name: str | None) -> None:
    assert cost.request_name(entry) == name


def test_item_size_is_counted_as_dynamodb_does() -> None:
    item = {
        "job_id": {"S": "j1"},  # 6 + 2
        "größe": {"N": "-12345"},  # 7 + 4
        "open": {"BOOL": True},  # 4 + 1
        "images": {
            "L": [{"M": {"url": {"NULL": True}}}, {"S": "é"}]
        },  # 6 + 3 + (1 + 3 + 1 + 3 + 1) + (1 + 2)
    }
    assert cost.item_size(item) == 8 + 11 + 5 + 21
    assert [cost.read_units(size) for size in (1, 4096, 4097)] == [1, 1, 2]


def test_transaction_of_a_job_costs_three_more_write_units() -> None:
    job = {"job_id": {"S": "j"}}
    put = recorded("POST", "http://x/", "DynamoDB_20120810.PutItem", Item=job)
    items = [{"Put": {"Item": job}}, {"Update": {"Key": {"job_id": {"S": "spent by owner ann"}}}}]
    both = recorded("POST", "http://x/", "DynamoDB_20120810.TransactWriteItems", TransactItems=items)
    assert [cost._write_units(entry) for entry in (put, both)] == [2, 5]


def test_reports_are_read_with_and_without_init_duration() -> None:
    line = "REPORT RequestId: 1\tDuration: 11.52 ms\tBilled Duration: 12 ms\tMemory Size: 1024 MB\tMax Memory Used: 83 MB"
    log = f"{line}\tInit Duration: 640.00 ms\t\nEND RequestId: 2\n{line.replace('1024', '512')}\t\n"
    found = [(one.seconds, one.memory, one.init) for one in cost._reports(log)]
    assert found == [(0.012, 1, 0.64), (0.012, 0.5, 0)]


USED = cost.Usage(
    {
        "API Gateway request": 4,
        "Lambda invocation": 7,
        "SQS message": 2,
        "SQS ChangeMessageVisibility": 1,
        "EventBridge PutEvents": 1,
    },
    12,
    5,
    1,
    1000,
    5000,
    4e6,
    3e6,
)


def test_cost_grows_with_the_jobs_except_for_cold_starts() -> None:
    besides = cost.Besides(start_seconds=0, poll_seconds=0.01, metrics=7)
    few, many = (cost.variable(USED, besides, jobs) for jobs in (1_000, 1_000_000))
    assert many == pytest.approx({name: 1000 * dollars for name, dollars in few.items()})
    new = cost.variable(USED, cost.Besides(10, 0.01, 7), 1_000)
    assert new["Lambda"] - few["Lambda"] == pytest.approx(1_000 * 10 * 0.0000133334)
    assert few["DynamoDB"] > 1_000 * (12 * 0.625e-6 + 15 * 0.125e-6)


def test_amount_without_a_price_is_an_error() -> None:
    with pytest.raises(KeyError, match="magic"):
        _prices.usd(magic=1)


def test_readme_states_date_and_region_of_the_prices() -> None:
    section = readme.section("What it costs")
    prices = _prices.file().prices
    assert prices.date in section
    assert prices.region in section
    assert re.search(rf"\${3 * prices.usd['replicate_prediction'].usd:.2f}", section)


def test_only_what_a_stack_has_costs_by_the_month() -> None:
    besides = cost.Besides(start_seconds=0, poll_seconds=0, metrics=0)
    without, with_hosts = cost.fixed(besides), cost.fixed(besides, cost.SOME_HOSTS)
    assert set(without) - set(with_hosts) == {"3 queues, polled", "30 metrics that alarms watch"}
    assert set(with_hosts) - set(without) == {"4 queues, polled", "34 metrics that alarms watch"}
