"""The document on personal data says the times that the template sets."""

from __future__ import annotations

from typing import Any

from tests.environment import ROOT
from tests.localcloud.template import load
from triptych.aws.counts import RELEASED_DAYS

TEXT = (ROOT / "functions/PRIVACY.md").read_text()
DAY = 86_400  # seconds


def rows() -> list[str]:
    return [line for line in TEXT.splitlines() if line.startswith("| ")]


def row(start: str) -> str:
    (found,) = [line for line in rows() if line.startswith(f"| {start}")]
    return found


def properties(kind: str) -> dict[str, Any]:
    resources = load(overrides={"CallbackUrl": "https://example.com/"}).resources
    return {name: one.properties for name, one in resources.items() if one.type == kind}


def test_messages_and_dead_letters_last_as_documented() -> None:
    queues = properties("AWS::SQS::Queue")
    days = {name: one["MessageRetentionPeriod"] / DAY for name, one in queues.items()}
    assert {value for name, value in days.items() if "DeadLetter" in name} == {14}
    assert {value for name, value in days.items() if "DeadLetter" not in name} == {4}
    assert "4 days; in a dead-letter queue 14 days" in row("ids of jobs and keys")
    assert row("4 days; 14 days for dead letters")


def test_failed_batches_last_as_documented() -> None:
    bucket = properties("AWS::S3::Bucket")["AnnounceDeadLetterBucket"]
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert (rule["ExpirationInDays"], rule["Status"]) == (14, "Enabled")
    assert "| 14 days |" in row("the last two versions of a job")


def test_replay_of_an_end_finds_that_it_was_counted() -> None:
    """The stream keeps a write for a day. S3 removes an object at the midnight after its days."""
    bucket = properties("AWS::S3::Bucket")["AnnounceDeadLetterBucket"]
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert rule["ExpirationInDays"] + 2 < RELEASED_DAYS
    assert row(f"{RELEASED_DAYS} days |")


def test_logs_last_as_documented() -> None:
    assert {one["RetentionInDays"] for one in properties("AWS::Logs::LogGroup").values()} == {30}
    assert "| 30 days |" in row("ids of jobs and predictions")
    assert "| 30 days |" in row("route, status and time")


def test_each_place_of_personal_data_is_documented() -> None:
    """A new kind of store or way out needs a row."""
    assert set(properties("AWS::Events::Rule")) == {"CallbackRule", "AnnounceDeadLetterRule"}
    (table,) = properties("AWS::DynamoDB::Table").values()
    assert table["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    buckets = properties("AWS::S3::Bucket")
    assert set(buckets) == {"PhotosBucket", "AnnounceDeadLetterBucket"}
    for bucket in buckets.values():
        assert "VersioningConfiguration" not in bucket  # it would keep what an owner deletes
    for word in (
        "stream",
        "point-in-time recovery",
        "EventBridge",
        "Cognito",
        "Replicate",
        "CloudWatch Logs",
    ):
        assert any(word in line for line in rows()), word


def test_erasure_waits_as_long_as_tokens_live() -> None:
    (client,) = properties("AWS::Cognito::UserPoolClient").values()
    assert client["TokenValidityUnits"]["IdToken"] == "minutes"
    assert f"again after {client['IdTokenValidity']} minutes" in TEXT
    assert (
        f"again after {client['IdTokenValidity']} minutes" in (ROOT / "tests/privacy/command.py").read_text()
    )
