"""Builds the stack and deploys it on MiniStack with the pinned SAM CLI, as an operator deploys it on AWS."""

from __future__ import annotations

import copy
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # no py.typed

from tests.environment import ROOT
from tests.localcloud import overrides
from tests.rehearsal import gaps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.rehearsal.ministack import Ministack

# This machine's architecture, as Lambda and as Python's wheels name it.
ARCHITECTURE, MACHINE = {
    "x86_64": ("x86_64", "x86_64"),
    "aarch64": ("arm64", "aarch64"),
}.get(platform.machine(), ("", ""))

type Template = dict[str, Any]


@dataclass(frozen=True)
class Build:
    """The result of `sam build` for this machine."""

    folder: Path

    def template(self) -> Template:
        template: Template = yaml_parse((self.folder / "template.yaml").read_text())
        return template


def build(folder: Path, path: Path = ROOT / "template.yaml") -> Build:
    """Build the template's code into `folder`, for this machine instead of the template's architecture.

    Raises:
        RuntimeError: SAM CLI failed. The message holds its output.
    """
    source = folder / "template.json"
    source.write_text(json.dumps(_for_this_machine(yaml_parse(path.read_text()))))
    built = folder / "build"
    _sam(
        *("build", "--template-file", str(source), "--base-dir", str(ROOT), "--build-dir", str(built)),
        *("--no-cached", "--parallel"),
        settings={"LAYER_MACHINE": MACHINE},
    )
    return Build(built)


def deploy(
    cloud: Ministack,
    built: Build,
    stack: str,
    parameters: Mapping[str, str],
    change: Callable[[Template], None] = lambda _: None,
) -> dict[str, str]:
    """Apply `change` to the build's template and deploy it as a stack; return the stack's outputs.

    Raises:
        RuntimeError: SAM CLI failed. The message holds its output.
    """
    template = copy.deepcopy(built.template())
    change(template)
    gaps.close(template, parameters)
    path = built.folder / f"{stack}.json"
    path.write_text(json.dumps(template))
    _sam(
        *("deploy", "--template-file", str(path), "--stack-name", stack, "--resolve-s3"),
        *("--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"),
        *("--parameter-overrides", *(_quoted(name, value) for name, value in parameters.items())),
        settings=cloud.environment,
    )
    (found,) = cloud.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    if found["StackStatus"] not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        raise RuntimeError(f"{stack} is {found['StackStatus']}")
    return {one["OutputKey"]: one["OutputValue"] for one in found["Outputs"]}


def _quoted(name: str, value: str) -> str:
    if (pair := overrides.quoted(name, value)) is None:
        raise ValueError(f"SAM CLI cannot read this value of {name}: {value}")
    return pair


def delete(cloud: Ministack, stack: str) -> None:
    """Delete a stack with `sam delete`, and its artifacts.

    Raises:
        RuntimeError: SAM CLI failed. The message holds its output.
    """
    _sam(
        *("delete", "--stack-name", stack, "--region", cloud.environment["AWS_REGION"], "--no-prompts"),
        settings=cloud.environment,
    )


def _for_this_machine(node: Any) -> Any:
    match node:
        case dict():
            named = {
                "Architectures": [ARCHITECTURE],
                "CompatibleArchitectures": [ARCHITECTURE],
                "BuildArchitecture": ARCHITECTURE,
            }
            return {key: named.get(key) or _for_this_machine(value) for key, value in node.items()}
        case list():
            return [_for_this_machine(one) for one in node]
    return node


def _sam(*arguments: str, settings: Mapping[str, str]) -> None:
    with TemporaryDirectory(prefix="rehearsal-sam-") as scratch:  # SAM CLI leaves empty folders there
        done = subprocess.run(
            [sys.executable, "-m", "tests.sam", *arguments],
            cwd=ROOT,
            env={**os.environ, **settings, "TMPDIR": scratch},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"sam {arguments[0]} failed:\n{done.stdout}")
