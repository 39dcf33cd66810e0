"""A probe of the pinned SAM CLI: how it reads parameters and samconfig.toml, and what `sam deploy --guided` does.

SAM CLI's Python runs this file, with a request as JSON on stdin. The reply is JSON on stdout. SAM CLI's own code reads
the words and files, asks the questions and writes the answers. Only AWS is replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TypedDict
from unittest import mock

import click
from samcli.cli.types import CfnParameterOverridesType  # type: ignore[import-not-found]  # in SAM's environment
from samcli.commands.deploy import (  # type: ignore[import-not-found]  # as above
    command,
    deploy_context,
    guided_context,
)
from samcli.commands.package.package_context import PackageContext  # type: ignore[import-not-found]  # as above

type Overrides = dict[str, str]


class Request(TypedDict):
    """The questions to SAM CLI. An empty part asks for nothing."""

    words: list[list[str]]  # overrides of several command lines, as words
    values: list[object]  # values of parameter_overrides in a samconfig.toml
    deploys: list[list[str]]  # arguments of `sam deploy`, in the working directory
    guided: list[str] | None  # arguments of `sam deploy --guided`, in the working directory
    answers: dict[str, str]  # answers by the beginning of the question; all others are Enter


class Reply(TypedDict):
    words: list[Overrides | str]  # the overrides, or SAM CLI's error message
    values: list[Overrides | str]
    deploys: list[Overrides | str]
    questions: list[tuple[str, str]]  # each with its default
    deployed: bool  # whether `sam deploy --guided` would have executed its change set


def reply(request: Request) -> Reply:
    """Answer the request."""
    parameter = CfnParameterOverridesType()
    questions, deployed = (
        ([], False) if request["guided"] is None else _guided(request["guided"], request["answers"])
    )
    return {
        "words": [_or_refusal(parameter.convert, tuple(one), None, None) for one in request["words"]],
        "values": [_or_refusal(parameter.convert, one, None, None) for one in request["values"]],
        "deploys": [_or_refusal(_deploy, one) for one in request["deploys"]],
        "questions": questions,
        "deployed": deployed,
    }


def _or_refusal[**Given](
    read: Callable[Given, Overrides], *given: Given.args, **named: Given.kwargs
) -> Overrides | str:
    try:
        return read(*given, **named)
    except click.ClickException as error:
        return error.format_message()


def _deploy(argv: list[str]) -> Overrides:
    overrides: Overrides = command.cli.make_context("deploy", list(argv)).params["parameter_overrides"]
    return overrides


class _ExecutedError(Exception):
    """Raised at the point where SAM CLI would execute the change set."""


def _guided(argv: list[str], answers: dict[str, str]) -> tuple[list[tuple[str, str]], bool]:
    """Run `sam deploy --guided` until it would change the stack.

    Returns:
        The questions with their defaults, and whether it would have changed the stack.
    """
    questions: list[tuple[str, str]] = []

    def answered(text: str, default: object) -> str | None:
        question = click.unstyle(text).strip()
        questions.append((question, str(default)))
        return next((answer for begins, answer in answers.items() if question.startswith(begins)), None)

    def prompt(text: str, default: object = None, **_: object) -> object:
        answer = answered(text, default)
        return default if answer is None else answer

    def confirm(text: str, default: bool | None = False, **_: object) -> bool:  # noqa: FBT001, FBT002  # click's signature
        answer = answered(text, bool(default))
        return bool(default) if answer is None else answer == "y"

    def package(self: PackageContext) -> None:
        shutil.copy(self.template_file, self.output_template_file)

    def execute(*_: object) -> None:
        raise _ExecutedError

    deployer = SimpleNamespace(
        create_and_wait_for_changeset=lambda **_: ({"Id": "change-set"}, "CREATE"),
        get_last_event_time=execute,  # SAM CLI calls this first when it executes the change set
    )
    patches = (
        mock.patch.object(guided_context, "prompt", prompt),
        mock.patch.object(guided_context, "confirm", confirm),
        mock.patch.object(guided_context, "manage_stack", return_value="bucket-of-sam"),
        mock.patch.object(guided_context.GuidedContext, "prompt_image_repository", return_value={}),
        mock.patch.object(deploy_context.click, "confirm", confirm),
        mock.patch.object(deploy_context, "Deployer", return_value=deployer),
        mock.patch.object(PackageContext, "run", package),
    )
    with contextlib.ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        context = command.cli.make_context("deploy", ["--guided", *argv])
        with context.scope():
            given = dict.fromkeys(("region", "profile")) | context.params
            names = command.do_cli.__code__.co_varnames[: command.do_cli.__code__.co_argcount]
            try:
                command.do_cli(**{name: given[name] for name in names})
            except _ExecutedError:
                return questions, True
    return questions, False


if __name__ == "__main__":
    os.environ["SAM_CLI_TELEMETRY"] = "0"
    with contextlib.redirect_stdout(sys.stderr):
        done = reply(json.load(sys.stdin))
    json.dump(done, sys.stdout)
