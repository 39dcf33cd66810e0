"""`python3 -m tests.deployed` on a rehearsed stack: as it is, and with one thing broken at a time."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.environment import ROOT
from tests.localcloud import replicate, sample
from tests.localcloud.driving import PYTHON, Driver
from tests.rehearsal import deploy, floor, ministack
from tests.rehearsal.ministack import Ministack
from tests.support.browser import MAY_BE_SKIPPED
from tests.support.cognito import sign_up
from tests.support.readme import rows

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are built for Lambda's Linux"),
    pytest.mark.timeout(600),  # the first test builds and deploys
]

NAME = "judged"
TOKEN = "r8_the_token_of_this_test"
PARAMETER = "/triptych/replicate-token"

# Appended to the API's code: what another layer would do.
GLOBAL_HOST = """
from triptych.aws import bucket
_presign = bucket.presign_upload
def _global(job, seconds):
    url, headers = _presign(job, seconds)
    return "https://photos.s3.amazonaws.com/?" + url.partition("?")[2], headers
bucket.presign_upload = _global
"""
REUSABLE = """
from triptych.aws import bucket
def _reusable(job, seconds):
    params = {"Bucket": bucket.settings().bucket, "Key": job.photo.key, "ContentType": job.request.content_type,
              "ContentLength": job.request.size}
    headers = {"Content-Type": job.request.content_type, "Content-Length": str(job.request.size)}
    return bucket._s3().generate_presigned_url("put_object", Params=params, ExpiresIn=seconds), headers
bucket.presign_upload = _reusable
"""


@dataclass
class Judgement:
    """What one run of the command wrote."""

    code: int
    lines: dict[str, dict[str, Any]]
    verdict: dict[str, Any]

    def detail(self, check: str) -> str:
        return str(self.lines[check]["detail"])

    def results(self, result: str) -> set[str]:
        return {name for name, line in self.lines.items() if line["result"] == result}


@dataclass
class Rehearsed:
    """A deployed stack."""

    cloud: Ministack
    stand_in: replicate.StandIn
    outputs: dict[str, str]
    built: deploy.Build
    parameters: dict[str, str]

    def command(
        self, *options: str, browser: bool = False, terminal: int | None = None
    ) -> subprocess.Popen[str]:
        environment = {**os.environ, **self.cloud.environment}
        if not browser:
            environment["PATH"] = ""  # a browser takes 5 s
        return subprocess.Popen(
            [PYTHON, "-m", "tests.deployed", "--stack", NAME, *options],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def judge(self, *, browser: bool = False) -> Judgement:
        with self.command("--yes", "--json", browser=browser) as process:
            out, err = process.communicate(timeout=120)
        assert err == ""
        *lines, verdict = map(json.loads, out.splitlines())
        return Judgement(process.returncode, {line["check"]: line for line in lines}, verdict)

    def name_of(self, logical_id: str) -> str:
        found = self.cloud.client("cloudformation").describe_stack_resource(
            StackName=NAME, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def users(self) -> list[str]:
        found = self.cloud.client("cognito-idp").list_users(UserPoolId=self.outputs["UserPoolId"])
        return [user["Username"] for user in found["Users"]]

    @contextmanager
    def driver(self) -> Iterator[Driver]:
        """Drive the stack as a user who is deleted in the end."""
        cognito, pool = self.cloud.client("cognito-idp"), self.outputs["UserPoolId"]
        printed = {"api": self.outputs["ApiUrl"], "tokens": sign_up(cognito, self.outputs)}
        try:
            with httpx.Client(trust_env=False, timeout=90) as http:
                yield Driver({**printed, "log": str(self.cloud.log)}, http, sample.photo())
        finally:
            for user in self.users():
                cognito.admin_delete_user(UserPoolId=pool, Username=user)

    def objects(self) -> int:
        found = self.cloud.client("s3").list_objects_v2(Bucket=self.outputs["Bucket"])
        return int(found["KeyCount"])

    def jobs(self) -> list[dict[str, Any]]:
        found = self.cloud.client("dynamodb").scan(TableName=self.outputs["Table"])["Items"]
        return [item for item in found if "owner" in item or "jobs" in item]


@pytest.fixture(scope="module")
def rehearsed() -> Iterator[Rehearsed]:
    # Not pytest's folder, which remains: a build and the functions' code are some 500 MB.
    with (
        TemporaryDirectory(prefix="rehearsal-") as folder,
        replicate.start(TOKEN, seconds=0.3, webhook_scale=0.2, allow_http_webhooks=True) as stand_in,
        ministack.running(Path(folder), records=True) as cloud,
    ):
        store(cloud, TOKEN)
        parameters = {
            "ReplicateBaseUrl": stand_in.url,
            "AllowedOutputHosts": "127.0.0.1",
            "ReplicateDeliveryHosts": "localhost",
            "AllowedOrigins": "https://app.example",
        }
        built = deploy.build(Path(folder))
        outputs = deploy.deploy(cloud, built, NAME, parameters)
        yield Rehearsed(cloud, stand_in, outputs, built, parameters)


def store(cloud: Ministack, token: str) -> None:
    cloud.client("ssm").put_parameter(Name=PARAMETER, Type="SecureString", Value=token, Overwrite=True)


# ── one thing broken at a time ──


@contextmanager
def wrong_token(stack: Rehearsed) -> Iterator[None]:
    store(stack.cloud, "r8_another_token")
    yield
    store(stack.cloud, TOKEN)


@contextmanager
def alarm_on(stack: Rehearsed) -> Iterator[None]:
    cloudwatch, name = stack.cloud.client("cloudwatch"), stack.name_of("GenerationDelayed")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    yield
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="a test")


@contextmanager
def recursion_not_allowed(stack: Rehearsed) -> Iterator[None]:
    functions, name = stack.cloud.client("lambda"), stack.name_of("WatchdogFunction")
    functions.put_function_recursion_config(FunctionName=name, RecursiveLoop="Terminate")
    yield
    functions.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")


@contextmanager
def route_without_its_throttle(stack: Rehearsed) -> Iterator[None]:
    apis, name = stack.cloud.client("apigatewayv2"), stack.name_of("HttpApi")
    settings = apis.get_stage(ApiId=name, StageName="$default")["RouteSettings"]
    assert settings
    apis.update_stage(ApiId=name, StageName="$default", RouteSettings={})
    yield
    apis.update_stage(ApiId=name, StageName="$default", RouteSettings=settings)


@contextmanager
def layer_missing(stack: Rehearsed) -> Iterator[None]:
    functions, name = stack.cloud.client("lambda"), stack.name_of("GenerateFunction")
    layers = [one["Arn"] for one in functions.get_function_configuration(FunctionName=name)["Layers"]]
    kept = [arn for arn in layers if "imaging" not in arn]
    assert len(kept) == len(layers) - 1
    functions.update_function_configuration(FunctionName=name, Layers=kept)
    yield
    functions.update_function_configuration(FunctionName=name, Layers=layers)


@contextmanager
def role_without_a_permission(stack: Rehearsed) -> Iterator[None]:
    """Take the permission to write jobs from the API's role."""
    iam, role = stack.cloud.client("iam"), stack.name_of("ApiRole")
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    kept = json.loads(json.dumps(document).replace('"dynamodb:PutItem"', '"dynamodb:DescribeTable"'))
    assert kept != document
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(kept))
    yield
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


