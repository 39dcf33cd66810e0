"""The local cloud's IAM and an independent simulator agree on every request that the end-to-end tests make."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from tests.iam import recorded, simulator
from tests.iam.controls import controls, ours, statements
from tests.iam.policies import documents
from tests.localcloud.decisions import RECORD, Decision, normal, write
from tests.localcloud.policies import differences
from tests.support import npm

# Where the two disagree, with the reason. None today.
DIFFERENCES: dict[Decision, str] = {}
RECORD_AGAIN = "Run python3 -m tests.iam, and commit its decisions.json."


def disagreements(decisions: list[Decision]) -> list[tuple[Decision, str]]:
    """Return the decisions that the simulator does not confirm, each with its verdict."""
    try:
        verdicts = simulator.judge(documents(), decisions)
    except npm.UnreachableError as error:
        pytest.skip(f"npm reaches no package registry: {error}")
    return [
        (decision, verdict)
        for decision, verdict in zip(decisions, verdicts, strict=True)
        if verdict != (simulator.ALLOWED if decision.allowed else simulator.DENIED)
    ]


needs_node = pytest.mark.skipif(npm.MISSING, reason="there is no node with npm here")


@needs_node
def test_simulator_agrees_on_every_recorded_decision() -> None:
    found = disagreements(list(recorded.load()))
    assert {decision for decision, _ in found} == DIFFERENCES.keys(), found


@needs_node
def test_simulator_denies_what_no_role_may_do() -> None:
    asked = sorted(controls())
    assert sum(not decision.allowed for decision in asked) > 300
    assert disagreements(asked) == []


@needs_node
def test_wrong_decision_is_noticed() -> None:
    """The control: each verdict turned round is a disagreement."""
    wrong = [replace(decision, allowed=not decision.allowed) for decision in recorded.load()]
    assert len(disagreements(wrong)) == len(wrong)


def test_every_permission_of_every_role_is_recorded() -> None:
    """A changed role makes the recorded decisions stale."""
    made = recorded.load()
    assert {decision.role for decision in made} == documents().keys(), RECORD_AGAIN
    found = differences(statements(), [(one.role, one.call) for one in made if one.allowed])
    assert found == [], RECORD_AGAIN


def test_recorded_verdicts_are_those_of_todays_iam() -> None:
    made = recorded.load()
    assert [decision for decision in made if ours(decision) != decision] == [], RECORD_AGAIN


def test_request_with_a_new_key_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end-to-end tests fail on one: see their conftest.py."""
    monkeypatch.setenv(RECORD, str(tmp_path))
    made = recorded.load()
    write(made)
    assert recorded.unknown(tmp_path) == []
    keyed = next(one for one in made if one.keys)
    new = replace(keyed, keys=((keyed.keys[0][0], ("a new value",)),))
    write([new])
    assert recorded.unknown(tmp_path) == [new]


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("outputs/{}/2.png", "outputs/{}/0.png"),
        ("outputs/{}/2.1.2.webp", "outputs/{}/0.png"),  # of a retry
        ("outputs/{}/2.1.2.8rf0xyd2hnrma0cshxfa0qkpqm.webp", "outputs/{}/0.png"),
        ("uploads/{}/photo-0a1b2c3d.heic", "uploads/{}/photo.jpg"),
        ("uploads/{}/late.jpg", "uploads/{}/late.jpg"),
        ("another/{}/1.png", "another/{}/0.png"),
    ],
)
def test_form_keeps_all_that_a_policy_can_name(path: str, form: str) -> None:
    job, none = str(uuid.uuid4()), str(uuid.UUID(int=0))
    assert normal(f"arn:aws:s3:::b/{path.format(job)}") == f"arn:aws:s3:::b/{form.format(none)}"


def test_lock_holds_hashes_and_no_download_address() -> None:
    lock = (simulator.HERE / "package-lock.json").read_text()
    assert "://" not in lock
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/')
