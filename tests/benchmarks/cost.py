"""What a job asks of each service, counted in the local cloud, and what that costs at list price.

Requests, units and bytes are counted and are what they are on AWS; where two webhooks of a job come at once, the one
that loses the race reads and writes once more. Lambda's seconds are this machine's, without the network between
Lambda and Replicate: an estimate. Prices and what is assumed of clients stand in prices.toml.
"""

from __future__ import annotations

import base64
import json
import math
import re
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.benchmarks import _prices, photo
from tests.benchmarks._prices import usd
from tests.benchmarks._report import Figure
from tests.localcloud import replicate, template
from tests.localcloud.driving import serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.localcloud.driving import Driver

JOBS = 3  # that are counted, after one that finds every process new
POLLS = 5  # whose mean is taken
WATCHDOG_SECONDS = 20  # by then a job has ended here, so that its watchdog looks once, as it does on AWS
TOKEN = "r8_the_token_of_this_benchmark"  # the stand-in's
SERVICES = {
    "DynamoDB_20120810": "DynamoDB",
    "AmazonSQS": "SQS",
    "AmazonSSM": "SSM",
    "AWSEvents": "EventBridge",
    "secretsmanager": "Secrets Manager",
}
# What reads the stream is free to Lambda; what polls a queue is counted by the message; and what only we ask.
UNCOUNTED = {"SQS ReceiveMessage", "SQS GetQueueAttributes"}
GB = 1e9
KIB = 1024
CALLBACK = "with CallbackUrl, its secret"


@dataclass(frozen=True)
class Usage:
    """What one job used, as the mean of some."""

    requests: dict[str, float]
    write_units: float
    read_units: float
    seconds: float  # of Lambda, times GB of memory
    item_bytes: float  # of the job's record when it has ended
    log_bytes: float
    stored_bytes: float  # in S3, without the pictures
    fetched_bytes: float  # by Replicate


@dataclass(frozen=True)
class Besides:
    """What does not come with each job."""

    start_seconds: float  # of Lambda, times GB: what a job takes longer when every process is new
    poll_seconds: float  # as above, for one look at a job
    metrics: int  # that are custom, and written when all goes well


def measure() -> Iterator[Figure]:
    used, besides = run(JOBS, 1, photo.drawn(photo.PHOTOS[0]))  # a phone's: 12 megapixels
    allowed = _prices.budget("the photo had to be prepared")
    for name, count in allowed.items():
        yield Figure(f"a job: {name}", used.requests.get(name, 0), "", at_most=count)
    for name in sorted(used.requests.keys() - allowed.keys()):
        yield Figure(f"a job: {name}, which prices.toml does not allow", used.requests[name], "")
    yield Figure("a job: DynamoDB write units, its index counted", used.write_units, "")
    yield Figure("a job: DynamoDB read units", used.read_units, "")
    yield Figure("a job: its record in the end", used.item_bytes, "bytes")
    yield Figure("a job: Lambda, processes running", used.seconds, "GB s")
    yield Figure("a job: Lambda besides, processes new", besides.start_seconds, "GB s")
    yield Figure("a look at a job: Lambda", besides.poll_seconds, "GB s")
    yield Figure("a job: log", used.log_bytes, "bytes")
    yield Figure("a job: fetched by Replicate", used.fetched_bytes / 1e6, "MB")
    for name, dollars in fixed(besides).items():
        yield Figure(f"a month: {name}", dollars, "$")
    for jobs in (1_000, 1_000_000):
        costs = variable(used, besides, jobs)
        pictures = usd(replicate_picture=3 * jobs)
        for name, dollars in costs.items():
            yield Figure(f"{jobs:,} jobs a month: {name}", dollars, "$")
        whole = sum(costs.values()) + sum(fixed(besides).values()) - fixed(besides)[CALLBACK]
        yield Figure(f"{jobs:,} jobs a month: AWS, all", whole, "$", "Replicate", pictures)


def variable(used: Usage, besides: Besides, jobs: int) -> dict[str, float]:
    """Dollars a month for so many jobs, by what is paid for.

    With a thousand jobs a month, one in three quarters of an hour, every job finds every process new; with a million,
    one in three seconds, none does.
    """
    assumed = _prices.file().assumptions
    asked = used.requests
    polls = assumed.polls
    seconds = (
        used.seconds + polls * besides.poll_seconds + (besides.start_seconds if jobs <= 1_000 else 0)
    )  # as above
    pictures = 3 * assumed.picture_bytes
    months = int(template.load().parameters["RetentionDays"]) / 30  # that a job's things lie there
    puts = sum(count for name, count in asked.items() if name.startswith("S3 Put"))
    gets = sum(count for name, count in asked.items() if name.startswith("S3 Get")) + 3 * assumed.downloads
    each = {
        "API Gateway": usd(api_request=asked["API Gateway request"] + polls),
        "Lambda": usd(lambda_request=asked["Lambda invocation"] + polls, lambda_gb_second=seconds),
        "DynamoDB": usd(
            dynamodb_write_unit=used.write_units,
            dynamodb_read_unit=used.read_units + polls * read_units(used.item_bytes),
            dynamodb_gb_month=2 * months * used.item_bytes / GB,  # in the table and in its index
            dynamodb_backup_gb_month=2 * months * used.item_bytes / GB,
        ),
        "S3": usd(s3_put=puts, s3_get=gets, s3_gb_month=months * (used.stored_bytes + pictures) / GB),
        "SQS": usd(sqs_request=3 * asked["SQS message"]),
        "EventBridge": usd(event=asked["EventBridge PutEvents"]),
        "CloudWatch, the log": usd(log_gb=used.log_bytes / GB, log_gb_month=used.log_bytes / GB),
        "transfer to Replicate": usd(transfer_out_gb=used.fetched_bytes / GB),
        "transfer of pictures to clients": usd(transfer_out_gb=assumed.downloads * pictures / GB),
    }
    return {name: dollars * jobs for name, dollars in each.items()}