@contextmanager
def dead_letter(stack: Rehearsed) -> Iterator[None]:
    sqs, url = stack.cloud.client("sqs"), stack.outputs["WatchdogDeadLetterQueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="a test")
    yield
    sqs.purge_queue(QueueUrl=url)


@contextmanager
def no_cors_of_the_api(stack: Rehearsed) -> Iterator[None]:
    apis, name = stack.cloud.client("apigatewayv2"), stack.name_of("HttpApi")
    rules = apis.get_api(ApiId=name)["CorsConfiguration"]
    apis.delete_cors_configuration(ApiId=name)
    yield
    apis.update_api(ApiId=name, CorsConfiguration=rules)


@contextmanager
def cors_for_every_page(stack: Rehearsed) -> Iterator[None]:
    apis, name = stack.cloud.client("apigatewayv2"), stack.name_of("HttpApi")
    rules = apis.get_api(ApiId=name)["CorsConfiguration"]
    apis.update_api(ApiId=name, CorsConfiguration={**rules, "AllowOrigins": ["*"]})
    yield
    apis.update_api(ApiId=name, CorsConfiguration=rules)


@contextmanager
def no_cors_of_the_bucket(stack: Rehearsed) -> Iterator[None]:
    s3, bucket = stack.cloud.client("s3"), stack.outputs["Bucket"]
    rules = s3.get_bucket_cors(Bucket=bucket)["CORSRules"]
    s3.delete_bucket_cors(Bucket=bucket)
    yield
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})


