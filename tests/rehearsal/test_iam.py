"""MiniStack's IAM and the local cloud's agree on every request of the end-to-end tests, and on those that nobody made."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

from tests import environment
from tests.iam import recorded
from tests.iam.controls import controls
from tests.iam.policies import documents
from tests.localcloud.decisions import Decision
from tests.rehearsal.ministack import LOCK

JUDGE = Path(__file__).with_name("iam_judge.py")


def disagreements(decisions: list[Decision]) -> list[tuple[Decision, str]]:
    """Return the decisions that MiniStack does not confirm, each with its verdict."""
    requests = [
        {"role": one.role, "action": one.action, "resource": one.resource, "keys": one.keys}
        for one in decisions
    ]
    python = environment.make(environment.CACHE / "ministack", (LOCK,))
    done = subprocess.run(
        [python, "-P", JUDGE],  # -P, because this folder holds a ministack.py too
        input=json.dumps({"policies": documents(), "requests": requests}),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    verdicts: list[str] = json.loads(done.stdout)
    return [
        (decision, verdict)
        for decision, verdict in zip(decisions, verdicts, strict=True)
        if verdict != ("Allow" if decision.allowed else "ImplicitDeny")
    ]


def test_ministack_allows_what_the_stack_did() -> None:
    assert disagreements(list(recorded.load())) == []


def test_ministack_denies_what_no_role_may_do() -> None:
    asked = sorted(controls())
    assert sum(not decision.allowed for decision in asked) > 300
    assert disagreements(asked) == []


def test_wrong_decision_is_noticed() -> None:
    """The control: each verdict turned round is a disagreement."""
    wrong = [replace(decision, allowed=not decision.allowed) for decision in recorded.load()]
    assert len(disagreements(wrong)) == len(wrong)
