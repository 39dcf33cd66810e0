"""Tests of functions in their own processes, and of the queues that invoke them."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import boto3
import pytest
from mypy_boto3_sqs import SQSClient

from tests.environment import ROOT
from tests.localcloud import aws
from tests.localcloud.event_sources import EventSources, failures
from tests.localcloud.functions import MAX_PAYLOAD, THROTTLED, Functions, Log, Machine, Result, _Output
from tests.localcloud.stack import EventSource, Function
from tests.localcloud.template import TemplateError
from tests.localcloud.tests.toy_function import HANDLER, start, toy


def invoke(functions: Functions, **event: object) -> Result:
    return functions.invoke("toy", json.dumps(event).encode())


def error_type(result: Result) -> str:
    kind = json.loads(result.payload)["errorType"]
    assert isinstance(kind, str)
    return kind


def test_function_sees_lambdas_environment_and_nothing_of_this_machine(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "not for it")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid")
    with start(toy(code, GIVEN="by the template"), tmp_path / "log") as functions:
        seen = json.loads(invoke(functions, look=True).payload)
    assert set(seen["environment"]) - {"LC_CTYPE"} == {  # Python sets LC_CTYPE if en_US does not exist
        "PATH", "HOME", "LANG", "TZ", "PYTHONPATH", "LAMBDA_TASK_ROOT", "_HANDLER", "GIVEN",
        "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL",
        "_X_AMZN_TRACE_ID",
    }  # fmt: skip
    assert seen["cwd"] == str(code)
    assert seen["arn"] == "arn:aws:lambda:ap-northeast-2:123456789012:function:toy"
    assert 4000 < seen["left"] <= 5000
    assert not [path for path in seen["path"] if "site-packages" in path]


def test_layer_with_a_lock_provides_its_packages(code: Path, tmp_path: Path) -> None:
    (code / "toy.py").write_text("import boto3\ndef handler(event, context):\n    return boto3.__file__\n")
    layers = (ROOT / "layers/dependencies", ROOT / "layers/triptych")
    function = Function("ToyFunction", code, "toy.handler", 5, 256, {}, layers)
    with start({"ToyFunction": function}, tmp_path / "log") as functions:
        where = json.loads(invoke(functions).payload)
    assert where.startswith(str(ROOT / ".cache/layers/dependencies-"))


def test_exception_of_the_handler_is_the_error(code: Path, tmp_path: Path) -> None:
    with start(toy(code), tmp_path / "log") as functions:
        failed = invoke(functions, **{"raise": "no"})
        assert failed.function_error == "Unhandled"
        assert error_type(failed) == "ValueError"
        assert invoke(functions, fine=1).function_error is None


def test_timeout_kills_the_process_and_fails_one_invocation(code: Path, tmp_path: Path) -> None:
    with start(toy(code, timeout=1), tmp_path / "log") as functions:
        before = functions.pids()["toy"]
        late = invoke(functions, sleep=30)
        assert error_type(late) == "Sandbox.Timedout"
        assert functions.pids()["toy"] == []
        assert invoke(functions).function_error is None
        assert functions.pids()["toy"] != before
    assert "Task timed out after 1.00 seconds" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "step", [{"exit": 3}, {"exit": 0}, {"signal": int(signal.SIGKILL)}, {"signal": int(signal.SIGSEGV)}]
)
def test_dying_process_fails_only_its_invocation(code: Path, tmp_path: Path, step: dict[str, object]) -> None:
    with start(toy(code), tmp_path / "log") as functions:
        assert error_type(invoke(functions, **step)) == "Runtime.ExitError"
        assert invoke(functions).function_error is None


def test_killed_idle_process_loses_no_invocation(code: Path, tmp_path: Path) -> None:
    with start(toy(code), tmp_path / "log") as functions:
        for _ in range(10):
            invoke(functions)
            for pid in functions.pids()["toy"]:
                os.kill(pid, signal.SIGKILL)
            assert invoke(functions).function_error is None


def test_failed_init_is_reported(code: Path, tmp_path: Path) -> None:
    with start(toy(code, BROKEN="yes"), tmp_path / "log") as functions:
        failed = invoke(functions)
        assert failed.function_error == "Unhandled"
        assert json.loads(failed.payload)["errorMessage"] == "no init today"


def test_workers_run_concurrently_and_other_invocations_wait(code: Path, tmp_path: Path) -> None:
    with start(toy(code), tmp_path / "log", workers=2) as functions:
        gate = tmp_path / "gate"
        held = [functions.submit("toy", json.dumps({"hold": str(gate)}).encode()) for _ in range(3)]
        assert not functions.wait_until_free("toy", 0.01)
        deadline = time.monotonic() + 10
        while len(functions.pids()["toy"]) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(functions.pids()["toy"]) == 2
        assert not wait(held, timeout=0.2).done
        gate.touch()
        assert all(future.result(10).function_error is None for future in held)
        assert functions.wait_until_free("ToyFunction", 5)


def test_oversized_answer_or_event_fails_one_invocation(code: Path, tmp_path: Path) -> None:
    with start(toy(code), tmp_path / "log") as functions:
        assert invoke(functions, large=MAX_PAYLOAD + 1).function_error == "Unhandled"
        assert invoke(functions, fill="x" * MAX_PAYLOAD).function_error == "PayloadTooLarge"
        assert invoke(functions).function_error is None


def test_log_has_complete_lines_and_reports(code: Path, tmp_path: Path) -> None:
    with start(toy(code), tmp_path / "log", workers=3) as functions:
        everyone = [functions.submit("toy", json.dumps({"print": each}).encode()) for each in "abc" * 4]
        assert all(future.result(10).function_error is None for future in everyone)
        invoke(functions, exit=1)
    lines = (tmp_path / "log").read_text().splitlines()
    assert {line for line in lines if len(line) == 100 and len(set(line)) == 1} == {
        each * 100 for each in "abc"
    }
    assert sum(len(line) == 100 and len(set(line)) == 1 for line in lines) == 12 * 200
    assert "a line without an end" in lines
    reports = [line for line in lines if line.startswith("REPORT ")]
    assert len(reports) == 13
    report = (
        r"REPORT RequestId: [0-9a-f-]{36}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 256 MB"
    )
    assert all(re.match(report + r"\tMax Memory Used: [1-9]\d* MB\t", line) for line in reports)
    assert any("Init Duration: " in line for line in reports)


def test_lines_of_an_invocation_stand_between_start_and_end(code: Path, tmp_path: Path) -> None:
    with start(toy(code), tmp_path / "log") as functions:
        for number in range(20):
            invoke(functions, number=number)
    text = (tmp_path / "log").read_text()
    for number in range(20):
        assert re.search(rf"START [^\n]*\nsaw {{\"number\": {number}}}\nEND ", text)


def test_output_of_an_ended_process_can_be_read_again(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/echo", "said"], stdout=subprocess.PIPE) as process:
        log = Log(tmp_path / "log")
        output = _Output(process, log)
        process.wait()
        output.close()
        assert not output.drain()
        log.close()
    assert (tmp_path / "log").read_bytes() == b"said\n"


def test_stopping_ends_invocations_and_processes(code: Path, tmp_path: Path) -> None:
    functions = start(toy(code), tmp_path / "log")
    running = functions.submit("toy", b'{"sleep": 60}')
    waiting = functions.submit("toy", b"{}")
    pids = functions.pids()["toy"]
    functions.stop()
    assert running.result(1).function_error
    assert waiting.result(1).function_error
    assert functions.submit("toy", b"{}").result(1).function_error
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_no_process_outlives_a_killed_local_cloud(code: Path, tmp_path: Path) -> None:
    program = f"""
