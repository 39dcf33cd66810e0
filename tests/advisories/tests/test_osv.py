"""The list of known vulnerabilities, with a stand-in for osv.dev."""

from __future__ import annotations

import json

import pytest

from tests.advisories.osv import main


@pytest.mark.parametrize(("package", "code"), [("pillow", 1), ("moto", 0), (None, 0)])
def test_advisory_on_a_package_of_the_functions_fails(
    package: str | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(body: bytes) -> bytes:
        queries = json.loads(body)["queries"]
        results = [{"vulns": [{"id": "A-1"}]} if one["package"]["name"] == package else {} for one in queries]
        return json.dumps({"results": results}).encode()

    assert main(ask) == code
    assert ("https://osv.dev/A-1" in capsys.readouterr().out) is (package is not None)


def test_unreachable_list_of_advisories_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    def ask(_: bytes) -> bytes:
        raise OSError

    assert main(ask) == 0
    assert capsys.readouterr().out.startswith("skipped: osv.dev cannot be asked")
