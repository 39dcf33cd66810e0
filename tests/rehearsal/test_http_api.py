"""Holds MiniStack's HTTP API against what API Gateway documents. Its differences are those that differences.py lists."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.localcloud.http_server import HttpServer, Response
from tests.recorded import http_api
from tests.recorded.http_api import Api, Case
from tests.rehearsal import ministack
from tests.rehearsal.differences import HTTP_API
from tests.rehearsal.echo import deploy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="MiniStack is set up for Linux")


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with (
        TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as folder,
        ministack.running(Path(folder)) as cloud,
        HttpServer() as issuer,
    ):
        pages = http_api.issuer_pages(issuer.url)
        issuer.start(lambda request: Response(200, (), json.dumps(pages[request.target]).encode()))
        yield Api(deploy(cloud, issuer.url), issuer.url)


@pytest.mark.parametrize("case", http_api.CASES, ids=[case.name for case in http_api.CASES])
def test_answer_is_the_documented_or_the_listed_one(api: Api, case: Case) -> None:
    _, expected = HTTP_API.get(case.name, ("", case.answer))
    assert case.check(api) == expected


def test_listed_differences_are_cases_and_differ() -> None:
    documented = {case.name: case.answer for case in http_api.CASES}
    assert [name for name, (_, seen) in HTTP_API.items() if documented[name] == seen] == []
