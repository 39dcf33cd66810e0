"""samconfig.toml names existing parameters, and each of its environments can be deployed."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tests.environment import ROOT
from tests.localcloud.template import read_overrides
from tests.unit.template_plan import plan

CONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())
ENVIRONMENTS = ("default", "dev", "prod")
LONGEST_BUCKET = 63  # characters, by S3's naming rules
LONGEST_REGION = "ap-northeast-2"  # no region has a longer name


def deployment(environment: str) -> dict[str, Any]:
    found: dict[str, Any] = CONFIG[environment]["deploy"]["parameters"]
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_environment_can_be_deployed(environment: str) -> None:
    deploy = deployment(environment)
    overrides = read_overrides(deploy.get("parameter_overrides", ""))
    stack = plan(overrides=overrides, stack_name=deploy["stack_name"])
    assert overrides.items() <= stack.parameters.items()
    bucket: Any = stack.resources["PhotosBucket"].properties
    name = bucket["BucketName"].replace("us-east-1", LONGEST_REGION)
    assert len(name) <= LONGEST_BUCKET
    assert name == name.lower()


def test_environments_have_different_stack_names() -> None:
    assert set(CONFIG) == {"version", *ENVIRONMENTS}
    names = [deployment(environment)["stack_name"] for environment in ENVIRONMENTS]
    assert len(set(names)) == len(names)


def test_production_asks_before_a_change_and_rolls_back() -> None:
    prod = deployment("prod")
    assert (prod["confirm_changeset"], prod["disable_rollback"]) == (True, False)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_deployment_creates_only_unnamed_roles(environment: str) -> None:
    """A named role would need CAPABILITY_NAMED_IAM and collide with its copy in another region."""
    assert deployment(environment)["capabilities"] == "CAPABILITY_IAM"
    for name, resource in plan().resources.items():
        if resource.type == "AWS::IAM::Role":
            assert isinstance(resource.properties, dict)
            assert "RoleName" not in resource.properties, name


def test_samconfig_is_the_same_in_every_release() -> None:
    """`sam deploy --guided` writes answers into this file, and `git pull` does not overwrite them."""
    assert (ROOT / "samconfig.toml").read_bytes() == (ROOT / "tests/releases/samconfig.toml").read_bytes(), (
        "samconfig.toml has changed, but it holds operators' answers. Put a new default into template.yaml."
    )