def with_code(appended: str) -> Callable[[Rehearsed], Any]:
    """Return a change of the API's code."""

    @contextmanager
    def changed(stack: Rehearsed) -> Iterator[None]:
        functions, name = stack.cloud.client("lambda"), stack.name_of("ApiFunction")
        original = httpx.get(
            functions.get_function(FunctionName=name)["Code"]["Location"], trust_env=False
        ).content
        code = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(original)) as old, zipfile.ZipFile(code, "w") as new:
            for file in old.infolist():
                if "__pycache__" in file.filename:
                    continue  # it would run in place of the changed code
                content = old.read(file)
                new.writestr(file, content + (appended.encode() if file.filename == "api.py" else b""))
        functions.update_function_code(FunctionName=name, ZipFile=code.getvalue())
        yield
        functions.update_function_code(FunctionName=name, ZipFile=original)

    return changed


# Each with the checks that fail, and a word of what the first of them says.
BROKEN_GROUND: dict[str, tuple[Callable[[Rehearsed], Any], str, str]] = {
    "wrong token": (wrong_token, "Replicate's account", "Store the token again"),
    "alarm on": (alarm_on, "alarms", "GenerateConcurrency"),
    "recursion not allowed": (recursion_not_allowed, "recursion", "put-function-recursion-config"),
    "route without its throttle": (
        route_without_its_throttle,
        "throttles",
        "POST /api/v1/webhooks/replicate",
    ),
    "layer missing": (layer_missing, "layers", "GenerateFunction runs without ImagingLayer"),
    "dead letter": (dead_letter, "dead letters", "WatchdogDeadLetterQueueUrl holds 1"),
}
BROKEN: dict[str, tuple[Callable[[Rehearsed], Any], set[str], str, str]] = {
    "no CORS of the API": (no_cors_of_the_api, {"API preflight"}, "API preflight", "CORS: a browser on"),
    "CORS for every page": (cors_for_every_page, {"other origins"}, "other origins", "may call the API"),
    "no CORS of the bucket": (
        no_cors_of_the_bucket,
        {"bucket's CORS rules", "bucket preflight"},
        "bucket preflight",
        "CORS: a browser on",
    ),
    "global host": (
        with_code(GLOBAL_HOST),
        {"upload host"},
        "upload host",
        "photos.s3.amazonaws.com",
    ),
    "second PUT accepted": (
        with_code(REUSABLE),
        {"upload URL", "altered uploads", "upload"},
        "upload",
        "the photo can be replaced",
    ),
    "role without a permission": (
        role_without_a_permission,
        {"create", "idempotency key", "cancel", "daily limit"},
        "create",
        "internal_error",
    ),
    "API does not start": (
        with_code("\nimport nothing_of_that_name\n"),
        {"API"},
        "API",
        "nothing_of_that_name",
    ),
}


def test_good_stack_passes_for_three_predictions(rehearsed: Rehearsed) -> None:
    before = rehearsed.stand_in.ledger().created
    judgement = rehearsed.judge(browser=True)
    assert judgement.results("FAILED") == set(), judgement.lines
    assert judgement.code == 0
    without = {"credit", "expired upload", "callback"}
    without |= {"page in a browser"} if MAY_BE_SKIPPED else set()
    assert judgement.results("not judged") == without
    assert judgement.verdict["predictions"] == rehearsed.stand_in.ledger().created - before == 3
    assert_nothing_is_left(rehearsed)


def assert_nothing_is_left(rehearsed: Rehearsed) -> None:
    assert rehearsed.users() == []
    assert rehearsed.objects() == 0
    assert rehearsed.jobs() == []


@pytest.mark.parametrize("fault", BROKEN_GROUND)
def test_broken_ground_is_named_before_anything_is_spent(rehearsed: Rehearsed, fault: str) -> None:
    break_it, check, words = BROKEN_GROUND[fault]
    with break_it(rehearsed):
        judgement = rehearsed.judge()
    assert judgement.code == 1
    assert judgement.results("FAILED") == {check}
    assert words in judgement.detail(check)
    assert "users" not in judgement.lines
    assert judgement.verdict["predictions"] == 0


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_stack_is_named_and_cleaned_up(rehearsed: Rehearsed, fault: str) -> None:
    break_it, checks, check, words = BROKEN[fault]
    with break_it(rehearsed):
        judgement = rehearsed.judge()
    assert judgement.code == 1
    assert judgement.results("FAILED") == checks, judgement.lines
    assert words in judgement.detail(check)
    assert rehearsed.users() == []


