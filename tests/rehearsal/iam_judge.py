"""MiniStack's IAM as a judge of single requests. MiniStack's own Python runs this file.

It reads `{"policies": {role: [document, …]}, "requests": [{"role", "action", "resource", "keys"}, …]}` from stdin, and
writes a list of verdicts to stdout: Allow, Deny or ImplicitDeny.
"""

from __future__ import annotations

import json
import sys
from typing import Any

ACCOUNT, REGION = "123456789012", "us-east-1"


def judge(asked: dict[str, Any]) -> list[str]:
    from ministack.core.iam_evaluator import (  # noqa: PLC0415  # only MiniStack's environment has it
        EvalContext,
        evaluate,
        parse_policy_document,
    )

    policies = {
        role: [parse_policy_document(json.dumps(one)) for one in documents]
        for role, documents in asked["policies"].items()
    }
    verdicts = []
    for one in asked["requests"]:
        keys = {key.lower(): values if len(values) > 1 else values[0] for key, values in one["keys"]}
        context = EvalContext(
            principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/{one['role']}/session",
            principal_type="AssumedRole",
            principal_account=ACCOUNT,
            action=one["action"],
            resource_arn=one["resource"],
            region=REGION,
            service_context=keys,
        )
        verdicts.append(str(evaluate(context, policies[one["role"]]).decision))
    return verdicts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(judge(json.load(sys.stdin))))