def fixed(besides: Besides) -> dict[str, float]:
    """Dollars a month for what is there without any job."""
    resources = template.load().resources.values()
    made = Counter(resource.type for resource in resources)
    alarms = [resource.properties for resource in resources if resource.type == "AWS::CloudWatch::Alarm"]
    watched = sum(
        max(1, json.dumps(alarm).count('"MetricStat"')) for alarm in alarms
    )  # by which an alarm is paid
    polled = sum(
        "StartingPosition" not in resource.properties  # which a stream's mapping has
        for resource in resources
        if resource.type == "AWS::Lambda::EventSourceMapping"
    )
    return {
        f"{polled} queues, polled": usd(sqs_request=polled * _prices.file().assumptions.idle_receives),
        f"{besides.metrics} metrics of our own": usd(custom_metric=besides.metrics),
        f"{watched} metrics that alarms watch": usd(alarm=watched),
        f"{made['AWS::CloudWatch::Dashboard']} dashboards": usd(dashboard=made["AWS::CloudWatch::Dashboard"]),
        CALLBACK: usd(secret=1),
    }


# ── counting ──


def run(counted: int, before: int, uploaded: bytes | None = None) -> tuple[Usage, Besides]:
    """Have some jobs done, one after the other, and count what they ask for.

    Args:
        counted: jobs of which the mean is taken.
        before: jobs that come before those, and are not counted, so that no process is new.
        uploaded: their photo; without one, the small one of the tests.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        replicate.start(TOKEN, allow_http_webhooks=True) as stand_in,
    ):
        recording = Path(folder, "recording")
        environment = {
            "MOTO_ENABLE_RECORDING": "1",
            "MOTO_RECORDER_FILEPATH": str(recording),
            "REPLICATE_API_TOKEN": TOKEN,
        }
        options = ["--replicate-url", stand_in.url, "--parameter-overrides"]
        with serving(*options, f"WatchdogDelaySeconds={WATCHDOG_SECONDS}", environment=environment) as cloud:
            cloud.photo = uploaded or cloud.photo
            _jobs(cloud, before)
            log, asked, made = len(cloud.log()), _lines(recording), len(stand_in.ledger().predictions)
            jobs = _jobs(cloud, counted)
            log_end, asked_end = len(cloud.log()), _lines(recording)
            records = [_record(cloud, job_id) for job_id in jobs]
            looks = len(cloud.log())
            for _ in range(POLLS):
                cloud.job(jobs[0])
            text = cloud.log()
            entries = [json.loads(line) for line in recording.read_text().splitlines()[asked:asked_end]]
            predictions = stand_in.ledger().predictions[made:]
            fetched = sum(entry.fetched.bytes for entry in predictions if entry.fetched)
            stored = sum(
                item["Size"]
                for prefix in ("uploads", "prepared")
                for job_id in jobs
                for item in cloud.aws("s3")
                .list_objects_v2(Bucket=cloud.told["bucket"], Prefix=f"{prefix}/{job_id}/")
                .get("Contents", ())
            )
    requests = Counter(filter(None, map(request_name, entries)))
    reports = _reports(text[log:log_end])
    requests["Replicate POST"] = len(predictions)
    requests["Lambda invocation"] = len(reports)
    # Each message and each event is an invocation; the others are what came over HTTP.
    requests["API Gateway request"] = (
        len(reports) - requests["SQS message"] - requests["EventBridge PutEvents"]
    )
    used = Usage(
        requests={name: count / counted for name, count in requests.items()},
        write_units=sum(map(_write_units, entries)) / counted,
        read_units=requests["DynamoDB GetItem"] * read_units(max(map(item_size, records))) / counted,
        seconds=sum(one.seconds * one.memory for one in reports) / counted,
        item_bytes=mean(map(item_size, records)),
        log_bytes=_function_bytes(text[log:log_end]) / counted,
        stored_bytes=stored / counted,
        fetched_bytes=fetched / counted,
    )
    starts: dict[float, list[float]] = {}
    for one in _reports(text[:looks]):
        if one.init:
            starts.setdefault(one.memory, []).append(one.init * one.memory)
    cold = mean(starts[min(starts)]) * (used.requests["Lambda invocation"] - 1) + mean(starts[max(starts)])
    poll = mean(one.seconds * one.memory for one in _reports(text[looks:]))
    return used, Besides(cold, poll, len(_metrics(text)))


def _jobs(cloud: Driver, count: int) -> list[str]:
    """So many jobs, one after the other, until all has been done that comes of them."""
    jobs = []
    for _ in range(count):
        jobs.append(cloud.start())
        (end,) = cloud.ends_of(jobs[-1])
        if end["detail"]["status"] != "SUCCEEDED":
            raise RuntimeError(f"a job ended as {end['detail']}")
    while cloud.messages("watchdog") or cloud.messages("generation"):
        time.sleep(0.2)  # a queue tells nobody that it is empty
    return jobs


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines())


def _record(cloud: Driver, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = cloud.aws("dynamodb").get_item(
        TableName=cloud.told["table"], Key={"job_id": {"S": job_id}}
    )["Item"]
    return found


def _body(entry: dict[str, Any]) -> bytes:
    return base64.b64decode(entry["body"]) if entry["body_encoded"] else str(entry["body"]).encode()


def request_name(entry: dict[str, Any]) -> str | None:
    """What prices.toml calls a request that moto has recorded; None where it is not to be counted."""
    headers = {name.lower(): value for name, value in entry["headers"].items()}
    target, _, operation = headers.get("x-amz-target", "").partition(".")
    if target:
        if target not in SERVICES:
            return None
        name = f"{SERVICES[target]} {operation}"
        if name in UNCOUNTED or b"local-event-bus" in _body(entry):
            return None
        return "SQS message" if name == "SQS DeleteMessageBatch" else name  # of one each
    url = urlsplit(entry["url"])
    operation = {"GET": "GetObject", "PUT": "PutObject", "HEAD": "HeadObject"}.get(
        entry["method"], entry["method"]
    )
    prefix = url.path.split("/")[2] if url.path.count("/") > 1 else ""
    by = ""
    if "X-Amz-Signature" in url.query:
        by = " by the client" if operation == "PutObject" or prefix == "outputs" else " by Replicate"
    elif prefix == "prepared":
        by = " of a prepared photo"
    return f"S3 {operation}{by}"


def _write_units(entry: dict[str, Any]) -> float:
    """Of a put: a unit for each KiB begun, in the table and once more in its index, which holds all of it.

    In a transaction the table's units count twice. A day's count has less than a KiB, and is in no index.
    """
    match request_name(entry):
        case "DynamoDB PutItem":
            return 2 * _kib(json.loads(_body(entry))["Item"])
        case "DynamoDB TransactWriteItems":
            written = json.loads(_body(entry))["TransactItems"]
            return sum(3 * _kib(one["Put"]["Item"]) if "Put" in one else 2 for one in written)
    return 0


def _kib(item: dict[str, Any]) -> int:
    return math.ceil(item_size(item) / KIB)


def read_units(size: float) -> int:
    """Of a consistent read: a unit for each 4 KiB begun."""
    return math.ceil(size / (4 * KIB))


def item_size(item: dict[str, Any]) -> int:
    """Bytes, as DynamoDB counts them.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: dict[str, Any]) -> int:
    ((kind, held),) = value.items()
    match kind:
        case "S":
            return len(held.encode())
        case "N":
            return math.ceil(len(held.lstrip("-")) / 2) + 1
        case "BOOL" | "NULL":
            return 1
        case "L":
            return 3 + sum(1 + _value_size(one) for one in held)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _value_size(one) for name, one in held.items())
    raise ValueError(f"no item of ours holds {kind}")


