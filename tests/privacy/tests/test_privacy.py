"""Export and erasure of one owner, on moto, with the functions in this process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

import api
import generate
import watchdog
import webhook
from tests.privacy import command
from tests.privacy.owner import Owner, UnfinishedError
from tests.support.events import CONTEXT, s3_notification, sqs_event, webhook_for
from tests.support.function_environment import BUCKET
from tests.support.photos import JPEG, PNG
from tests.support.world import World, world_on_moto
from triptych.flows import record
from triptych.pace import Pace


class Deployed:
    """A stack on moto: the function `api` runs in this process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cognito: Any = boto3.client("cognito-idp")
        pool = self.cognito.create_user_pool(PoolName="users", UsernameAttributes=["email"])["UserPool"]["Id"]
        self.outputs = {"Table": "jobs", "Bucket": BUCKET, "UserPoolId": pool}
        self.resources = {"ApiFunction": SimpleNamespace(name="api")}
        self.fails = False

    def client(self, service: str) -> Any:
        return self if service == "lambda" else boto3.client(service)  # type: ignore[call-overload]  # any service

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803  # boto3's names
        assert FunctionName == "api"
        answer: Any = {"statusCode": 500} if self.fails else api.handler(json.loads(Payload), CONTEXT)
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}

    def sign_up(self, email: str) -> str:
        made = self.cognito.admin_create_user(
            UserPoolId=self.outputs["UserPoolId"],
            Username=email,
            UserAttributes=[{"Name": "email", "Value": email}],
        )
        return str(next(one["Value"] for one in made["User"]["Attributes"] if one["Name"] == "sub"))

    def users(self) -> list[str]:
        found = self.cognito.list_users(UserPoolId=self.outputs["UserPoolId"])["Users"]
        return [one["Value"] for user in found for one in user["Attributes"] if one["Name"] == "email"]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(generate, "pace", Pace())
    with world_on_moto(monkeypatch) as world:
        monkeypatch.setenv("MAX_ACTIVE_JOBS_PER_OWNER", "10")
        yield Deployed(world)


def started(world: World, owner: str) -> str:
    """Make a job of the owner whose predictions run."""
    job_id = world.new_job(owner=owner)
    generate.handler(sqs_event(s3_notification(job_id)), CONTEXT)
    return job_id


def finished(world: World, owner: str) -> str:
    job_id = started(world, owner)
    for image in world.job(job_id).images:
        done = world.replicate.finish(str(image.prediction_id))
        assert webhook.handler(webhook_for(done, world.clock), CONTEXT)["statusCode"] == 200
    return job_id


def test_erasure_leaves_nothing_of_the_owner_and_all_of_others(stack: Any) -> None:
    world: World = stack.world
    ada, bob = stack.sign_up("ada@example.com"), stack.sign_up("bob@example.com")
    done, running, waiting = finished(world, ada), started(world, ada), world.new_job(owner=ada, photo=None)
    others = finished(world, bob)
    before = [key for key in world.object_keys() if others in key]
    predictions = [str(image.prediction_id) for image in world.job(running).images]

    assert Owner(stack, ada).erase() == 3

    assert stack.users() == ["bob@example.com"]
    assert Owner(stack, ada).jobs() == []
    for job_id in (done, running, waiting):
        assert record.read(job_id) is None
    assert sorted(world.object_keys()) == sorted(before)
    table = boto3.client("dynamodb").scan(TableName="jobs")["Items"]
    assert ada not in json.dumps(table)
    assert bob in json.dumps(table)
    # The watchdog cancels what runs at Replicate.
    for message in world.messages("watchdog"):
        watchdog.handler(sqs_event(message, queue="watchdog"), CONTEXT)
    statuses = {world.replicate.predictions[one]["status"] for one in predictions}
    assert statuses == {"canceled"}


def test_erasure_says_what_it_could_not_delete(stack: Any) -> None:
    job_id = started(stack.world, "ada")
    stack.fails = True
    with pytest.raises(UnfinishedError, match=job_id):
        Owner(stack, "ada").erase()
    assert Owner(stack, "ada").spending()
    stack.fails = False
    assert Owner(stack, "ada").erase() == 1
    assert Owner(stack, "ada").spending() == {}


def test_export_holds_everything_of_the_owner_and_nothing_else(stack: Any, tmp_path: Path) -> None:
    world: World = stack.world
    ada = stack.sign_up("ada@example.com")
    done, other = finished(world, ada), finished(world, "bob")
    folder = tmp_path / "export"
    assert Owner(stack, ada).export(folder) == 5  # the photo, its preview, three images without one
    owner = json.loads((folder / "owner.json").read_text())
    assert owner["owner"] == ada
    assert "ada@example.com" in json.dumps(owner["user"])
    assert [job["job_id"] for job in owner["jobs"]] == [done]
    assert owner["jobs"][0]["request"]
    assert len(owner["jobs"][0]["images"]) == 3
    assert any(value == 3 for value in owner["spending"].values())
    assert (folder / done / "uploads-photo.jpg").read_bytes() == JPEG
    assert (folder / done / "previews-photo.webp").stat().st_size
    assert [(folder / done / f"outputs-{index}.png").read_bytes() for index in range(3)] == [PNG] * 3
    assert other not in "".join(str(file) for file in folder.rglob("*")) + json.dumps(owner)
    with pytest.raises(FileExistsError):
        Owner(stack, ada).export(folder)


@pytest.mark.parametrize("agreed", [True, False])
def test_command_erases_only_when_it_is_told_to(
    stack: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    agreed: bool,
) -> None:
    started(stack.world, "ada")
    monkeypatch.setattr(command, "connect", lambda *_: stack)
    options = ["erase", "--stack", "triptych", "--owner", "ada", *(["--yes"] if agreed else [])]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # no terminal
    assert command.main(options) == (0 if agreed else 1)
    said = capsys.readouterr()
    assert "1 jobs" in said.out
    assert ("again after 30 minutes" in said.out) is agreed
    assert bool(Owner(stack, "ada").jobs()) is not agreed
