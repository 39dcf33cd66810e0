"""Requests that nobody made, with the verdicts of the local cloud's IAM: most of them must be denied."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from tests.iam import recorded
from tests.iam.policies import documents
from tests.localcloud.decisions import Decision
from tests.localcloud.policies import Policy, Statement, granting


@cache
def statements() -> dict[str, tuple[Statement, ...]]:
    """Return each role's statements, as the local cloud reads them."""
    return {
        role: tuple(itertools.chain(*(Policy.model_validate(document).statement for document in found)))
        for role, found in documents().items()
    }


def ours(decision: Decision) -> Decision:
    """Return the decision with the verdict of the local cloud's IAM."""
    return replace(decision, allowed=bool(granting(statements()[decision.role], decision.call)))


def altered(decision: Decision) -> Iterator[Decision]:
    """Yield the request for other resources of its kind, and with other and without values of its condition keys."""
    if "triptych" in decision.resource:
        yield replace(decision, resource=decision.resource.replace("triptych", "another", 1))
        yield replace(decision, resource=f"{decision.resource}-another")
    if decision.action.startswith("s3:") and "/" in decision.resource:
        bucket, folder, name = decision.resource.split("/", 2)
        yield replace(decision, resource=f"{bucket}/another/{name}")
        yield replace(decision, resource=f"{bucket}/{folder}-another/{name}")
        yield replace(decision, resource=f"{bucket}/another/{folder}/{name}")
    if decision.keys:
        yield replace(decision, keys=())
        yield replace(decision, keys=tuple((key, ("another",)) for key, _ in decision.keys))


def controls() -> set[Decision]:
    """Return requests that nobody made: those of another role, and altered ones."""
    made = recorded.load()
    others = {replace(decision, role=role) for decision in made for role in statements()}
    changed = {each for decision in made for each in altered(decision)}
    return {ours(decision) for decision in others | changed} - set(made)