@dataclass(frozen=True)
class _Report:
    seconds: float  # billed
    memory: float  # GB, as billed
    init: float  # seconds; 0 where the process was running


_REPORT = re.compile(
    r"^REPORT .*\tBilled Duration: (\d+) ms\tMemory Size: (\d+) MB\t[^\n]*?(?:Init Duration: ([\d.]+) ms)?\t?$",
    re.MULTILINE,
)


def _reports(log: str) -> list[_Report]:
    return [
        _Report(int(found[1]) / 1000, int(found[2]) / 1024, float(found[3] or 0) / 1000)
        for found in _REPORT.finditer(log)
    ]


def _function_bytes(log: str) -> int:
    """Without what EventBridge's bus tells here."""
    return sum(len(line) + 1 for line in log.splitlines() if '"service": "events"' not in line)


def _metrics(log: str) -> set[str]:
    """Every metric that was written in CloudWatch's embedded format, with its dimensions."""
    found = set()
    for line in _embedded(log):
        for told in line["_aws"]["CloudWatchMetrics"]:
            for names in told["Dimensions"]:
                dimensions = {name: line[name] for name in names}
                found |= {f"{told['Namespace']} {dimensions} {one['Name']}" for one in told["Metrics"]}
    return found


def _embedded(log: str) -> Iterable[dict[str, Any]]:
    for line in log.splitlines():
        if '"_aws"' in line:
            yield json.loads(line)