def test_job_makes_only_the_requests_of_the_floor(rehearsed: Rehearsed) -> None:
    with rehearsed.driver() as driver:
        since = time.time()
        job_id = driver.start()
        floor.until_announced(rehearsed.cloud, job_id, since)

        def surplus() -> dict[str, int]:
            ledger = rehearsed.stand_in.ledger().predictions
            webhooks = sum(len(one.deliveries) for one in ledger if job_id in (one.webhook or ""))
            found = floor.counted(rehearsed.cloud, job_id, since)
            return floor.surplus(found, seconds=time.time() - since, webhooks=webhooks)

        end = time.monotonic() + 10
        while surplus() and time.monotonic() < end:  # a webhook that was sent again may be on its way
            time.sleep(0.5)  # there is no event to wait for
        found = surplus()
        job = driver.job(job_id)
        assert driver.request("DELETE", f"/api/v1/jobs/{job_id}").status_code == 204
    assert found == {}
    assert job["status"] == "SUCCEEDED"


def test_without_a_terminal_nothing_is_spent(rehearsed: Rehearsed) -> None:
    with rehearsed.command() as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "3 predictions of black-forest-labs/flux-kontext-pro" in out
    assert out.endswith("Nothing was spent.\n")
    assert "Add --yes" in err
    assert rehearsed.users() == []


@pytest.mark.parametrize("typed", [b"\n", b"\x04"], ids=["Enter", "Ctrl-D"])
def test_without_a_yes_nothing_is_spent(rehearsed: Rehearsed, typed: bytes) -> None:
    controller, terminal = pty.openpty()
    with rehearsed.command("--json", terminal=terminal) as process:
        assert process.stdout
        assert process.stderr
        asked = ""
        while "[y/N]" not in asked:
            asked += process.stderr.read(1)
        assert "cost 3 predictions" in asked
        os.write(controller, typed)
        verdict = json.loads(process.stdout.read().splitlines()[-1])
    os.close(controller)
    os.close(terminal)
    assert (verdict["verdict"], verdict["predictions"]) == ("declined", 0)
    assert process.returncode == 1
    assert rehearsed.users() == []


@pytest.mark.parametrize(("number", "last"), [(signal.SIGINT, "predictions"), (signal.SIGTERM, "create")])
def test_interrupted_judgement_cleans_up_and_counts(
    rehearsed: Rehearsed, number: signal.Signals, last: str
) -> None:
    before = rehearsed.stand_in.ledger().created
    with rehearsed.command("--yes", "--json") as process:
        assert process.stdout
        for line in process.stdout:
            if json.loads(line)["check"] == last:
                break
        process.send_signal(number)
        time.sleep(0.2)  # an impatient person; the clean-up takes longer
        process.send_signal(number)
        rest = [json.loads(line) for line in process.stdout]
    assert process.returncode == 130
    assert rest[-2]["check"] == "clean-up"
    assert rest[-2]["result"] == "ok"
    assert rest[-1]["verdict"] == "interrupted"
    assert rest[-1]["predictions"] == rehearsed.stand_in.ledger().created - before
    assert_nothing_is_left(rehearsed)


def test_ctrl_c_during_the_clean_up_leaves_nothing(rehearsed: Rehearsed) -> None:
    with rehearsed.command("--yes", "--json") as process:
        assert process.stdout
        for line in process.stdout:
            if json.loads(line)["check"] == "callback":  # two quick checks before the clean-up
                break
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
    assert_nothing_is_left(rehearsed)


def test_unknown_stack_is_named(rehearsed: Rehearsed) -> None:
    with rehearsed.command("--json", "--stack", "another") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "There is no stack another" in out


def test_readme_lists_what_each_fault_fails() -> None:
    ground = {fault: check for fault, (_, check, _) in BROKEN_GROUND.items()}
    scenarios = {
        fault: ", ".join(sorted(checks, key=str.lower)) for fault, (_, checks, _, _) in BROKEN.items()
    }
    listed = {fault: rest.rpartition("| ")[2].strip(" |") for fault, rest in rows("What it names").items()}
    assert listed == {**ground, "layer missing from the build": "layers", **scenarios}


def test_refused_watch_of_updates_says_what_to_do(rehearsed: Rehearsed) -> None:
    """MiniStack takes no update of the rollback configuration alone. Whether AWS does is not documented."""
    with rehearsed.command("--watch-updates", "15") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Set it in the console with your next change" in err


def test_layer_missing_from_the_build_is_named(rehearsed: Rehearsed, tmp_path: Path) -> None:
    """The last test, because the stack stays broken."""

    def without_imaging(template: deploy.Template) -> None:
        (layer,) = (name for name in template["Resources"] if name == "ImagingLayer")
        template["Resources"][layer]["Properties"]["ContentUri"] = str(tmp_path)

    deploy.deploy(rehearsed.cloud, rehearsed.built, NAME, rehearsed.parameters, without_imaging)
    judgement = rehearsed.judge()
    assert judgement.results("FAILED") == {"layers"}
    assert "ImagingLayer is empty" in judgement.detail("layers")
    assert judgement.verdict["predictions"] == 0
