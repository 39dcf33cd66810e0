"""samconfig.toml names what template.yaml has, and deploys what it can make."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tests.environment import ROOT
from tests.localcloud.template import read_overrides
from tests.unit.template_plan import plan

CONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())
ENVIRONMENTS = ("default", "dev", "prod")
LONGEST_BUCKET = 63  # characters, says S3
LONGEST_REGION = "ap-northeast-2"  # none has a longer name


def deployment(environment: str) -> dict[str, Any]:
    found: dict[str, Any] = CONFIG[environment]["deploy"]["parameters"]
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_environment_is_a_stack(environment: str) -> None:
    deploy = deployment(environment)
    overrides = read_overrides(deploy.get("parameter_overrides", ""))
    stack = plan(overrides=overrides, stack_name=deploy["stack_name"])
    assert overrides.items() <= stack.parameters.items()
    bucket: Any = stack.resources["PhotosBucket"].properties
    name = bucket["BucketName"].replace("us-east-1", LONGEST_REGION)
    assert len(name) <= LONGEST_BUCKET
    assert name == name.lower()


def test_every_environment_is_told_apart() -> None:
    assert set(CONFIG) == {"version", *ENVIRONMENTS}
    names = [deployment(environment)["stack_name"] for environment in ENVIRONMENTS]
    assert len(set(names)) == len(names)


def test_production_is_not_changed_or_left_broken_unasked() -> None:
    prod = deployment("prod")
    assert (prod["confirm_changeset"], prod["disable_rollback"]) == (True, False)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_it_may_make_roles_and_none_with_names(environment: str) -> None:
    """A role that the template names would need CAPABILITY_NAMED_IAM, and be the same in every region."""
    assert deployment(environment)["capabilities"] == "CAPABILITY_IAM"
    for name, resource in plan().resources.items():
        if resource.type == "AWS::IAM::Role":
            assert isinstance(resource.properties, dict)
            assert "RoleName" not in resource.properties, name


def test_no_release_changes_the_file() -> None:
    """`sam deploy --guided` writes an operator's answers into it, and git does not pull over them."""
    assert (ROOT / "samconfig.toml").read_bytes() == (ROOT / "tests/releases/samconfig.toml").read_bytes(), (
        "samconfig.toml holds operators' answers: put a new default into template.yaml instead"
    )
