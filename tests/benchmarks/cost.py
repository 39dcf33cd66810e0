"""The requests of a job, counted in the local cloud, and their cost at list prices.

Requests, units and bytes are counted and equal those on AWS. If two webhooks of a job arrive at once, the loser of the
race reads and writes once more. Lambda's seconds are an estimate: they are this machine's, without the network between
Lambda and Replicate. prices.toml holds the prices and the assumptions about clients.
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
    from collections.abc import Iterable, Iterator, Mapping

    from tests.localcloud.driving import Driver
    from tests.localcloud.template import Json

JOBS = 3  # counted jobs, after one that finds every process new
SIZES = (1_000, 1_000_000)  # jobs a month
POLLS = 5  # polls, of which the mean is used
WATCHDOG_SECONDS = 20  # longer than a job takes here, so that the watchdog looks once, as on AWS
TOKEN = "r8_the_token_of_this_benchmark"  # the stand-in's
SERVICES = {
    "DynamoDB_20120810": "DynamoDB",
    "AmazonSQS": "SQS",
    "AmazonSSM": "SSM",
    "AWSEvents": "EventBridge",
    "secretsmanager": "Secrets Manager",
}
# Reading a stream is free for Lambda. Polling a queue is counted by the message. GetQueueAttributes is only of the local cloud.
UNCOUNTED = {"SQS ReceiveMessage", "SQS GetQueueAttributes"}
GB = 1e9
KIB = 1024
SOME_URL = {"CallbackUrl": "https://app.example.com/"}
SOME_HOSTS = {"AllowedCallbackHosts": "app.example.com"}


@dataclass(frozen=True)
class Usage:
    """The mean usage of one job."""

    requests: dict[str, float]
    write_units: float
    read_units: float
    seconds: float  # of Lambda, times GB of memory
    item_bytes: float  # of the ended job's item
    log_bytes: float
    stored_bytes: float  # in S3, without the outputs
    fetched_bytes: float  # by Replicate


@dataclass(frozen=True)
class Besides:
    """The usage that does not occur for each job."""

    start_seconds: float  # of Lambda, times GB: the extra time of a job if every process is new
    poll_seconds: float  # of Lambda, times GB: one poll of a job
    metrics: int  # custom metrics that are written when nothing fails


def measure() -> Iterator[Figure]:
    used, besides = run(JOBS, 1, photo.drawn(photo.PHOTOS[0]))  # a phone's: 12 megapixels
    allowed = _prices.budget("the photo had to be prepared", "the process is new")
    for name, count in allowed.items():
        yield Figure(f"a job: {name}", used.requests.get(name, 0), "", at_most=count)
    for name in sorted(used.requests.keys() - allowed.keys()):
        yield Figure(f"a job: {name}, not in prices.toml", used.requests[name], "")
    yield Figure(
        "a job: DynamoDB write units, with the index", used.write_units, "", at_most=most_write_units()
    )
    yield Figure("a job: DynamoDB read units", used.read_units, "")
    yield Figure("a job: its item at the end", used.item_bytes, "bytes")
    yield Figure("a job: Lambda, warm processes", used.seconds, "GB s")
    yield Figure("a job: Lambda, extra for new processes", besides.start_seconds, "GB s")
    yield Figure("a poll of a job: Lambda", besides.poll_seconds, "GB s")
    yield Figure("a job: log", used.log_bytes, "bytes")
    yield Figure("a job: fetched by Replicate", used.fetched_bytes / 1e6, "MB")
    for name, dollars in {**fixed(besides), **optional(besides)}.items():
        yield Figure(f"a month: {name}", dollars, "$")
    for jobs in SIZES:
        costs = variable(used, besides, jobs)
        predictions = usd(replicate_prediction=3 * jobs)
        for name, dollars in costs.items():
            yield Figure(f"{jobs:,} jobs a month: {name}", dollars, "$")
        whole = sum(costs.values()) + sum(fixed(besides).values())
        yield Figure(f"{jobs:,} jobs a month: AWS, total", whole, "$", "Replicate", predictions)


def variable(used: Usage, besides: Besides, jobs: int) -> dict[str, float]:
    """Return the dollars a month for so many jobs, by service.

    With 1,000 jobs a month, one every 45 minutes, every job finds every process new. With 1,000,000, one every 3 s, no
    job does.
    """
    assumed = _prices.file().assumptions
    requests = used.requests
    polls = assumed.polls
    seconds = used.seconds + polls * besides.poll_seconds + (besides.start_seconds if jobs <= SIZES[0] else 0)
    outputs = 3 * assumed.output_bytes
    months = int(template.load().parameters["RetentionDays"]) / 30  # how long a job's objects and item exist
    puts = sum(count for name, count in requests.items() if name.startswith("S3 Put"))
    gets = sum(count for name, count in requests.items() if name.startswith("S3 Get")) + 3 * assumed.downloads
    each = {
        "API Gateway": usd(api_request=requests["API Gateway request"] + polls),
        "Lambda": usd(lambda_request=requests["Lambda invocation"] + polls, lambda_gb_second=seconds),
        "DynamoDB": usd(
            dynamodb_write_unit=used.write_units,
            dynamodb_read_unit=used.read_units + polls * read_units(used.item_bytes),
            dynamodb_gb_month=2 * months * used.item_bytes / GB,  # in the table and in its index
            dynamodb_backup_gb_month=2 * months * used.item_bytes / GB,
        ),
        "S3": usd(s3_put=puts, s3_get=gets, s3_gb_month=months * (used.stored_bytes + outputs) / GB),
        "SQS": usd(sqs_request=3 * requests["SQS message"] + requests["SQS ChangeMessageVisibility"]),
        "EventBridge": usd(event=requests["EventBridge PutEvents"]),
        "CloudWatch, the log": usd(log_gb=used.log_bytes / GB, log_gb_month=used.log_bytes / GB),
        "transfer to Replicate": usd(transfer_out_gb=used.fetched_bytes / GB),
        "transfer of outputs to clients": usd(transfer_out_gb=assumed.downloads * outputs / GB),
    }
    return {name: dollars * jobs for name, dollars in each.items()}


def fixed(besides: Besides, given: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return the dollars a month that the stack costs without any job, with these parameters."""
    stack = template.load(overrides=given)
    resources = stack.resources.values()
    made = Counter(resource.type for resource in resources)
    alarms = [resource.properties for resource in resources if resource.type == "AWS::CloudWatch::Alarm"]
    # AWS charges an alarm by its metrics.
    watched = sum(max(1, _queries(alarm, stack.scope)) for alarm in alarms)
    polled = sum(
        "StartingPosition" not in resource.properties  # only a stream's mapping has it
        for resource in resources
        if resource.type == "AWS::Lambda::EventSourceMapping"
    )
    return {
        f"{polled} queues, polled": usd(sqs_request=polled * _prices.file().assumptions.idle_receives),
        f"{besides.metrics} custom metrics": usd(custom_metric=besides.metrics),
        f"{watched} metrics that alarms watch": usd(alarm=watched),
        f"{made['AWS::CloudWatch::Dashboard']} dashboards": usd(dashboard=made["AWS::CloudWatch::Dashboard"]),
    }