import json
from pathlib import Path
from tests.localcloud.tests.toy_function import start, toy
functions = start(toy(Path({str(code)!r})), Path({str(tmp_path / "log")!r}))
running = functions.submit("toy", b'{{"hold": {json.dumps(str(tmp_path / "gate"))}}}')
while not Path({str(tmp_path / "gate.held")!r}).exists():
    pass
print(functions.pids()["toy"][0], flush=True)
running.result()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    watch = os.pidfd_open(pid)
    parent.kill()
    parent.communicate()
    assert select.select([watch], [], [], 5)[0]


# Queues.


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = aws.start()
    yield server.endpoint
    server.stop()


class Bench:
    """A queue that invokes the toy function, and the events that the function received."""

    def __init__(
        self,
        folder: Path,
        code: Path,
        endpoint: str,
        *,
        batch_size: int = 1,
        reports: bool = True,
        concurrency: int = 2,
    ) -> None:
        machine = Machine(endpoint, "us-east-1", aws.ACCOUNT, aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY)
        self.sqs: SQSClient = boto3.client(
            "sqs",
            region_name=machine.region,
            endpoint_url=endpoint,
            aws_access_key_id=machine.access_key_id,
            aws_secret_access_key=machine.secret_access_key,
        )
        name = folder.name
        queue = self.sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "1"})
        self.url = queue["QueueUrl"]
        self.arn = f"arn:aws:sqs:us-east-1:{aws.ACCOUNT}:{name}"
        self.seen_path = folder / "seen"
        self.seen_path.touch()
        made = toy(code, SEEN=str(self.seen_path))
        machines = dict.fromkeys(made, machine)
        log = folder / "log"
        self.functions = Functions(
            made, machines, workers=2, log=log, concurrency=concurrency, isolated=False
        )
        source = EventSource(self.url, self.arn, "ToyFunction", batch_size, 0, None, reports)
        self.sources = EventSources([source], self.functions, machines, workers=2)

    def __enter__(self) -> Self:
        self.sources.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sources.stop()
        self.functions.stop()

    def send(self, **body: object) -> None:
        self.sqs.send_message(
            QueueUrl=self.url,
            MessageBody=json.dumps(body),
            MessageAttributes={"colour": {"DataType": "String", "StringValue": "blue"}},
        )

    def seen(self, at_least: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            lines = self.seen_path.read_text().splitlines()
            if len(lines) >= at_least:
                return [json.loads(line) for line in lines]
            time.sleep(0.005)
        raise AssertionError(f"expected {at_least} invocations, found {lines}")

    def left(self) -> int:
        got = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        waiting, in_flight = got["ApproximateNumberOfMessages"], got["ApproximateNumberOfMessagesNotVisible"]
        return int(waiting) + int(in_flight)

    def empty(self) -> bool:
        deadline = time.monotonic() + 5
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.left()


def test_message_becomes_lambdas_event_and_is_deleted(code: Path, tmp_path: Path, endpoint: str) -> None:
    with Bench(tmp_path, code, endpoint) as bench:
        bench.send(warm=True)
        bench.seen(1)
        assert bench.empty()
        sent = time.time()
        bench.send(number=2)
        [record] = bench.seen(2)[1]["Records"]
        assert bench.empty()
    assert record["body"] == '{"number": 2}'
    assert (record["eventSource"], record["eventSourceARN"]) == ("aws:sqs", bench.arn)
    assert record["awsRegion"] == "us-east-1"
    assert re.fullmatch(r"[0-9a-f]{32}", record["md5OfBody"])
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert abs(int(record["attributes"]["SentTimestamp"]) / 1000 - sent) < 5
    assert record["messageAttributes"]["colour"]["stringValue"] == "blue"
    assert record["messageAttributes"]["colour"]["dataType"] == "String"


@pytest.mark.parametrize("body", [{"fail": True}, {"crash": True}, {"allocate": 400}])
def test_failed_message_is_redelivered(
    code: Path, tmp_path: Path, endpoint: str, body: dict[str, object]
) -> None:
    with Bench(tmp_path, code, endpoint) as bench:
        bench.send(**body)
        tries = [each["Records"][0] for each in bench.seen(2)]
    assert [each["attributes"]["ApproximateReceiveCount"] for each in tries[:2]] == ["1", "2"]
    assert tries[0]["messageId"] == tries[1]["messageId"]


def test_message_of_a_throttled_invocation_is_redelivered(
    code: Path, tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Bench(tmp_path, code, endpoint, concurrency=1) as bench:
        gate = tmp_path / "gate"
        running = bench.functions.submit("toy", json.dumps({"hold": str(gate)}).encode())
        results: SimpleQueue[Result] = SimpleQueue()
        submit = bench.functions.submit

        def watched(name: str, payload: bytes) -> Future[Result]:
            future = submit(name, payload)
            future.add_done_callback(lambda done: results.put(done.result()))
            return future

        monkeypatch.setattr(bench.functions, "submit", watched)
        bench.send(n=1)
        assert results.get(timeout=15).function_error == THROTTLED
        gate.touch()
        assert running.result(10).function_error is None
        [record] = bench.seen(1)[0]["Records"]
        assert int(record["attributes"]["ApproximateReceiveCount"]) > 1
        assert bench.empty()


def test_only_failed_messages_of_a_batch_are_redelivered(code: Path, tmp_path: Path, endpoint: str) -> None:
    with Bench(tmp_path, code, endpoint, batch_size=10) as bench:
        bench.sqs.send_message_batch(
            QueueUrl=bench.url,
            Entries=[{"Id": str(n), "MessageBody": json.dumps({"n": n, "fail": n == 2})} for n in range(4)],
        )
        events = bench.seen(2)
    assert len(events[0]["Records"]) == 4
    assert [json.loads(record["body"])["n"] for record in events[-1]["Records"]] == [2]


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (b"null", set()),
        (b"{}", set()),
        (b"[]", set()),
        (b'{"batchItemFailures": []}', set()),
        (b'{"batchItemFailures": null}', set()),
        (b'{"batchItemFailures": [{"itemIdentifier": "a"}]}', {"a"}),
        (b'{"batchItemFailures": [{"itemIdentifier": "unknown"}]}', {"a", "b"}),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', {"a", "b"}),
        (b'{"batchItemFailures": [{"itemIdentifier": null}]}', {"a", "b"}),
        (b'{"batchItemFailures": [{"itemIdentifier": ["a"]}]}', {"a", "b"}),
        (b'{"batchItemFailures": [{"id": "a"}]}', {"a", "b"}),
        (b'{"batchItemFailures": 3}', {"a", "b"}),
        (b'{"batchItemFailures": "a"}', {"a", "b"}),
        (b'"text"', {"a", "b"}),
        (b"not JSON", {"a", "b"}),
        (b"\xff", {"a", "b"}),
    ],
)
def test_invalid_answer_redelivers_the_whole_batch(answer: bytes, failed: set[str]) -> None:
    assert failures(["a", "b"], Result(answer), reported=True) == failed
    assert failures(["a", "b"], Result(answer), reported=False) == set()
    assert failures(["a", "b"], Result(answer, "Unhandled"), reported=True) == {"a", "b"}


