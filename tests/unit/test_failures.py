"""The table of failures, compared with the README, the page and the types."""

from __future__ import annotations

import json
import re
import types
from typing import Any, get_args

import pytest

import words
from tests.environment import ROOT
from tests.support.readme import rows
from triptych import job
from triptych.failures import Failure, FailureKind, Fault
from triptych.photo import inspection
from triptych.replicate.downloads import OutputRefusedError
from triptych.replicate.predictions import Refused

CODES = {kind.code for kind in FailureKind}


def where(kind: FailureKind) -> str:
    """Return the second column of the README's table."""
    status = [str(kind.status)] if kind.status else []
    carriers = {"job": ["job"], "image": ["image", "job"], None: []}[kind.ends]
    return ", ".join(status + carriers)


def test_the_readme_lists_every_failure() -> None:
    assert set(rows("When something is wrong")) == CODES


@pytest.mark.parametrize("kind", FailureKind)
def test_the_readme_says_where_a_failure_occurs(kind: FailureKind) -> None:
    assert rows("When something is wrong")[kind.code].split(" | ")[0] == where(kind)


@pytest.mark.parametrize("kind", FailureKind)
def test_the_readme_and_the_table_ask_the_operator_alike(kind: FailureKind) -> None:
    asked = "operator:" in rows("When something is wrong")[kind.code]
    assert asked == ("operator" in kind.advice)
    assert not asked or kind.fault is Fault.SERVICE


@pytest.mark.parametrize("kind", FailureKind)
def test_a_message_is_what_happened_and_what_to_do(kind: FailureKind) -> None:
    for sentence in (kind.what, kind.advice):
        assert re.fullmatch(r"[A-Za-z][^.]*(\.[a-z][^.]*)*\.", sentence)
        assert len(sentence.split()) <= 16


@pytest.mark.parametrize("kind", FailureKind)
def test_every_failure_is_stored_or_returned(kind: FailureKind) -> None:
    assert kind.ends or kind.status


@pytest.mark.parametrize("kind", FailureKind)
def test_a_stored_failure_is_found_in_the_table(kind: FailureKind) -> None:
    stored = Failure(kind.code, "The sentence of an older release.")
    assert (stored.kind, stored.fault, stored.retryable) == (kind, kind.fault, kind.retryable)


def test_an_unknown_code_is_the_services_fault_and_retryable() -> None:
    stored = Failure("code_of_another_release", "No.")
    assert (stored.kind, stored.fault, stored.retryable) == (None, Fault.SERVICE, True)


CARRIERS = [
    *(event for event in get_args(job.Event.__value__) if "failure" in event.__annotations__),
    inspection.Rejected,
    Refused,
    OutputRefusedError.__init__,
]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_only_a_failure_of_the_table_can_arise(carrier: Any) -> None:
    assert carrier.__annotations__["failure"] == "FailureKind"


def test_every_event_that_fails_an_image_carries_a_failure() -> None:
    assert {job.JobRejected, job.GenerationRefused, job.ImageFailed} <= set(CARRIERS)


def test_the_table_cannot_be_extended_elsewhere() -> None:
    with pytest.raises(TypeError, match="cannot extend"):
        types.new_class("More", (FailureKind,))


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_page_has_words_for_failures_of_the_table_only(language: str) -> None:
    file = ROOT / f"functions/page/static/{language}.json"
    has_words = json.loads(file.read_text())["failures"].keys()
    of_the_page = {
        "offline",
        "upload_failed",
        "unavailable",
        "busy",
        "copy_failed",
        "signed_out",
        "sign_in_too_slow",
    }
    of_cognito = {name for name in has_words if name.endswith("Exception")}
    assert has_words - of_the_page - of_cognito <= CODES


def test_the_page_offers_a_retry_where_the_table_does() -> None:
    assert set(words.NOT_RETRYABLE) == {kind.code for kind in FailureKind if kind.ends and not kind.retryable}


def test_the_page_answers_an_unknown_path_as_the_api_does() -> None:
    kind = FailureKind.ROUTE_NOT_FOUND
    assert (kind.code, kind.message) == words.NOT_FOUND