def optional(besides: Besides) -> dict[str, float]:
    """Return the dollars a month that callbacks add without any job."""
    without, url, hosts = (sum(fixed(besides, given).values()) for given in (None, SOME_URL, SOME_HOSTS))
    return {
        "with CallbackUrl, a secret and an alarm": url - without + usd(secret=1),
        "with AllowedCallbackHosts, a secret, a queue, its alarms and a metric": hosts
        - without
        + usd(secret=1, custom_metric=1),
    }


def _queries(part: Json, scope: template.Scope) -> int:
    """Return the number of metrics in this part of an alarm, as its conditions choose."""
    match part:
        case {"Fn::If": [str(condition), then, otherwise]}:
            return _queries(then if scope.condition(condition) else otherwise, scope)
        case dict():
            return ("MetricStat" in part) + sum(_queries(value, scope) for value in part.values())
        case list():
            return sum(_queries(value, scope) for value in part)
    return 0


# ── counting ──


def run(counted: int, before: int, uploaded: bytes | None = None) -> tuple[Usage, Besides]:
    """Run jobs one after the other, and count their requests.

    Args:
        counted: The number of jobs of which the mean is used.
        before: The number of uncounted jobs before them, so that no process is new.
        uploaded: The photo; None is the sample.
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
            log, begin, made = len(cloud.log()), _lines(recording), len(stand_in.ledger().predictions)
            jobs = _jobs(cloud, counted)
            log_end, end = len(cloud.log()), _lines(recording)
            records = [_record(cloud, job_id) for job_id in jobs]
            before_polls = len(cloud.log())
            for _ in range(POLLS):
                cloud.job(jobs[0])
            text = cloud.log()
            entries = [json.loads(line) for line in recording.read_text().splitlines()[begin:end]]
            predictions = stand_in.ledger().predictions[made:]
            fetched = sum(entry.fetched.bytes for entry in predictions if entry.fetched)
            stored = sum(
                item["Size"]
                for prefix in ("uploads", "prepared")
                for job_id in jobs
                for item in cloud.aws("s3")
                .list_objects_v2(Bucket=cloud.printed["bucket"], Prefix=f"{prefix}/{job_id}/")
                .get("Contents", ())
            )
    requests = Counter(filter(None, map(request_name, entries)))
    reports = _reports(text[log:log_end])
    requests["Replicate POST"] = len(predictions)
    requests["Lambda invocation"] = len(reports)
    # Each message and each event is one invocation. All other invocations are HTTP requests.
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
    for one in _reports(text[:before_polls]):
        if one.init:
            starts.setdefault(one.memory, []).append(one.init * one.memory)
    cold = mean(starts[min(starts)]) * (used.requests["Lambda invocation"] - 1) + mean(starts[max(starts)])
    poll = mean(one.seconds * one.memory for one in _reports(text[before_polls:]))
    return used, Besides(cold, poll, len(_metrics(text)))


def _jobs(cloud: Driver, count: int) -> list[str]:
    """Run jobs one after the other until their messages are processed; return their ids."""
    jobs = []
    for _ in range(count):
        jobs.append(cloud.start())
        (end,) = cloud.ends_of(jobs[-1])
        if end["detail"]["status"] != "SUCCEEDED":
            raise RuntimeError(f"a job ended as {end['detail']}")
    while cloud.messages("watchdog") or cloud.messages("generation"):
        time.sleep(0.2)  # there is no event to wait for
    return jobs


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines())


def _record(cloud: Driver, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = cloud.aws("dynamodb").get_item(
        TableName=cloud.printed["table"], Key={"job_id": {"S": job_id}}
    )["Item"]
    return found


def _body(entry: dict[str, Any]) -> bytes:
    return base64.b64decode(entry["body"]) if entry["body_encoded"] else str(entry["body"]).encode()


def request_name(entry: dict[str, Any]) -> str | None:
    """Return the name in prices.toml of a request that moto has recorded; None if it is not counted."""
    headers = {name.lower(): value for name, value in entry["headers"].items()}
    target, _, operation = headers.get("x-amz-target", "").partition(".")
    if target:
        if target not in SERVICES:
            return None
        name = f"{SERVICES[target]} {operation}"
        if name in UNCOUNTED or b"local-event-bus" in _body(entry):
            return None
        return "SQS message" if name == "SQS DeleteMessageBatch" else name  # each batch holds one message
    url = urlsplit(entry["url"])
    operation = {"GET": "GetObject", "PUT": "PutObject", "HEAD": "HeadObject"}.get(
        entry["method"], entry["method"]
    )
    prefix = url.path.split("/")[2] if url.path.count("/") > 1 else ""
    if "X-Amz-Signature" in url.query:
        of_client = operation == "PutObject" or prefix in {"outputs", "previews"}
        by = " by the client" if of_client else " by Replicate"
    else:
        by = {"prepared": " of a prepared photo", "previews": " of a preview"}.get(prefix, "")
    return f"S3 {operation}{by}"


def _write_units(entry: dict[str, Any]) -> float:
    """Return the write units of a request: one for each started KiB, in the table and again in its index.

    In a transaction the table's units count twice. A day's count and the durations have less than 1 KiB and are in no
    index.
    """
    match request_name(entry):
        case "DynamoDB PutItem":
            return 2 * _kib(json.loads(_body(entry))["Item"])
        case "DynamoDB UpdateItem":
            return 1
        case "DynamoDB TransactWriteItems":
            written = json.loads(_body(entry))["TransactItems"]
            return sum(3 * _kib(one["Put"]["Item"]) if "Put" in one else 2 for one in written)
    return 0


def most_write_units() -> int:
    """Return the write units of a job whose item has 2 KiB in every write, as `_write_units` counts them.

    The counts of an owner have less than 1 KiB, as long as the owner has no more than about 20 unfinished jobs. A
    webhook that loses a race against another one writes once more, up to 4 units.
    """
    made, kib = _prices.budget("the process is new"), 2
    creation = 3 * kib + 2 * 2  # with what the owner and the stack have spent
    end = 2  # the owner has one active job less
    return made["DynamoDB PutItem"] * 2 * kib + creation + end + made["DynamoDB UpdateItem"]


def _kib(item: dict[str, Any]) -> int:
    return math.ceil(item_size(item) / KIB)


def read_units(size: float) -> int:
    """Return the read units of a consistent read: one for each started 4 KiB."""
    return math.ceil(size / (4 * KIB))


def item_size(item: dict[str, Any]) -> int:
    """Return the size of an item in bytes, as DynamoDB counts it.

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
    raise ValueError(f"the size of a {kind} is not known")


@dataclass(frozen=True)
class _Report:
    seconds: float  # billed
    memory: float  # GB, as billed
    init: float  # seconds; 0 if the process was warm


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
    """Return the bytes of the functions' lines, without those of the local EventBridge."""
    return sum(len(line) + 1 for line in log.splitlines() if '"service": "events"' not in line)


def _metrics(log: str) -> set[str]:
    """Return every metric, with its dimensions, that was written in CloudWatch's embedded format."""
    found = set()
    for line in _embedded(log):
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: line[name] for name in names}
                found |= {
                    f"{directive['Namespace']} {dimensions} {one['Name']}" for one in directive["Metrics"]
                }
    return found


def _embedded(log: str) -> Iterable[dict[str, Any]]:
    for line in log.splitlines():
        if '"_aws"' in line:
            yield json.loads(line)