def test_no_message_is_received_before_a_worker_is_free(
    code: Path, tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_none_free: SimpleQueue[None] = SimpleQueue()
    wait_until_free = Functions.wait_until_free

    def waited(functions: Functions, name: str, seconds: float) -> bool:
        is_free = wait_until_free(functions, name, seconds)
        if not is_free:
            found_none_free.put(None)
        return is_free

    monkeypatch.setattr(Functions, "wait_until_free", waited)
    with Bench(tmp_path, code, endpoint) as bench:
        gate = tmp_path / "gate"
        held = [bench.functions.submit("toy", json.dumps({"hold": str(gate)}).encode()) for _ in range(2)]
        found_none_free.get(timeout=15)  # a long poll that began earlier has ended
        bench.send(n=1)
        while not found_none_free.empty():
            found_none_free.get()
        found_none_free.get(timeout=15)  # a whole wait, with the message in the queue
        got = bench.sqs.get_queue_attributes(QueueUrl=bench.url, AttributeNames=["All"])["Attributes"]
        assert got["ApproximateNumberOfMessages"] == "1"
        gate.touch()
        assert [future.result(5).function_error for future in held] == [None, None]
        bench.seen(1)
        assert bench.empty()


@pytest.mark.parametrize(("size", "fits"), [(4096, True), (4097, False)])
def test_environment_of_more_than_4_kb_is_refused(tmp_path: Path, size: int, fits: bool) -> None:  # noqa: FBT001  # a pytest parameter
    (tmp_path / "toy.py").write_text(HANDLER)
    function = toy(tmp_path, A="x" * (size - 1))
    if fits:
        start(function, tmp_path / "log").stop()
        return
    with pytest.raises(TemplateError, match="ToyFunction: its environment has 4097 bytes"):
        start(function, tmp_path / "log")


def test_missing_folder_of_a_function_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="ToyFunction"):
        start(toy(tmp_path / "nowhere"), tmp_path / "log")
